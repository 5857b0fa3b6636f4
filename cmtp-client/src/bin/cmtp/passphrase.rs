//! Where a passphrase comes from: CMTP_PASSPHRASE, else who sits at the terminal.

use std::env;
use std::io::{self, IsTerminal};
use std::path::Path;

use anyhow::{Context, bail};
use cmtp_client::{KeyringError, Passphrase};

/// The passphrase that opens the file at `path`.
pub(crate) fn of_file(path: &Path) -> Result<Passphrase, KeyringError> {
    if !has_terminal() || Passphrase::in_env().is_some() {
        return Passphrase::from_env(path);
    }
    let io = |source| KeyringError::File { path: path.to_owned(), source };
    let typed = rpassword::prompt_password(format!("Passphrase of {}: ", path.display()));
    let none = || KeyringError::NoPassphrase { path: path.to_owned() };
    Passphrase::new(typed.map_err(io)?).ok_or_else(none)
}

/// The passphrase for a file that is made; `None` where it is not to be encrypted, or nobody can be asked.
pub(crate) fn for_new_file(no_passphrase: bool) -> anyhow::Result<Option<Passphrase>> {
    if no_passphrase {
        return Ok(None);
    }
    match Passphrase::in_env() {
        Some(passphrase) => Ok(Some(passphrase)),
        None => chosen(),
    }
}

/// The passphrase in place of one that was: CMTP_NEW_PASSPHRASE, else who sits at the terminal.
pub(crate) fn instead(no_passphrase: bool) -> anyhow::Result<Option<Passphrase>> {
    if no_passphrase {
        return Ok(None);
    }
    match env::var("CMTP_NEW_PASSPHRASE").ok().and_then(Passphrase::new) {
        Some(passphrase) => Ok(Some(passphrase)),
        None if has_terminal() => chosen(),
        None => bail!(
            "there is no terminal to ask for the new passphrase; set CMTP_NEW_PASSPHRASE, or say --no-passphrase"
        ),
    }
}

/// Asks twice, so that nobody is shut out by a slip of the finger.
fn chosen() -> anyhow::Result<Option<Passphrase>> {
    if !has_terminal() {
        return Ok(None);
    }
    let ask = |prompt: &str| rpassword::prompt_password(prompt).context("the passphrase");
    let first = ask("Passphrase for the file (Enter: none): ")?;
    if first != ask("The same again: ")? {
        bail!("that was not the same twice; nothing was written");
    }
    Ok(Passphrase::new(first))
}

/// Whether somebody can be asked.
fn has_terminal() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}
