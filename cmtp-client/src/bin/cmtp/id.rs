//! `cmtp id`.

mod backup;
mod list;
mod persona;
mod revoke;
mod transfer;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use cmtp_client::{Existing, Home, Keyring};

use crate::exit::{Exit, Failure, Outcome};
use crate::{passphrase, terminal};

/// Make, show, back up and restore your identity and its personas.
///
/// You have one root, from which any number of personas are derived. A persona is an Ed25519 key; its
/// public half is a DID, for which a node's operator grants a token, and nobody can tell that two of
/// them are yours. All is kept in the file `identity` of CMTP_HOME (~/.config/cmtp), under a
/// passphrase or not; whoever can open the file is you.
///
///   cmtp id new                   make a root and its first persona, main
///   cmtp id backup                show the 24 words that bring all of it back
///   cmtp id persona add work      one more persona: cmtp call --as work …
///   cmtp id show                  print a persona's DID again
#[derive(Subcommand)]
#[command(verbatim_doc_comment)]
pub(crate) enum Id {
    New(New),
    Show(list::Show),
    List(list::List),
    #[command(subcommand)]
    Persona(persona::Persona),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Passphrase(Passphrase),
    Export(transfer::Export),
    Import(transfer::Import),
    Revoke(revoke::Revoke),
}

/// Make an identity, and print its DID.
///
/// Makes a root and its first persona, main. On a terminal a passphrase is asked for, under which the
/// file is encrypted (Enter: none); else it is taken from CMTP_PASSPHRASE, and without one the file
/// is not encrypted.
///
///   cmtp id new
///   cmtp id new --no-passphrase                # in a script
///   CMTP_HOME=/tmp/other cmtp id new           # a second identity
///
/// The DID goes to standard output, the file's name to standard error. Exit codes: 0, or 2 where
/// there is an identity already or CMTP_HOME can't be written.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct New {
    #[command(flatten)]
    making: Making,
}

/// Change the passphrase of the file of identities.
///
/// Asks for the passphrase that it has, if any, and twice for the new one (Enter: none). Without a
/// terminal the old one is CMTP_PASSPHRASE, and the new one CMTP_NEW_PASSPHRASE.
///
///   cmtp id passphrase
///   cmtp id passphrase --no-passphrase         # from now on the file is not encrypted
///
/// Exit codes: 0, or 2 where the file can't be opened or written.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Passphrase {
    /// Encrypt it no more.
    #[arg(long)]
    no_passphrase: bool,
}

/// How a file of identities is made.
#[derive(Args)]
struct Making {
    /// Ask for no passphrase, and don't encrypt the file.
    #[arg(long)]
    no_passphrase: bool,
    /// Replace the identity that is there; it is lost for good, and so is what was granted to it.
    #[arg(long)]
    force: bool,
}

impl Id {
    pub(crate) fn run(self) -> Outcome {
        let home = Home::from_env().map_err(Failure::usage)?;
        match self {
            Self::New(new) => new.run(&home),
            Self::Show(show) => show.run(&home),
            Self::List(list) => list.run(&home),
            Self::Persona(persona) => persona.run(&home),
            Self::Backup(backup) => backup.run(&home),
            Self::Restore(restore) => restore.run(&home),
            Self::Passphrase(passphrase) => passphrase.run(&home),
            Self::Export(export) => export.run(&home),
            Self::Import(import) => import.run(&home),
            Self::Revoke(revoke) => revoke.run(&home),
        }
    }
}

impl New {
    fn run(self, home: &Home) -> Outcome {
        self.making.check(home)?;
        let made = Keyring::generate().map_err(Failure::usage)?;
        self.making.keep(made, home)?;
        eprintln!("its backup is 24 words; write them down: cmtp id backup");
        Ok(Exit::Success)
    }
}

impl Passphrase {
    fn run(self, home: &Home) -> Outcome {
        let mut keyring = load(home)?;
        keyring.protect(passphrase::instead(self.no_passphrase)?);
        keyring.save(home).map_err(Failure::usage)?;
        eprintln!("{}", protection(&keyring, home));
        Ok(Exit::Success)
    }
}

impl Making {
    /// Fails before anything is asked where it would fail behind.
    fn check(&self, home: &Home) -> Outcome<()> {
        let path = home.file(FILE);
        if !self.force && path.exists() {
            return Err(Failure::usage(cmtp_client::KeyringError::Exists { path }));
        }
        Ok(())
    }

    /// Keeps what was made, says where, and prints the DIDs.
    fn keep(&self, mut made: Keyring, home: &Home) -> Outcome<()> {
        made.protect(passphrase::for_new_file(self.no_passphrase)?);
        let existing = if self.force { Existing::Replace } else { Existing::Keep };
        made.keep(home, existing).map_err(Failure::usage)?;
        eprintln!("{}", protection(&made, home));
        for persona in made.personas() {
            terminal::write_line(&persona.did().to_string())?;
        }
        Ok(())
    }
}

/// The identities that are kept.
fn load(home: &Home) -> Outcome<Keyring> {
    let kept = Keyring::load(home, passphrase::of_file).map_err(Failure::usage)?;
    kept.ok_or_else(|| Failure::usage(anyhow!("no identity yet; make one: cmtp id new")))
}

fn protection(keyring: &Keyring, home: &Home) -> String {
    let path = home.file(FILE);
    match keyring.is_protected() {
        true => format!("kept in {}, encrypted under the passphrase", path.display()),
        false => format!("kept in {}, not encrypted", path.display()),
    }
}

const FILE: &str = "identity";
