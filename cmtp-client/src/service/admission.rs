//! Which requests a service acts on: `[NAT-7]` and `[NAT-9]`.

use bytes::Bytes;
use cmtp_codec::{BusRequest, Envelope, Proof, PublicKey, Unverified, Verified};
use cmtp_spec::{BusAuth, KeyUse, limits};

use super::keyring::RouteKeys;
use super::rejection::Rejection;

/// What a service is told about the nodes that it serves.
#[derive(Debug)]
pub(crate) struct Admission {
    /// Their root keys.
    pub(crate) nodes: Vec<PublicKey>,
    /// The operator asked for scheme `none`.
    pub(crate) insecure: bool,
    pub(crate) body_max: u64,
}

/// A request that can be read, and what is needed to verify it.
#[derive(Debug)]
pub(crate) struct Readable {
    pub(crate) request: Unverified<BusRequest>,
    pub(crate) node: PublicKey,
    pub(crate) scheme: BusAuth,
}

impl Admission {
    /// Reads what came, and looks whether it can be for this service at all.
    pub(crate) fn read(&self, payload: Bytes) -> Result<Readable, Rejection> {
        let decoded = Envelope::decode(payload, self.body_max)
            .and_then(|envelope| BusRequest::decode(envelope, self.body_max));
        let Ok(request) = decoded else { return Err(Rejection::Malformed) };
        // [NAT-7] … unless the audience of its origin is a node that it serves, …
        let audience = request.untrusted().audience();
        let node = audience.filter(|node| self.nodes.contains(node)).ok_or(Rejection::OtherNode)?;
        let scheme = request.untrusted().envelope().scheme();
        // [NAT-9] Scheme `none` MUST be refused unless the operator asked for it.
        if scheme == BusAuth::NONE && !self.insecure {
            return Err(Rejection::NotAuthenticated);
        }
        Ok(Readable { request, node, scheme })
    }
}

impl Readable {
    /// Verifies the request, which came on `subject` at `now`; `keys` are those that its key id names.
    pub(crate) fn verify(
        self,
        keys: Option<&RouteKeys>,
        subject: &str,
        now: u64,
    ) -> Result<Verified<BusRequest>, Rejection> {
        let request = self.request.untrusted();
        // [NAT-7] … the dispatch layer's time is at most `clock-skew-max` from its clock, …
        if now.abs_diff(request.dispatch().time) > CLOCK_SKEW_MAX {
            return Err(Rejection::Clock);
        }
        let proof = match (self.scheme, keys) {
            (BusAuth::NONE, _) => Proof::NoneWanted,
            (_, None) => return Err(Rejection::NoKeys),
            (scheme, Some(keys)) => {
                // [NAT-7] … the sender is a layer key by that node's key list at that time, …
                let sender = request.envelope().sender;
                if !keys.list.allows(KeyUse::LAYER, &sender, request.dispatch().time) {
                    return Err(Rejection::OtherSender);
                }
                if scheme == BusAuth::MAC {
                    Proof::Mac(&keys.request_key)
                } else {
                    Proof::Signature
                }
            }
        };
        // [NAT-7] … the tag is right, the origin's signature holds where it has one, …
        let Ok(request) = self.request.verify(proof) else { return Err(Rejection::BadTag) };
        // [NAT-7] … `subject` is the subject that the request came on, and `deadline` has not passed.
        if request.subject() != subject {
            return Err(Rejection::OtherSubject);
        }
        if request.deadline() <= now {
            return Err(Rejection::Late);
        }
        Ok(request)
    }
}

/// Microseconds.
const CLOCK_SKEW_MAX: u64 = limits::CLOCK_SKEW_MAX * 1_000_000;
