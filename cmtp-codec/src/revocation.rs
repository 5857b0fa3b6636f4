//! Revocation statements: `cmtp-spec/spec/21-identities.md`.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use cmtp_spec::{limits, uses};

use crate::key::{DidError, PublicKey, Signature, SignatureError, SigningKey};
use crate::persona::RecoveryCommitment;
use crate::trust::Verified;

/// A statement that nothing which was granted to a persona before a time counts any more. It is believed only once
/// [`Revocation::verify`] accepted it.
///
/// ```
/// use cmtp_codec::{RecoveryCommitment, Revocation, Root};
///
/// let root = Root::new([7; 32]);
/// let (persona, recovery) = (root.persona(0)?.public(), root.recovery(0)?);
/// let text = Revocation::sign(persona, 1_760_000_000_000_000, &recovery)?.to_json();
///
/// let committed = RecoveryCommitment::to(&recovery.public());
/// let believed = Revocation::from_json(&text)?.verify(&committed)?;
/// assert_eq!(believed.persona, persona);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Whose grants are over.
    pub persona: PublicKey,
    /// Those from before this time, microseconds since 1970.
    pub not_before: u64,
    /// The persona's recovery key.
    pub recovery: PublicKey,
    /// By the recovery key.
    pub signature: Signature,
}

impl Revocation {
    /// Signs a statement.
    ///
    /// # Errors
    /// [`RevocationError::Time`] where the time is 2^53 or later.
    pub fn sign(
        persona: PublicKey,
        not_before: u64,
        recovery: &SigningKey,
    ) -> Result<Self, RevocationError> {
        check_time(not_before)?;
        let signature = Signature([0; 64]);
        let mut made = Self { persona, not_before, recovery: recovery.public(), signature };
        made.signature = recovery.sign(uses::REVOKE, &made.payload());
        Ok(made)
    }

    /// Whether the persona's recovery key made the statement, by the commitment that the persona showed.
    ///
    /// # Errors
    /// [`RevocationError::OtherKey`], [`RevocationError::Signature`].
    pub fn verify(self, committed: &RecoveryCommitment) -> Result<Verified<Self>, RevocationError> {
        // [IDY-5] A receiver MUST refuse a statement unless the commitment is that of its recovery key …
        if RecoveryCommitment::to(&self.recovery) != *committed {
            return Err(RevocationError::OtherKey);
        }
        // [IDY-5] … and the signature verifies under that key.
        self.recovery.verify(uses::REVOKE, &self.payload(), &self.signature)?;
        Ok(Verified::new(self))
    }

    /// The statement as it travels: one line of JSON, without a line end.
    pub fn to_json(&self) -> String {
        let text = Text {
            did: self.persona.to_string(),
            not_before: self.not_before,
            recovery_key: self.recovery.to_string(),
            signature: BASE64URL_NOPAD.encode(&self.signature.0),
        };
        // Texts and a number are always JSON.
        serde_json::to_string(&text).unwrap_or_default()
    }

    /// Reads what [`Revocation::to_json`] wrote; the signature is not checked.
    ///
    /// # Errors
    /// [`RevocationError`] where the text says anything else or more.
    pub fn from_json(text: &str) -> Result<Self, RevocationError> {
        // [IDY-6] A reader MUST refuse another text, and one longer than `revocation-max`.
        if text.len() as u64 > limits::REVOCATION_MAX {
            return Err(RevocationError::TooLong);
        }
        let text: Text =
            serde_json::from_str(text).map_err(|error| RevocationError::Text(error.to_string()))?;
        check_time(text.not_before)?;
        let signature = BASE64URL_NOPAD.decode(text.signature.as_bytes());
        let signature = signature.ok().and_then(|bytes| bytes.try_into().ok());
        Ok(Self {
            persona: text.did.parse().map_err(RevocationError::Did)?,
            not_before: text.not_before,
            recovery: text.recovery_key.parse().map_err(RevocationError::RecoveryKey)?,
            signature: signature.map(Signature).ok_or(RevocationError::Encoding)?,
        })
    }

    /// What is signed.
    pub(crate) fn payload(&self) -> [u8; 40] {
        let mut payload = [0; 40];
        payload[..32].copy_from_slice(&self.persona.0);
        payload[32..].copy_from_slice(&self.not_before.to_be_bytes());
        payload
    }
}

/// Why a statement is not believed, or is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationError {
    /// More bytes than a statement has.
    #[error("more than {} bytes: that is no revocation statement", limits::REVOCATION_MAX)]
    TooLong,
    /// Not the JSON of a statement.
    #[error("no revocation statement: {0}")]
    Text(String),
    /// A time that not every reader of JSON reads alike.
    #[error("the time is not below 2^53 microseconds")]
    Time,
    /// The persona's DID is none.
    #[error("did: {0}")]
    Did(#[source] DidError),
    /// The recovery key's DID is none.
    #[error("recoveryKey: {0}")]
    RecoveryKey(#[source] DidError),
    /// The signature is not 64 bytes of base64url.
    #[error("the signature is not 64 bytes in base64url without padding")]
    Encoding,
    /// The persona committed to another recovery key.
    #[error("the persona committed to another recovery key than the statement's")]
    OtherKey,
    /// The recovery key did not sign this.
    #[error("recovery key: {0}")]
    Signature(#[from] SignatureError),
}

/// The members, each once and no other.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Text {
    did: String,
    not_before: u64,
    recovery_key: String,
    signature: String,
}

const fn check_time(time: u64) -> Result<(), RevocationError> {
    if time < TIME_END { Ok(()) } else { Err(RevocationError::Time) }
}

/// Integers below it are exact in every reader of JSON.
const TIME_END: u64 = 1 << 53;
