//! Withholding parts of a message without breaking its chain: `cmtp-spec/spec/12-stored.md`.

use crate::chain::Link;
use crate::core::RedactedLayer;
use crate::field::Private;
use crate::hash;
use crate::layer::Body;
use crate::message::{Message, Replay};
use crate::trust::{Unverified, Verified};

/// A part that can be withheld.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Withheld {
    /// The private field at this place (from 0) of this layer.
    Field {
        /// The layer's number.
        layer: usize,
        /// The place among its private fields.
        field: usize,
    },
    /// The body of this layer.
    Body(usize),
    /// The whole of this layer but its core.
    Layer(usize),
}

impl Verified<Replay> {
    /// The message without `parts`; what is not there, or withheld already, stays as it is.
    ///
    /// `[STO-8]` No layer hash changes.
    pub fn withhold(&self, parts: &[Withheld]) -> Unverified<Message> {
        let mut message = self.message.clone();
        for &part in parts {
            match part {
                Withheld::Field { layer, field } => {
                    let private = message.links.get_mut(layer).and_then(layer_mut);
                    if let Some(field) = private.and_then(|layer| layer.private.get_mut(field)) {
                        *field = Private::Withheld(field.leaf());
                    }
                }
                Withheld::Body(number) => {
                    let layer = message.links.get_mut(number).and_then(layer_mut);
                    if let Some(layer) = layer
                        && let Body::Present { salt, data } = &layer.body
                    {
                        layer.body = Body::Withheld(hash::body(salt, data));
                    }
                }
                Withheld::Layer(number) => self.withhold_layer(&mut message, number),
            }
        }
        Unverified::new(message)
    }

    fn withhold_layer(&self, message: &mut Message, number: usize) {
        let prev = match number.checked_sub(1) {
            Some(before) => self.heads.get(before).copied(),
            None => Some(hash::Digest::ZERO),
        };
        let (Some(prev), Some(link), Ok(place)) =
            (prev, message.links.get_mut(number), u32::try_from(number))
        else {
            return;
        };
        if let Link::Layer(layer) = link {
            let core = layer.core(place, prev);
            *link = Link::Core(RedactedLayer { core, signature: layer.signature });
        }
    }
}

const fn layer_mut(link: &mut Link) -> Option<&mut crate::layer::Layer> {
    match link {
        Link::Layer(layer) => Some(layer),
        Link::Core(_) => None,
    }
}
