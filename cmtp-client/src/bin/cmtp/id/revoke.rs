//! `cmtp id revoke`.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use cmtp_client::{Existing, Home, write_whole};

use crate::exit::{Exit, Failure, Outcome};
use crate::id;
use crate::terminal;

/// State, signed by its recovery key, that nothing counts any more that a persona was granted until
/// now.
///
/// For when somebody else got hold of the persona's key. The statement is a file of JSON, which
/// anybody may carry to a node; it holds no secret.
///
///   cmtp id revoke work --file work.revocation
///
/// Exit codes: 0, or 2 where there is no such persona, its root is on another device, or the file
/// can't be written.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Revoke {
    /// Which persona.
    name: String,
    /// The file to write; one that is there is replaced.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
}

impl Revoke {
    pub(crate) fn run(self, home: &Home) -> Outcome {
        terminal::check_folder("--file", &self.file)?;
        let keyring = id::load(home)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock")?;
        let now = u64::try_from(now.as_micros()).context("the clock")?;
        let statement = keyring.revoke(&self.name, now).map_err(Failure::usage)?;
        let text = format!("{}\n", statement.to_json());
        write_whole(&self.file, text.as_bytes(), Existing::Replace)
            .with_context(|| format!("--file {}", self.file.display()))?;
        eprintln!("show {} to each node that knows {}", self.file.display(), statement.persona);
        Ok(Exit::Success)
    }
}
