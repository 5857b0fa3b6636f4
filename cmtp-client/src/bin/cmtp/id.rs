//! `cmtp id`.

use clap::Subcommand;
use cmtp_client::{Existing, Home, Identity};

use crate::exit::{Exit, Failure, Outcome};
use crate::terminal;

/// Make or show your identity.
///
/// An identity is an Ed25519 key, kept in the file `identity` of CMTP_HOME (~/.config/cmtp); whoever has
/// the file is you. Its public half is your DID, for which a node's operator grants a token.
///
///   cmtp id new       make one
///   cmtp id show      print its DID again
#[derive(Subcommand)]
#[command(verbatim_doc_comment)]
pub(crate) enum Id {
    /// Make an identity, and print its DID.
    ///
    ///   cmtp id new
    ///   CMTP_HOME=/tmp/other cmtp id new      # a second identity
    ///
    /// The DID goes to standard output, the file's name to standard error. Exit codes: 0, or 2 where there
    /// is an identity already or CMTP_HOME can't be written.
    #[command(verbatim_doc_comment)]
    New {
        /// Replace the identity that is there; it is lost for good, and so is what was granted to it.
        #[arg(long)]
        force: bool,
    },
    /// Print the identity's DID.
    ///
    ///   cmtpd grant --to "$(cmtp id show)" --scope '0xS:**'
    ///
    /// Exit codes: 0, or 2 where there is no identity or others may read its file.
    #[command(verbatim_doc_comment)]
    Show,
}

impl Id {
    pub(crate) fn run(self) -> Outcome {
        let home = Home::from_env().map_err(Failure::usage)?;
        let identity = match self {
            Self::New { force } => {
                let existing = if force { Existing::Replace } else { Existing::Keep };
                let made = Identity::create(&home, existing);
                let made = made.map_err(Failure::usage)?;
                eprintln!("kept in {}", home.file("identity").display());
                made
            }
            Self::Show => {
                let kept = Identity::load(&home).map_err(Failure::usage)?;
                kept.ok_or_else(|| {
                    Failure::usage(anyhow::anyhow!("no identity yet; make one: cmtp id new"))
                })?
            }
        };
        terminal::write_line(&identity.did().to_string())?;
        Ok(Exit::Success)
    }
}
