//! Finds the node of a URL, and settles whether it is the one meant.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use cmtp_client::{
    Client, ConnectError, Connection, Home, KnownNode, KnownNodes, NodeUrl, Trust, TrustedBy,
    Untrusted,
};
use cmtp_codec::PublicKey;
use tokio::task::JoinSet;

use crate::exit::{Failure, Outcome};
use crate::terminal;

/// Connects to the node of `url`. Trust, in order: the DID in the URL, `--pin`, known nodes, authorities, first use.
pub(crate) async fn connect(
    client: &Arc<Client>,
    url: &NodeUrl,
    pin: Option<PublicKey>,
    home: Option<&Home>,
) -> Outcome<Connection> {
    let mut known = match home {
        Some(home) => Some(KnownNodes::load(home).map_err(Failure::no_node)?),
        None => None,
    };
    let before = known.as_ref().and_then(|known| known.lookup(&url.host, url.port));
    let trust = match (url.did.or(pin), before) {
        // A pin names the node; what is known of it still tells an outdated key list.
        (Some(root), Some(known)) if known.root == root => {
            Trust::Known { root, number: known.number }
        }
        (Some(root), _) => Trust::Pinned(root),
        (None, Some(KnownNode { root, number })) => Trust::Known { root, number },
        (None, None) => Trust::FirstUse,
    };
    let addresses = tokio::net::lookup_host((url.host.as_str(), url.port)).await;
    let addresses: Vec<_> =
        addresses.with_context(|| url.host.clone()).map_err(Failure::no_node)?.collect();
    let loopback = addresses.iter().all(|address| address.ip().is_loopback());
    let connection = race(client, addresses, &url.host, trust)
        .await
        .map_err(|error| Failure::no_node(explain(error, url, before)))?;
    let node = KnownNode { root: connection.node(), number: connection.keys().number };
    if connection.trusted_by() == TrustedBy::FirstUse && !loopback {
        settle(url, &node.root)?;
    }
    if let Some(known) = &mut known {
        remember(known, url, &connection, before, node).map_err(Failure::no_node)?;
    }
    Ok(connection)
}

/// Asks a person whether an unknown node is to be trusted.
fn settle(url: &NodeUrl, root: &PublicKey) -> Outcome<()> {
    let place = url.authority();
    let question = format!(
        "Nothing vouches for the node at {place}.\nIt says that it is {root}.\nTrust it from now on?"
    );
    match terminal::ask(&question) {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::no_node(anyhow!("the node at {place} is not trusted"))),
        None => Err(Failure::no_node(anyhow!(
            "nothing vouches for the node at {place}; if its operator says that this is its DID, call it with: --pin {root}"
        ))),
    }
}

/// Keeps the node for the next call. One that authorities vouch for is asked for again, and not kept.
fn remember(
    known: &mut KnownNodes,
    url: &NodeUrl,
    connection: &Connection,
    before: Option<KnownNode>,
    node: KnownNode,
) -> anyhow::Result<()> {
    if before == Some(node) || connection.trusted_by() == TrustedBy::Authorities {
        return Ok(());
    }
    match before {
        Some(before) if before.root != node.root => {
            known.replace(&url.host, url.port, node)?;
            eprintln!("cmtp: {} was {}; pinned it as {}", url.authority(), before.root, node.root);
        }
        Some(_) => known.pin(&url.host, url.port, node)?,
        None => {
            known.pin(&url.host, url.port, node)?;
            eprintln!("cmtp: pinned {} as {}", url.authority(), node.root);
        }
    }
    Ok(())
}

/// Calls all addresses of a name, each a little after the one before, and takes the first that answers.
async fn race(
    client: &Arc<Client>,
    addresses: Vec<SocketAddr>,
    host: &str,
    trust: Trust,
) -> Result<Connection, anyhow::Error> {
    let mut attempts = JoinSet::new();
    for (turn, address) in (0..).zip(addresses) {
        let (client, host) = (Arc::clone(client), host.to_owned());
        attempts.spawn(async move {
            tokio::time::sleep(HEAD_START * turn).await;
            client.connect(address, &host, trust).await
        });
    }
    let mut failed: Option<ConnectError> = None;
    while let Some(attempt) = attempts.join_next().await {
        match attempt.context("an attempt to connect ended early")? {
            Ok(connection) => return Ok(connection),
            // That a node is not the one meant says more than that nobody answers.
            Err(error) if failed.is_none() || !error.is_retryable() => failed = Some(error),
            Err(_) => {}
        }
    }
    Err(failed.map_or_else(|| anyhow!("{host} has no address"), Into::into))
}

fn explain(error: anyhow::Error, url: &NodeUrl, before: Option<KnownNode>) -> anyhow::Error {
    let place = url.authority();
    match error.downcast_ref::<ConnectError>() {
        Some(ConnectError::Untrusted(Untrusted::OtherNode { expected, shown }))
            if before.is_some_and(|before| before.root == *expected) =>
        {
            anyhow!(
                "{place} was {expected} and now says it is {shown}: refused. Somebody may stand between, or the node \
                 was set up anew. If its operator says that this is its DID, call it with: --pin {shown}"
            )
        }
        _ => error.context(place),
    }
}

/// RFC 8305 section 5 suggests 250 ms between attempts.
const HEAD_START: Duration = Duration::from_millis(250);
