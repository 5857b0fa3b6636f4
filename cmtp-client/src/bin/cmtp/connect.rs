//! Finds the node of a URL, and settles whether it is the one meant.

use std::time::Duration;

use anyhow::anyhow;
use cmtp_client::{
    Channel, ChannelError, Client, ConnectError, Connection, Home, KnownNode, KnownNodes, NodeUrl,
    Trust, TrustedBy, Untrusted,
};
use cmtp_codec::PublicKey;
use cmtp_spec::binding;

use crate::exit::{Failure, Outcome};
use crate::terminal;

/// A channel to the node of `url`, connected; `patience` is how long to try. Trust, in order: the DID in the URL, `--pin`,
/// known nodes, authorities, first use.
pub(crate) async fn connect(
    client: Client,
    url: &NodeUrl,
    pin: Option<PublicKey>,
    home: Option<&Home>,
    patience: Option<Duration>,
) -> Outcome<Channel> {
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
    let channel = Channel::new(client, &url.host, url.port, trust);
    let connected = match patience {
        Some(patience) => channel.connect_within(patience).await,
        None => channel.connect().await.map_err(ChannelError::from),
    };
    let connection = connected.map_err(|error| Failure::no_node(explain(error, url, before)))?;
    let node = KnownNode { root: connection.node(), number: connection.keys().number };
    let loopback = connection.remote_address().ip().is_loopback();
    if connection.trusted_by() == TrustedBy::FirstUse && !loopback {
        settle(url, &node.root)?;
    }
    if let Some(known) = &mut known {
        remember(known, url, &connection, before, node).map_err(Failure::no_node)?;
    }
    Ok(channel)
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

fn explain(error: ChannelError, url: &NodeUrl, before: Option<KnownNode>) -> anyhow::Error {
    let place = url.authority();
    match &error {
        ChannelError::Connect {
            source: ConnectError::Untrusted(Untrusted::OtherNode { expected, shown }),
            ..
        } if before.is_some_and(|before| before.root == *expected) => {
            anyhow!(
                "{place} was {expected} and now says it is {shown}: refused. Somebody may stand between, or the node \
                 was set up anew. If its operator says that this is its DID, call it with: --pin {shown}"
            )
        }
        ChannelError::Connect {
            source: ConnectError::Untrusted(Untrusted::OtherNode { expected, shown }),
            ..
        } => {
            let source = if url.did.is_some() { "the URL" } else { "--pin" };
            anyhow!(
                "{place} was to be {expected}, as {source} says, and is {shown}: refused. Is it the address that you \
                 meant? If its operator says that this is its DID, call it with: --pin {shown}"
            )
        }
        // They begin with the name or end with the address.
        ChannelError::Connect {
            source: ConnectError::Lookup { .. } | ConnectError::NoAddress { .. },
            ..
        } => {
            anyhow!("{error}; check the host in the URL")
        }
        ChannelError::Connect {
            source: ConnectError::TimedOut { .. } | ConnectError::Unanswered { .. },
            ..
        } => {
            anyhow!(
                "{place}: {error} `cmtpd serve` starts one and prints its address; a URL without a port means {}",
                binding::DEFAULT_PORT
            )
        }
        _ => anyhow::Error::from(error).context(place),
    }
}
