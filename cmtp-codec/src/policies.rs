//! Sets of policies by their bytes, and how policies name a target: `cmtp-spec/spec/23-policies.md`.
//!
//! What stands in a policy is nothing to the codec: who judges by it reads it.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use cmtp_spec::limits;

use crate::fqmn::{Fqmn, read_form};
use crate::hash::Digest;

/// The files of a policy set.
///
/// ```
/// use cmtp_codec::PolicyFiles;
///
/// let mut files = PolicyFiles::default();
/// files.insert("default.cedar", "permit (principal, action, resource);")?;
/// let again = PolicyFiles::from_listing(&files.listing())?;
/// assert_eq!(again.digest(), files.digest());
/// # Ok::<(), cmtp_codec::PolicyFilesError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyFiles {
    files: BTreeMap<String, Bytes>,
    bytes: usize,
}

impl PolicyFiles {
    /// Adds a file.
    ///
    /// # Errors
    /// [`PolicyFilesError`]: a name that is none or stands already, or more than a set may have.
    pub fn insert(&mut self, name: &str, text: impl Into<Bytes>) -> Result<(), PolicyFilesError> {
        let text = text.into();
        // [POL-6] A node MUST refuse a set with such a file name, or with more files or bytes than may be.
        if !is_file_name(name) {
            return Err(PolicyFilesError::Name { name: name.to_owned() });
        }
        let bytes = self.bytes.saturating_add(text.len());
        if bytes as u64 > limits::POLICY_BYTES_MAX {
            return Err(PolicyFilesError::Bytes);
        }
        if self.files.len() as u64 >= limits::POLICY_FILES_MAX {
            return Err(PolicyFilesError::Files);
        }
        if self.files.contains_key(name) {
            return Err(PolicyFilesError::Listing);
        }
        self.files.insert(name.to_owned(), text);
        self.bytes = bytes;
        Ok(())
    }

    /// Name and bytes of each file, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.files.iter().map(|(name, bytes)| (name.as_str(), bytes))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// What the digest is of, and what an entry `policy` holds.
    pub fn listing(&self) -> Vec<u8> {
        // [POL-7] The listing: its magic, the number of files, and each with both lengths.
        let mut out = Vec::with_capacity(HEAD + self.bytes);
        out.extend(MAGIC);
        // Names and files are bounded far below these widths.
        out.extend((self.files.len() as u32).to_be_bytes());
        for (name, bytes) in &self.files {
            out.push(name.len() as u8);
            out.extend(name.as_bytes());
            out.extend((bytes.len() as u32).to_be_bytes());
            out.extend(bytes);
        }
        out
    }

    /// The digest of the set.
    pub fn digest(&self) -> Digest {
        // [POL-7] The digest of a set MUST be SHA-256 of its listing.
        Digest::of(&self.listing())
    }

    /// Reads a listing back.
    ///
    /// # Errors
    /// [`PolicyFilesError`]: it is none, or of more than a set may have.
    pub fn from_listing(listing: &[u8]) -> Result<Self, PolicyFilesError> {
        let mut left = listing.strip_prefix(&MAGIC).ok_or(PolicyFilesError::Listing)?;
        let count = u32::from_be_bytes(*take(&mut left)?);
        let mut files = Self::default();
        for _ in 0..count {
            let [length] = *take(&mut left)?;
            let name = take_slice(&mut left, usize::from(length))?;
            let name = std::str::from_utf8(name).map_err(|_no_name| PolicyFilesError::Listing)?;
            let length = u32::from_be_bytes(*take(&mut left)?);
            let length = usize::try_from(length).map_err(|_no_memory| PolicyFilesError::Bytes)?;
            let bytes = take_slice(&mut left, length)?;
            // [POL-7] A reader takes a listing only if its names strictly ascend.
            if files.files.last_key_value().is_some_and(|(last, _)| last.as_str() >= name) {
                return Err(PolicyFilesError::Listing);
            }
            files.insert(name, Bytes::copy_from_slice(bytes))?;
        }
        if left.is_empty() { Ok(files) } else { Err(PolicyFilesError::Listing) }
    }
}

/// How policies name a target: the name, and its beginnings.
///
/// ```
/// use cmtp_codec::{Fqmn, PolicyName};
///
/// let name = PolicyName::of(&Fqmn::parse("0xSW:0x001:color")?);
/// assert_eq!(name.as_str(), "0xS:0x001:color");
/// assert_eq!(name.beginnings().collect::<Vec<_>>(), ["0xS:0x001", "0xS"]);
/// # Ok::<(), cmtp_codec::FqmnError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyName {
    text: String,
}

impl PolicyName {
    /// The name of a target.
    pub fn of(target: &Fqmn) -> Self {
        let opcode = read_form(target.opcode()).name().unwrap_or_default();
        let rest = target.target().split_once(':').map_or("", |(_, rest)| rest);
        Self { text: format!("{opcode}:{rest}") }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its beginnings, the longest first; the last is the opcode.
    pub fn beginnings(&self) -> impl Iterator<Item = &str> {
        self.text.rmatch_indices(':').map(|(at, _)| &self.text[..at])
    }

    /// Its first element.
    pub fn opcode(&self) -> &str {
        self.text.split(':').next().unwrap_or_default()
    }
}

/// Why files are no policy set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyFilesError {
    /// A file's name.
    #[error(
        "{name:?}: a policy file has a name of {} bytes at most, of letters, digits and . _ -, which ends in .cedar; rename it",
        limits::POLICY_FILE_NAME_MAX
    )]
    Name {
        /// The name.
        name: String,
    },
    /// Too many of them.
    #[error("more than {} policy files; put some together", limits::POLICY_FILES_MAX)]
    Files,
    /// Too much in them.
    #[error("more than {} bytes of policies; make them fewer or shorter", limits::POLICY_BYTES_MAX)]
    Bytes,
    /// Bytes that are no listing.
    #[error("no listing of policy files")]
    Listing,
}

fn is_file_name(name: &str) -> bool {
    const LENGTHS: Range<usize> = 1..limits::POLICY_FILE_NAME_MAX as usize + 1 - ENDING.len();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.strip_suffix(ENDING).is_some_and(|stem| {
        LENGTHS.contains(&stem.len()) && stem.bytes().all(is_plain) && !stem.starts_with('.')
    })
}

fn take<'a, const N: usize>(left: &mut &'a [u8]) -> Result<&'a [u8; N], PolicyFilesError> {
    let (taken, rest) = left.split_first_chunk().ok_or(PolicyFilesError::Listing)?;
    *left = rest;
    Ok(taken)
}

fn take_slice<'a>(left: &mut &'a [u8], length: usize) -> Result<&'a [u8], PolicyFilesError> {
    let (taken, rest) = left.split_at_checked(length).ok_or(PolicyFilesError::Listing)?;
    *left = rest;
    Ok(taken)
}

/// What the names of policy files end with.
const ENDING: &str = ".cedar";
const MAGIC: [u8; 8] = *b"CMTPPOL\n";
/// Bytes of a short listing beside its files.
const HEAD: usize = 128;
