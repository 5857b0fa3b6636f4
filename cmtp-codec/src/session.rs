//! The session handshake: its messages and its transcript. `cmtp-spec/spec/22-sessions.md`.
//!
//! Who makes a message keeps its bytes: they are what the transcript hashes, and not what the message says.

mod messages;

use cmtp_spec::{binding, limits, tags, uses};

use crate::field::{Field, Name};
use crate::hash::{Digest, Image};
use crate::key::{PublicKey, Signature, SignatureError, SigningKey};
use crate::layer::Layer;

pub use messages::{
    Answer, Ask, Call, Confirm, Consent, GrantName, Granted, Hello, Issued, Message, MessageError,
    NotAGrant, Random, Renew, ScopeError, ScopeTexts,
};

/// th_i: all messages so far, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transcript {
    step: u8,
    hash: Digest,
}

impl Transcript {
    /// th_0: no message yet.
    pub const START: Self = Self { step: 0, hash: Digest::ZERO };

    /// A transcript that was carried elsewhere meanwhile.
    pub const fn resumed(step: u8, hash: Digest) -> Self {
        Self { step, hash }
    }

    /// th_6, of a renewal alone.
    pub fn of_renewal(message: &[u8]) -> Self {
        Self { step: RENEWAL - 1, hash: Digest::ZERO }.then(message)
    }

    /// Takes the next message, byte for byte as it was sent.
    #[must_use]
    pub fn then(self, message: &[u8]) -> Self {
        let step = self.step.saturating_add(1);
        let mut image = Image::new(tags::TRANSCRIPT);
        image.bytes(&[step]);
        image.bytes(&self.hash.0);
        image.bytes(message);
        Self { step, hash: image.digest() }
    }

    /// i.
    pub const fn step(&self) -> u8 {
        self.step
    }

    /// th_i itself.
    pub const fn hash(&self) -> Digest {
        self.hash
    }

    /// Who signs after this message, and where; a hello is not signed.
    const fn signature_use(&self) -> &'static str {
        match self.step {
            2 => uses::SESSION_CALL,
            3 => uses::SESSION_ANSWER,
            4 => uses::SESSION_CONFIRM,
            5 => uses::SESSION_CONSENT,
            _ => uses::SESSION_RENEW,
        }
    }
}

/// Where a handshake takes place: on which connection, between whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parties {
    /// E_s, the connection's exporter value for sessions.
    pub exporter: [u8; 32],
    /// The node's root key.
    pub node: PublicKey,
    /// Who wants the session.
    pub persona: PublicKey,
}

impl Parties {
    /// Signs the transcript up to here.
    pub fn sign(&self, transcript: Transcript, key: &SigningKey) -> Signature {
        key.sign(transcript.signature_use(), &self.payload(transcript))
    }

    /// [SES-9] Each side MUST verify each signature before it uses the message.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(
        &self,
        transcript: Transcript,
        key: &PublicKey,
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        key.verify(transcript.signature_use(), &self.payload(transcript), signature)
    }

    fn payload(&self, transcript: Transcript) -> Vec<u8> {
        [self.exporter, self.node.0, self.persona.0, transcript.hash.0].concat()
    }
}

/// The five targets that need no token, by their last element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionTarget {
    /// `0xI:session:hello`
    Hello,
    /// `0xI:session:answer`
    Answer,
    /// `0xIW:session:consent`
    Consent,
    /// `0xIW:session:renew`
    Renew,
    /// `0xIW:session:revoke`
    Revoke,
}

impl SessionTarget {
    /// The target with this text; `None` for every other.
    pub fn of(target: &str) -> Option<Self> {
        match target {
            binding::SESSION_HELLO => Some(Self::Hello),
            binding::SESSION_ANSWER => Some(Self::Answer),
            binding::SESSION_CONSENT => Some(Self::Consent),
            binding::SESSION_RENEW => Some(Self::Renew),
            binding::SESSION_REVOKE => Some(Self::Revoke),
            _ => None,
        }
    }

    /// Whether what succeeds has an effect, which is journalled.
    pub const fn has_effect(self) -> bool {
        matches!(self, Self::Consent | Self::Renew | Self::Revoke)
    }
}

/// The field that carries a signature of the handshake.
pub fn signature_field(signature: &Signature) -> Field {
    literal(binding::SESSION_SIGNATURE, signature.0.to_vec())
}

/// The field that carries what only the node can read.
pub fn cookie_field(cookie: Vec<u8>) -> Field {
    literal(binding::SESSION_COOKIE, cookie)
}

/// The field in which the answer to a consent says what the grant is.
pub fn granted_field(granted: &Granted) -> Field {
    literal(binding::SESSION_GRANT, granted.to_bytes())
}

/// The grant that the answer to a consent says.
pub fn granted_of(layer: &Layer) -> Option<Granted> {
    Granted::from_bytes(once(layer, binding::SESSION_GRANT)?).ok()
}

/// The signature that a layer carries: among its private fields, once.
pub fn signature_of(layer: &Layer) -> Option<Signature> {
    Some(Signature(once(layer, binding::SESSION_SIGNATURE)?.try_into().ok()?))
}

/// The cookie that a layer carries.
pub fn cookie_of(layer: &Layer) -> Option<&[u8]> {
    let cookie = once(layer, binding::SESSION_COOKIE)?;
    (1..=limits::SESSION_COOKIE_MAX).contains(&(cookie.len() as u64)).then_some(cookie)
}

fn once<'a>(layer: &'a Layer, name: &str) -> Option<&'a [u8]> {
    let mut named = layer.fields().filter(|field| field.name.as_str() == name);
    let field = named.next().filter(|_| named.next().is_none())?;
    let is_public = layer.public.iter().any(|it| it.name.as_str() == name);
    (!is_public).then_some(field.value.as_ref())
}

fn literal(name: &'static str, value: Vec<u8>) -> Field {
    Field { name: Name::literal(name), value: value.into() }
}

/// i of a renewal's only message.
const RENEWAL: u8 = 6;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_is_order_bytes_and_step() {
        let first = Transcript::START.then(b"a").then(b"b");
        assert_ne!(first, Transcript::START.then(b"b").then(b"a"));
        assert_ne!(first.hash(), Transcript::START.then(b"ab").hash());
        assert_ne!(Transcript::START.then(b"a").hash(), Transcript::of_renewal(b"a").hash());
        let resumed = Transcript::resumed(1, Transcript::START.then(b"a").hash());
        assert_eq!(resumed.then(b"b"), first);
    }

    #[test]
    fn a_signature_holds_for_one_connection_two_parties_and_one_step() {
        // [SES-9]
        let (node, persona) =
            (SigningKey::from_seed(&[1; 32]).unwrap(), SigningKey::from_seed(&[2; 32]).unwrap());
        let parties = Parties { exporter: [3; 32], node: node.public(), persona: persona.public() };
        let call = Transcript::START.then(b"hello").then(b"call");
        let signature = parties.sign(call, &node);
        assert_eq!(parties.verify(call, &node.public(), &signature), Ok(()));
        let others = [
            Parties { exporter: [4; 32], ..parties },
            Parties { node: persona.public(), ..parties },
            Parties { persona: node.public(), ..parties },
        ];
        for other in others {
            assert!(other.verify(call, &node.public(), &signature).is_err());
        }
        let answer = Transcript { step: 3, ..call };
        assert!(parties.verify(answer, &node.public(), &signature).is_err());
    }
}
