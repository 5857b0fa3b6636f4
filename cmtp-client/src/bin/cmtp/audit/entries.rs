//! `cmtp audit tail` and `cmtp audit grep`.

use std::collections::VecDeque;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use cmtp_client::audit::{Filter, Row, open_journal, rows};
use cmtp_spec::{EntryType, Opcode};
use jiff::Timestamp;

use crate::exit::{Exit, Failure, Outcome};
use crate::terminal;

/// Print a journal's last entries, a line each: index, time, type, status, opcode, message id, target.
///
/// Targets are shown where the records can be read: in a node's data folder, or with the keys of an archive.
///
///   cmtp audit tail ~/.local/share/cmtpd
///   cmtp audit tail ~/.local/share/cmtpd -n 100 --status 400-599
///   cmtp audit tail archive --type config --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Tail {
    /// How many entries, 1 to 1000000.
    #[arg(short = 'n', long = "lines", value_name = "COUNT", default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    #[command(flatten)]
    which: Which,
}

/// Print all entries of a journal that have something, a line each.
///
/// TEXT is looked for in the fields and bodies of a message, where its records can be read.
///
///   cmtp audit grep ~/.local/share/cmtpd --opcode 0xSW --since 2026-11-01T00:00:00Z
///   cmtp audit grep ~/.local/share/cmtpd --text dexter
///   cmtp audit grep archive --keys archive.keys --target 0xS:0x001 --json
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Grep {
    #[command(flatten)]
    which: Which,
    /// What a field or a body contains.
    #[arg(long)]
    text: Option<String>,
}

/// Which entries, and of what.
#[derive(Args)]
pub(crate) struct Which {
    /// A node's data folder, or an archive.
    #[arg(value_name = "DATA-DIR|ARCHIVE")]
    source: PathBuf,
    /// The keys of an archive's records.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Not before this time, such as 2026-11-24T18:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<u64>,
    /// Before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<u64>,
    /// With this status, or one of a range such as 400-599.
    #[arg(long, value_name = "STATUS", value_parser = statuses)]
    status: Option<(u16, u16)>,
    /// With this opcode, such as 0xSW.
    #[arg(long, value_parser = opcode)]
    opcode: Option<Opcode>,
    /// Of this type, such as exchange, intent, outcome, refusal, config or redacted.
    #[arg(long = "type", value_name = "TYPE", value_parser = entry_type)]
    entry_type: Option<EntryType>,
    /// Whose target contains this, where it can be read.
    #[arg(long, value_name = "TEXT")]
    target: Option<String>,
    /// Print an object a line.
    #[arg(long)]
    json: bool,
}

impl Tail {
    pub(crate) fn run(self) -> Outcome {
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        let mut last = VecDeque::new();
        self.which.each(None, |row| {
            if last.len() == count {
                last.pop_front();
            }
            last.push_back(row);
            Ok(())
        })?;
        for row in &last {
            self.which.print(row)?;
        }
        Ok(Exit::Success)
    }
}

impl Grep {
    pub(crate) fn run(self) -> Outcome {
        let mut printed = Ok(());
        self.which.each(self.text.clone(), |row| {
            if printed.is_ok() {
                printed = self.which.print(&row);
            }
            Ok(())
        })?;
        printed?;
        Ok(Exit::Success)
    }
}

impl Which {
    fn each(
        &self,
        text: Option<String>,
        show: impl FnMut(Row) -> Result<(), cmtp_client::audit::AuditError>,
    ) -> Result<(), Failure> {
        let mut filter = Filter::default();
        (filter.since, filter.until, filter.status) = (self.since, self.until, self.status);
        (filter.opcode, filter.entry_type) = (self.opcode, self.entry_type);
        filter.target.clone_from(&self.target);
        filter.text = text;
        let journal = open_journal(&self.source, self.keys.clone()).map_err(Failure::usage)?;
        rows(journal, &filter, show).map_err(Failure::usage)
    }

    fn print(&self, row: &Row) -> anyhow::Result<()> {
        terminal::write_line(&if self.json { row.json().to_string() } else { row.line() })
    }
}

fn time(text: &str) -> anyhow::Result<u64> {
    let time: Timestamp = text.parse()?;
    u64::try_from(time.as_microsecond()).map_err(|_negative| anyhow!("a time since 1970"))
}

fn statuses(text: &str) -> anyhow::Result<(u16, u16)> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (low.parse(), high.parse()) {
        (Ok(low), Ok(high)) => Ok((low, high)),
        _ => Err(anyhow!("expected a status such as 404, or a range such as 400-599")),
    }
}

fn opcode(text: &str) -> anyhow::Result<Opcode> {
    Opcode::from_name(text).ok_or_else(|| anyhow!("expected an opcode such as 0xS or 0xSW"))
}

fn entry_type(text: &str) -> anyhow::Result<EntryType> {
    let known = EntryType::ALL.iter().find(|it| it.to_string() == text);
    known.copied().ok_or_else(|| {
        let all: Vec<_> = EntryType::ALL.iter().map(ToString::to_string).collect();
        anyhow!("expected one of: {}", all.join(", "))
    })
}
