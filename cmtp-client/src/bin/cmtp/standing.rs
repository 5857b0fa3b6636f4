//! What is known of an answer in the node's log: its receipts, and whether the log only grew.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::ValueEnum;
use cmtp_client::{Answer, Channel, LogSeen, Request};
use cmtp_codec::log::Policy;
use cmtp_codec::{Fqmn, Message, Replay, Standing, Unverified, Verified};
use cmtp_spec::Status;
use data_encoding::HEXLOWER;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::exit::{Failure, Outcome};
use crate::refusal::failed;
use crate::terminal;

/// Which receipt is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wanted {
    /// R0: the node's signed promise, which comes with the answer.
    Promise,
    /// R1: the proof that the answer's entry is in the node's log.
    Proof,
    /// R2: the same, under a checkpoint that the witnesses of --policy signed.
    Witnessed,
}

/// Reads a policy file.
pub(crate) fn read_policy(path: &Path) -> anyhow::Result<Arc<Policy>> {
    let named = || path.display().to_string();
    let text = terminal::read_file(&named(), POLICY_MAX)?;
    let text = String::from_utf8(text).with_context(named)?;
    Ok(Arc::new(text.parse().with_context(named)?))
}

/// The answer with the receipt that is wanted; `patience` is how long to wait for it.
pub(crate) async fn with_receipt(
    channel: &Channel,
    answer: &Answer,
    wanted: Wanted,
    policy: Option<&Arc<Policy>>,
    patience: Duration,
) -> Outcome<Verified<Replay>> {
    let replay = answer.replay();
    let until = Instant::now() + patience;
    // A refusal before a token was accepted has no entry that could be proved.
    if wanted == Wanted::Promise || replay.standing == Standing::Unlogged {
        return Ok(replay.clone());
    }
    let mut message = replay.message.clone();
    let root = channel.node().await;
    loop {
        let asked = timeout_at(until, ask(channel, &message)).await;
        let proof = asked.map_err(|_elapsed| Failure::invalid(anyhow!(LATE)))??;
        message.seal.proof = Some(proof.into());
        let judged = Unverified::new(message.clone()).verify_under(root.as_ref(), policy.cloned());
        let judged = judged.map_err(Failure::invalid)?;
        match &judged.standing {
            Standing::Witnessed { .. } => return Ok(judged),
            Standing::Logged { .. } if wanted == Wanted::Proof => return Ok(judged),
            // Witnesses are asked with every checkpoint.
            Standing::Logged { .. } if Instant::now() + AGAIN < until => sleep(AGAIN).await,
            _ => {
                return Err(Failure::invalid(anyhow!(
                    "the witnesses of the policy have not signed a checkpoint with this entry; the answer is not saved"
                )));
            }
        }
    }
}

async fn ask(channel: &Channel, message: &Message) -> Outcome<String> {
    let seal = HEXLOWER.encode(&message.seal.hash.0);
    let index = message.seal.receipt.as_ref().and_then(cmtp_codec::Receipt::index);
    let index = index.map(|index| format!(",{index}")).unwrap_or_default();
    let target = Fqmn::parse(&format!("{PROOF}:[\"{seal}\"{index}]")).map_err(Failure::invalid)?;
    let answer = channel.call(Request::new(target)).await.map_err(failed)?;
    let read = || {
        if answer.status() != Status::OK {
            bail!(
                "the node gave no proof: {} {}",
                answer.status().0,
                answer.detail().unwrap_or_default()
            );
        }
        let body = answer.body().context("the node's proof is empty")?;
        String::from_utf8(body.to_vec()).context("the node's proof is no text")
    };
    read().map_err(Failure::invalid)
}

/// Waits for what the node shows of its log, and says what is wrong with it.
///
/// `known` is whether an earlier checkpoint is kept, which the node then has to prove itself from.
pub(crate) async fn check_log(channel: &Channel, known: bool) -> Outcome<()> {
    let patience = if known { SHOWN_WITHIN } else { FIRST_WITHIN };
    match timeout(patience, channel.log_seen()).await.ok().flatten() {
        Some(LogSeen::Broken(broken)) => {
            let detail = anyhow!("the node's log is not what it was: {broken}");
            Err(Failure::invalid(
                detail.context("do not rely on this node before its operator has explained this"),
            ))
        }
        Some(LogSeen::Followed { before, now }) => {
            eprintln!(
                "cmtp: the node began a new log, {}, behind {} of which {} entries are known: it was restored from a \
                 backup; `cmtp audit` tells what was lost",
                now.origin, before.origin, before.size
            );
            Ok(())
        }
        Some(LogSeen::Unknown(error)) => {
            eprintln!("cmtp: whether the node's log only grew is not known: {error}");
            Ok(())
        }
        None if known => Err(Failure::invalid(anyhow!(
            "the node did not show that its log only grew since the last call; do not rely on it before it does"
        ))),
        Some(_) | None => Ok(()),
    }
}

/// A line for a person.
pub(crate) fn describe(standing: &Standing) -> String {
    match standing {
        Standing::Unlogged => "not in the node's log".to_owned(),
        Standing::Promised => "promised to be in the node's log (R0)".to_owned(),
        Standing::NotChecked => "with a proof that no key list or policy here can judge".to_owned(),
        Standing::Logged { index, size } => {
            format!("entry {index} of the node's log, proved under a checkpoint of {size} (R1)")
        }
        Standing::Witnessed { index, size, witnesses } => {
            let names: Vec<_> = witnesses.iter().map(|(name, _)| name.as_str()).collect();
            let names = names.join(", ");
            format!(
                "entry {index} of the node's log, under a checkpoint of {size} that {names} signed, too (R2)"
            )
        }
        other => format!("{other:?}"),
    }
}

const PROOF: &str = "0xI:log:proof";
const LATE: &str = "the node gave no proof in time; ask again with a longer --timeout";
/// A node shows its log right behind the answer that accepted the token.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);
/// Where nothing is known there is nothing to compare, and a call should be quick.
const FIRST_WITHIN: Duration = Duration::from_millis(200);
/// The least time between two checkpoints, by default.
const AGAIN: Duration = Duration::from_secs(1);
const POLICY_MAX: u64 = 1 << 20;
