//! The hash chain of a message: `cmtp-spec/spec/04-hashing.md`.

use bytes::BytesMut;

use cmtp_spec::{FrameType, LayerFlags, Status, Step, uses};

use crate::core::{Core, RedactedLayer};
use crate::error::DecodeErrorKind;
use crate::frame;
use crate::hash::Digest;
use crate::key::{PublicKey, Signature, SignatureError, SigningKey};
use crate::layer::Layer;
use crate::seal;

/// One place of a chain: a layer, or its core where the layer is withheld.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// The layer, perhaps with parts withheld.
    Layer(Layer),
    /// The core alone.
    Core(RedactedLayer),
}

impl Link {
    /// The layer, where it is not withheld as a whole.
    pub const fn layer(&self) -> Option<&Layer> {
        match self {
            Self::Layer(layer) => Some(layer),
            Self::Core(_) => None,
        }
    }

    /// The kind of step.
    pub const fn step(&self) -> Step {
        match self {
            Self::Layer(layer) => layer.step,
            Self::Core(redacted) => redacted.core.step,
        }
    }

    /// The status.
    pub const fn status(&self) -> Status {
        match self {
            Self::Layer(layer) => layer.status,
            Self::Core(redacted) => redacted.core.status,
        }
    }

    /// The flags.
    pub const fn flags(&self) -> LayerFlags {
        match self {
            Self::Layer(layer) => layer.flags,
            Self::Core(redacted) => redacted.core.flags,
        }
    }

    /// Who added it.
    pub const fn actor(&self) -> PublicKey {
        match self {
            Self::Layer(layer) => layer.actor,
            Self::Core(redacted) => redacted.core.actor,
        }
    }

    /// The actor's clock, microseconds since 1970.
    pub const fn time(&self) -> u64 {
        match self {
            Self::Layer(layer) => layer.time,
            Self::Core(redacted) => redacted.core.time,
        }
    }

    /// Whether the layer is signed; [`Chain::push`] accepts it only if the signature holds.
    pub const fn is_signed(&self) -> bool {
        self.flags().0 & LayerFlags::SIGNED.0 != 0
    }

    /// Writes the frames of the layer.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Layer(layer) => layer.encode(out),
            Self::Core(redacted) => frame::write(FrameType::CORE, out, |out| redacted.encode(out)),
        }
    }

    const fn signature(&self) -> Option<&Signature> {
        match self {
            Self::Layer(layer) => layer.signature.as_ref(),
            Self::Core(redacted) => redacted.signature.as_ref(),
        }
    }
}

impl From<Layer> for Link {
    fn from(layer: Layer) -> Self {
        Self::Layer(layer)
    }
}

/// The running head of a chain.
///
/// ```
/// use cmtp_codec::{Chain, Layer, PublicKey, Salt};
/// use cmtp_spec::Step;
///
/// let mut chain = Chain::default();
/// let layer = Layer::new(Step::ADMIT, PublicKey([7; 32]), 1, Salt([0; 16]));
/// assert!(chain.append(&layer).is_err()); // layer 0 is an origin
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    head: Digest,
    length: u32,
    last: Option<Core>,
}

impl Default for Chain {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Chain {
    /// No layer yet.
    pub const EMPTY: Self = Self { head: Digest::ZERO, length: 0, last: None };

    /// The hash of the last layer; zero where there is none.
    pub const fn head(&self) -> Digest {
        self.head
    }

    /// The number of layers.
    pub const fn length(&self) -> u32 {
        self.length
    }

    /// The core of the last layer: what is left of the layer when it is withheld.
    pub const fn core(&self) -> Option<&Core> {
        self.last.as_ref()
    }

    /// Adds a layer that was read, and checks its signature or its core.
    ///
    /// # Errors
    /// [`LinkError`]; the chain is as before.
    pub fn push(&mut self, link: &Link) -> Result<Digest, LinkError> {
        let core = match link {
            Link::Layer(layer) => layer.core(self.length, self.head),
            Link::Core(redacted) => self.check_core(&redacted.core)?,
        };
        let hash = core.hash();
        // [LAY-9] A layer with flag `signed` and no valid signature MUST be treated as invalid.
        if link.is_signed() {
            let signature = link.signature().ok_or(LinkError::Unsigned)?;
            core.actor.verify(uses::LAYER, &hash.0, signature)?;
        }
        Ok(self.advance(core, hash))
    }

    /// Adds a layer that was made here and is not signed.
    ///
    /// # Errors
    /// The rule that a reader would find broken; the chain is as before.
    pub fn append(&mut self, layer: &Layer) -> Result<Digest, DecodeErrorKind> {
        layer.check(self.length)?;
        let core = layer.core(self.length, self.head);
        Ok(self.advance(core, core.hash()))
    }

    /// Signs a layer that was made here, and adds it.
    ///
    /// # Errors
    /// The rule that a reader would find broken; the chain is as before.
    pub fn append_signed(
        &mut self,
        layer: &mut Layer,
        key: &SigningKey,
    ) -> Result<Digest, DecodeErrorKind> {
        layer.flags.0 |= LayerFlags::SIGNED.0;
        let core = layer.core(self.length, self.head);
        let hash = core.hash();
        layer.signature = Some(key.sign(uses::LAYER, &hash.0));
        layer.check(self.length)?;
        Ok(self.advance(core, hash))
    }

    /// F, as the node with `key` seals the chain.
    pub fn seal(&self, key: &PublicKey) -> Digest {
        seal::final_hash(key, self.length, self.head)
    }

    /// The interim seal over the chain so far.
    pub fn interim_seal(&self, key: &PublicKey) -> Digest {
        seal::interim_hash(key, self.length, self.head)
    }

    fn check_core(&self, core: &Core) -> Result<Core, LinkError> {
        // [FRM-11] The number of its place, and the previous layer's hash as `prev`.
        if core.number != self.length || core.prev != self.head {
            return Err(LinkError::ForeignCore);
        }
        core.check()?;
        // [HSH-3] A layer that travels as CORE MUST be hashed as that core.
        Ok(*core)
    }

    fn advance(&mut self, core: Core, hash: Digest) -> Digest {
        self.head = hash;
        self.last = Some(core);
        // A chain is bounded by `layers-max` and `segments-max`, far below 2^32.
        self.length = self.length.saturating_add(1);
        hash
    }
}

/// Why a layer does not continue a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The flag says signed and there is no signature.
    #[error("the layer says that it is signed and carries no signature")]
    Unsigned,
    /// The signature does not hold.
    #[error("the layer's signature: {0}")]
    Signature(#[from] SignatureError),
    /// A redacted layer whose core belongs elsewhere.
    #[error("the core names another number or another previous layer")]
    ForeignCore,
    /// A redacted layer whose core breaks a rule.
    #[error("the core: {0}")]
    Core(#[from] DecodeErrorKind),
}
