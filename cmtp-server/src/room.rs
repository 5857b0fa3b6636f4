//! Room that requests share: places and memory, each bounded. `cmtp-spec/spec/15-limits.md`.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::limits::Limits;

/// What all requests of a node share.
#[derive(Debug)]
pub(crate) struct Room {
    in_flight: Semaphore,
    bodies: Memory,
    answers: Memory,
}

/// What one request holds of it, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share<'a> {
    room: &'a Room,
    pub(crate) body: Hold<'a>,
    /// Apart from the request's, so that nobody waits for one and holds the other.
    pub(crate) answer: Hold<'a>,
    place: Option<SemaphorePermit<'a>>,
}

/// A bounded number of bytes that several streams share.
#[derive(Debug)]
pub(crate) struct Memory {
    free: Semaphore,
    total: usize,
}

/// What one stream holds of it, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Hold<'a> {
    memory: &'a Memory,
    permit: Option<SemaphorePermit<'a>>,
}

impl Room {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            in_flight: Semaphore::new(count(limits.in_flight_max)),
            bodies: Memory::new(limits.body_memory_max),
            answers: Memory::new(limits.answer_memory_max),
        }
    }

    /// Nothing yet, for a request that begins.
    pub(crate) const fn share(&self) -> Share<'_> {
        Share { room: self, body: self.bodies.hold(), answer: self.answers.hold(), place: None }
    }
}

impl Share<'_> {
    /// Takes a place among the requests in flight; `false` where there is none.
    pub(crate) fn take_place(&mut self) -> bool {
        // The semaphore is never closed, so there is one reason only to get no permit.
        self.place = self.room.in_flight.try_acquire().ok();
        self.place.is_some()
    }
}

impl Memory {
    pub(crate) fn new(total: u64) -> Self {
        let total = count(total);
        Self { free: Semaphore::new(total), total }
    }

    /// Nothing yet.
    pub(crate) const fn hold(&self) -> Hold<'_> {
        Hold { memory: self, permit: None }
    }
}

impl Hold<'_> {
    /// Takes room for so many bytes in all, and waits until there is some.
    ///
    /// One stream never waits for more than there is in all: a body is refused before it comes to that.
    pub(crate) async fn reserve(&mut self, bytes: usize) {
        let held = self.permit.as_ref().map_or(0, SemaphorePermit::num_permits);
        let wanted = bytes.min(self.memory.total).saturating_sub(held);
        if wanted == 0 {
            return;
        }
        let Ok(wanted) = u32::try_from(wanted) else { return };
        // The semaphore is never closed.
        let Ok(more) = self.memory.free.acquire_many(wanted).await else { return };
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
    }

    /// Gives all of it back.
    pub(crate) fn clear(&mut self) {
        self.permit = None;
    }
}

/// A limit as a number of permits. The registry's are far below what a semaphore takes, 2^61.
fn count(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn bytes_are_waited_for_and_given_back() {
        let memory = Memory::new(100);
        let (mut first, mut second) = (memory.hold(), memory.hold());
        assert!(first.reserve(80).now_or_never().is_some());
        assert!(second.reserve(30).now_or_never().is_none());
        assert!(second.reserve(20).now_or_never().is_some());
        first.clear();
        // So many in all, not so many more; and what it holds already is enough for fewer.
        assert!(second.reserve(50).now_or_never().is_some());
        assert!(second.reserve(10).now_or_never().is_some());
        assert!(first.reserve(50).now_or_never().is_some());
        drop(first);
        // More than there is in all is not waited for.
        assert!(second.reserve(1000).now_or_never().is_some());
    }

    #[test]
    fn places_are_counted() {
        let limits = Limits { in_flight_max: 1, ..Limits::default() };
        let room = Room::new(&limits);
        let (mut first, mut second) = (room.share(), room.share());
        assert!(first.take_place());
        assert!(!second.take_place());
        drop(first);
        assert!(second.take_place());
    }
}
