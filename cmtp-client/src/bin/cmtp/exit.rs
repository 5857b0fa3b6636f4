//! How the command ends; scripts depend on the codes.

use std::process::ExitCode;

use anyhow::Error;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    Success = 0,
    /// An answer with a status of 400 or more.
    Refused = 1,
    Usage = 2,
    /// Transport or trust.
    NoNode = 3,
    /// Verification failed.
    Invalid = 4,
    /// Consistent, and nothing ties it to a trusted node.
    NotAuthentic = 5,
    /// Ctrl-C: 128 and the signal's number, as shells count.
    Interrupted = 130,
}

/// Why a command ends with something else than what it was to do.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    error: Error,
}

pub(crate) type Outcome<T = Exit> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(exit: Exit, error: impl Into<Error>) -> Self {
        Self { exit, error: error.into() }
    }

    /// The command line is at fault, or what it names.
    pub(crate) fn usage(error: impl Into<Error>) -> Self {
        Self::new(Exit::Usage, error)
    }

    /// No connection, or not to the node that was meant.
    pub(crate) fn no_node(error: impl Into<Error>) -> Self {
        Self::new(Exit::NoNode, error)
    }

    /// Something does not verify.
    pub(crate) fn invalid(error: impl Into<Error>) -> Self {
        Self::new(Exit::Invalid, error)
    }

    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }

    /// The same, with what it is about said first.
    pub(crate) fn about(self, what: String) -> Self {
        Self { error: self.error.context(what), ..self }
    }

    /// Prints it to standard error.
    pub(crate) fn say(&self) {
        eprintln!("cmtp: {}", said(&self.error));
    }
}

impl From<Error> for Failure {
    /// Files that can't be read or written, and the like: what the command line names does not do.
    fn from(error: Error) -> Self {
        Self::usage(error)
    }
}

/// Says what went wrong, and ends.
pub(crate) fn report(outcome: Outcome) -> ExitCode {
    let exit = outcome.unwrap_or_else(|failure| {
        failure.say();
        failure.exit
    });
    ExitCode::from(exit as u8)
}

/// An error and its causes; a cause that was said already is not said again.
fn said(error: &Error) -> String {
    error.chain().fold(String::new(), |said, cause| {
        let cause = cause.to_string();
        match said.is_empty() {
            true => cause,
            false if said.contains(&cause) => said,
            false => format!("{said}: {cause}"),
        }
    })
}
