//! `cmtp audit verify`.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use clap::{Args, ColorChoice};
use cmtp_client::audit::{Audit, AuditError, AuditOptions};
use cmtp_client::{Home, KnownNodes, Paint};
use cmtp_codec::PublicKey;
use cmtp_codec::audit::{Finding, Summary};
use cmtp_spec::limits;
use serde_json::json;

use crate::exit::{Exit, Failure, Outcome};
use crate::{terminal, verify};

/// Check a log and a journal: has anything been changed, left out, put in, or promised and not kept?
///
/// Takes a node's data folder or an archive (`cmtp audit export`). Every entry is compared with the log's tiles,
/// and they with its checkpoint; every commit's signature is checked; every message is read from its records, with
/// its hashes, signatures, steps and seal; so are writes without an outcome, erased messages without an entry that
/// says so, and callers' receipts, which have to be in the log. The first index that is wrong is named. The result is one of:
///
///   sound       (exit 0)  all holds, and the node is one that you trust
///   consistent  (exit 5)  all holds, and nothing ties it to a node that you trust
///   invalid     (exit 4)  something does not hold; it is named
///
///   cmtp audit verify ~/.local/share/cmtpd --pin did:key:z6Mk…
///   cmtp audit verify archive --keys archive.keys --receipt answer.cmtp
///   cmtp audit verify archive --json | jq .findings
///
/// What can't be read ends with 2. Whether there are other nodes, or messages that this one never logged and gave no
/// receipt for, no log can say: completeness is not checked.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Verify {
    /// A node's data folder, or an archive.
    #[arg(value_name = "DATA-DIR|ARCHIVE")]
    source: PathBuf,
    /// The DID of the node to trust; without it all known nodes are (file known_nodes in CMTP_HOME).
    #[arg(long, value_name = "DID")]
    pin: Option<PublicKey>,
    /// The keys of an archive's records; without them its messages are not read.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Leave the records alone: check entries, log and checkpoint.
    #[arg(long)]
    log_only: bool,
    /// Answers that callers saved; each has to be in the log. May be repeated.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    receipt: Vec<String>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(crate) fn run(self, color: ColorChoice) -> Outcome {
        let mut options = AuditOptions::default();
        options.keys.clone_from(&self.keys);
        options.log_only = self.log_only;
        options.pin = self.pin;
        for name in &self.receipt {
            let bytes = terminal::read_file(name, limits::STORED_MAX)?;
            let replay = verify::replay(&bytes, self.pin).with_context(|| name.clone());
            options.receipts.push((name.clone(), Arc::new(replay.map_err(Failure::invalid)?)));
        }
        let mut audit = Audit::open(&self.source, &options).map_err(failure)?;
        if options.pin.is_none() && is_known(&audit.node()) {
            options.pin = Some(audit.node());
            audit = Audit::open(&self.source, &options).map_err(failure)?;
        }
        let node = audit.node();
        let mut found = Found::default();
        while audit.step().map_err(failure)? {
            found.add(audit.findings());
            progress(audit.entries(), &found);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let (summary, findings) = audit.finish(now).map_err(failure)?;
        found.add(findings);
        let exit = match (summary.findings, options.pin) {
            (0, Some(_)) => Exit::Success,
            (0, None) => Exit::NotAuthentic,
            _ => Exit::Invalid,
        };
        if self.json {
            terminal::write_line(&format!("{:#}", as_json(&node, exit, &summary, &found)))?;
        } else {
            show(&node, exit, &summary, &found, color)?;
        }
        match found.first() {
            None => Ok(exit),
            Some(first) => Err(Failure::invalid(anyhow!("{}: {first}", self.source.display()))),
        }
    }
}

/// What was found, as far as it is shown.
#[derive(Default)]
struct Found {
    shown: Vec<Finding>,
    more: usize,
}

impl Found {
    fn add(&mut self, findings: Vec<Finding>) {
        let room = FINDINGS.saturating_sub(self.shown.len());
        self.more += findings.len().saturating_sub(room);
        self.shown.extend(findings.into_iter().take(room));
    }

    /// The one with the lowest index.
    fn first(&self) -> Option<&Finding> {
        self.shown.iter().min_by_key(|finding| finding.index.unwrap_or(u64::MAX))
    }
}

fn show(
    node: &PublicKey,
    exit: Exit,
    summary: &Summary,
    found: &Found,
    color: ColorChoice,
) -> anyhow::Result<()> {
    let style = terminal::style(&io::stdout(), color);
    let (paint, word) = verdict(exit);
    let mut out = format!("{}: {node}\n", style.paint(paint, word));
    for finding in &found.shown {
        out.push_str(&format!("  {}\n", style.paint(Paint::Red, &finding.to_string())));
    }
    if found.more > 0 {
        out.push_str(&format!("  and {} more\n", found.more));
    }
    for line in summary.to_string().lines() {
        out.push_str(&format!("  {line}\n"));
    }
    out.push_str("  completeness not checked\n");
    terminal::write_out(out.as_bytes())
}

const fn verdict(exit: Exit) -> (Paint, &'static str) {
    match exit {
        Exit::Success => (Paint::Green, "sound"),
        Exit::NotAuthentic => {
            (Paint::Yellow, "consistent, and nothing ties it to a node that you trust")
        }
        _ => (Paint::Red, "invalid"),
    }
}

fn as_json(node: &PublicKey, exit: Exit, summary: &Summary, found: &Found) -> serde_json::Value {
    let verdict = match exit {
        Exit::Success => "sound",
        Exit::NotAuthentic => "consistent",
        _ => "invalid",
    };
    let finding = |finding: &Finding| {
        json!({
            "index": finding.index,
            "layer": finding.layer,
            "kind": finding.what.kind(),
            "text": finding.what.to_string(),
        })
    };
    let findings: Vec<_> = found.shown.iter().map(finding).collect();
    let counts: serde_json::Map<_, _> =
        summary.counts().iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
    json!({
        "verdict": verdict,
        "node": node.to_string(),
        "root": summary.root.map(|root| root.to_string()),
        "counts": counts,
        "completeness": "not checked",
        "first": found.first().map(finding),
        "findings": findings,
        "findings_not_shown": found.more,
    })
}

/// Says on a terminal how far it is.
fn progress(entries: u64, found: &Found) {
    let mut err = io::stderr();
    if err.is_terminal() {
        let found = found.shown.len() + found.more;
        // Who does not see it misses nothing.
        let _unseen = write!(err, "\r{entries} entries, {found} findings\x1b[K");
    }
}

fn is_known(node: &PublicKey) -> bool {
    let known = Home::from_env().ok().and_then(|home| KnownNodes::load(&home).ok());
    known.is_some_and(|known| known.holds(node))
}

fn failure(error: AuditError) -> Failure {
    match error {
        AuditError::OtherNode { .. } | AuditError::Receipt { .. } => Failure::invalid(error),
        error => Failure::usage(error),
    }
}

/// Findings that are shown: a log that lost an entry differs from there on.
const FINDINGS: usize = 100;
