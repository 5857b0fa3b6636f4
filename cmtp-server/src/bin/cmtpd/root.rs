//! Where the node's root key is, for commands that need it.

use std::env;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;
use cmtp_server::{Passphrase, RootKey, RootKeyError};

/// Names the root key's file, where it was exported.
#[derive(Args)]
pub(crate) struct Root {
    /// The file with the node's root key, as `cmtpd keys export-root` wrote it [default: where `serve` made it]
    #[arg(long = "root", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Root {
    /// The root key of the node whose data are in `data`.
    pub(crate) fn key(&self, data: &Path) -> Result<RootKey, RootKeyError> {
        match &self.file {
            Some(file) => RootKey::in_file(file, || passphrase(&file.display().to_string())),
            None => RootKey::in_data(data),
        }
    }
}

/// The passphrase of a file: `CMTP_PASSPHRASE`, or what a person types.
pub(crate) fn passphrase(of: &str) -> io::Result<Passphrase> {
    if let Some(given) = given() {
        return Ok(given);
    }
    if !io::stdin().is_terminal() {
        return Err(io::Error::other("nobody can be asked here"));
    }
    Ok(rpassword::prompt_password(format!("Passphrase of {of}: "))?.into())
}

/// A new passphrase, typed twice.
pub(crate) fn new_passphrase(of: &str) -> io::Result<Passphrase> {
    if let Some(given) = given() {
        return Ok(given);
    }
    if !io::stdin().is_terminal() {
        return Err(io::Error::other("nobody can be asked here"));
    }
    let typed = rpassword::prompt_password(format!("New passphrase of {of}: "))?;
    if typed.is_empty() || rpassword::prompt_password("The same again: ")? != typed {
        return Err(io::Error::other("it is empty, or not the same twice"));
    }
    Ok(typed.into())
}

fn given() -> Option<Passphrase> {
    env::var("CMTP_PASSPHRASE").ok().filter(|given| !given.is_empty()).map(Into::into)
}
