//! A person's personas, and the root that they come from: `cmtp-spec/spec/21-identities.md`.

mod error;
mod file;
mod form;
mod name;
mod passphrase;
mod sealed;

use std::io;
use std::path::Path;

use cmtp_codec::{Digest, PublicKey, RecoveryCommitment, Revocation, Root, SigningKey};
use zeroize::Zeroizing;

use crate::entropy::NoEntropy;
use crate::home::{Existing, Home, write_whole};
use crate::identity::Identity;

use form::{Form, Imported, Source};

pub use error::KeyringError;
pub use name::{PersonaName, PersonaNameError};
pub use passphrase::Passphrase;

/// All personas of a person, as the file `identity` of a home directory keeps them, under a passphrase or not.
///
/// What is changed here is kept once [`Keyring::save`] is called.
///
/// ```
/// use cmtp_client::{Existing, Home, Keyring, Passphrase};
///
/// # let directory = tempfile::tempdir()?;
/// let home = Home::new(directory.path());
/// let mut keyring = Keyring::create(&home, None, Existing::Keep)?;
/// keyring.add("work".parse()?)?;
/// keyring.save(&home)?;
///
/// let keyring = Keyring::load(&home, Passphrase::from_env)?.ok_or("make one: cmtp id new")?;
/// let work = keyring.identity(Some("work"))?;
/// assert_ne!(work.did(), keyring.identity(None)?.did());
/// // The words bring back the same personas, on any device.
/// let again = Keyring::restore(&keyring.words()?, 2)?;
/// assert_eq!(again.personas()[1].did(), work.did());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Keyring {
    root: Option<Root>,
    /// At least one.
    personas: Vec<Persona>,
    default: usize,
    passphrase: Option<Passphrase>,
    /// Of the file's bytes when it was read or written.
    seen: Option<Digest>,
}

/// One persona of a [`Keyring`].
#[derive(Clone, Debug)]
pub struct Persona {
    name: PersonaName,
    did: PublicKey,
    commitment: Option<RecoveryCommitment>,
    source: Source,
}

impl Persona {
    /// What its person calls it.
    pub const fn name(&self) -> &PersonaName {
        &self.name
    }

    /// Who it is to others.
    pub const fn did(&self) -> PublicKey {
        self.did
    }

    /// Its number under the root; `None` where it was imported.
    pub const fn number(&self) -> Option<u32> {
        match self.source {
            Source::Derived(number) => Some(number),
            Source::Imported(_) => None,
        }
    }

    /// What it shows of its recovery key; `None` where that is not known here.
    pub const fn commitment(&self) -> Option<RecoveryCommitment> {
        self.commitment
    }
}

impl Keyring {
    /// A new root and its first persona, `main`; not kept yet.
    ///
    /// # Errors
    /// [`KeyringError::NoEntropy`], [`KeyringError::Crypto`].
    pub fn generate() -> Result<Self, KeyringError> {
        let mut bytes = Zeroizing::new([0; 32]);
        // [IDY-1] A root MUST be 32 bytes that no one can guess, made by a generator fit for keys.
        aws_lc_rs::rand::fill(&mut *bytes).map_err(|aws_lc_rs::error::Unspecified| NoEntropy)?;
        Self::of_root(Root::new(*bytes), 1)
    }

    /// The root of 24 words and its first `count` personas, at least one: `main`, `persona-1`, …; not kept yet.
    ///
    /// # Errors
    /// [`KeyringError::Words`], [`KeyringError::TooMany`].
    pub fn restore(words: &str, count: u32) -> Result<Self, KeyringError> {
        Self::of_root(Root::from_words(words)?, count)
    }

    /// Makes a root and its first persona, and keeps them in `home`; with [`Existing::Replace`] what was there is lost.
    ///
    /// # Errors
    /// As [`Keyring::keep`].
    pub fn create(
        home: &Home,
        passphrase: Option<Passphrase>,
        existing: Existing,
    ) -> Result<Self, KeyringError> {
        let mut made = Self::generate()?;
        made.protect(passphrase);
        made.keep(home, existing)?;
        Ok(made)
    }

    /// Reads what `home` keeps, `None` where there is nothing; `passphrase` is asked, with the file's path, only where it is
    /// encrypted.
    ///
    /// # Errors
    /// [`KeyringError::Exposed`] where others may read the file, [`KeyringError::WrongPassphrase`],
    /// [`KeyringError::TooMuchWork`], [`KeyringError::Malformed`], [`KeyringError::Io`], and what `passphrase` says.
    pub fn load(
        home: &Home,
        passphrase: impl FnOnce(&Path) -> Result<Passphrase, KeyringError>,
    ) -> Result<Option<Self>, KeyringError> {
        let path = home.file(FILE);
        let Some(bytes) = file::read(&path)? else { return Ok(None) };
        let seen = Some(Digest::of(&bytes));
        let (text, passphrase) = file::open(&path, bytes, passphrase)?;
        let malformed = |what| KeyringError::Malformed { path: path.clone(), what };
        let Form { root, personas, default } = Form::parse(&text).map_err(malformed)?;
        let mut read = Self { root, personas: Vec::new(), default: 0, passphrase, seen };
        for (name, source) in personas {
            match read.push(name, source) {
                Err(
                    error @ (KeyringError::NameTaken { .. }
                    | KeyringError::Known { .. }
                    | KeyringError::TooMany { .. }),
                ) => return Err(malformed(error.to_string())),
                pushed => pushed?,
            };
        }
        let place = read.personas.iter().position(|persona| persona.name == default);
        let missing = || malformed(format!("its default, {default}, is none of its personas"));
        read.default = place.ok_or_else(missing)?;
        Ok(Some(read))
    }

    /// Keeps it in `home`, where there is none yet, or in place of the one that is there, which is lost.
    ///
    /// # Errors
    /// [`KeyringError::Exists`] with [`Existing::Keep`]; [`KeyringError::Io`] names the file.
    pub fn keep(&mut self, home: &Home, existing: Existing) -> Result<(), KeyringError> {
        let path = home.file(FILE);
        let bytes = file::seal(&path, &self.to_form().to_text(), self.passphrase.as_ref())?;
        let io = |source| KeyringError::Io { path: path.clone(), source };
        // Apart from the file: a home that is a file says that it exists, too.
        home.create().map_err(io)?;
        match write_whole(&path, &bytes, existing) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(KeyringError::Exists { path })
            }
            written => {
                written.map_err(io)?;
                self.seen = Some(Digest::of(&bytes));
                Ok(())
            }
        }
    }

    /// Keeps what was changed since [`Keyring::load`] or [`Keyring::keep`].
    ///
    /// # Errors
    /// [`KeyringError::Changed`] where another process changed the file since; [`KeyringError::Io`].
    pub fn save(&mut self, home: &Home) -> Result<(), KeyringError> {
        let path = home.file(FILE);
        let bytes = file::seal(&path, &self.to_form().to_text(), self.passphrase.as_ref())?;
        let io = |source| KeyringError::Io { path: path.clone(), source };
        let _lock = home.lock().map_err(io)?;
        if file::read(&path)?.map(|bytes| Digest::of(&bytes)) != self.seen {
            return Err(KeyringError::Changed { path });
        }
        write_whole(&path, &bytes, Existing::Replace).map_err(io)?;
        self.seen = Some(Digest::of(&bytes));
        Ok(())
    }

    /// Has the file encrypted under this passphrase from the next time on that it is written; without one it is not.
    pub fn protect(&mut self, passphrase: Option<Passphrase>) {
        self.passphrase = passphrase;
    }

    /// Whether the file is encrypted, once it is written.
    pub const fn is_protected(&self) -> bool {
        self.passphrase.is_some()
    }

    /// Whether there is a root to derive from.
    pub const fn has_root(&self) -> bool {
        self.root.is_some()
    }

    /// The personas, in the order in which they came.
    pub fn personas(&self) -> &[Persona] {
        &self.personas
    }

    /// The persona of this name, or the default.
    ///
    /// # Errors
    /// [`KeyringError::NoSuchPersona`].
    pub fn persona(&self, name: Option<&str>) -> Result<&Persona, KeyringError> {
        Ok(&self.personas[self.place(name)?])
    }

    /// Whether `persona` is the one that calls where none is named.
    pub fn is_default(&self, persona: &Persona) -> bool {
        self.personas[self.default].name == persona.name
    }

    /// Makes the persona of this name the default.
    ///
    /// # Errors
    /// [`KeyringError::NoSuchPersona`].
    pub fn set_default(&mut self, name: &str) -> Result<(), KeyringError> {
        self.default = self.place(Some(name))?;
        Ok(())
    }

    /// Derives the next persona.
    ///
    /// # Errors
    /// [`KeyringError::NoRoot`], [`KeyringError::NameTaken`], [`KeyringError::TooMany`].
    pub fn add(&mut self, name: PersonaName) -> Result<&Persona, KeyringError> {
        let last = self.personas.iter().filter_map(Persona::number).max();
        let next = last.map_or(0, |last| last.saturating_add(1));
        if self.root.is_none() {
            return Err(KeyringError::NoRoot);
        }
        self.push(name, Source::Derived(next))
    }

    /// One persona's secret for another device, under a passphrase or not: what a file is to hold.
    ///
    /// # Errors
    /// [`KeyringError::NoSuchPersona`], [`KeyringError::Crypto`].
    pub fn export(
        &self,
        name: &str,
        passphrase: Option<&Passphrase>,
    ) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        let persona = self.persona(Some(name))?;
        let commitment = persona.commitment;
        let imported = Imported { seed: self.seed(&persona.source)?, commitment };
        file::seal(Path::new(name), &form::exported(&persona.name, &imported), passphrase)
    }

    /// Takes in a persona from the file that [`Keyring::export`] filled, under its own name or another.
    ///
    /// # Errors
    /// Those of [`Keyring::load`] for that file; [`KeyringError::NameTaken`], [`KeyringError::Known`],
    /// [`KeyringError::TooMany`].
    pub fn import(
        &mut self,
        path: &Path,
        name: Option<PersonaName>,
        passphrase: impl FnOnce(&Path) -> Result<Passphrase, KeyringError>,
    ) -> Result<&Persona, KeyringError> {
        let (own_name, imported) = read_exported(path, passphrase)?;
        self.push(name.unwrap_or(own_name), Source::Imported(imported))
    }

    /// What is read as [`Keyring::import`] does, where there is nothing else yet; not kept yet.
    ///
    /// # Errors
    /// As [`Keyring::import`].
    pub fn from_exported(
        path: &Path,
        name: Option<PersonaName>,
        passphrase: impl FnOnce(&Path) -> Result<Passphrase, KeyringError>,
    ) -> Result<Self, KeyringError> {
        let mut made = Self::empty(None);
        made.import(path, name, passphrase)?;
        Ok(made)
    }

    /// The persona of this name, or the default, as one who calls.
    ///
    /// # Errors
    /// [`KeyringError::NoSuchPersona`], [`KeyringError::Crypto`].
    pub fn identity(&self, name: Option<&str>) -> Result<Identity, KeyringError> {
        let persona = self.persona(name)?;
        let identity = Identity::from_seed(&*self.seed(&persona.source)?)?;
        match (&self.root, persona.number()) {
            (Some(root), Some(number)) => {
                let recovery = root.recovery(number)?.public();
                Ok(identity.committed(RecoveryCommitment::to(&recovery)))
            }
            _ => Ok(identity),
        }
    }

    /// The recovery key of a persona.
    ///
    /// # Errors
    /// [`KeyringError::NoSuchPersona`]; [`KeyringError::NoRecovery`] where it was imported.
    pub fn recovery(&self, name: &str) -> Result<SigningKey, KeyringError> {
        let persona = self.persona(Some(name))?;
        match (&self.root, persona.number()) {
            (Some(root), Some(number)) => Ok(root.recovery(number)?),
            _ => Err(KeyringError::NoRecovery { name: persona.name.clone() }),
        }
    }

    /// States that nothing counts any more that was granted to a persona before a time, microseconds since 1970.
    ///
    /// # Errors
    /// As [`Keyring::recovery`].
    pub fn revoke(&self, name: &str, not_before: u64) -> Result<Revocation, KeyringError> {
        let persona = self.persona(Some(name))?.did;
        Ok(Revocation::sign(persona, not_before, &self.recovery(name)?)?)
    }

    /// The root as 24 words: whoever has them is the person, with all personas that there will ever be.
    ///
    /// # Errors
    /// [`KeyringError::NoRoot`].
    pub fn words(&self) -> Result<Zeroizing<String>, KeyringError> {
        self.root.as_ref().map(Root::to_words).ok_or(KeyringError::NoRoot)
    }

    fn of_root(root: Root, count: u32) -> Result<Self, KeyringError> {
        let mut made = Self::empty(Some(root));
        for number in 0..count.max(1) {
            made.push(PersonaName::restored(number), Source::Derived(number))?;
        }
        Ok(made)
    }

    const fn empty(root: Option<Root>) -> Self {
        Self { root, personas: Vec::new(), default: 0, passphrase: None, seen: None }
    }

    /// Takes in a persona; a name and a key stand for one each.
    fn push(&mut self, name: PersonaName, source: Source) -> Result<&Persona, KeyringError> {
        if self.personas.len() >= PERSONAS_MAX as usize {
            return Err(KeyringError::TooMany { most: PERSONAS_MAX });
        }
        if self.personas.iter().any(|persona| persona.name == name) {
            return Err(KeyringError::NameTaken { name });
        }
        let did = SigningKey::from_seed(&*self.seed(&source)?)?.public();
        if let Some(known) = self.personas.iter().find(|persona| persona.did == did) {
            return Err(KeyringError::Known { name: known.name.clone() });
        }
        let commitment = match (&source, &self.root) {
            (Source::Derived(number), Some(root)) => {
                Some(RecoveryCommitment::to(&root.recovery(*number)?.public()))
            }
            (Source::Derived(_), None) => return Err(KeyringError::NoRoot),
            (Source::Imported(imported), _) => imported.commitment,
        };
        self.personas.push(Persona { name, did, commitment, source });
        Ok(&self.personas[self.personas.len() - 1])
    }

    fn seed(&self, source: &Source) -> Result<Zeroizing<[u8; 32]>, KeyringError> {
        match (source, &self.root) {
            (Source::Derived(number), Some(root)) => Ok(root.persona_seed(*number)?),
            (Source::Derived(_), None) => Err(KeyringError::NoRoot),
            (Source::Imported(imported), _) => Ok(imported.seed.clone()),
        }
    }

    fn place(&self, name: Option<&str>) -> Result<usize, KeyringError> {
        let Some(name) = name else { return Ok(self.default) };
        let place = self.personas.iter().position(|persona| persona.name.as_str() == name);
        place.ok_or_else(|| KeyringError::NoSuchPersona { name: name.to_owned() })
    }

    fn to_form(&self) -> Form {
        let root = self.root.as_ref().map(|root| Root::new(*root.bytes()));
        let entry = |persona: &Persona| (persona.name.clone(), persona.source.clone());
        let default = self.personas[self.default].name.clone();
        Form { root, personas: self.personas.iter().map(entry).collect(), default }
    }
}

fn read_exported(
    path: &Path,
    passphrase: impl FnOnce(&Path) -> Result<Passphrase, KeyringError>,
) -> Result<(PersonaName, Imported), KeyringError> {
    let file = |source| KeyringError::File { path: path.to_owned(), source };
    let bytes = match file::read(path) {
        Err(KeyringError::Io { source, .. }) => return Err(file(source)),
        read => read?.ok_or_else(|| {
            file(io::Error::new(io::ErrorKind::NotFound, "there is no such file"))
        })?,
    };
    let (text, _) = file::open(path, bytes, passphrase)?;
    let malformed = |what| KeyringError::Malformed { path: path.to_owned(), what };
    form::parse_exported(&text).map_err(malformed)
}

const FILE: &str = "identity";
/// A file stays small and is read in one piece.
const PERSONAS_MAX: u32 = 1000;

#[cfg(test)]
mod tests;
