//! Tokens, as their bearer sees them: `cmtp-spec/spec/10-admission.md`.

use std::fmt;

use bytes::{Bytes, BytesMut};
use cmtp_codec::{Auth, Digest, Frame, PublicKey};
use cmtp_spec::{limits, uses};
use data_encoding::BASE64URL_NOPAD;

use crate::identity::Identity;

/// A token. Only the node that made it can verify it; to its bearer it is a text to show.
///
/// ```
/// use cmtp_client::Token;
///
/// assert!(Token::new("").is_err());
/// assert_eq!(format!("{:?}", Token::new("a.b.c")?), "Token(…)");
/// # Ok::<(), cmtp_client::TokenError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    bytes: Bytes,
    digest: Digest,
}

impl Token {
    /// Takes a token as it was granted; white space around it is dropped.
    ///
    /// # Errors
    /// [`TokenError`] where no token is so short or so long.
    pub fn new(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        // [FRM-18] A token MUST NOT be empty or longer than `token-max`.
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        if text.len() as u64 > limits::TOKEN_MAX {
            return Err(TokenError::TooLong { length: text.len() });
        }
        Ok(Self {
            digest: Digest::of(text.as_bytes()),
            bytes: Bytes::copy_from_slice(text.as_bytes()),
        })
    }

    /// SHA-256 of the token's bytes.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The DID that the token says it is for. Nothing is verified: good for a hint to a person and nothing else.
    pub fn unverified_subject(&self) -> Option<String> {
        self.unverified_claim("sub")?.as_str().map(str::to_owned)
    }

    /// The DID of the node that the token says it is from; as little verified.
    pub fn unverified_issuer(&self) -> Option<String> {
        self.unverified_claim("iss")?.as_str().map(str::to_owned)
    }

    /// When the token says that it ends, seconds since 1970; as little verified.
    pub fn unverified_expiry(&self) -> Option<u64> {
        self.unverified_claim("exp")?.as_u64()
    }

    /// When the token says that it begins, seconds since 1970; as little verified.
    pub fn unverified_begin(&self) -> Option<u64> {
        self.unverified_claim("iat")?.as_u64()
    }

    /// The token as it is shown.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn unverified_claim(&self, name: &str) -> Option<serde_json::Value> {
        let claims = self.bytes.split(|&byte| byte == b'.').nth(1)?;
        let claims = BASE64URL_NOPAD.decode(claims).ok()?;
        let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
        claims.get(name).cloned()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Nothing.
    #[error("the token is empty")]
    Empty,
    /// Too long for any node.
    #[error("the token has {length} bytes; no node takes more than {}", limits::TOKEN_MAX)]
    TooLong {
        /// Its bytes.
        length: usize,
    },
}

/// What a connection sends to show its token: both forms of AUTH, encoded once.
#[derive(Debug)]
pub(crate) struct Credentials {
    digest: Digest,
    shown: Bytes,
    known: Bytes,
}

impl Credentials {
    /// Proves the key of `token` on the connection with this exporter value.
    pub(crate) fn new(
        token: &Token,
        identity: &Identity,
        exporter: &[u8; 32],
        node: &PublicKey,
    ) -> Self {
        // Chapter 9: E ‖ node root key 32 ‖ token digest 32.
        let payload = [*exporter, node.0, token.digest.0].concat();
        let proof = identity.key().sign(uses::AUTH, &payload);
        let encode = |auth| {
            let mut bytes = BytesMut::new();
            Frame::Auth(auth).encode(&mut bytes);
            bytes.freeze()
        };
        Self {
            digest: token.digest,
            shown: encode(Auth::Shown { proof, token: token.bytes.clone() }),
            known: encode(Auth::Known(token.digest)),
        }
    }

    pub(crate) const fn digest(&self) -> Digest {
        self.digest
    }

    /// AUTH with token and proof.
    pub(crate) fn shown(&self) -> Bytes {
        self.shown.clone()
    }

    /// AUTH with the digest alone.
    pub(crate) fn known(&self) -> Bytes {
        self.known.clone()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_a_length_and_a_hint() {
        let claims = BASE64URL_NOPAD.encode(br#"{"sub":"did:key:zX","exp":1}"#);
        let token = Token::new(&format!(" e30.{claims}.c2ln\n")).unwrap();
        assert_eq!(token.unverified_subject().as_deref(), Some("did:key:zX"));
        assert_eq!(token.digest(), Digest::of(format!("e30.{claims}.c2ln").as_bytes()));
        for nonsense in ["x", "a.b.c", "a..c", "..."] {
            assert_eq!(Token::new(nonsense).unwrap().unverified_subject(), None);
        }
        // [FRM-18]
        assert!(Token::new(&"x".repeat(4_096)).is_ok());
        assert_eq!(Token::new(&"x".repeat(4_097)), Err(TokenError::TooLong { length: 4_097 }));
        assert_eq!(Token::new(" \n"), Err(TokenError::Empty));
    }

    #[test]
    fn auth_is_proved_for_one_connection_and_one_node() {
        let identity = Identity::from_seed(&[1; 32]).unwrap();
        let token = Token::new("t").unwrap();
        let (exporter, node) = ([7; 32], PublicKey([9; 32]));
        let credentials = Credentials::new(&token, &identity, &exporter, &node);
        let mut reader = cmtp_codec::FrameReader::new(0);
        reader.push_bytes(credentials.shown());
        let Some(Frame::Auth(Auth::Shown { proof, token: shown })) = reader.next_frame().unwrap()
        else {
            unreachable!("AUTH of form 1")
        };
        assert_eq!(&shown[..], b"t");
        let payload = [[7; 32], [9; 32], token.digest().0].concat();
        assert_eq!(identity.did().verify(uses::AUTH, &payload, &proof), Ok(()));
        reader.push_bytes(credentials.known());
        let known = reader.next_frame().unwrap();
        assert_eq!(known, Some(Frame::Auth(Auth::Known(token.digest()))));
    }
}
