//! What can be wrong with policies, and what to do about it.

use std::io;
use std::path::PathBuf;

use cmtp_codec::PolicyFilesError;
use cmtp_spec::limits;

/// Why a set of policies is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// What is wrong, and the folder in which it is.
    #[error("policies in {}: {source}", folder.display())]
    InFolder {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        source: Box<PolicyError>,
    },
    /// The folder can't be read.
    #[error("can't read the folder: {source}; make it, or name another")]
    Folder {
        /// What the system says.
        source: io::Error,
    },
    /// A file can't be read.
    #[error("{name}: {source}")]
    Io {
        /// What can't be read.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// A name, or too much of something.
    #[error(transparent)]
    Files(#[from] PolicyFilesError),
    /// A file that is no text.
    #[error("{file}: it is not UTF-8; write it again as text")]
    NotText {
        /// The file.
        file: String,
    },
    /// A text that is no policy.
    #[error(
        "{file}, line {line}, {shown:?}: {message}; a policy is such as: permit (principal, action == Action::\"read\", resource in Fqmn::\"0xS:0x001\");"
    )]
    Syntax {
        /// The file.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What stands there.
        shown: String,
        /// What the parser says.
        message: String,
    },
    /// A policy that names what there is not, or takes one kind of value for another.
    #[error(
        "{file}, line {line}, policy {id}: {message}; `cmtpd policy --help` shows what a policy may name"
    )]
    Invalid {
        /// The file.
        file: String,
        /// Counted from 1.
        line: usize,
        /// The policy's id.
        id: String,
        /// What the validator says.
        message: String,
    },
    /// A policy with a place for what is filled in later.
    #[error(
        "{file}: a policy with ?principal or ?resource is a template, and nobody fills it in; write who and what is meant"
    )]
    Template {
        /// The file.
        file: String,
    },
    /// An id that can't be one.
    #[error(
        "{file}, policy {id:?}: an id has 1 to {} letters, digits and . _ # -; give it another: @id(\"…\") before the policy",
        limits::POLICY_ID_MAX
    )]
    Id {
        /// The file.
        file: String,
        /// The id.
        id: String,
    },
    /// An id that two policies have.
    #[error(
        "{file}, policy {id}: another policy has that id; give one of them another: @id(\"…\") before the policy"
    )]
    SameId {
        /// The file with the second one.
        file: String,
        /// The id.
        id: String,
    },
    /// Too many policies.
    #[error("{file}: more than {} policies in all; put some together", limits::POLICIES_MAX)]
    TooMany {
        /// The file with the first that is too many.
        file: String,
    },
    /// No policies in this program.
    #[error(
        "this program was built without policies, so it can't obey these files: build it with the feature `cedar`, or move them away, and the scope of tokens alone decides"
    )]
    NotBuilt,
    /// The judge of policies fails.
    #[error("the policy library failed: {message}; please report it")]
    Library {
        /// What it says.
        message: String,
    },
}

impl PolicyError {
    pub(crate) fn in_folder(self, folder: impl Into<PathBuf>) -> Self {
        Self::InFolder { folder: folder.into(), source: Box::new(self) }
    }
}
