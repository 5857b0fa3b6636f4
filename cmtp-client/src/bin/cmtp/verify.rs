//! `cmtp verify`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::anyhow;
use clap::{Args, ColorChoice};
use cmtp_client::{Home, KnownNodes, Paint};
use cmtp_codec::log::Policy;
use cmtp_codec::{
    Message, ProcessVerdict, PublicKey, Replay, Standing, Unverified, Verdict, Verified,
};
use cmtp_spec::{binding, limits};
use serde_json::json;

use crate::exit::{Exit, Failure, Outcome};
use crate::{standing, terminal};

/// Judge a saved exchange offline: is it what the node sealed, and whose node is it?
///
/// All hashes, signatures and the receipt are computed anew. The result is one of:
///
///   authentic   (exit 0)  a node that you trust promised it; nothing was changed since
///   consistent  (exit 5)  all agrees, but nothing ties it to a node that you trust:
///                         anyone can make such a file
///   invalid     (exit 4)  something does not agree; the layer, or the seal, is named
///
/// Behind it stands what is known of its entry in the node's log: promised, proved, or witnessed.
///
///   cmtp call cmtp://127.0.0.1:4433/0xS:echo --data hi --save answer.cmtp
///   cmtp verify answer.cmtp
///   cmtp verify answer.cmtp --pin did:key:z6Mk…
///   cmtp verify answer.cmtp --policy witnesses.policy
///   cmtp verify answer.cmtp --json | jq .verdict,.standing
///
/// A file that is not there ends with 2. Nothing is asked of the node, which need not exist any more.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Verify {
    /// A file that `cmtp call --save` wrote.
    file: String,
    /// The DID of the node to trust; without it all known nodes are (file known_nodes in CMTP_HOME).
    #[arg(long, value_name = "DID")]
    pin: Option<PublicKey>,
    /// Which logs and witnesses to believe: a C2SP tlog-policy file; without their quorum the command ends with 5.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(crate) fn run(self, color: ColorChoice) -> Outcome {
        let bytes = terminal::read_file(&self.file, limits::STORED_MAX)?;
        let policy = self.policy.as_deref().map(standing::read_policy).transpose()?;
        let asks_for_witnesses = policy.as_ref().is_some_and(|it| it.asks_for_witnesses());
        let judged = replay(&bytes, self.pin, policy).and_then(|replay| {
            check_process(&replay)?;
            Ok(replay)
        });
        if self.json {
            let view = match &judged {
                Ok(replay) => {
                    let mut view = cmtp_client::json(replay);
                    view["missing"] = json!(missing(replay, self.pin.as_ref()));
                    view
                }
                Err(fault) => json!({ "verdict": "invalid", "fault": format!("{fault:#}") }),
            };
            terminal::write_line(&format!("{view:#}"))?;
        }
        let replay = judged
            .map_err(|fault| Failure::invalid(fault.context(format!("{}: invalid", self.file))))?;
        let status = replay.message.status();
        let style = terminal::style(&io::stdout(), color);
        let (exit, text) = match missing(&replay, self.pin.as_ref()) {
            None if asks_for_witnesses && !is_witnessed(&replay) => {
                let authentic = style.paint(Paint::Yellow, "authentic, not witnessed");
                let text = format!(
                    "{authentic}: the policy's witnesses did not sign a checkpoint with it"
                );
                (Exit::NotAuthentic, text)
            }
            None => {
                let node = replay.message.seal.keys.as_ref().map(|keys| keys.root.to_string());
                let node = node.unwrap_or_default();
                let status = format!("status {} {status}", status.0);
                let authentic = style.paint(Paint::Green, "authentic");
                (Exit::Success, format!("{authentic}: {node} promised it; {status}"))
            }
            Some(missing) => {
                let consistent = style.paint(Paint::Yellow, "consistent, not authentic");
                (Exit::NotAuthentic, format!("{consistent}: {missing}"))
            }
        };
        if !self.json {
            terminal::write_line(&text)?;
            terminal::write_line(&format!("  {}", standing::describe(&replay.standing)))?;
            let layers = replay.message.links.iter().enumerate();
            for (number, link) in layers {
                let grade = replay.grade(number);
                let grade = style.paint(Paint::of(grade), grade.as_str());
                terminal::write_line(&format!("  {number} {}: {grade}", link.step()))?;
            }
        }
        Ok(exit)
    }
}

/// Computes a stored message anew, and judges it by the root key that is pinned, or by a known node's.
pub(crate) fn replay(
    bytes: &[u8],
    pin: Option<PublicKey>,
    policy: Option<Arc<Policy>>,
) -> anyhow::Result<Verified<Replay>> {
    let message = Unverified::from_stored(bytes.to_vec()).map_err(|error| {
        let error = anyhow::Error::from(error);
        match bytes.starts_with(&binding::STORED_MAGIC) {
            true => error,
            false => error.context(FOREIGN),
        }
    })?;
    let root = pin.or_else(|| known_root(message.untrusted()));
    Ok(message.verify_under(root.as_ref(), policy)?)
}

const fn is_witnessed(replay: &Replay) -> bool {
    matches!(replay.standing, Standing::Witnessed { .. })
}

/// Whether the message went through the steps that its opcode demands.
pub(crate) fn check_process(replay: &Replay) -> anyhow::Result<()> {
    match &replay.process {
        ProcessVerdict::Breaks(deviation) => Err(anyhow!("the process: {deviation}")),
        ProcessVerdict::Follows | ProcessVerdict::NotChecked => Ok(()),
    }
}

/// The message's own root key, where a node with it is known. That it is listed is all that its word is taken for.
fn known_root(message: &Message) -> Option<PublicKey> {
    let root = message.seal.keys.as_ref()?.root;
    let known = Home::from_env().ok().and_then(|home| KnownNodes::load(&home).ok())?;
    known.holds(&root).then_some(root)
}

/// What a message lacks to be authentic; `None` where it is.
fn missing(replay: &Replay, pin: Option<&PublicKey>) -> Option<String> {
    if replay.verdict == Verdict::Authentic {
        return None;
    }
    let seal = &replay.message.seal;
    Some(match &seal.keys {
        // [RCP-7] A verifier MUST NOT call a message authentic with `unlogged`.
        _ if seal.unlogged => {
            "it is a refusal before a token was accepted, for which nodes give no receipt"
                .to_owned()
        }
        None => "it holds no key list that would tie the seal to a node".to_owned(),
        Some(_) if pin.is_some() => "nothing ties it to the node that --pin names".to_owned(),
        Some(keys) => format!(
            "its key list names {0}, which is none of your known nodes; if you know that node by this DID, say: --pin {0}",
            keys.root
        ),
    })
}

const FOREIGN: &str = "nothing that `cmtp call --save` or `cmtpd journal export` wrote";
