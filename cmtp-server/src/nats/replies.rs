//! Who waits for which reply.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::{Message, Subject};
use cmtp_spec::limits;
use tokio::sync::oneshot;

use crate::metrics::BusMetrics;

/// The replies that this node waits for, each in a slot of its own.
///
/// One subscription receives them all. A slot is used again, under another generation, only after all others were: so
/// what comes too late, or twice, is known for what it is for as long as that takes, and reaches nobody.
#[derive(Debug)]
pub(super) struct Replies {
    /// The subjects that replies come to begin so; with the dot.
    prefix: String,
    slots: Mutex<Slots>,
    metrics: BusMetrics,
}

#[derive(Debug)]
struct Slots {
    all: Box<[Slot]>,
    /// The longest free comes first.
    free: VecDeque<u32>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting(oneshot::Sender<Message>),
    Answered,
    /// Nobody waits any more, and no reply came.
    Abandoned,
}

/// A slot and the use of it that is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token {
    slot: u32,
    generation: u32,
}

impl Replies {
    /// No reply is waited for. `prefix` is what this node's inbox is called; nobody else must use it.
    pub(super) fn new(prefix: &str, metrics: BusMetrics) -> Self {
        let slot = |_| Slot { generation: 0, state: State::Abandoned };
        Self {
            prefix: format!("{prefix}."),
            slots: Mutex::new(Slots {
                all: (0..SLOTS).map(slot).collect(),
                free: (0..SLOTS).collect(),
            }),
            metrics,
        }
    }

    /// What to subscribe to.
    pub(super) fn subject(&self) -> String {
        format!("{}*", self.prefix)
    }

    /// Waits for one more reply; `None` where `in-flight-max` are waited for.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Waiting> {
        let (sender, reply) = oneshot::channel();
        let mut slots = self.slots();
        let slot = slots.free.pop_front()?;
        let free = slots.all.get_mut(slot as usize)?;
        free.generation = free.generation.wrapping_add(1);
        free.state = State::Waiting(sender);
        let token = Token { slot, generation: free.generation };
        drop(slots);
        Some(Waiting { replies: Arc::clone(self), token, reply })
    }

    /// [NAT-17] Gives a reply to who waits for it; what is late or double is dropped, and counted.
    pub(super) fn deliver(&self, message: Message) {
        let token = message.subject.strip_prefix(self.prefix.as_str()).and_then(Token::parse);
        let mut slots = self.slots();
        let slot = token.and_then(|token| {
            let slot = slots.all.get_mut(token.slot as usize)?;
            (slot.generation == token.generation).then_some(slot)
        });
        let Some(slot) = slot else {
            self.metrics.late.inc();
            return;
        };
        match std::mem::replace(&mut slot.state, State::Answered) {
            State::Waiting(sender) => {
                drop(slots);
                if sender.send(message).is_err() {
                    self.metrics.late.inc();
                }
            }
            State::Answered => {
                self.metrics.double.inc();
            }
            State::Abandoned => {
                slot.state = State::Abandoned;
                self.metrics.late.inc();
            }
        }
    }

    /// Ends every wait: the bus was lost, and replies with it.
    pub(super) fn lose(&self) {
        let mut slots = self.slots();
        for slot in &mut slots.all {
            if matches!(slot.state, State::Waiting(_)) {
                slot.state = State::Abandoned;
            }
        }
    }

    fn end(&self, token: Token) {
        let mut slots = self.slots();
        if let Some(slot) = slots.all.get_mut(token.slot as usize) {
            if matches!(slot.state, State::Waiting(_)) {
                slot.state = State::Abandoned;
            }
            slots.free.push_back(token.slot);
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reply that is waited for. Dropping it gives the slot back.
#[derive(Debug)]
pub(super) struct Waiting {
    replies: Arc<Replies>,
    token: Token,
    /// Ends without a reply where the bus was lost.
    pub(super) reply: oneshot::Receiver<Message>,
}

impl Waiting {
    /// Where the reply has to go.
    pub(super) fn subject(&self) -> Subject {
        let prefix = &self.replies.prefix;
        let mut subject = String::with_capacity(prefix.len() + Token::LENGTH);
        subject.push_str(prefix);
        self.token.push_to(&mut subject);
        subject.into()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.replies.end(self.token);
    }
}

impl Token {
    /// Hexadecimal digits of both numbers.
    const LENGTH: usize = 16;

    fn push_to(self, text: &mut String) {
        let value = u64::from(self.slot) << 32 | u64::from(self.generation);
        let digit = |shift: u32| DIGITS[(value >> shift) as usize & 0xf] as char;
        text.extend((0..64).step_by(4).rev().map(digit));
    }

    fn parse(text: &str) -> Option<Self> {
        if text.len() != Self::LENGTH {
            return None;
        }
        let value = u64::from_str_radix(text, 16).ok()?;
        Some(Self { slot: (value >> 32) as u32, generation: value as u32 })
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// As many as there are requests at a time.
const SLOTS: u32 = limits::IN_FLIGHT_MAX as u32;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn reply_to(subject: &Subject) -> Message {
        Message {
            subject: subject.clone(),
            reply: None,
            payload: bytes::Bytes::new(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        }
    }

    fn counts(replies: &Replies) -> (u64, u64) {
        (replies.metrics.late.get(), replies.metrics.double.get())
    }

    #[test]
    fn a_reply_reaches_who_waits_and_nobody_else() {
        let replies = Arc::new(Replies::new("_INBOX_x", BusMetrics::default()));
        let mut first = replies.begin().unwrap();
        let mut second = replies.begin().unwrap();
        assert!(first.subject().starts_with("_INBOX_x."));
        assert_ne!(first.subject(), second.subject());
        replies.deliver(reply_to(&second.subject()));
        assert!(first.reply.try_recv().is_err());
        assert_eq!(second.reply.try_recv().unwrap().subject, second.subject());
        assert_eq!(counts(&replies), (0, 0));
        // [NAT-17] Double while the slot is held and when it was given back.
        let subject = second.subject();
        replies.deliver(reply_to(&subject));
        drop(second);
        replies.deliver(reply_to(&subject));
        assert_eq!(counts(&replies), (0, 2));
        // Late.
        let subject = first.subject();
        drop(first);
        replies.deliver(reply_to(&subject));
        replies.deliver(reply_to(&"_INBOX_x.zz".into()));
        assert_eq!(counts(&replies), (2, 2));
    }

    #[test]
    fn a_slot_is_used_again_under_another_name() {
        let replies = Arc::new(Replies::new("_INBOX_x", BusMetrics::default()));
        let old = replies.begin().unwrap().subject();
        let mut all: Vec<_> = (0..SLOTS).map(|_| replies.begin().unwrap()).collect();
        assert!(replies.begin().is_none(), "there is no room for another");
        replies.deliver(reply_to(&old));
        assert_eq!(counts(&replies), (1, 0));
        assert!(all.iter_mut().all(|waiting| waiting.reply.try_recv().is_err()));
        all.pop();
        assert!(replies.begin().is_some());
    }

    #[test]
    fn a_lost_bus_ends_every_wait() {
        let replies = Arc::new(Replies::new("_INBOX_x", BusMetrics::default()));
        let mut waiting = replies.begin().unwrap();
        replies.lose();
        let ended = waiting.reply.try_recv();
        assert_eq!(ended.unwrap_err(), oneshot::error::TryRecvError::Closed);
        replies.deliver(reply_to(&waiting.subject()));
        assert_eq!(counts(&replies), (1, 0));
    }
}
