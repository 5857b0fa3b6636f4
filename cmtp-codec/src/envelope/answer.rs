//! An answer on the bus: the serve layer of a layered service.

use cmtp_spec::{BusKind, Status, Step};

use super::{Envelope, EnvelopeError, Proof};
use crate::chain::{Chain, Link, LinkError};
use crate::error::{DecodeError, DecodeErrorKind as Kind};
use crate::key::SignatureError;
use crate::layer::Layer;
use crate::trust::{Unverified, Verified};

/// What a layered service answers.
///
/// Verified, it continues its request and comes from the sender; whether the route pins that, and what `[NAT-8]` says of time
/// and size, is the node's to check.
#[derive(Clone, Debug)]
pub struct BusAnswer {
    envelope: Envelope,
    layer: Layer,
}

impl BusAnswer {
    /// Reads the layer of an answer; no tag and no signature is checked yet.
    ///
    /// # Errors
    /// The first thing that breaks `[NAT-12]`, or a rule of the frames and layers.
    pub fn decode(
        envelope: Unverified<Envelope>,
        body_max: u64,
    ) -> Result<Unverified<Self>, DecodeError> {
        let envelope = envelope.into_untrusted();
        if envelope.kind != BusKind::ANSWER {
            return Err(Kind::EnvelopeKind.at(1));
        }
        let broken = Kind::EnvelopeLayers.at(envelope.offset() as u64);
        // Any layer but the first: what is checked by number is the same for all of them.
        let layers = envelope.layers(1, body_max)?;
        // [NAT-12] Exactly one layer: step `serve`, status 200 or more, actor the sender's key, nothing withheld.
        let [layer] = <[Layer; 1]>::try_from(layers).map_err(|_other_count| broken)?;
        let serves = layer.step == Step::SERVE
            && layer.status >= Status::OK
            && layer.actor == envelope.sender;
        if serves { Ok(Unverified::new(Self { envelope, layer })) } else { Err(broken) }
    }

    /// The envelope.
    pub const fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The serve layer.
    pub const fn layer(&self) -> &Layer {
        &self.layer
    }

    /// The serve layer, by itself.
    pub fn into_layer(self) -> Layer {
        self.layer
    }
}

impl Unverified<BusAnswer> {
    /// Checks the tag for the head of `chain`, as `proof` demands, and the layer's signature where it has one.
    ///
    /// Gives the answer and the chain that it is appended to.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn verify(
        self,
        mut chain: Chain,
        proof: Proof<'_>,
    ) -> Result<(Verified<BusAnswer>, Chain), EnvelopeError> {
        let number = chain.length();
        let answer = self.into_untrusted();
        answer.envelope.check_tag(chain.head(), proof)?;
        let link = Link::Layer(answer.layer);
        // [NAT-12] Its hash has the dispatch layer's as `prev`; if it is signed, that is over this hash.
        chain.push(&link).map_err(|error| EnvelopeError::Layer {
            number,
            error: match error {
                LinkError::Signature(error) => error,
                _ => SignatureError::Mismatch,
            },
        })?;
        let Link::Layer(layer) = link else {
            return Err(EnvelopeError::Layer { number, error: SignatureError::Mismatch });
        };
        Ok((Verified::new(BusAnswer { envelope: answer.envelope, layer }), chain))
    }
}
