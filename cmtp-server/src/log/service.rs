//! `0xI:log`: what the log proves, for callers. `cmtp-spec/spec/18-log.md`.

use std::sync::Arc;

use cmtp_codec::{Digest, Entry};
use cmtp_spec::{BusAuth, Status};
use data_encoding::HEXLOWER_PERMISSIVE;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::journal::Follower;
use crate::log::{Log, LogError};
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
        self.prove(move |log| log.growth(&tree, before).map(|growth| growth.to_string())).await
    }

    /// [LOG-8] The proof of the entry with the seal F that the arguments name, once there is one.
    async fn proof(&self, call: &Call<'_>) -> Result<String, Refusal> {
        let (seal, index) = read_args(call.args()).ok_or_else(|| {
            let detail =
                "arguments: expected [\"F as 64 hexadecimal digits\"], or with its index behind it";
            Refusal::new(Status::BAD_REQUEST, detail)
        })?;
        // All that was answered when this was asked for has been written by now.
        let least = index.map_or_else(|| self.journal.written(), |index| index + 1);
        let covering = self.log.beyond(least.saturating_sub(1));
        let Ok(Some(tree)) = tokio::time::timeout(call.time_left, covering).await else {
            let detail = "no checkpoint is over this entry yet; ask again";
            return Err(Refusal::new(Status::NOT_FOUND, detail));
        };
        let Some(index) = index.or_else(|| self.log.find(&seal)) else {
            let detail = "no recent entry has this F; give its index, too, where it is an old one";
            return Err(Refusal::new(Status::NOT_FOUND, detail));
        };
        let entries = self.journal.clone();
        let entry = move || entries.entries(index, 1).map_err(LogError::from);
        let entry = blocking(entry).await?;
        let is_it = |bytes| Entry::from_bytes(bytes).is_some_and(|entry| entry.seal == seal);
        if !entry.first().is_some_and(is_it) {
            let detail = format!("entry {index} has another F");
            return Err(Refusal::new(Status::NOT_FOUND, detail));
        }
        self.prove(move |log| log.proof(&tree, index).map(|proof| proof.to_string())).await
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
