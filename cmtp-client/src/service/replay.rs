//! Which requests an instance has seen: `[NAT-13]`.

use std::collections::{BTreeMap, HashSet};

use cmtp_codec::Digest;

/// Heads that were seen, each until its deadline.
///
/// A head always has the same deadline, which it covers; so it is looked for among those of one second alone, and the heads of
/// a second are forgotten at once.
#[derive(Debug)]
pub(crate) struct Heads {
    seconds: BTreeMap<u64, HashSet<[u8; 16]>>,
    count: usize,
    max: usize,
}

/// What is known of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is new, and remembered from now on.
    New,
    /// It came before.
    Before,
    /// It is new, and there is no room to remember it.
    NoRoom,
}

impl Heads {
    pub(crate) const fn new(max: usize) -> Self {
        Self { seconds: BTreeMap::new(), count: 0, max }
    }

    /// Remembers `head` until `deadline`; both times are microseconds since 1970.
    pub(crate) fn remember(&mut self, head: Digest, deadline: u64, now: u64) -> Seen {
        self.forget(now);
        // Half of a hash tells two heads apart: nobody can make two that share it.
        let Some(&half) = head.0.first_chunk() else { return Seen::NoRoom };
        let of_second = self.seconds.entry(deadline / SECOND).or_default();
        if of_second.contains(&half) {
            return Seen::Before;
        }
        // [NAT-13] It MUST refuse (503) what it has no room to remember.
        if self.count >= self.max {
            return Seen::NoRoom;
        }
        of_second.insert(half);
        self.count += 1;
        Seen::New
    }

    fn forget(&mut self, now: u64) {
        while let Some(second) = self.seconds.first_entry() {
            if *second.key() >= now / SECOND {
                break;
            }
            self.count -= second.remove().len();
        }
    }
}

const SECOND: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_remembered_until_its_deadline() {
        // [NAT-13]
        let (mut heads, now) = (Heads::new(2), 1_790_000_000_000_000);
        let head = |byte| Digest([byte; 32]);
        let mut remember = |byte, after: u64, at: u64| {
            heads.remember(head(byte), now + after * SECOND, now + at * SECOND)
        };
        assert_eq!(remember(1, 30, 0), Seen::New);
        assert_eq!(remember(1, 30, 30), Seen::Before);
        assert_eq!(remember(2, 40, 30), Seen::New);
        assert_eq!(remember(3, 40, 30), Seen::NoRoom);
        assert_eq!(remember(2, 40, 30), Seen::Before);
        // The first is over: what comes with it is late, and its room is free.
        assert_eq!(remember(3, 40, 31), Seen::New);
        assert_eq!(remember(4, 40, 31), Seen::NoRoom);
    }
}
