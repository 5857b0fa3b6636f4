//! `cmtpd journal`.

use std::io::{self, BufWriter, Write};

use anyhow::ensure;
use clap::{Args, Subcommand};
use cmtp_server::{Degree, JournalEntry, check_journal};
use data_encoding::HEXLOWER;
use serde_json::json;

use crate::data::Data;

/// Look into a node's journal; nothing in it is changed, and the node may run meanwhile.
///
///   cmtpd journal check            every commit, receipt and record, and whether they agree
///   cmtpd journal list             a line for each entry
///   cmtpd journal list --json      the same for scripts, an object a line
///   cmtpd journal export 17 > message.cmtp
///
/// Exit codes: 0; 1 where something does not hold, or there is no journal; 2 for usage.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Journal {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check every commit, receipt and record.
    ///
    /// Exit code 1 where something does not hold; each such entry is named. `open` counts writes and
    /// streams that have not ended yet, or that a crash cut and the next start will close. `erased` counts
    /// messages of which `cmtpd erase` destroyed the keys; a destroyed key that no entry tells of does not hold.
    ///
    ///   cmtpd journal check
    ///   cmtpd journal check --json | jq .entries
    #[command(verbatim_doc_comment)]
    Check {
        #[command(flatten)]
        data: Data,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a line for each entry: index, time, type, status, opcode, message id, seal, what was erased.
    ///
    ///   cmtpd journal list | tail
    ///   cmtpd journal list --json | jq 'select(.status >= 400)'
    #[command(verbatim_doc_comment)]
    List {
        #[command(flatten)]
        data: Data,
        /// Print an object a line.
        #[arg(long)]
        json: bool,
    },
    /// Write the message that an entry ends to standard output, as `cmtp inspect` and `cmtp verify` read it.
    ///
    ///   cmtpd journal export 17 > message.cmtp
    ///   cmtpd journal export 17 | cmtp inspect
    #[command(verbatim_doc_comment)]
    Export {
        /// The entry's index, as R0 and `list` name it.
        index: u64,
        #[command(flatten)]
        data: Data,
    },
}

impl Journal {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Check { data, json } => check(&data, json),
            Command::List { data, json } => list(&data, json),
            Command::Export { index, data } => export(&data, index),
        }
    }
}

fn check(data: &Data, json: bool) -> anyhow::Result<()> {
    let (folder, keys) = data.journal()?;
    let mut writes = 0;
    let check = check_journal(&folder, &keys.public(), |entry| {
        writes += u64::from(entry.is_executed_write())
    })?;
    let report = &check.report;
    if json {
        let faults: Vec<_> = check.faults.iter().map(ToString::to_string).collect();
        println!(
            "{}",
            json!({
                "entries": report.entries, "commits": report.commits, "messages": check.messages,
                "writes": writes, "open": check.open, "erased": check.erased,
                "pending": check.pending, "torn": report.torn, "faults": faults,
            })
        );
    } else {
        println!(
            "{} entries in {} commits; {} messages read back, {writes} of them executed writes; {} open",
            report.entries, report.commits, check.messages, check.open
        );
        if check.erased > 0 {
            println!("{} messages were erased, as the journal says", check.erased);
        }
        if check.pending > 0 {
            println!(
                "{} messages are noted as erased and their keys stand; the node destroys them when it starts",
                check.pending
            );
        }
        if report.torn {
            println!("the end of the log is torn; nothing in it was acknowledged");
        }
        check.faults.iter().for_each(|fault| println!("{fault}"));
    }
    ensure!(check.faults.is_empty(), "{} entries do not hold", check.faults.len());
    Ok(())
}

fn list(data: &Data, json: bool) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    let (folder, keys) = data.journal()?;
    check_journal(&folder, &keys.public(), |entry| {
        if written.is_ok() {
            written = write_entry(&mut out, entry, json);
        }
    })?;
    match written.and_then(|()| out.flush()) {
        // `cmtpd journal list | head` has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

fn write_entry(out: &mut impl Write, shown: &JournalEntry, json: bool) -> io::Result<()> {
    let JournalEntry { index, entry, begin, erased, .. } = shown;
    let erased = erased.map(|it: Degree| it.entry_type().name().unwrap_or_default());
    let (id, seal) = (HEXLOWER.encode(&entry.message_id), HEXLOWER.encode(&entry.seal.0));
    let entry_type = entry.entry_type.name().unwrap_or("unknown");
    let opcode = entry.opcode.name().unwrap_or("-");
    if json {
        let line = json!({
            "index": index, "begin": begin, "type": entry_type, "flags": entry.flags.0,
            "status": entry.status.0, "opcode": opcode, "layers": entry.layers,
            "message_id": id, "time": entry.time, "seal": seal,
            "executed_write": shown.is_executed_write(), "erased": erased,
        });
        return writeln!(out, "{line}");
    }
    let time =
        i64::try_from(entry.time).ok().and_then(|it| jiff::Timestamp::from_microsecond(it).ok());
    let time = time.map(|time| format!("{time:.6}")).unwrap_or_default();
    let status = entry.status.0;
    let erased = erased.map(|it| format!("  {it}")).unwrap_or_default();
    writeln!(
        out,
        "{index:>8}  {time}  {entry_type:<10} {status:>3}  {opcode:<5} {id}  {seal}{erased}"
    )
}

fn export(data: &Data, index: u64) -> anyhow::Result<()> {
    let mut found = None;
    let (folder, keys) = data.journal()?;
    check_journal(&folder, &keys.public(), |entry| {
        if entry.index == index {
            found.clone_from(&entry.message);
        }
    })?;
    let Some(mut message) = found else {
        anyhow::bail!(
            "entry {index} ends no message that can be read back; see: cmtpd journal list"
        );
    };
    // [STO-5] Who stores an answer SHOULD add the node's key list.
    message.seal.keys = Some(keys.key_list());
    io::stdout().write_all(&message.to_stored())?;
    Ok(())
}
