//! What writes are known: the same bytes are executed once. `cmtp-spec/spec/14-idempotency.md`.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::hmac;
use cmtp_codec::{Digest, PublicKey};
use cmtp_spec::limits;
use tokio::sync::watch;

use crate::node_keys::keyed_hash;

/// A write is known by its caller and its message id.
type Id = (PublicKey, [u8; 16]);

/// The writes of the last id windows.
#[derive(Debug)]
pub(crate) struct Writes {
    known: Mutex<Known>,
    /// Makes the hashes by which erased writes are known.
    secret: hmac::Key,
}

#[derive(Debug, Default)]
struct Known {
    writes: HashMap<Id, Write>,
    per_caller: HashMap<PublicKey, u64>,
    /// Writes that were begun and have no outcome yet, by the index of their intent; while a journal is read only.
    intents: HashMap<u64, Id>,
    /// By the time at which nobody may send the id any more, microseconds since 1970.
    expiries: BTreeSet<(u64, PublicKey, [u8; 16])>,
    /// Writes that were erased: by the hash of caller and id that of these and L_0.
    erased: HashMap<Digest, Digest>,
    erased_expiries: BTreeSet<(u64, Digest)>,
}

#[derive(Clone, Debug)]
struct Write {
    origin: Digest,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Running(watch::Receiver<()>),
    Recorded(Vec<u64>),
    /// It was dispatched, as these entries say, and what came of it could not be recorded.
    Unknown(Vec<u64>),
}

/// What is known of a write that came in.
#[derive(Debug)]
pub(crate) enum Claim {
    /// Nothing: it is to be executed, and the id is taken until the claim is dropped.
    Fresh(Claimed),
    /// The id belongs to other bytes.
    Other,
    /// It is being executed; the receiver wakes when it is not any more.
    Running(watch::Receiver<()>),
    /// Its answer is recorded in these entries.
    Recorded(Vec<u64>),
    /// It was erased.
    Erased,
    /// It was dispatched, as these entries say, and has no outcome: the claim is there to record one.
    Unknown(Claimed, Vec<u64>),
    /// There is no room for another.
    Full,
}

/// An id that is taken. Dropped without more it is free again: `[IDM-5]`.
#[derive(Debug)]
pub(crate) struct Claimed {
    writes: Arc<Writes>,
    id: Id,
    dispatched: Option<Vec<u64>>,
    _running: watch::Sender<()>,
}

impl Writes {
    /// None; erased ones will be known by hashes under `secret`.
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        Self { known: Mutex::default(), secret: hmac::Key::new(hmac::HMAC_SHA256, secret) }
    }

    /// Claims the id of a write whose origin hashes to `origin`.
    pub(crate) fn claim(
        self: &Arc<Self>,
        caller: PublicKey,
        message_id: [u8; 16],
        origin: Digest,
        now: u64,
    ) -> Claim {
        let mut known = self.known();
        known.forget_before(now);
        // [ERA-5] A write that was erased MUST NOT be executed again.
        if !known.erased.is_empty() {
            let (id, bytes) = self.hashes(&caller, &message_id, &origin);
            match known.erased.get(&id) {
                Some(erased) if *erased == bytes => return Claim::Erased,
                Some(_) => return Claim::Other,
                None => {}
            }
        }
        let id = (caller, message_id);
        let (sender, running) = watch::channel(());
        let claimed = |dispatched| {
            let writes = Arc::clone(self);
            Claimed { writes, id, dispatched, _running: sender }
        };
        if let Some(write) = known.writes.get_mut(&id) {
            return match &write.state {
                // [IDM-1] A write with a known id and another L_0 MUST be refused with 422.
                _ if write.origin != origin => Claim::Other,
                State::Running(running) => Claim::Running(running.clone()),
                State::Recorded(pieces) => Claim::Recorded(pieces.clone()),
                State::Unknown(pieces) => {
                    let pieces = pieces.clone();
                    write.state = State::Running(running);
                    Claim::Unknown(claimed(Some(pieces.clone())), pieces)
                }
            };
        }
        // [IDM-4] Records are bounded per caller and in all; no record is dropped early.
        let of_caller = known.per_caller.get(&caller).copied().unwrap_or(0);
        let is_full = (known.writes.len() + known.erased.len()) as u64 >= limits::WRITES_MAX;
        if is_full || of_caller >= limits::CALLER_WRITES_MAX {
            return Claim::Full;
        }
        known.insert(id, Write { origin, state: State::Running(running) });
        Claim::Fresh(claimed(None))
    }

    /// Remembers a write that the journal holds, when it is opened.
    pub(crate) fn restore(
        &self,
        caller: PublicKey,
        message_id: [u8; 16],
        origin: Digest,
        pieces: Vec<u64>,
    ) {
        self.known().insert((caller, message_id), Write { origin, state: State::Recorded(pieces) });
    }

    /// Remembers a write of which the journal holds the intent.
    pub(crate) fn restore_intent(
        &self,
        caller: PublicKey,
        message_id: [u8; 16],
        origin: Digest,
        intent: u64,
    ) {
        let mut known = self.known();
        let state = State::Unknown(vec![intent]);
        known.insert((caller, message_id), Write { origin, state });
        known.intents.insert(intent, (caller, message_id));
    }

    /// What became of a write whose intent was restored: its outcome's entry, or nothing where it had no effect.
    pub(crate) fn restore_outcome(&self, intent: u64, outcome: Option<u64>) {
        let mut known = self.known();
        let Some(id) = known.intents.remove(&intent) else { return };
        match (outcome, known.writes.get_mut(&id)) {
            (Some(outcome), Some(write)) => write.state = State::Recorded(vec![intent, outcome]),
            _ => known.remove(&id),
        }
    }

    /// What is noted of a write that is erased: the hash of its caller and id, and that of these and L_0.
    pub(crate) fn hashes(
        &self,
        caller: &PublicKey,
        message_id: &[u8; 16],
        origin: &Digest,
    ) -> (Digest, Digest) {
        let hash = |parts: &[&[u8]]| keyed_hash(&self.secret, &parts.concat());
        let id = hash(&[&caller.0, message_id]);
        (id, hash(&[&caller.0, message_id, &origin.0]))
    }

    /// From now on an erased write is known by what was noted of it.
    pub(crate) fn erase(&self, message_id: [u8; 16], (id, bytes): (Digest, Digest)) {
        let mut known = self.known();
        known.erased.insert(id, bytes);
        known.erased_expiries.insert((expiry(&message_id), id));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change under the lock leaves the tables in step before anything can fail.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claimed {
    /// The write is about to be given to a service: from here on its id is not free again by itself.
    pub(crate) fn dispatched(&mut self, intent: Vec<u64>) {
        self.dispatched = Some(intent);
    }

    /// The write certainly had no effect: the id is free again.
    pub(crate) fn had_no_effect(mut self) {
        self.dispatched = None;
    }

    /// The answer stands in the journal, in these entries.
    pub(crate) fn recorded(self, pieces: Vec<u64>) {
        if let Some(write) = self.writes.known().writes.get_mut(&self.id) {
            write.state = State::Recorded(pieces);
        }
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        let mut known = self.writes.known();
        match known.writes.get_mut(&self.id) {
            Some(write) if matches!(write.state, State::Running(_)) => {
                if let Some(pieces) = self.dispatched.take() {
                    write.state = State::Unknown(pieces);
                } else {
                    // [IDM-5] A refusal MUST NOT claim an id.
                    known.remove(&self.id);
                }
            }
            _ => {}
        }
    }
}

impl Known {
    fn insert(&mut self, id: Id, write: Write) {
        let (caller, message_id) = id;
        if self.writes.insert(id, write).is_none() {
            *self.per_caller.entry(caller).or_default() += 1;
            self.expiries.insert((expiry(&message_id), caller, message_id));
        }
    }

    fn remove(&mut self, id: &Id) {
        let (caller, message_id) = *id;
        if self.writes.remove(id).is_some() {
            self.expiries.remove(&(expiry(&message_id), caller, message_id));
            if let Some(count) = self.per_caller.get_mut(&caller) {
                *count -= 1;
                if *count == 0 {
                    self.per_caller.remove(&caller);
                }
            }
        }
    }

    /// A write that is being executed is known until it is over, whatever the clock says.
    fn is_running(&self, id: &Id) -> bool {
        self.writes.get(id).is_some_and(|write| matches!(write.state, State::Running(_)))
    }

    fn forget_before(&mut self, now: u64) {
        while let Some((expiry, id)) = self.erased_expiries.first().copied()
            && expiry < now
        {
            self.erased_expiries.pop_first();
            self.erased.remove(&id);
        }
        while let Some(&(expiry, caller, message_id)) = self.expiries.first()
            && expiry < now
            && !self.is_running(&(caller, message_id))
        {
            self.remove(&(caller, message_id));
        }
    }
}

/// The time in a message id, microseconds since 1970.
pub(crate) fn id_time(message_id: &[u8; 16]) -> u64 {
    let mut milliseconds = [0; 8];
    milliseconds[2..].copy_from_slice(&message_id[..6]);
    u64::from_be_bytes(milliseconds).saturating_mul(1000)
}

/// [LOG-19] Seconds until a write may be served, where records of writes were lost that may have had an id of a time up to
/// `until`; all times in microseconds since 1970. A caller's clock may be ahead of the node's or behind it.
pub(crate) fn wait(until: u64, id_time: u64, now: u64) -> Option<u64> {
    let earlier = id_time.min(now);
    (earlier <= until).then(|| (until - earlier).div_ceil(1_000_000).max(1))
}

/// [IDM-3] Records of writes are kept longer than the id window: until the node would refuse the id, and an hour of
/// clock corrections beyond.
pub(crate) fn expiry(message_id: &[u8; 16]) -> u64 {
    id_time(message_id).saturating_add(2 * limits::ID_WINDOW * 1_000_000)
}

#[cfg(test)]
#[expect(clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const CALLER: PublicKey = PublicKey([1; 32]);
    const L0: Digest = Digest([2; 32]);

    /// An id of this time, seconds since 1970.
    fn id(seconds: u64, number: u8) -> [u8; 16] {
        let mut id = [number; 16];
        id[..6].copy_from_slice(&(seconds * 1000).to_be_bytes()[2..]);
        id
    }

    #[test]
    fn an_id_is_claimed_once_and_free_again_after_a_refusal() {
        // [IDM-1] [IDM-5]
        let writes = Arc::new(Writes::new(&[7; 32]));
        let claim = |origin| writes.claim(CALLER, id(10, 1), origin, 0);
        let Claim::Fresh(claimed) = claim(L0) else { panic!("a new id is free") };
        assert!(matches!(claim(L0), Claim::Running(_)));
        assert!(matches!(claim(Digest::ZERO), Claim::Other));
        let other = writes.claim(PublicKey([9; 32]), id(10, 1), L0, 0);
        assert!(matches!(other, Claim::Fresh(_)), "another caller's ids are its own");
        drop(claimed);
        let Claim::Fresh(claimed) = claim(Digest::ZERO) else { panic!("a refusal claims nothing") };
        claimed.recorded(vec![7]);
        assert!(matches!(claim(Digest::ZERO), Claim::Recorded(pieces) if pieces == [7]));
    }

    #[test]
    fn what_may_have_been_lost_is_waited_for() {
        // [LOG-19]
        let wait = |id_time, now| wait(10_000_000, id_time, now);
        assert_eq!(wait(4_000_000, 5_000_000), Some(6), "a clock that is behind by a second");
        assert_eq!(wait(12_000_000, 5_000_001), Some(5), "one that is ahead");
        assert_eq!(wait(10_000_000, 10_000_001), Some(1));
        assert_eq!(wait(9_000_000, 99_000_000), Some(1), "the id decides, however late it is");
        assert_eq!(wait(10_000_001, 10_000_001), None);
    }

    #[test]
    fn what_was_dispatched_is_never_executed_again() {
        // [IDM-2]
        let writes = Arc::new(Writes::new(&[7; 32]));
        let Claim::Fresh(mut claimed) = writes.claim(CALLER, id(10, 1), L0, 0) else {
            panic!("a new id is free")
        };
        claimed.dispatched(vec![3]);
        drop(claimed);
        let Claim::Unknown(again, pieces) = writes.claim(CALLER, id(10, 1), L0, 0) else {
            panic!("a write without outcome is not executed again")
        };
        assert_eq!(pieces, [3]);
        assert!(matches!(writes.claim(CALLER, id(10, 1), L0, 0), Claim::Running(_)));
        drop(again);
        assert!(matches!(writes.claim(CALLER, id(10, 1), L0, 0), Claim::Unknown(..)));
        let Claim::Fresh(mut claimed) = writes.claim(CALLER, id(10, 2), L0, 0) else {
            panic!("a new id is free")
        };
        claimed.dispatched(vec![3]);
        claimed.had_no_effect();
        assert!(matches!(writes.claim(CALLER, id(10, 2), L0, 0), Claim::Fresh(_)));
    }

    #[test]
    fn what_was_erased_is_known_until_its_id_expires_and_executed_never() {
        // [ERA-5]
        let writes = Arc::new(Writes::new(&[7; 32]));
        writes.restore(CALLER, id(10, 1), L0, vec![3]);
        writes.erase(id(10, 1), writes.hashes(&CALLER, &id(10, 1), &L0));
        let claim = |caller, number, origin, now| writes.claim(caller, id(10, number), origin, now);
        assert!(matches!(claim(CALLER, 1, L0, 0), Claim::Erased));
        assert!(matches!(claim(CALLER, 1, Digest::ZERO, 0), Claim::Other));
        assert!(matches!(claim(CALLER, 2, L0, 0), Claim::Fresh(_)));
        assert!(matches!(claim(PublicKey([9; 32]), 1, L0, 0), Claim::Fresh(_)));
        assert!(matches!(claim(CALLER, 1, L0, expiry(&id(10, 1))), Claim::Erased));
        let after = claim(CALLER, 1, L0, expiry(&id(10, 1)) + 1);
        assert!(matches!(after, Claim::Fresh(_)), "nobody is admitted with that id any more");
    }

    #[test]
    fn a_full_table_refuses_and_drops_nothing_early() {
        // [IDM-3] [IDM-4]
        let writes = Arc::new(Writes::new(&[7; 32]));
        for number in 0..limits::CALLER_WRITES_MAX {
            let mut id = id(10, 0);
            id[8..].copy_from_slice(&number.to_be_bytes());
            writes.restore(CALLER, id, L0, vec![number]);
        }
        assert!(matches!(writes.claim(CALLER, id(11, 1), L0, 0), Claim::Full));
        let other = writes.claim(PublicKey([9; 32]), id(11, 1), L0, 0);
        assert!(matches!(other, Claim::Fresh(_)));
        // One microsecond before the records may go, and one after.
        let expiry = expiry(&id(10, 0));
        assert!(matches!(writes.claim(CALLER, id(11, 1), L0, expiry), Claim::Full));
        assert!(matches!(writes.claim(CALLER, id(11, 1), L0, expiry + 1), Claim::Fresh(_)));
    }
}
