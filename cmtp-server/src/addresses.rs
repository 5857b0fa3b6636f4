//! What an address may still cost the node before it has a token: `[SES-4]`, `[QUI-29]`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cmtp_spec::limits;

use crate::gate::share_of;

/// What each address has left. Bounded; an address that has all left is not kept.
#[derive(Debug)]
pub(crate) struct Addresses {
    requests: Mutex<Buckets>,
    consents: Mutex<Buckets>,
    bad_tokens: Mutex<Buckets>,
}

/// Buckets of one kind.
#[derive(Debug)]
struct Buckets {
    /// What a bucket holds.
    burst: u64,
    /// Microseconds in which one comes back.
    refill: u64,
    /// When the bucket of an address will be full again, microseconds since 1970: the fuller the sooner.
    full_at: HashMap<IpAddr, u64>,
}

impl Default for Addresses {
    fn default() -> Self {
        let buckets = |burst, refill| Buckets { burst, refill, full_at: HashMap::new() };
        let second = 1_000_000;
        Self {
            requests: Mutex::new(buckets(limits::SESSION_BURST, second / limits::SESSION_RATE)),
            consents: Mutex::new(buckets(limits::GRANT_BURST, second * limits::GRANT_INTERVAL)),
            bad_tokens: Mutex::new(buckets(
                limits::BAD_TOKENS_BURST,
                second / limits::BAD_TOKENS_RATE,
            )),
        }
    }
}

impl Addresses {
    /// Takes one request of the handshake; `false` where the address has none left.
    pub(crate) fn take_request(&self, address: IpAddr, now: u64) -> bool {
        lock(&self.requests).take(address, now)
    }

    /// Takes one consent.
    pub(crate) fn take_consent(&self, address: IpAddr, now: u64) -> bool {
        lock(&self.consents).take(address, now)
    }

    /// Counts a bad token or proof.
    pub(crate) fn note_bad_token(&self, address: IpAddr, now: u64) {
        lock(&self.bad_tokens).take(address, now);
    }

    /// Whether so many bad tokens of the address may still be verified.
    pub(crate) fn allows_bad_tokens(&self, address: IpAddr, count: u64, now: u64) -> bool {
        lock(&self.bad_tokens).has(address, count, now)
    }
}

impl Buckets {
    fn has(&self, address: IpAddr, count: u64, now: u64) -> bool {
        let Some(full_at) = self.full_at.get(&share_of(address)) else { return true };
        let missing = full_at.saturating_sub(now).saturating_add(count.saturating_mul(self.refill));
        missing <= self.burst.saturating_mul(self.refill)
    }

    fn take(&mut self, address: IpAddr, now: u64) -> bool {
        let address = share_of(address);
        let is_new = !self.full_at.contains_key(&address);
        if is_new && self.full_at.len() as u64 >= limits::SESSION_ADDRESSES_MAX {
            self.full_at.retain(|_, full_at| *full_at > now);
            if self.full_at.len() as u64 >= limits::SESSION_ADDRESSES_MAX {
                return false;
            }
        }
        let full_at = self.full_at.entry(address).or_insert(now);
        let after = (*full_at).max(now).saturating_add(self.refill);
        if after - now > self.burst.saturating_mul(self.refill) {
            return false;
        }
        *full_at = after;
        true
    }
}

fn lock(buckets: &Mutex<Buckets>) -> MutexGuard<'_, Buckets> {
    // Every change under the lock is a single step, so a poisoned table is a sound one.
    buckets.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_burst_and_gets_it_back() {
        // [SES-4] [QUI-29]
        let mut buckets = Buckets { burst: 3, refill: 10, full_at: HashMap::new() };
        let (here, there) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let taken = |buckets: &mut Buckets, now| (0..5).filter(|_| buckets.take(here, now)).count();
        assert_eq!(taken(&mut buckets, 1_000), 3);
        assert_eq!(taken(&mut buckets, 1_009), 0);
        assert!(buckets.has(here, 2, 1_020) && !buckets.has(here, 3, 1_020));
        assert_eq!(taken(&mut buckets, 1_020), 2);
        assert!(buckets.has(there, 3, 1_020));
        assert!(buckets.take(there, 1_020));
        assert_eq!(taken(&mut buckets, 9_000), 3);
        // Of IPv6 the first 64 bits count.
        let neighbours = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4"];
        let taken = neighbours.iter().filter(|it| buckets.take(it.parse().unwrap(), 9_000));
        assert_eq!(taken.count(), 3);
    }
}
