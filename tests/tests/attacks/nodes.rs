//! Nodes that are none, or lie, against a real client: its login ends with an error, and it keeps no session. [SES-7] [SES-9]

use std::sync::Arc;
use std::time::Duration;

use cmtp_client::session::{Login, LoginError, Session, Sessions};
use cmtp_client::{Client, ClientConfig, Identity, Request, Trust};
use cmtp_codec::session::{
    Ask, Call, Confirm, GrantName, Issued, Message, Parties, Random, ScopeTexts, SessionTarget,
    Transcript, cookie_field, cookie_of, signature_field,
};
use cmtp_codec::{Digest, Field, Fqmn, KeyList, ListedKey, Signature};
use cmtp_spec::{FieldIndex, KeyUse, Status};
use cmtp_tests::Node;
use cmtp_tests::forged::{ForgedConnection, ForgedNode, ForgedRequest};
use cmtp_tests::wire::{Forge, now};
use tokio::time::timeout;

use crate::scene::{Attacks, key};

/// What the node says that no honest one would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    /// None: the login must succeed, or the others prove nothing.
    Nothing,
    /// The call is signed by this key, with this use, or not at all.
    CallBy(Option<u8>),
    CallUse(u8),
    CallExporter,
    CallNode,
    CallVersion,
    CallRequires,
    CallJson,
    CallAnew,
    NoCookie,
    ConfirmBy(u8),
    ConfirmTranscript,
    ConfirmUse,
    NoConfirmSignature,
    Grant,
    NoToken,
    /// The token is for another persona, or of another node.
    TokenOf(&'static str),
    Refusal,
}

/// Whether the client's error is the one that the lie must come to.
type IsWanted = fn(&LoginError) -> bool;

pub async fn run(attacks: &mut Attacks) {
    let honest = play(Lie::Nothing).await;
    assert!(matches!(honest, (Ok(_), 1)), "{honest:?}");
    let table: [(&str, Lie, IsWanted); 22] = [
        ("a new token for somebody else", Lie::TokenOf("sub"), |it| {
            matches!(it, LoginError::Token)
        }),
        ("a new token of another node", Lie::TokenOf("iss"), |it| matches!(it, LoginError::Token)),
        ("a call signed by another key", Lie::CallBy(Some(66)), is_signature),
        (
            "a call signed by a key that the list had until yesterday",
            Lie::CallBy(Some(3)),
            is_signature,
        ),
        (
            "a call signed by a key that the list has from tomorrow",
            Lie::CallBy(Some(4)),
            is_signature,
        ),
        ("a call signed by a key that the list has for layers", Lie::CallBy(Some(5)), is_signature),
        ("a call signed by the persona itself", Lie::CallBy(Some(7)), is_signature),
        ("a call without a signature", Lie::CallBy(None), is_signature),
        ("a call signed as a confirm is", Lie::CallUse(4), is_signature),
        ("a call signed as an answer is", Lie::CallUse(3), is_signature),
        ("a call signed for another connection", Lie::CallExporter, is_signature),
        ("a call by another node", Lie::CallNode, is_foreign),
        ("a call in a version that was not offered", Lie::CallVersion, is_foreign),
        ("a call that demands what is not there", Lie::CallRequires, |it| {
            matches!(it, LoginError::Required { .. })
        }),
        ("a call with a member more", Lie::CallJson, |it| matches!(it, LoginError::Malformed(_))),
        ("a call that was changed after it was signed", Lie::CallAnew, is_signature),
        ("a call without a cookie", Lie::NoCookie, is_foreign),
        ("a confirm signed by another key", Lie::ConfirmBy(66), is_signature),
        ("a confirm of another transcript", Lie::ConfirmTranscript, is_signature),
        ("a confirm signed as a call is", Lie::ConfirmUse, is_signature),
        ("a confirm without a signature", Lie::NoConfirmSignature, is_signature),
        ("a grant of another name than the transcript's", Lie::Grant, is_foreign),
    ];
    for (name, lie, is_wanted) in table {
        attack(attacks, name, lie, is_wanted).await;
    }
    attack(attacks, "a token that is none", Lie::NoToken, |it| matches!(it, LoginError::Token))
        .await;
    attack(attacks, "an offer in place of a token", Lie::Refusal, |it| {
        matches!(it, LoginError::Malformed(_))
    })
    .await;
    attacks.attack_client("a node under another's name", impostor().await);
    let name = "a demand for a session that the user did not allow";
    attacks.attack_client(name, lured(None).await);
    let name = "an offer that the user looked at and did not consent to";
    attacks.attack_client(name, lured(Some(Login::default())).await);
}

async fn attack(attacks: &mut Attacks, name: &str, lie: Lie, is_wanted: IsWanted) {
    let ended = match play(lie).await {
        (Ok(session), _) => Err(format!("a session came of it: {session:?}")),
        (Err(_), kept @ 1..) => Err(format!("{kept} sessions are kept")),
        (Err(error), 0) if is_wanted(&error) => Ok(error.to_string()),
        (Err(error), 0) => Err(format!("another error: {error:?}")),
    };
    attacks.attack_client(name, ended);
}

fn is_signature(error: &LoginError) -> bool {
    matches!(error, LoginError::Signature)
}

fn is_foreign(error: &LoginError) -> bool {
    matches!(error, LoginError::Foreign)
}

/// What a login comes to at a node that lies so, and how many sessions are kept after a call that opens one by itself.
async fn play(lie: Lie) -> (Result<Session, LoginError>, usize) {
    let node = ForgedNode::listen(key(NODE), keys());
    let identity = Arc::new(Identity::from_seed(&[7; 32]).unwrap());
    let sessions = Arc::new(Sessions::default());
    let login = Some(Login::default());
    let config =
        ClientConfig { sessions: Arc::clone(&sessions), login, ..ClientConfig::new(identity) };
    let client = Client::new(config).unwrap();
    let script = async {
        loop {
            let connection = node.accept().await;
            while let Some(request) = connection.request().await {
                answer(&connection, request, lie).await;
            }
        }
    };
    let trust = Trust::Pinned(node.root().public());
    let logs_in = async {
        let connection = client.connect(node.address(), "cmtp.invalid", trust).await.unwrap();
        let opened = match connection.begin_login(&Login::default()).await {
            Ok(offered) => offered.consent().await,
            Err(error) => Err(error),
        };
        // The same by itself, as a call does it that is refused without a token.
        let call = Request::new(Fqmn::parse("0xS:echo").unwrap());
        let called = connection.call(call).await.unwrap();
        assert_eq!(called.status(), Status::IDENTITY_REQUIRED);
        (opened, sessions.all().unwrap().len())
    };
    let played = async {
        tokio::select! {
            played = logs_in => played,
            () = script => unreachable!("a script without end"),
        }
    };
    timeout(HANGS, played).await.expect("a client that ends")
}

/// The node's side of the handshake. It has to remember nothing: what it needs it puts into the cookie.
async fn answer(connection: &ForgedConnection<'_>, request: ForgedRequest, lie: Lie) {
    let persona = request.origin.actor;
    let parties = connection.parties(persona);
    let said = request.origin.data().cloned().unwrap_or_default();
    let target = request.origin.text(FieldIndex::TARGET).and_then(SessionTarget::of);
    let cookie = cookie_of(&request.origin);
    let before = |step| {
        cookie.map_or(Transcript::START, |cookie| {
            Transcript::resumed(step, Digest(cookie.try_into().unwrap()))
        })
    };
    match target {
        Some(SessionTarget::Hello) => {
            let body = call(lie);
            let transcript = Transcript::START.then(&said).then(&body);
            let signature = sign_call(&parties, transcript, lie);
            let body = if lie == Lie::CallAnew { [&body[..], b" "].concat() } else { body };
            let cookie = (lie != Lie::NoCookie).then(|| transcript.hash().0.to_vec());
            connection.answer(request, &body, fields(signature, cookie)).await;
        }
        Some(SessionTarget::Answer) => {
            let body = confirm();
            let transcript = before(2).then(&said).then(&body);
            let signature = sign_confirm(&parties, transcript, lie);
            let cookie = Some(transcript.hash().0.to_vec());
            connection.answer(request, &body, fields(signature, cookie)).await;
        }
        Some(SessionTarget::Consent) => {
            let grant = GrantName::of(before(4).then(&said));
            let grant = if lie == Lie::Grant { GrantName([7; 16]) } else { grant };
            let mut claims = serde_json::json!({
                "sub": persona.to_string(), "iss": connection.parties(persona).node.to_string(),
            });
            if let Lie::TokenOf(claim) = lie {
                claims[claim] = key(77).public().to_string().into();
            }
            let token = if lie == Lie::NoToken { "none".to_owned() } else { token(grant, claims) };
            let ends = now() / 1_000_000 + 60;
            let body = Issued { token, grant, ends }.to_bytes();
            let body = if lie == Lie::Refusal { confirm() } else { body };
            connection.answer(request, &body, Vec::new()).await;
        }
        _ => connection.refuse(request).await,
    }
}

fn call(lie: Lie) -> Vec<u8> {
    let (version, node) = match lie {
        Lie::CallVersion => (1, NODE),
        Lie::CallNode => (0, 66),
        _ => (0, NODE),
    };
    let required = lie == Lie::CallRequires;
    let asks = vec![Ask { what: "recovery".to_owned(), required }];
    let call = Call { version, node: key(node).public(), nonce: Random([1; 32]), asks }.to_bytes();
    match lie {
        Lie::CallJson => [br#"{"more":1,"#, &call[1..]].concat(),
        _ => call,
    }
}

fn confirm() -> Vec<u8> {
    let scope = ScopeTexts { read: vec!["0xS:**".to_owned()], write: Vec::new() };
    let (groups, attributes) = (Vec::new(), Default::default());
    Confirm { scope, groups, attributes, grant_seconds: 60, token_seconds: 60 }.to_bytes()
}

fn sign_call(parties: &Parties, transcript: Transcript, lie: Lie) -> Option<Signature> {
    match lie {
        Lie::CallBy(by) => by.map(|seed| parties.sign(transcript, &key(seed))),
        Lie::CallUse(step) => {
            Some(parties.sign(Transcript::resumed(step, transcript.hash()), &key(TOKENS)))
        }
        Lie::CallExporter => {
            Some(Parties { exporter: [7; 32], ..*parties }.sign(transcript, &key(TOKENS)))
        }
        _ => Some(parties.sign(transcript, &key(TOKENS))),
    }
}

fn sign_confirm(parties: &Parties, transcript: Transcript, lie: Lie) -> Option<Signature> {
    match lie {
        Lie::ConfirmBy(seed) => Some(parties.sign(transcript, &key(seed))),
        Lie::ConfirmTranscript => {
            let other = Transcript::resumed(3, Digest([7; 32])).then(&confirm());
            Some(parties.sign(other, &key(TOKENS)))
        }
        Lie::ConfirmUse => {
            Some(parties.sign(Transcript::resumed(2, transcript.hash()), &key(TOKENS)))
        }
        Lie::NoConfirmSignature => None,
        _ => Some(parties.sign(transcript, &key(TOKENS))),
    }
}

fn fields(signature: Option<Signature>, cookie: Option<Vec<u8>>) -> Vec<Field> {
    let signature = signature.as_ref().map(signature_field);
    signature.into_iter().chain(cookie.map(cookie_field)).collect()
}

/// A token that a client can't judge, and has to be able to read.
fn token(grant: GrantName, mut claims: serde_json::Value) -> String {
    let now = now() / 1_000_000;
    for (claim, time) in [("iat", now), ("nbf", now), ("exp", now + 60)] {
        claims[claim] = time.into();
    }
    claims["jti"] = grant.to_string().into();
    let header = serde_json::json!({"alg": "EdDSA", "typ": "cmtp+jwt"});
    Forge { header, claims, seed: [TOKENS; 32] }.token()
}

/// A list with a key for everything, one for tokens alone, and others that may sign no call now.
fn keys() -> KeyList {
    let day = 86_400_000_000;
    let listed = |seed: u8, key_use, not_before, not_after| ListedKey {
        key_use,
        key: key(seed).public(),
        not_before,
        not_after,
    };
    let always = |seed, key_use| listed(seed, key_use, 0, KeyList::NO_END);
    let keys = vec![
        always(NODE, KeyUse::TLS),
        always(NODE, KeyUse::LAYER),
        always(TOKENS, KeyUse::TOKEN),
        listed(3, KeyUse::TOKEN, 0, now() - day),
        listed(4, KeyUse::TOKEN, now() + day, KeyList::NO_END),
        always(5, KeyUse::LAYER),
    ];
    KeyList::sign(&key(NODE), 1, keys)
}

/// [SES-19] What a client sends by itself to a node that wants a session: no hello without its user's leave, and no consent
/// without its user's word.
async fn lured(looks: Option<Login>) -> Result<String, String> {
    let node = ForgedNode::listen(key(NODE), keys());
    let identity = Arc::new(Identity::from_seed(&[7; 32]).unwrap());
    let client = Client::new(ClientConfig::new(identity)).unwrap();
    let script = async {
        let connection = node.accept().await;
        let mut asked = Vec::new();
        while let Some(request) = connection.request().await {
            asked.extend(request.origin.text(FieldIndex::TARGET).map(str::to_owned));
            answer(&connection, request, Lie::Nothing).await;
        }
        asked
    };
    let trust = Trust::Pinned(node.root().public());
    let calls = async {
        let connection = client.connect(node.address(), "cmtp.invalid", trust).await.unwrap();
        if let Some(login) = &looks {
            drop(connection.begin_login(login).await.unwrap());
        }
        let call = Request::new(Fqmn::parse("0xS:echo").unwrap());
        assert_eq!(connection.call(call).await.unwrap().status(), Status::IDENTITY_REQUIRED);
        drop(connection);
        client.close().await;
    };
    let played = async { tokio::join!(script, calls).0 };
    let asked = timeout(HANGS, played).await.expect("a client that ends");
    let wanted: &[&str] = match looks {
        None => &["0xS:echo"],
        Some(_) => &["0xI:session:hello", "0xI:session:answer", "0xS:echo"],
    };
    if asked == wanted { Ok(format!("asked {}", asked.join(", "))) } else { Err(asked.join(", ")) }
}

/// A node that has a victim's DID in its list, and not its key.
async fn impostor() -> Result<String, String> {
    let real = Node::start("");
    let victim = real.did.parse().unwrap();
    let list = KeyList { root: victim, ..keys() };
    let node = ForgedNode::listen(key(NODE), list);
    let identity = Arc::new(Identity::from_seed(&[7; 32]).unwrap());
    let client = Client::new(ClientConfig::new(identity)).unwrap();
    let connects = client.connect(node.address(), "cmtp.invalid", Trust::Pinned(victim));
    tokio::select! {
        connected = connects => match connected {
            Ok(_) => Err("it is connected".to_owned()),
            Err(error) => Ok(error.to_string()),
        },
        _accepted = async { let held = node.accept().await; held.request().await } => {
            Err("it got a request, or the client went without a word".to_owned())
        }
    }
}

/// Seed of the node's root key.
const NODE: u8 = 1;
/// Seed of its key for tokens.
const TOKENS: u8 = 2;
/// Far longer than a login takes.
const HANGS: Duration = Duration::from_secs(30);
