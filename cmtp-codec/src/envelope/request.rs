//! A request on the bus: all layers so far, the dispatch layer last.

use bytes::{Bytes, BytesMut};

use cmtp_spec::{BusKind, FieldIndex, Step, uses};

use super::{Envelope, EnvelopeError, Proof};
use crate::chain::Chain;
use crate::error::{DecodeError, DecodeErrorKind as Kind};
use crate::hash::Digest;
use crate::key::PublicKey;
use crate::layer::Layer;
use crate::trust::{Unverified, Verified};

/// What a node gives to a layered service.
///
/// Verified, it comes from who holds the keys: that the sender is the node, that the subject is the one that it came on, and
/// that the deadline has not passed, is the service's to check (`[NAT-7]`).
#[derive(Clone, Debug)]
pub struct BusRequest {
    envelope: Envelope,
    layers: Vec<Layer>,
    /// The hash of each layer.
    heads: Vec<Digest>,
    chain: Chain,
}

impl BusRequest {
    /// The frames of `layers`, as the payload of a request.
    pub fn payload<'a>(layers: impl IntoIterator<Item = &'a Layer>) -> Bytes {
        let mut payload = BytesMut::new();
        layers.into_iter().for_each(|layer| layer.encode(&mut payload));
        payload.freeze()
    }

    /// Reads the layers of a request and hashes them; no tag and no signature is checked yet.
    ///
    /// # Errors
    /// The first thing that breaks `[NAT-11]`, or a rule of the frames and layers.
    pub fn decode(
        envelope: Unverified<Envelope>,
        body_max: u64,
    ) -> Result<Unverified<Self>, DecodeError> {
        let envelope = envelope.into_untrusted();
        if envelope.kind != BusKind::REQUEST {
            return Err(Kind::EnvelopeKind.at(1));
        }
        let layers = envelope.layers(0, body_max)?;
        let at = |kind: Kind| kind.at(envelope.offset() as u64);
        let (mut chain, mut heads) = (Chain::default(), Vec::with_capacity(layers.len()));
        for layer in &layers {
            heads.push(chain.append(layer).map_err(at)?);
        }
        check_layers(&envelope, &layers, &heads).map_err(at)?;
        Ok(Unverified::new(Self { envelope, layers, heads, chain }))
    }

    /// The envelope.
    pub const fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// All layers: origin, admit, perhaps resolve, dispatch.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The caller's layer.
    pub fn origin(&self) -> &Layer {
        // `check_layers` found at least three.
        &self.layers[0]
    }

    /// The layer that names subject and deadline.
    pub fn dispatch(&self) -> &Layer {
        &self.layers[self.layers.len() - 1]
    }

    /// L of the dispatch layer: names this request, and what the answer continues.
    pub const fn head(&self) -> Digest {
        self.chain.head()
    }

    /// The chain so far, to which the answer is appended.
    pub const fn chain(&self) -> Chain {
        self.chain
    }

    /// The subject that the node sent it to.
    pub fn subject(&self) -> &str {
        self.dispatch().text(FieldIndex::SUBJECT).unwrap_or_default()
    }

    /// Time by which the service must answer, microseconds since 1970.
    pub fn deadline(&self) -> u64 {
        self.dispatch().number(FieldIndex::DEADLINE).unwrap_or_default()
    }

    /// The node that the caller meant, by its root key.
    pub fn audience(&self) -> Option<PublicKey> {
        self.origin().key(FieldIndex::AUDIENCE)
    }

    /// What is asked for: the target that a name was resolved to, else the origin's own; without arguments.
    pub fn target(&self) -> &str {
        let resolved = self.layers.iter().rev().find_map(|layer| layer.text(FieldIndex::RESOLVED));
        resolved.or_else(|| self.origin().text(FieldIndex::TARGET)).unwrap_or_default()
    }
}

impl Unverified<BusRequest> {
    /// Checks the tag as `proof` demands, then the signatures of the layers that have one.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn verify(self, proof: Proof<'_>) -> Result<Verified<BusRequest>, EnvelopeError> {
        let request = self.untrusted();
        // The tag first: a MAC costs a stranger's bytes less than a signature does.
        request.envelope.check_tag(request.head(), proof)?;
        for (number, (layer, hash)) in (0..).zip(request.layers.iter().zip(&request.heads)) {
            // [NAT-7] … the origin's signature holds where it has one.
            if let Some(signature) = &layer.signature {
                let checked = layer.actor.verify(uses::LAYER, &hash.0, signature);
                checked.map_err(|error| EnvelopeError::Layer { number, error })?;
            }
        }
        Ok(Verified::new(self.into_untrusted()))
    }
}

fn check_layers(envelope: &Envelope, layers: &[Layer], heads: &[Digest]) -> Result<(), Kind> {
    // [NAT-11] An origin, an admit layer, any number of resolve layers and a dispatch layer, in this order.
    let [_origin, admit, resolves @ .., dispatch] = layers else { return Err(BROKEN) };
    let in_order = admit.step == Step::ADMIT
        && resolves.iter().all(|layer| layer.step == Step::RESOLVE)
        && dispatch.step == Step::DISPATCH;
    // [NAT-11] No status of 400 or more. Every layer but the origin MUST be the sender's.
    let by_sender = |layer: &Layer| layer.actor == envelope.sender && !layer.refuses();
    if !in_order || !layers[1..].iter().all(by_sender) {
        return Err(BROKEN);
    }
    // [NAT-11] The dispatch layer MUST carry `subject`, `deadline`, `head` (the hash of the layer before it) and `bus-auth`.
    let before = heads.iter().rev().nth(1).copied();
    let complete = dispatch.value(FieldIndex::SUBJECT).is_some()
        && dispatch.value(FieldIndex::DEADLINE).is_some()
        && dispatch.digest(FieldIndex::HEAD) == before
        && dispatch.octet(FieldIndex::BUS_AUTH) == Some(envelope.scheme().0);
    if complete { Ok(()) } else { Err(BROKEN) }
}

const BROKEN: Kind = Kind::EnvelopeLayers;
