//! What is hung up is refused on every connection, and what it let go on ends, within a second; and so it stays.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use cmtp_codec::session::Issued;
use cmtp_codec::{Auth, Digest, Field, Frame, Layer, SigningKey};
use cmtp_spec::{EntryType, FieldIndex, LayerFlags, Status, limits};
use cmtp_tests::Node;
use cmtp_tests::notes::notes;
use cmtp_tests::session::{Persona, fresh_address};
use cmtp_tests::wire::{Ending, Wire, root_seed, salt, signed};
use quinn::RecvStream;

/// Who hangs up, and what is named.
#[derive(Clone, Copy, Debug)]
enum By {
    Jti,
    Did,
    Operator,
}

#[tokio::test]
async fn what_is_hung_up_ends_within_a_second() {
    // [SES-17] [SES-15]
    let node = Node::start("");
    let operator = SigningKey::from_seed(&root_seed(&node)).unwrap();
    let operators = node.grant(&node.did, &["--write", "0xI:erase"]);
    for by in [By::Jti, By::Did, By::Operator] {
        let (mut refused, mut cut) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let key = key(round);
            let held = Held::new(&node, &key).await;
            let hangs_up = async {
                let named = match by {
                    By::Jti | By::Operator => held.issued.grant.to_string(),
                    By::Did => key.public().to_string(),
                };
                let named = format!("[\"{named}\"]");
                let (wire, by, token) = match by {
                    By::Operator => (&held.operator, &operator, &operators),
                    By::Jti | By::Did => (&held.wire, &key, &held.issued.token),
                };
                let persona = Persona { wire, key: by };
                let answer = persona.hang_up(token, Some(&named)).await.answer();
                assert_eq!(answer.status(), Status::OK, "{:?}", answer.last());
                let answered = Instant::now();
                // Whoever had the token in use elsewhere is refused at its next request.
                while held.status().await == Status::OK {}
                (answered, Instant::now())
            };
            let stream = held.stream().await;
            let ((answered, first), ended) = tokio::join!(hangs_up, stream.ends(&held));
            assert_eq!(held.status().await, Status::TOKEN_INVALID);
            refused.push(first.saturating_duration_since(answered));
            cut.push(ended.saturating_duration_since(answered));
        }
        report(by, "the first refusal elsewhere", refused);
        report(by, "the end of a stream", cut);
    }
}

#[tokio::test]
async fn what_was_hung_up_stays_so_after_kill_9() {
    // [SES-17] [SES-12]
    let mut node = Node::start("");
    for round in 0..KILLS {
        let key = key(round);
        let wire = Wire::connect_from(fresh_address(), &node).await;
        let persona = Persona { wire: &wire, key: &key };
        let (issued, other) = (persona.session().await, persona.session().await);
        let answer = persona.hang_up(&issued.token, None).await.answer();
        node.kill();
        assert_eq!(answer.status(), Status::OK);
        node.restart();
        let wire = Wire::connect_from(fresh_address(), &node).await;
        let persona = Persona { wire: &wire, key: &key };
        assert_eq!(echo(&wire, &issued.token, &key).await, Some(Status::TOKEN_INVALID));
        let renewed = persona.send(&persona.renew(issued.grant)).await.answer();
        assert_eq!(renewed.status(), Status::TOKEN_INVALID);
        // And what was not hung up stays, too.
        assert_eq!(echo(&wire, &other.token, &key).await, Some(Status::OK));
        let renewed = persona.send(&persona.renew(other.grant)).await.answer();
        assert_eq!(renewed.status(), Status::OK);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_that_was_not_answered_is_as_the_journal_says() {
    // [SES-17] Durable before it is answered: what was answered stands, and what was not stands or falls whole.
    let mut node = Node::start("");
    let (mut answered, mut durable) = (0, 0);
    for round in 0..KILLS {
        let key = key(round);
        let wire = Wire::connect_from(fresh_address(), &node).await;
        let issued = Persona { wire: &wire, key: &key }.session().await;
        let token = issued.token.clone();
        let hangs_up = tokio::spawn(async move {
            let persona = Persona { wire: &wire, key: &key };
            match persona.hang_up(&token, None).await {
                Ending::Answer(answer) => answer.status() == Status::OK,
                _ => false,
            }
        });
        // The kill comes at another moment each time, from before the request to after the answer.
        std::thread::sleep(Duration::from_micros(700 * u64::from(round)));
        node.kill();
        // What was on its way to this side has come; the rest never will.
        let was_answered = tokio::time::timeout(GONE, hangs_up).await.is_ok_and(|it| it.unwrap());
        node.restart();
        let line = format!("grant {}\n", issued.grant);
        let is_noted = notes(&node, EntryType::REVOKED).contains(&line);
        let key = self::key(round);
        let wire = Wire::connect_from(fresh_address(), &node).await;
        let status = echo(&wire, &issued.token, &key).await;
        let is_refused = status == Some(Status::TOKEN_INVALID);
        assert_eq!(is_refused, is_noted, "round {round}: {status:?}");
        assert!(is_refused || !was_answered, "round {round}: answered, and forgotten");
        answered += u32::from(was_answered);
        durable += u32::from(is_noted);
    }
    println!("{KILLS} kills around a hangup: {answered} were answered, {durable} were durable");
}

/// A session that is in use on three connections: its own, one that calls, and one with a live stream.
struct Held<'a> {
    key: &'a SigningKey,
    issued: Issued,
    wire: Wire,
    calling: Wire,
    streaming: Wire,
    operator: Wire,
}

impl<'a> Held<'a> {
    async fn new(node: &Node, key: &'a SigningKey) -> Self {
        let connect = || Wire::connect_from(fresh_address(), node);
        let wire = connect().await;
        let issued = Persona { wire: &wire, key }.session().await;
        let (calling, streaming, operator) = (connect().await, connect().await, connect().await);
        assert_eq!(echo(&calling, &issued.token, key).await, Some(Status::OK));
        Self { key, issued, wire, calling, streaming, operator }
    }

    /// What a call by the token's digest alone is answered, on a connection that knows it.
    async fn status(&self) -> Status {
        let known = Frame::Auth(Auth::Known(Digest::of(self.issued.token.as_bytes())));
        let origin = self.calling.origin(self.key, "0xS:echo");
        self.calling.exchange(&[known], &origin).await.answer().status()
    }

    /// A stream of a line every 10 ms, of which something came already.
    async fn stream(&self) -> Stream {
        let wire = &self.streaming;
        let args = Field::bytes(FieldIndex::ARGS, "[1000000, 10]");
        let origin = wire.origin(self.key, "0xS:time:ticks").with_private(salt(), args);
        let origin = signed(origin, self.key);
        let mut bytes = BytesMut::new();
        wire.auth(&self.issued.token, self.key).encode(&mut bytes);
        origin.encode(&mut bytes);
        let (mut send, mut recv) = wire.open().await;
        send.write_all(&bytes).await.unwrap();
        send.finish().unwrap();
        let begun = recv.read_chunk(1, true).await.unwrap().unwrap().bytes;
        Stream { origin, begun, recv }
    }
}

struct Stream {
    origin: Layer,
    begun: Bytes,
    recv: RecvStream,
}

impl Stream {
    /// When it ends, which is by being cut.
    async fn ends(self, held: &Held<'_>) -> Instant {
        let Self { origin, begun, recv } = self;
        let answer = held.streaming.read_answer_from(begun, recv, &origin).await.answer();
        let ended = Instant::now();
        assert_eq!(answer.status(), Status::OK);
        assert!(answer.last().has(LayerFlags::CUT), "{:?}", answer.last());
        ended
    }
}

async fn echo(wire: &Wire, token: &str, key: &SigningKey) -> Option<Status> {
    let origin = wire.origin(key, "0xS:echo");
    match wire.exchange(&[wire.auth(token, key)], &origin).await {
        Ending::Answer(answer) => Some(answer.status()),
        _ => None,
    }
}

/// Prints how long it took, and holds it against the rule.
fn report(by: By, what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let (middle, most) = (took[took.len() / 2], took[took.len() - 1]);
    println!(
        "hung up by {by:?}: {what} after {:.1} ms in the middle, {:.1} ms at most, of {}",
        middle.as_secs_f64() * 1_000.0,
        most.as_secs_f64() * 1_000.0,
        took.len()
    );
    // [SES-17] `revocation-max` is a rule of the protocol, and no benchmark.
    assert!(most <= Duration::from_millis(limits::REVOCATION_MAX), "{by:?}: {what}: {most:?}");
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

const ROUNDS: u8 = 20;
const KILLS: u8 = 10;
/// Longer than what came from a node that is gone takes to be read.
const GONE: Duration = Duration::from_secs(2);
