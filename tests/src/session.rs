//! A session handshake by hand, of which an attack can change every byte.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use cmtp_codec::session::{
    Answer as Wanted, Consent, GrantName, Hello, Issued, Message, Parties, Random, Renew,
    Transcript, cookie_of, signature_of,
};
use cmtp_codec::{Field, Frame, Layer, Signature, SigningKey};
use cmtp_spec::{FieldIndex, Status, binding};
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use crate::Node;
use crate::wire::{Answer, Ending, Forge, Wire, online_seed, salt, signed};

/// A persona at one end of a connection.
#[derive(Debug)]
pub struct Persona<'a> {
    /// The connection.
    pub wire: &'a Wire,
    /// Its key.
    pub key: &'a SigningKey,
}

/// What is sent: one message, and all that stands beside it.
#[derive(Clone, Debug)]
pub struct Said {
    /// The target.
    pub target: String,
    /// The message; `None` for an origin without a body.
    pub body: Option<Vec<u8>>,
    /// The field `session-signature`.
    pub signature: Option<Vec<u8>>,
    /// The field `session-cookie`.
    pub cookie: Option<Vec<u8>>,
}

/// What the node answered, and the handshake up to there.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Up to the node's message.
    pub transcript: Transcript,
    /// The same before it.
    pub before: Transcript,
    /// The node's message.
    pub body: Vec<u8>,
    /// The node's signature.
    pub signature: Signature,
    /// What the next message has to bring back.
    pub cookie: Vec<u8>,
}

impl Said {
    /// A message that is neither signed nor has a cookie.
    pub fn new(target: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = Some(body.into());
        Self { target: target.to_owned(), body, signature: None, cookie: None }
    }

    /// With this signature.
    #[must_use]
    pub fn signed(self, signature: &Signature) -> Self {
        Self { signature: Some(signature.0.to_vec()), ..self }
    }

    /// With this cookie.
    #[must_use]
    pub fn with_cookie(self, cookie: &[u8]) -> Self {
        Self { cookie: Some(cookie.to_vec()), ..self }
    }
}

impl Persona<'_> {
    /// E_s of the connection.
    ///
    /// # Panics
    /// If TLS gives none.
    pub fn exporter(&self) -> [u8; 32] {
        let mut exporter = [0; 32];
        let label = binding::EXPORTER_LABEL_SESSION.as_bytes();
        let exported = self.wire.connection.export_keying_material(&mut exporter, label, &[]);
        exported.expect("an exporter value");
        exporter
    }

    /// Between whom it is, and where.
    pub fn parties(&self) -> Parties {
        let (node, persona) = (self.wire.root(), self.key.public());
        Parties { exporter: self.exporter(), node, persona }
    }

    /// A good hello.
    ///
    /// # Panics
    /// If there is no randomness.
    pub fn hello(&self) -> Said {
        let mut nonce = [0; 32];
        aws_lc_rs::rand::fill(&mut nonce).expect("randomness");
        let (versions, persona) = (vec![0], self.key.public());
        Said::new(
            binding::SESSION_HELLO,
            Hello { versions, persona, nonce: Random(nonce) }.to_bytes(),
        )
    }

    /// A good answer to a call.
    pub fn answer(&self, call: &Heard) -> Said {
        self.answer_with(call, &Wanted::default().to_bytes())
    }

    /// An answer with this message, signed well.
    pub fn answer_with(&self, call: &Heard, message: &[u8]) -> Said {
        self.next(binding::SESSION_ANSWER, call, message)
    }

    /// A good consent to what a confirm offers.
    pub fn consent(&self, confirm: &Heard) -> Said {
        self.next(binding::SESSION_CONSENT, confirm, &Consent::GIVEN.to_bytes())
    }

    /// A message to `target` that follows what was heard, signed well.
    pub fn next(&self, target: &str, heard: &Heard, message: &[u8]) -> Said {
        let signature = self.parties().sign(heard.transcript.then(message), self.key);
        Said::new(target, message).signed(&signature).with_cookie(&heard.cookie)
    }

    /// A good renewal.
    pub fn renew(&self, grant: GrantName) -> Said {
        self.renew_with(&Renew { grant }.to_bytes())
    }

    /// A renewal with this message, signed well.
    pub fn renew_with(&self, message: &[u8]) -> Said {
        let signature = self.parties().sign(Transcript::of_renewal(message), self.key);
        Said::new(binding::SESSION_RENEW, message).signed(&signature)
    }

    /// The origin that carries it, not signed.
    ///
    /// # Panics
    /// If a field can't be made.
    pub fn origin(&self, said: &Said) -> Layer {
        let mut origin = self.wire.origin(self.key, &said.target);
        let fields = [
            (binding::SESSION_SIGNATURE, &said.signature),
            (binding::SESSION_COOKIE, &said.cookie),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                let field = Field::new(name, value.clone()).expect("a field");
                origin = origin.with_private(salt(), field);
            }
        }
        match &said.body {
            Some(body) => origin.with_body(salt(), body.clone()),
            None => origin,
        }
    }

    /// Sends it, signed as its target wants it.
    ///
    /// # Panics
    /// If the answer breaks a rule.
    pub async fn send(&self, said: &Said) -> Ending {
        let origin = self.origin(said);
        let is_write = said.target.split_once(':').is_some_and(|(opcode, _)| opcode.ends_with('W'));
        let origin = if is_write { signed(origin, self.key) } else { origin };
        self.wire.exchange(&[], &origin).await
    }

    /// Sends a good hello, and gives the call.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn called(&self) -> Heard {
        let hello = self.hello();
        self.heard(&hello, Transcript::START).await
    }

    /// Goes on up to the confirm.
    ///
    /// # Panics
    /// If something is refused.
    pub async fn confirmed(&self) -> Heard {
        self.confirmed_with(&Wanted::default().to_bytes()).await
    }

    /// The same with this answer.
    ///
    /// # Panics
    /// If something is refused.
    pub async fn confirmed_with(&self, answer: &[u8]) -> Heard {
        let call = self.called().await;
        self.heard(&self.answer_with(&call, answer), call.transcript).await
    }

    /// Sends a message that follows a transcript, and gives what the node says to it.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn heard(&self, said: &Said, before: Transcript) -> Heard {
        let answer = self.send(said).await.answer();
        let layer = answer.last();
        assert_eq!(answer.status(), Status::OK, "{layer:?}");
        let body = layer.data().expect("a message").to_vec();
        let before = before.then(said.body.as_deref().expect("a message"));
        Heard {
            transcript: before.then(&body),
            before,
            body,
            signature: signature_of(layer).expect("a signature"),
            cookie: cookie_of(layer).expect("a cookie").to_vec(),
        }
    }

    /// Opens a session.
    ///
    /// # Panics
    /// If something is refused.
    pub async fn session(&self) -> Issued {
        self.session_with(&Wanted::default().to_bytes()).await
    }

    /// The same with this answer.
    ///
    /// # Panics
    /// If something is refused.
    pub async fn session_with(&self, answer: &[u8]) -> Issued {
        let confirm = self.confirmed_with(answer).await;
        issued(&self.send(&self.consent(&confirm)).await.answer())
    }

    /// Calls `target` with arguments (JSON), as a write where it is one.
    ///
    /// # Panics
    /// If the answer breaks a rule.
    pub async fn call(&self, auth: Frame, target: &str, arguments: Option<&str>) -> Ending {
        let mut origin = self.wire.origin(self.key, target);
        if let Some(arguments) = arguments {
            let arguments = Field::bytes(FieldIndex::ARGS, arguments.to_owned());
            origin = origin.with_private(salt(), arguments);
        }
        self.wire.exchange(&[auth], &signed(origin, self.key)).await
    }

    /// Ends what is named (JSON), under this token.
    ///
    /// # Panics
    /// If the answer breaks a rule.
    pub async fn hang_up(&self, token: &str, arguments: Option<&str>) -> Ending {
        self.call(self.wire.auth(token, self.key), binding::SESSION_HANGUP, arguments).await
    }
}

/// The token that an answer brings.
///
/// # Panics
/// If it brings none.
pub fn issued(answer: &Answer) -> Issued {
    assert_eq!(answer.status(), Status::OK, "{:?}", answer.last());
    // The commit's layer follows the one with the token.
    let layers = answer.replay.message.links.iter().filter_map(cmtp_codec::Link::layer);
    let body = layers.filter_map(Layer::data).last().expect("a body");
    Issued::from_bytes(body).expect("a token")
}

/// A token's parts, to be spoilt and signed again as only its node could.
///
/// # Panics
/// If it is none.
pub fn forge(node: &Node, token: &str) -> Forge {
    let part = |part: &str| -> Value {
        let bytes = BASE64URL_NOPAD.decode(part.as_bytes()).expect("base64url");
        serde_json::from_slice(&bytes).expect("JSON")
    };
    let mut parts = token.split('.');
    let mut next = || part(parts.next().expect("a part"));
    Forge { header: next(), claims: next(), seed: online_seed(node, "token") }
}

/// A loopback address that nobody had before, so that nothing is refused for what others did.
pub fn fresh_address() -> IpAddr {
    static LAST: AtomicU32 = AtomicU32::new(1);
    let [_, b, c, d] = LAST.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    // The sequence stays clear of 127.0.0.1, and of the network's broadcast address.
    IpAddr::from([127, b.wrapping_add(1), c, d])
}
