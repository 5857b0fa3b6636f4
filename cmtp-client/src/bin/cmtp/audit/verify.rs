//! `cmtp audit verify`.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use clap::{Args, ColorChoice};
use cmtp_client::audit::{Audit, AuditError, AuditOptions, Decisions, keep, read_key_list};
use cmtp_client::policy::IS_BUILT_IN;
use cmtp_client::{Existing, Home, Identity, KnownNodes, Paint, Style, write_whole};
use cmtp_codec::PublicKey;
use cmtp_codec::audit::{Finding, Summary};
use cmtp_codec::log::{SignedCheckpoint, VerifierKey};
use cmtp_spec::limits;
use serde_json::json;

use crate::caller::PersonaArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::{terminal, verify};

/// Check a log and a journal: has anything been changed, left out, put in, or promised and not kept?
///
/// Takes a node's data folder, an archive (`cmtp audit export`), or the URL of a log, which has no records. Every
/// entry is compared with the log's tiles, and they with its checkpoint, which has to be signed by the log and to
/// agree with the one that was seen last (folder audited in CMTP_HOME); every commit's signature is checked; every
/// message is read from its records, with its hashes, signatures, steps and seal; so are writes without an outcome,
/// erased messages without an entry that says so, and callers' receipts, which have to be in the log. With --policies
/// what policies decided is judged again, each by the set that was in force. The first index that is wrong is named.
/// The result is one of:
///
///   sound       (exit 0)  all holds, and the node is one that you trust
///   consistent  (exit 5)  all holds, and nothing ties it to a node that you trust
///   invalid     (exit 4)  something does not hold; it is named
///
///   cmtp audit verify ~/.local/share/cmtpd --pin did:key:z6Mk…
///   cmtp audit verify archive --keys archive.keys --receipt answer.cmtp --report audit.txt
///   cmtp audit verify http://127.0.0.1:8080/log/0 --key-list key-list --policy policy.txt
///   cmtp audit verify ~/.local/share/cmtpd --policies journal
///   cmtp audit verify archive --json | jq .first
///
/// What can't be read ends with 2, a log that can't be reached with 3. Whether there are other nodes, or messages that
/// this one never logged and gave no receipt for, no log can say: completeness is not checked.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Verify {
    /// A node's data folder, an archive, or the URL of a log.
    #[arg(value_name = "DATA-DIR|ARCHIVE|URL")]
    source: String,
    /// The DID of the node to trust; without it all known nodes are (file known_nodes in CMTP_HOME).
    #[arg(long, value_name = "DID")]
    pin: Option<PublicKey>,
    /// The keys of an archive's records; without them its messages are not read.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// The node's key list; an archive has it in its file key-list.
    #[arg(long, value_name = "FILE")]
    key_list: Option<PathBuf>,
    /// The key of the log, as NAME+ID+KEY, in place of a key list.
    #[arg(long, value_name = "KEY", conflicts_with = "key_list")]
    vkey: Option<VerifierKey>,
    /// Which witnesses have to have cosigned the checkpoint: a file of `witness`, `group` and `quorum` lines.
    #[arg(long, value_name = "FILE")]
    policy: Option<String>,
    /// Judge again what the node's policies decided, by those that its journal notes (the word journal), and those in DIR.
    ///
    /// DIR is a folder of .cedar files, as a node has one, or has such folders in it: one for each set that was ever in
    /// force. What the node allowed and its policies deny, or the reverse, is named, and so is what was decided by policies
    /// that nobody has.
    #[arg(long, value_name = "DIR|journal", conflicts_with = "log_only")]
    policies: Option<PathBuf>,
    /// Leave the records alone: check entries, log and checkpoint.
    #[arg(long)]
    log_only: bool,
    /// Answers that callers saved; each has to be in the log. May be repeated.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    receipt: Vec<String>,
    /// Write the result to this file, signed with your identity: a note that anybody can verify.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    persona: PersonaArgs,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(crate) fn run(self, color: ColorChoice) -> Outcome {
        let mut options = self.options()?;
        let signer = match &self.report {
            Some(path) => {
                terminal::check_folder("--report", path)?;
                Some(signer(&self.persona, options.home.as_ref())?)
            }
            None => None,
        };
        let mut audit = self.open(&options)?;
        if options.pin.is_none() && is_known(&audit.node()) {
            options.pin = Some(audit.node());
            audit = self.open(&options)?;
        }
        let (node, checkpoint) = (audit.node(), audit.checkpoint().cloned());
        let is_trusted = options.pin.is_some()
            || checkpoint.as_ref().is_some_and(|checkpoint| options.trusts_log(checkpoint));
        let mut found = Found::default();
        while audit.step().map_err(failure)? {
            found.add(audit.findings());
            progress(audit.entries(), &found);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let (summary, findings) = audit.finish(now).map_err(failure)?;
        found.add(findings);
        let exit = match (summary.findings, is_trusted) {
            (0, true) => Exit::Success,
            (0, false) => Exit::NotAuthentic,
            _ => Exit::Invalid,
        };
        let result = Audited { node, checkpoint, exit, summary, found, time: now };
        if let (Some(path), Some(signer)) = (&self.report, signer) {
            let note = signer.sign_report(&result.lines()).map_err(Failure::usage)?;
            let written = write_whole(path, note.as_bytes(), Existing::Replace);
            written.with_context(|| path.display().to_string())?;
        }
        if self.json {
            terminal::write_line(&format!("{:#}", result.json()))?;
        } else {
            terminal::write_out(result.text(terminal::style(&io::stdout(), color)).as_bytes())?;
        }
        if let Some(first) = result.found.first() {
            return Err(Failure::invalid(anyhow!("{}: {first}", self.source)));
        }
        // What did not hold is no measure for the next audit, nor is what nobody vouches for.
        if let (Some(home), Some(checkpoint), true) =
            (&options.home, &result.checkpoint, is_trusted)
        {
            keep(home, &node, checkpoint).map_err(failure)?;
        }
        Ok(exit)
    }

    fn options(&self) -> Result<AuditOptions, Failure> {
        let mut options = AuditOptions::default();
        (options.pin, options.log_only) = (self.pin, self.log_only);
        options.keys.clone_from(&self.keys);
        options.log_key.clone_from(&self.vkey);
        options.home = Home::from_env().ok();
        if let Some(path) = &self.key_list {
            options.key_list = Some(Arc::new(read_key_list(path).map_err(failure)?));
        }
        if let Some(path) = &self.policy {
            let text = terminal::read_file(path, POLICY_MAX)?;
            let text = String::from_utf8(text).with_context(|| path.clone())?;
            options.policy = Some(text.parse().with_context(|| path.clone())?);
        }
        if let Some(folder) = &self.policies {
            if !IS_BUILT_IN {
                return Err(anyhow!("--policies: this cmtp was built without policies: build it with the feature `cedar`").into());
            }
            options.decisions = Some(match folder.to_str() {
                Some("journal") => Decisions::of_journal(),
                _ => Decisions::given(folder).map_err(failure)?,
            });
        }
        for name in &self.receipt {
            let bytes = terminal::read_file(name, limits::STORED_MAX)?;
            let replay = verify::replay(&bytes, self.pin, None).with_context(|| name.clone());
            options.receipts.push((name.clone(), Arc::new(replay.map_err(Failure::invalid)?)));
        }
        Ok(options)
    }

    fn open(&self, options: &AuditOptions) -> Result<Audit, Failure> {
        let is_url = ["http://", "https://"].iter().any(|scheme| self.source.starts_with(scheme));
        let audit = if is_url {
            Audit::open_url(&self.source, options)
        } else {
            Audit::open(Path::new(&self.source), options)
        };
        audit.map_err(failure)
    }
}

/// Signs reports with the identity that is kept.
fn signer(persona: &PersonaArgs, home: Option<&Home>) -> Result<Identity, Failure> {
    let home = home.ok_or_else(|| anyhow!("--report: set CMTP_HOME to a directory of yours"))?;
    let identity = persona.kept(home).map_err(Failure::usage)?;
    let missing = "--report: it is signed with your identity; make one: cmtp id new";
    identity.ok_or_else(|| anyhow!(missing).into())
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

/// What an audit came to.
struct Audited {
    node: PublicKey,
    checkpoint: Option<SignedCheckpoint>,
    exit: Exit,
    summary: Summary,
    found: Found,
    time: u64,
}

impl Audited {
    const fn verdict(&self) -> (Paint, &'static str) {
        match self.exit {
            Exit::Success => (Paint::Green, "sound"),
            Exit::NotAuthentic => (Paint::Yellow, "consistent"),
            _ => (Paint::Red, "invalid"),
        }
    }

    fn text(&self, style: Style) -> String {
        let (paint, word) = self.verdict();
        let mut out = format!("{}: {}\n", style.paint(paint, word), self.node);
        if self.exit == Exit::NotAuthentic {
            let hint =
                "nothing ties it to a node that you trust; if you know it by this DID, say: --pin";
            out.push_str(&format!("  {hint} {}\n", self.node));
        }
        for finding in self.found.shown.iter().take(FINDINGS_ON_A_SCREEN) {
            out.push_str(&format!("  {}\n", style.paint(Paint::Red, &finding.to_string())));
        }
        let more = self.summary.findings.saturating_sub(FINDINGS_ON_A_SCREEN as u64);
        if more > 0 {
            out.push_str(&format!("  and {more} more\n"));
        }
        for line in self.summary.to_string().lines() {
            out.push_str(&format!("  {line}\n"));
        }
        out.push_str("  completeness not checked\n");
        out
    }

    /// [AUD-12] A report MUST be a signed note of these lines.
    fn lines(&self) -> String {
        let mut text = format!("node {}\n", self.node);
        if let Some(checkpoint) = &self.checkpoint {
            text.push_str(&format!("log {}\n", checkpoint.untrusted().origin));
        }
        text.push_str(&format!("time {}\nverdict {}\n", self.time, self.verdict().1));
        text.push_str(&self.summary.to_string());
        for Finding { index, layer, what } in self.found.shown.iter().take(FINDINGS_ON_A_SCREEN) {
            let index = index.map_or("-".to_owned(), |index| index.to_string());
            let layer = layer.map_or("-".to_owned(), |layer| layer.to_string());
            text.push_str(&format!("finding {index} {layer} {}\n", what.kind()));
        }
        text.push_str("completeness not checked\n");
        text
    }

    fn json(&self) -> serde_json::Value {
        let finding = |finding: &Finding| {
            json!({
                "index": finding.index,
                "layer": finding.layer,
                "kind": finding.what.kind(),
                "text": finding.what.to_string(),
            })
        };
        let findings: Vec<_> = self.found.shown.iter().map(finding).collect();
        let counts = self.summary.counts();
        let counts = counts.iter().map(|(name, count)| ((*name).to_owned(), json!(count)));
        json!({
            "verdict": self.verdict().1,
            "node": self.node.to_string(),
            "log": self.checkpoint.as_ref().map(|it| it.untrusted().origin.clone()),
            "root": self.summary.root.map(|root| root.to_string()),
            "counts": counts.collect::<serde_json::Map<_, _>>(),
            "completeness": "not checked",
            "first": self.found.first().map(finding),
            "findings": findings,
            "findings_not_shown": self.found.more,
        })
    }
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
        AuditError::OtherNode { .. } => Failure::invalid(error),
        AuditError::Http { .. } | AuditError::NoLog { .. } => Failure::no_node(error),
        error => Failure::usage(error),
    }
}

/// Findings that JSON has: a log that lost an entry differs from there on.
const FINDINGS: usize = 1000;
const FINDINGS_ON_A_SCREEN: usize = 20;
/// Bytes of a policy: some hundred witnesses.
const POLICY_MAX: u64 = 1 << 16;
