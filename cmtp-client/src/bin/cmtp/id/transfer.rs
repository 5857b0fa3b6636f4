//! `cmtp id export` and `cmtp id import`.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use cmtp_client::{Existing, Home, Keyring, PersonaName, write_whole};

use crate::exit::{Exit, Failure, Outcome};
use crate::id;
use crate::{passphrase, terminal};

/// Write one persona's secret to a file, for another device of yours.
///
/// The root stays here, and so do the other personas. On a terminal a passphrase for the file is
/// asked for (Enter: none); else it is CMTP_PASSPHRASE.
///
///   cmtp id export work -o work.persona
///
/// and there:  cmtp id import work.persona
///
/// Exit codes: 0, or 2 where there is no such persona, or the file is there already, can't be
/// written or is -, standard output.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Export {
    /// Which persona.
    name: String,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Ask for no passphrase, and don't encrypt the file.
    #[arg(long)]
    no_passphrase: bool,
}

/// Take in a persona from a file that `cmtp id export` wrote, and print its DID.
///
/// An identity from before there were personas is taken in, too. Where there is no identity yet, the
/// persona is the only one, and there is no root.
///
///   cmtp id import work.persona
///   cmtp id import work.persona --as work-2
///
/// Exit codes: 0, or 2 where the file is none, the name is taken, or the persona is here already.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Import {
    /// The file.
    file: PathBuf,
    /// What to call it here; without it, as it was called there.
    #[arg(long = "as", value_name = "NAME")]
    name: Option<PersonaName>,
}

impl Export {
    pub(crate) fn run(self, home: &Home) -> Outcome {
        if self.output == Path::new("-") {
            return Err(Failure::usage(anyhow!(
                "--output -: a secret is not written to standard output; name a file (./- is one that is called -)"
            )));
        }
        let keyring = id::load(home)?;
        keyring.persona(Some(&self.name)).map_err(Failure::usage)?;
        terminal::check_folder("--output", &self.output)?;
        let passphrase = passphrase::for_new_file(self.no_passphrase)?;
        let bytes = keyring.export(&self.name, passphrase.as_ref()).map_err(Failure::usage)?;
        let path = self.output.display();
        match write_whole(&self.output, &bytes, Existing::Keep) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Failure::usage(anyhow!(
                    "--output {path}: the file is there already; choose another name"
                )));
            }
            written => written.with_context(|| format!("--output {path}"))?,
        }
        let protection = if passphrase.is_some() { "encrypted" } else { "not encrypted" };
        eprintln!("whoever has {path} is {}; it is {protection}", self.name);
        Ok(Exit::Success)
    }
}

impl Import {
    pub(crate) fn run(self, home: &Home) -> Outcome {
        let kept = Keyring::load(home, passphrase::of_file).map_err(Failure::usage)?;
        let ask = passphrase::of_file;
        let did = match kept {
            Some(mut keyring) => {
                let imported = keyring.import(&self.file, self.name, ask);
                let did = imported.map_err(Failure::usage)?.did();
                keyring.save(home).map_err(Failure::usage)?;
                eprintln!("{}", id::protection(&keyring, home));
                did
            }
            None => {
                let made = Keyring::from_exported(&self.file, self.name, ask);
                let mut made = made.map_err(Failure::usage)?;
                made.protect(passphrase::for_new_file(false)?);
                made.keep(home, Existing::Keep).map_err(Failure::usage)?;
                eprintln!("{}", id::protection(&made, home));
                made.personas()[0].did()
            }
        };
        terminal::write_line(&did.to_string())?;
        Ok(Exit::Success)
    }
}
