//! `cmtpd erase`.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::Args;
use cmtp_codec::Fqmn;
use cmtp_server::{Erased, erase_closed};

use crate::data::Data;
use crate::operator;
use crate::root::Root;

/// Erase a message from the node's journal, for good: its keys are destroyed, and nobody can read it any more.
///
/// Nothing else changes: every entry, receipt and checkpoint holds as before, and a new entry says what was
/// erased. There are two degrees:
///
///   --redact   fields, bodies and recorded answer go; who wrote it when, and that it was not changed, can
///              still be proved from its cores
///   --forget   the cores go, too; its entry is all that is left: type, status, time, message id, seal
///
/// The message is named by its seal, by one of its entries, or by its id, as `cmtpd journal list` and
/// `cmtp inspect` show them. An id that several messages have is refused, and the messages are named.
///
///   cmtpd erase --redact 17
///   cmtpd erase --forget 0199c1d2-7a52-7b31-9d0e-5a4f6f7c2b11 --yes
///   cmtpd erase --redact "$(cmtp inspect answer.cmtp --json | jq -r .seal.hash)" --yes --json
///
/// The node may run: then it is asked to, and goes on. The request sent again gets 410, and is not executed again. What a
/// write to State made is gone, too, unless it was written over since. Other messages may hold the same
/// content (who read it, say), and so do copies that callers kept: each is to be erased where it is. On a file
/// system that keeps old versions (snapshots, copy on write) and in backups the keys live on.
///
/// A node that runs erases for its root key only; where that was exported, say where it is with --root.
///
/// Exit codes: 0; 1 where nothing was erased, the message says why; 2 for usage.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Erase {
    /// Destroy the content: fields, bodies, salts.
    #[arg(long, required_unless_present = "forget", conflicts_with = "forget")]
    redact: bool,
    /// Destroy content and cores.
    #[arg(long)]
    forget: bool,
    /// The message: a seal (64 hexadecimal digits), the index of an entry, or a message id (32 digits, or with hyphens).
    #[arg(value_name = "SEAL|INDEX|ID")]
    message: String,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    root: Root,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Erase {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let degree = if self.forget { "forget" } else { "redact" };
        // A data directory without a journal has nothing to erase, and none is made.
        self.data.journal()?;
        let folder = self.data.folder()?;
        if !self.yes && !confirm(degree, &self.message)? {
            bail!("nothing was erased");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let erased = runtime.block_on(async {
            match erase_closed(&folder, degree, &self.message).await {
                Err(error) if error.is_in_use() => {
                    ask(&folder, &self.root, degree, &self.message).await
                }
                erased => Ok(erased?),
            }
        })?;
        if self.json {
            println!("{}", serde_json::to_string(&erased)?);
            return Ok(());
        }
        let Erased { seal, erased, entries, noted, again, .. } = erased;
        let entries: Vec<_> = entries.iter().map(u64::to_string).collect();
        let before = if again { " before" } else { "" };
        println!("{erased}{before}: {seal}, entries {}; entry {noted} says so", entries.join(", "));
        Ok(())
    }
}

/// Asks the node that runs, as itself.
async fn ask(data: &Path, root: &Root, degree: &str, message: &str) -> anyhow::Result<Erased> {
    let target = Fqmn::parse("0xIW:erase")?.with_words([degree, message])?;
    let erased = operator::ask(data, root, target, PATIENCE).await?;
    Ok(serde_json::from_slice(&erased)?)
}

fn confirm(degree: &str, message: &str) -> anyhow::Result<bool> {
    ensure!(
        io::stdin().is_terminal() && io::stderr().is_terminal(),
        "nobody can be asked here whether to {degree} {message} for good; if so, say it with --yes"
    );
    eprint!("cmtpd: {degree} {message} for good? [y/N] ");
    io::stderr().flush()?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// To read 70 bytes of each entry: some hundred million.
const PATIENCE: Duration = Duration::from_secs(300);
