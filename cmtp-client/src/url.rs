//! The URL form of a target: `cmtp-spec/spec/06-fqmn.md`.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use cmtp_codec::{DidError, PublicKey};
use cmtp_spec::binding;

/// Where a node is and what is wanted of it: `cmtp://[did@]host[:port]/fqmn-or-name`.
///
/// ```
/// use cmtp_client::NodeUrl;
///
/// let url: NodeUrl = "cmtp://[::1]/helloworld.mcom:hello".parse()?;
/// assert_eq!((url.host.as_str(), url.port), ("::1", 4433));
/// assert_eq!(url.path, "helloworld.mcom:hello");
/// # Ok::<(), cmtp_client::UrlError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeUrl {
    /// The node's DID, where the URL pins it.
    pub did: Option<PublicKey>,
    /// A host name in lower case, or an address; an IPv6 address stands here without its brackets.
    pub host: String,
    /// The UDP port.
    pub port: u16,
    /// The FQMN or name, byte for byte as it was typed.
    pub path: String,
}

impl NodeUrl {
    /// `host:port`, with brackets around an IPv6 address: the name under which a node is known.
    pub fn authority(&self) -> String {
        authority(&self.host, self.port)
    }

    /// Reads the URL of a node, of which nothing is called: a target behind it is kept and need not be there.
    ///
    /// # Errors
    /// [`UrlError`].
    pub fn of_node(text: &str) -> Result<Self, UrlError> {
        let rest = text
            .strip_prefix(binding::URL_SCHEME)
            .and_then(|rest| rest.strip_prefix("://"))
            .ok_or(UrlError::Scheme)?;
        // Chapter 6: all after the first `/` that follows the authority is the FQMN, taken as it is.
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (did, address) = match authority.rsplit_once('@') {
            Some((did, address)) => (Some(did.parse().map_err(UrlError::Did)?), address),
            None => (None, authority),
        };
        let (host, port) = split_port(address)?;
        Ok(Self { did, host: check_host(host)?, port, path: path.to_owned() })
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub(crate) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl FromStr for NodeUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let url = Self::of_node(text)?;
        if url.path.is_empty() { Err(UrlError::NoTarget) } else { Ok(url) }
    }
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", binding::URL_SCHEME)?;
        if let Some(did) = &self.did {
            write!(f, "{did}@")?;
        }
        write!(f, "{}/{}", self.authority(), self.path)
    }
}

/// Why a text is no URL of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Another scheme, or none.
    #[error("a node's URL begins with cmtp://, such as cmtp://127.0.0.1:4433/0xS:echo")]
    Scheme,
    /// Nothing to call.
    #[error("the URL names no target: add one after the host, such as /0xS:echo")]
    NoTarget,
    /// Something else than a DID before `@`.
    #[error("before @ stands the node's DID: {0}")]
    Did(DidError),
    /// No host, or one with a character that no host has.
    #[error("the URL's host is empty, or has a character that no host name has")]
    Host,
    /// Colons outside of brackets.
    #[error("an IPv6 address stands in brackets, such as cmtp://[::1]:4433/0xS:echo")]
    Brackets,
    /// No port number.
    #[error("the port is a number from 1 to 65535")]
    Port,
}

fn split_port(address: &str) -> Result<(&str, u16), UrlError> {
    if let Some(bracketed) = address.strip_prefix('[') {
        let (host, port) = bracketed.split_once(']').ok_or(UrlError::Brackets)?;
        host.parse::<Ipv6Addr>().map_err(|_not_an_address| UrlError::Brackets)?;
        return match port {
            "" => Ok((host, binding::DEFAULT_PORT)),
            port => Ok((host, parse_port(port.strip_prefix(':').ok_or(UrlError::Brackets)?)?)),
        };
    }
    match address.split_once(':') {
        Some((_, port)) if port.contains(':') => Err(UrlError::Brackets),
        Some((host, port)) => Ok((host, parse_port(port)?)),
        None => Ok((address, binding::DEFAULT_PORT)),
    }
}

fn parse_port(port: &str) -> Result<u16, UrlError> {
    let digits_only = port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port.parse().map_err(|_not_a_port| UrlError::Port)?;
    if digits_only && number != 0 { Ok(number) } else { Err(UrlError::Port) }
}

fn check_host(host: &str) -> Result<String, UrlError> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_allowed) {
        return Err(UrlError::Host);
    }
    Ok(host.to_ascii_lowercase())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const DID: &str = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK";

    #[test]
    fn urls_read_both_ways() {
        let table = [
            ("cmtp://127.0.0.1:4433/0xS:echo", None, "127.0.0.1", 4433, "0xS:echo"),
            ("cmtp://node.example:7/a/b?c#d", None, "node.example", 7, "a/b?c#d"),
            ("cmtp://[::1]:9/0xS:a:[\"x/y\"]", None, "::1", 9, "0xS:a:[\"x/y\"]"),
            (&format!("cmtp://{DID}@h:1/x@y:z"), Some(DID), "h", 1, "x@y:z"),
        ];
        for (text, did, host, port, path) in table {
            let url: NodeUrl = text.parse().unwrap();
            let expected = NodeUrl {
                did: did.map(|did| did.parse().unwrap()),
                host: host.to_owned(),
                port,
                path: path.to_owned(),
            };
            assert_eq!(url, expected);
            assert_eq!(url.to_string(), text);
        }
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let url: NodeUrl = "cmtp://LocalHost/x".parse().unwrap();
        assert_eq!(url.to_string(), "cmtp://localhost:4433/x");
        let url: NodeUrl = "cmtp://[fe80::1]/x".parse().unwrap();
        assert_eq!(url.authority(), "[fe80::1]:4433");
    }

    #[test]
    fn what_is_no_url_is_named() {
        let table = [
            ("http://h/x", UrlError::Scheme),
            ("h/x", UrlError::Scheme),
            ("cmtp:/h/x", UrlError::Scheme),
            ("cmtp://h", UrlError::NoTarget),
            ("cmtp://h/", UrlError::NoTarget),
            ("cmtp:///x", UrlError::Host),
            ("cmtp://a b/x", UrlError::Host),
            ("cmtp://::1/x", UrlError::Brackets),
            ("cmtp://[::1/x", UrlError::Brackets),
            ("cmtp://[::1]4/x", UrlError::Brackets),
            ("cmtp://[h]/x", UrlError::Brackets),
            ("cmtp://h:/x", UrlError::Port),
            ("cmtp://h:0/x", UrlError::Port),
            ("cmtp://h:+1/x", UrlError::Port),
            ("cmtp://h:65536/x", UrlError::Port),
            ("cmtp://alice@h/x", UrlError::Did(DidError::NotDidKey)),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<NodeUrl>(), Err(error), "{text}");
        }
    }
}
