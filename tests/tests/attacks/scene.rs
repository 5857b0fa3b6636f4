//! A node, somebody with a session there, and the list of what was tried on them.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use cmtp_codec::session::Issued;
use cmtp_codec::{Link, SigningKey};
use cmtp_spec::{CloseCode, FieldIndex, Remedy, Status, remedies};
use cmtp_tests::Node;
use cmtp_tests::load::entries;
use cmtp_tests::notes::refusals;
use cmtp_tests::session::{Persona, fresh_address};
use cmtp_tests::wire::{Answer, Ending, Wire, salt};
use futures::FutureExt;
use tokio::time::timeout;

/// What must become of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Refused with this status before a token was accepted, and counted under this reason.
    Counted(Status, &'static str),
    /// Refused with this status after a token was accepted: an entry of its own.
    Logged(Status),
    /// The stream is reset.
    Reset(CloseCode),
    /// The connection is closed, and so many refusals were counted under this reason.
    Closed(CloseCode, u64, &'static str),
}

/// A node, and whoever has a session there while it is attacked.
pub struct Scene {
    pub node: Node,
    pub key: SigningKey,
    pub issued: Issued,
    wire: Wire,
    /// What its journal must have counted, and by which attacks.
    counted: BTreeMap<&'static str, (u64, Vec<String>)>,
    /// Which entries of refusals it must hold, and by which attacks.
    logged: BTreeMap<u16, (u64, Vec<String>)>,
}

impl Scene {
    pub async fn new(config: &str) -> Self {
        Self::with_answer(config, "{}").await
    }

    /// One that needs this answer to its call.
    pub async fn with_answer(config: &str, answer: &str) -> Self {
        let node = Node::start(config);
        let wire = Wire::connect(&node).await;
        let key = key(42);
        let persona = Persona { wire: &wire, key: &key };
        let issued = persona.session_with(answer.as_bytes()).await;
        Self { node, key, issued, wire, counted: BTreeMap::new(), logged: BTreeMap::new() }
    }

    /// A connection from an address that nobody had before.
    pub async fn wire(&self) -> Wire {
        Wire::connect_from(fresh_address(), &self.node).await
    }

    /// Kills the node and starts it again; who has the session connects again.
    pub async fn kill(&mut self) {
        self.node.kill();
        self.node.restart();
        self.wire = Wire::connect(&self.node).await;
    }

    /// What an echo with this token and this key is answered on `wire`.
    pub async fn echo(&self, wire: &Wire, token: &str, key: &SigningKey) -> Ending {
        let origin = wire.origin(key, "0xS:echo").with_body(salt(), "hello");
        wire.exchange(&[wire.auth(token, key)], &origin).await
    }

    /// Whether the session that was there before the attacks is still served.
    async fn serves(&self) -> bool {
        let echoed = self.echo(&self.wire, &self.issued.token, &self.key).await;
        matches!(echoed, Ending::Answer(answer) if answer.status() == Status::OK)
    }

    /// Whoever is served meanwhile has a token of the operator's, which no setting of sessions touches.
    pub async fn with_operator(config: &str) -> Self {
        let mut scene = Self::new(config).await;
        let to = scene.key.public().to_string();
        scene.issued.token = scene.node.grant(&to, &["--scope", "0xS:**"]);
        scene
    }

    fn expect(&mut self, fate: Fate, name: &str) {
        let (slot, count) = match fate {
            Fate::Counted(_, reason) => (self.counted.entry(reason).or_default(), 1),
            Fate::Closed(_, count, reason) => (self.counted.entry(reason).or_default(), count),
            Fate::Logged(status) => (self.logged.entry(status.0).or_default(), 1),
            Fate::Reset(_) => return,
        };
        slot.0 += count;
        if slot.1.last().is_none_or(|last| last != name) {
            slot.1.push(name.to_owned());
        }
    }
}

impl Fate {
    fn shown(self) -> String {
        match self {
            Self::Counted(status, reason) => format!("{status} {reason}"),
            Self::Logged(status) => format!("{status} in the journal"),
            Self::Reset(code) => format!("reset 0x{:02x}", code.0),
            Self::Closed(code, count, reason) => format!("close 0x{:02x} {reason} {count}", code.0),
        }
    }
}

/// The key with this seed.
pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

/// What ran, and what went wrong.
#[derive(Default)]
pub struct Attacks {
    names: BTreeSet<String>,
    /// A line for each.
    rows: Vec<String>,
    failed: Vec<String>,
}

impl Attacks {
    /// Runs an attack, and then asks the node whether it serves who has a session.
    pub async fn attack(
        &mut self,
        scene: &mut Scene,
        name: &str,
        fate: Fate,
        run: impl Future<Output = Ending>,
    ) {
        self.attack_often(scene, name, &[fate], async { vec![run.await] }).await;
    }

    /// The same of one that is made of many tries, each of which must have one of these fates, and one the last.
    pub async fn attack_often(
        &mut self,
        scene: &mut Scene,
        name: &str,
        fates: &[Fate],
        run: impl Future<Output = Vec<Ending>>,
    ) {
        let last = *fates.last().expect("a fate");
        self.begin(name);
        // One that panics must not hide those behind it.
        match timeout(HANGS, AssertUnwindSafe(run).catch_unwind()).await {
            Ok(Ok(endings)) => {
                let came = endings.iter().filter(|ending| {
                    let faults: Vec<_> = fates.iter().map(|fate| fault(*fate, ending)).collect();
                    let at = faults.iter().position(Option::is_none);
                    let fate = at.map_or(last, |at| fates[at]);
                    scene.expect(fate, name);
                    if at.is_none() {
                        self.failed.push(format!("{name}: wanted {fates:?}, {faults:?}"));
                    }
                    fate == last
                });
                let came = came.count();
                let often = if came > 1 { format!(", {came} times") } else { String::new() };
                self.rows.push(format!("{name:<72} {}{often}", last.shown()));
            }
            Ok(Err(_panic)) => self.failed.push(format!("{name}: it panics")),
            Err(_elapsed) => self.failed.push(format!("{name}: it hangs")),
        }
        match timeout(HANGS, scene.serves()).await {
            Ok(true) => {}
            lost => panic!("after {name} nobody is served: {lost:?}; before: {:?}", self.failed),
        }
    }

    /// One on a client, by a node that is none: what the client says then, or what is wrong with that.
    pub fn attack_client(&mut self, name: &str, ended: Result<String, String>) {
        self.begin(name);
        match ended {
            Ok(error) => self.rows.push(format!("{name:<72} client: {error}")),
            Err(fault) => self.failed.push(format!("{name}: {fault}")),
        }
    }

    /// Opens a session at what was attacked, stops it, and compares what it counted.
    pub async fn end(&mut self, scene: Scene) {
        let wire = scene.wire().await;
        let (newcomer, issued) = (key(43), Persona { wire: &wire, key: &key(43) }.session().await);
        let echoed = scene.echo(&wire, &issued.token, &newcomer).await.answer();
        assert_eq!(echoed.status(), Status::OK, "a session is opened after the attacks");
        self.stop(scene).await;
    }

    /// Stops it, and compares what it counted.
    pub async fn stop(&mut self, mut scene: Scene) {
        scene.node.signal("TERM");
        // Waiting for the process would keep this side from acknowledging.
        assert_eq!(scene.wire.close_code().await, Some(CloseCode::NO_ERROR));
        assert_eq!(scene.node.wait().code(), Some(0));
        // [JRN-9] Each is counted by its reason; [SES-3] and costs the node no entry.
        let mut counted = refusals(&scene.node);
        counted.retain(|reason, _| !OF_CONNECTIONS.contains(&reason.as_str()));
        for (reason, (wanted, by)) in &scene.counted {
            let count = counted.remove(*reason).unwrap_or_default();
            if count != *wanted {
                let by = by.join("; ");
                self.failed.push(format!("{reason}: counted {count} and not {wanted}, of: {by}"));
            }
        }
        let others = counted.iter().map(|(it, count)| format!("{it}: counted {count}, by nobody"));
        self.failed.extend(others);
        let mut logged: BTreeMap<u16, u64> = BTreeMap::new();
        for entry in entries(&scene.node).iter().filter(|entry| entry["type"] == "refusal") {
            let status = entry["status"].as_u64().and_then(|it| u16::try_from(it).ok());
            *logged.entry(status.expect("a status")).or_default() += 1;
        }
        let wanted = scene.logged.iter().map(|(status, (count, _))| (*status, *count));
        if logged != wanted.collect() {
            self.failed.push(format!("refusals {logged:?}, and not those of {:?}", scene.logged));
        }
        let check = scene.node.cmtpd(&["journal", "check"]);
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    }

    /// A line for each attack, their number, and all that failed.
    pub fn report(self) {
        self.rows.iter().for_each(|row| println!("{row}"));
        println!("{} attacks, {} accepted", self.names.len(), self.failed.len());
        assert!(self.failed.is_empty(), "{}", self.failed.join("\n"));
        assert!(self.names.len() >= LEAST, "only {} attacks ran", self.names.len());
    }

    fn begin(&mut self, name: &str) {
        if !self.names.insert(name.to_owned()) {
            self.failed.push(format!("two attacks are called {name}"));
        }
    }
}

/// What is wrong with an ending that should have been this.
fn fault(fate: Fate, ending: &Ending) -> Option<String> {
    match (fate, ending) {
        (Fate::Counted(status, reason), Ending::Answer(answer)) => {
            let differs = |wanted| wanted != sentence(answer);
            told(answer, status).or_else(|| {
                let differs = sentence_for(status, reason).is_some_and(differs);
                differs.then(|| format!("told {:?}", sentence(answer)))
            })
        }
        (Fate::Logged(status), Ending::Answer(answer)) if answer.status() == status => {
            let seal = &answer.replay.message.seal;
            let is_bare = answer.last().data().is_none();
            (seal.unlogged || seal.receipt.is_none() || !is_bare)
                .then(|| "without a receipt, or with more than a refusal".to_owned())
        }
        (Fate::Counted(status, _), Ending::Unverified(got)) if status == *got => None,
        (Fate::Reset(code), Ending::Reset(got)) if code == *got => None,
        (Fate::Closed(code, ..), Ending::Closed(Some(got))) if code == *got => None,
        (_, Ending::Answer(answer)) => Some(format!("got {}", answer.status())),
        (_, other) => Some(format!("got {other:?}")),
    }
}

/// What is wrong with the answer to an attack that is refused before a token was accepted.
fn told(answer: &Answer, status: Status) -> Option<String> {
    if answer.status() != status {
        return Some(format!("got {}", answer.status()));
    }
    let message = &answer.replay.message;
    // [SES-3] [ADM-11] `unlogged` and no R0.
    if !message.seal.unlogged || message.seal.receipt.is_some() {
        return Some("with a receipt".to_owned());
    }
    // Origin and admission: nothing was served, and nothing is given away.
    let fields = || answer.last().fields().map(|field| field.name.as_str());
    let mut secrets = fields().filter(|name| name.starts_with(SECRETS));
    let is_bare = answer.last().data().is_none() && secrets.next().is_none();
    let layers = message.links.iter().filter_map(Link::layer).count();
    (!is_bare || layers != 2).then(|| "with more than a refusal".to_owned())
}

/// What a program is told, and a person.
fn sentence(answer: &Answer) -> (&str, &str) {
    (answer.remedy(), answer.last().text(FieldIndex::DETAIL).unwrap_or_default())
}

/// [STA-3] The one remedy and sentence for all reasons of a kind; `None` where an origin is at fault, which anybody can see.
fn sentence_for(status: Status, reason: &str) -> Option<(&'static str, &'static str)> {
    let is_session = reason.starts_with("session-") || reason.starts_with("outside-");
    let (remedy, detail) = match (status, reason) {
        (_, "session-origin") => return None,
        (_, "no-token") => (None, NO_SESSION),
        (_, "unknown-digest") => {
            (Some(remedies::RESEND_TOKEN), "this connection has not shown that token")
        }
        (_, "session-auth") => (None, "a handshake shows no token"),
        (_, "session-version") => (None, "no version of the handshake that both have"),
        (_, "session-closed") => {
            (None, "this node opens no sessions; its operator grants tokens by hand")
        }
        (Status::TOKEN_INVALID, _) if is_session => {
            (Some(remedies::CREATE_IDENTITY), "no session; begin the handshake anew")
        }
        (Status::TOKEN_INVALID, _) => (None, "the token is not accepted; get a new one"),
        (Status::BAD_REQUEST, _) => (None, "the handshake's message is at fault"),
        (Status::TOO_MANY_REQUESTS, _) => (None, "too many handshakes from this address"),
        _ => (None, ""),
    };
    let remedy = remedy.or(status.remedy()).map_or("", |Remedy(word)| word);
    Some((remedy, detail))
}

const NO_SESSION: &str =
    "no session: create an identity (cmtp id new), then open a session (cmtp login URL)";
/// Reasons that no attack here is about: connections that came to nothing.
const OF_CONNECTIONS: [&str; 4] = ["alpn", "handshake", "address-not-validated", "no-place"];
/// First bytes of the fields of the handshake.
const SECRETS: &str = "session-";
/// Far longer than any attack takes: one that would go on for ever fails by its name.
const HANGS: Duration = Duration::from_secs(60);
/// A table that was emptied by mistake is noticed.
const LEAST: usize = 400;
