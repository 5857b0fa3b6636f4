//! Who may begin a connection: `cmtp-spec/spec/15-limits.md`.
//!
//! Nothing here is told apart by what a peer claims: an address that was not validated may be anybody's, so that only a
//! few such handshakes run at a time, and the others are asked to prove their address (QUIC Retry), which costs nothing.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quinn::{Connecting, Incoming};

use crate::limits::Limits;
use crate::node::{self, Node};
use crate::refusals::Reason;

/// Counts a node's connections and handshakes.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: Limits,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: u64,
    handshakes: u64,
    unvalidated: u64,
    by_address: HashMap<IpAddr, u64>,
}

/// A connection's place; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    gate: Arc<Gate>,
    address: IpAddr,
    handshake: Option<Handshake>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Handshake {
    is_validated: bool,
}

/// What becomes of a connection that wants to begin.
#[derive(Debug)]
enum Judgement {
    Enter(Place),
    Retry,
    Refuse,
}

impl Gate {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, counts: Mutex::default() }
    }

    /// Lets a connection begin, or sends it away.
    pub(crate) fn let_in(
        self: &Arc<Self>,
        incoming: Incoming,
        node: &Node,
    ) -> Option<(Place, Connecting)> {
        let address = incoming.remote_address().ip();
        // [QUI-29] And MUST refuse new connections from there until `bad-tokens-max` may be verified again.
        if !node.addresses.allows_bad_tokens(address, self.limits.bad_tokens_max, node::now()) {
            incoming.refuse();
            node.refusals.count(Reason::BadAddress);
            return None;
        }
        let reason = match self.judge(address, incoming.remote_address_validated()) {
            Judgement::Enter(place) => match incoming.accept() {
                Ok(connecting) => return Some((place, connecting)),
                Err(error) => {
                    tracing::debug!(%error, "not a handshake");
                    Reason::Handshake
                }
            },
            Judgement::Retry => {
                // It fails for a validated address only, and then drops the attempt, which refuses it.
                let _validated = incoming.retry();
                Reason::AddressNotValidated
            }
            Judgement::Refuse => {
                incoming.refuse();
                Reason::NoPlace
            }
        };
        node.refusals.count(reason);
        None
    }

    fn judge(self: &Arc<Self>, address: IpAddr, is_validated: bool) -> Judgement {
        let address = share_of(address);
        let mut counts = self.counts();
        let from_address = counts.by_address.get(&address).copied().unwrap_or_default();
        // [LIM-6] Not more connections, in all and from one address, nor handshakes, than their limits.
        if counts.connections >= self.limits.connections_max
            || counts.handshakes >= self.limits.handshakes_max
            || from_address >= self.limits.connections_per_address_max
        {
            return Judgement::Refuse;
        }
        // [LIM-7] With `handshakes-retry` unvalidated ones in progress, further ones are answered with Retry.
        if !is_validated && counts.unvalidated >= self.limits.handshakes_retry {
            return Judgement::Retry;
        }
        counts.connections += 1;
        counts.handshakes += 1;
        counts.unvalidated += u64::from(!is_validated);
        *counts.by_address.entry(address).or_default() += 1;
        drop(counts);
        let handshake = Some(Handshake { is_validated });
        Judgement::Enter(Place { gate: Arc::clone(self), address, handshake })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Counts are changed together and without a panic between, so poisoned ones are sound.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// To be called when the handshake is over.
    pub(crate) fn end_handshake(&mut self) {
        if let Some(Handshake { is_validated }) = self.handshake.take() {
            let mut counts = self.gate.counts();
            counts.handshakes = counts.handshakes.saturating_sub(1);
            counts.unvalidated = counts.unvalidated.saturating_sub(u64::from(!is_validated));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.end_handshake();
        let mut counts = self.gate.counts();
        counts.connections = counts.connections.saturating_sub(1);
        if let Some(count) = counts.by_address.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

/// What counts as one address: of IPv6 the first 64 bits, which is what one subscriber is given.
pub(crate) fn share_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        v4 => v4,
    }
}

#[cfg(test)]
#[expect(clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn gate(limits: Limits) -> Arc<Gate> {
        Arc::new(Gate::new(limits))
    }

    fn enter(gate: &Arc<Gate>, address: &str, is_validated: bool) -> Place {
        match gate.judge(ip(address), is_validated) {
            Judgement::Enter(place) => place,
            other => panic!("{other:?}"),
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED))
    }

    #[test]
    fn places_are_counted_by_address_and_given_back() {
        let limits =
            Limits { connections_max: 3, connections_per_address_max: 2, ..Limits::default() };
        let gate = gate(limits);
        // [LIM-6] Of IPv6 the first 64 bits count; an IPv4 address is the same in both notations.
        let first = enter(&gate, "2001:db8::1", true);
        let _second = enter(&gate, "2001:db8::ffff:1", true);
        assert!(matches!(gate.judge(ip("2001:db8::2"), true), Judgement::Refuse));
        let _third = enter(&gate, "::ffff:192.0.2.1", true);
        assert!(matches!(gate.judge(ip("192.0.2.2"), true), Judgement::Refuse));
        drop(first);
        let _fourth = enter(&gate, "192.0.2.1", true);
        assert!(matches!(gate.judge(ip("192.0.2.1"), true), Judgement::Refuse));
    }

    #[test]
    fn unvalidated_handshakes_are_asked_to_come_again() {
        let limits = Limits { handshakes_retry: 1, handshakes_max: 2, ..Limits::default() };
        let gate = gate(limits);
        let mut first = enter(&gate, "192.0.2.1", false);
        // [LIM-7]
        assert!(matches!(gate.judge(ip("192.0.2.2"), false), Judgement::Retry));
        let _second = enter(&gate, "192.0.2.2", true);
        // [LIM-6]
        assert!(matches!(gate.judge(ip("192.0.2.3"), true), Judgement::Refuse));
        first.end_handshake();
        let _third = enter(&gate, "192.0.2.3", false);
        drop(first);
        assert_eq!(gate.counts().connections, 2);
    }
}
