//! `0xI:log`: what the log proves, for callers. `cmtp-spec/spec/18-log.md`.

use std::fmt::Write;
use std::sync::Arc;

use cmtp_codec::{Digest, Entry};
use cmtp_spec::{BusAuth, Status, binding};
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::journal::Follower;
use crate::log::{Checkpointed, Log, LogError};
use crate::refusal::Refusal;
use crate::service::{Call, Reply, Service};

/// Proofs of the log, one for each call.
pub(crate) struct LogService {
    pub(crate) log: Arc<Log>,
    pub(crate) journal: Follower,
}

impl Service for LogService {
    fn call<'a>(&'a self, call: &'a Call<'a>) -> BoxFuture<'a, Result<Reply, Refusal>> {
        async move {
            let target = call.target.target().to_string();
            let text = match target.rsplit_once(':').map(|(_, what)| what) {
                Some("checkpoint") => self.checkpoint(call.args()).await?,
                Some("proof") => self.proof(call).await?,
                _ => {
                    let detail = "the log has 0xI:log:checkpoint and 0xI:log:proof";
                    return Err(Refusal::new(Status::NOT_FOUND, detail));
                }
            };
            Ok(Reply::ok("text/plain; charset=utf-8", text))
        }
        .boxed()
    }

    fn bus_auth(&self) -> BusAuth {
        BusAuth::LOCAL
    }
}

impl LogService {
    /// The checkpoint, and where arguments name a size of before, the proof from there.
    async fn checkpoint(&self, args: Option<&str>) -> Result<String, Refusal> {
        let bad = || Refusal::new(Status::BAD_REQUEST, "arguments: expected none, or [size]");
        let before = args.map_or(Ok(Vec::new()), serde_json::from_str::<Vec<u64>>);
        let before = match before.map_err(|_other| bad())?[..] {
            [] => 0,
            [size] => size,
            _ => return Err(bad()),
        };
        let tree = self.log.checkpoint();
        if tree.size < before {
            let detail =
                format!("the log has {} entries under a checkpoint, not {before}", tree.size);
            return Err(Refusal::new(Status::NOT_FOUND, detail));
        }
        self.prove(move |log| consistency_text(log, &tree, before)).await
    }

    /// [LOG-8] The proof of the entry with the seal F that the arguments name, once there is one.
    async fn proof(&self, call: &Call<'_>) -> Result<String, Refusal> {
        let (seal, index) = read_args(call.args()).ok_or_else(|| {
            let detail =
                "arguments: expected [\"F as 64 hexadecimal digits\"], or with its index behind it";
            Refusal::new(Status::BAD_REQUEST, detail)
        })?;
        let mut tree = self.log.checkpoint();
        let index = loop {
            let found = index.or_else(|| self.log.find(&seal));
            if let Some(index) = found.filter(|&index| index < tree.size) {
                break index;
            }
            // Not there yet, perhaps: the next checkpoint tells.
            let more = tokio::time::timeout(call.time_left, self.log.beyond(tree.size)).await;
            let Ok(Some(next)) = more else {
                let detail = "no entry with this F is under a checkpoint yet; ask again, and with its index where it is an old one";
                return Err(Refusal::new(Status::NOT_FOUND, detail));
            };
            if found.is_none() && self.log.find(&seal).is_none() {
                let detail =
                    "no recent entry has this F; give its index, too, where it is an old one";
                return Err(Refusal::new(Status::NOT_FOUND, detail));
            }
            tree = next;
        };
        let entries = self.journal.clone();
        let entry = move || entries.entries(index, 1).map_err(LogError::from);
        let entry = blocking(entry).await?;
        let is_it = |bytes| Entry::from_bytes(bytes).is_some_and(|entry| entry.seal == seal);
        if !entry.first().is_some_and(is_it) {
            let detail = format!("entry {index} has another F");
            return Err(Refusal::new(Status::NOT_FOUND, detail));
        }
        self.prove(move |log| proof_text(log, &tree, index)).await
    }

    async fn prove(
        &self,
        text: impl FnOnce(&Log) -> Result<String, LogError> + Send + 'static,
    ) -> Result<String, Refusal> {
        let log = Arc::clone(&self.log);
        blocking(move || text(&log)).await
    }
}

/// Reads files where that holds up nobody.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(read).await;
    let failed = |detail: String| {
        tracing::warn!(error = detail, "the transparency log can't be read");
        Refusal::new(Status::INTERNAL_ERROR, "the node can't read its log")
    };
    done.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
}

fn read_args(args: Option<&str>) -> Option<(Digest, Option<u64>)> {
    let args: Vec<serde_json::Value> = serde_json::from_str(args?).ok()?;
    let (seal, rest) = args.split_first()?;
    let seal = HEXLOWER_PERMISSIVE.decode(seal.as_str()?.as_bytes()).ok()?;
    let index = match rest {
        [] => None,
        [index] => Some(index.as_u64().or_else(|| index.as_str()?.parse().ok())?),
        _ => return None,
    };
    Some((Digest(seal.try_into().ok()?), index))
}

/// [LOG-9] As C2SP tlog-proof has it.
fn proof_text(log: &Log, tree: &Checkpointed, index: u64) -> Result<String, LogError> {
    let mut text = format!("{}\nindex {index}\n", binding::TLOG_PROOF_HEADER);
    hashes(&mut text, &log.prove(tree, index)?);
    Ok(text + "\n" + &tree.note)
}

/// [LOG-7] As the body of a C2SP add-checkpoint has it.
pub(crate) fn consistency_text(
    log: &Log,
    tree: &Checkpointed,
    before: u64,
) -> Result<String, LogError> {
    let mut text = format!("old {before}\n");
    hashes(&mut text, &log.prove_consistent(tree, before)?);
    Ok(text + "\n" + &tree.note)
}

fn hashes(text: &mut String, hashes: &[Digest]) {
    for hash in hashes {
        // Writing to a string does not fail.
        let _written = writeln!(text, "{}", BASE64.encode(&hash.0));
    }
}
