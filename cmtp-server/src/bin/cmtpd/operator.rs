//! The operator's requests to a node that runs: as the node itself, by its root key.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use bytes::Bytes;
use cmtp_client::{Client, ClientConfig, Request, Trust};
use cmtp_codec::{Fqmn, Pattern, Scope};
use cmtp_server::{Grant, NodeKeys};

use crate::address_file;
use crate::root::Root;

/// Calls a write of the node that uses `data`, and gives back the answer's body; `patience` is how long that may take.
pub(crate) async fn ask(
    data: &Path,
    root: &Root,
    target: Fqmn,
    patience: Duration,
) -> anyhow::Result<Bytes> {
    let address = address_file::read(data)?;
    let keys = NodeKeys::load_or_create(data)?;
    let scope = Scope::new(Vec::new(), vec![Pattern::parse("0xI:**")?])?;
    let grant = Grant { to: keys.public(), scope, lifetime: TOKEN };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let token = grant.mint(&keys, now.as_secs())?;
    let identity = Arc::new(root.key(data)?.identity()?);
    let client = Client::new(ClientConfig { token: Some(token), ..ClientConfig::new(identity) })?;
    let connection = client
        .connect(address, "localhost", Trust::Pinned(keys.public()))
        .await
        .with_context(|| format!("the node that uses {} on {address}", data.display()))?;
    let answer = connection.call(Request::new(target).valid_for(patience)).await?;
    let detail = answer.detail().unwrap_or_default().to_owned();
    client.close().await;
    ensure!(answer.is_success(), "{detail}");
    Ok(answer.body().unwrap_or_default())
}

/// A token is checked when the request comes, which is at once.
const TOKEN: Duration = Duration::from_secs(60);
