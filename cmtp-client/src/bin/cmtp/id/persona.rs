//! `cmtp id persona`.

use clap::Subcommand;
use cmtp_client::{Home, PersonaName};

use crate::exit::{Exit, Failure, Outcome};
use crate::id;
use crate::terminal;

/// Add a persona, or choose the one that calls.
///
///   cmtp id persona add work
///   cmtp id persona default work
#[derive(Subcommand)]
#[command(verbatim_doc_comment)]
pub(crate) enum Persona {
    /// Derive the next persona, and print its DID.
    ///
    ///   cmtp id persona add work
    ///   cmtp call --as work cmtp://127.0.0.1:4433/0xS:echo
    ///
    /// Exit codes: 0, or 2 where there is no root, or the name is taken.
    #[command(verbatim_doc_comment)]
    Add {
        /// What you call it; no node sees it. 1 to 64 characters of a-z, 0-9, '.', '_' and '-'.
        name: PersonaName,
    },
    /// Choose the persona that calls where none is named.
    ///
    ///   cmtp id persona default work
    ///
    /// --as and CMTP_PERSONA go before it. Exit codes: 0, or 2 where there is no such persona.
    #[command(verbatim_doc_comment)]
    Default {
        /// Which persona.
        name: String,
    },
}

impl Persona {
    pub(crate) fn run(self, home: &Home) -> Outcome {
        let mut keyring = id::load(home)?;
        match self {
            Self::Add { name } => {
                let did = keyring.add(name).map_err(Failure::usage)?.did();
                keyring.save(home).map_err(Failure::usage)?;
                terminal::write_line(&did.to_string())?;
            }
            Self::Default { name } => {
                keyring.set_default(&name).map_err(Failure::usage)?;
                keyring.save(home).map_err(Failure::usage)?;
            }
        }
        Ok(Exit::Success)
    }
}
