//! What two personas of one person have in common, as a node sees it that tries to find out: nothing.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use cmtp_client::{
    Client, ClientConfig, ConnectError, Connection, Identity, Keyring, KnownLogs, Passphrase,
    Trust, Untrusted,
};
use cmtp_codec::{
    Auth, Digest, Frame, FrameReader, KeyList, Layer, Link, ListedKey, Message, PublicKey,
    SigningKey, Unverified,
};
use cmtp_spec::{FieldIndex, KeyUse, SettingId, Status, binding};
use cmtp_tests::wire::{self, AnyCertificate, Forge, Wire, root_seed};
use cmtp_tests::{Home, Node};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    Endpoint, ServerConfig, TokenLog, TokenReuseError, TransportConfig, ValidationTokenConfig,
};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};

/// A node that keeps account of all that callers bring back to it.
struct Linker {
    endpoint: Endpoint,
    root: SigningKey,
    list: KeyList,
    account: Arc<Account>,
}

#[derive(Debug)]
struct Account {
    sessions: Arc<ServerSessionMemoryCache>,
    brought: Mutex<Brought>,
}

/// What one connection brought back.
#[derive(Debug, Default, PartialEq, Eq)]
struct Brought {
    tickets: Vec<Vec<u8>>,
    address_tokens: Vec<u128>,
}

impl Brought {
    fn counts(&self) -> (usize, usize) {
        (self.tickets.len(), self.address_tokens.len())
    }
}

/// A connection as the node saw it.
struct Caller {
    brought: Brought,
    address: SocketAddr,
    /// What it says that it knows of the node's log.
    log_size: u64,
    _quic: quinn::Connection,
}

impl Linker {
    /// The node with this root key.
    fn listen(root: &[u8; 32]) -> Self {
        let root = SigningKey::from_seed(root).unwrap();
        let sessions = ServerSessionMemoryCache::new(1000);
        let account = Arc::new(Account { sessions, brought: Mutex::default() });
        let (list, config) = config_of(&root, 1, &account);
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        Self { endpoint: Endpoint::server(config, any).unwrap(), root, list, account }
    }

    /// Takes another TLS key into use and drops the one before, but resumes the sessions that began under it.
    fn rotate(&mut self) {
        let (list, config) = config_of(&self.root, self.list.number + 1, &self.account);
        self.list = list;
        self.endpoint.set_server_config(Some(config));
    }

    fn node(&self) -> PublicKey {
        self.root.public()
    }

    /// The next connection, up to the point where a client has said all that it says unasked.
    async fn accept(&self) -> Option<Caller> {
        let quic = self.endpoint.accept().await.unwrap().await.ok()?;
        let brought = std::mem::take(&mut *self.account.brought.lock().unwrap());
        let mut control = quic.open_uni().await.ok()?;
        let mut bytes = BytesMut::from(&[0][..]);
        Frame::Settings(Vec::new()).encode(&mut bytes);
        Frame::Keys(self.list.clone()).encode(&mut bytes);
        control.write_all(&bytes).await.ok()?;
        let log_size = log_size(&quic).await?;
        // The stream stays open as long as the connection.
        let address = quic.remote_address();
        std::mem::forget(control);
        Some(Caller { brought, address, log_size, _quic: quic })
    }

    /// Connects, and says what the node saw.
    async fn called(
        &self,
        client: &Client,
        trust: Trust,
    ) -> (Result<Connection, ConnectError>, Option<Caller>) {
        let address = self.endpoint.local_addr().unwrap();
        tokio::join!(client.connect(address, "localhost", trust), self.accept())
    }

    /// The same, where all goes well.
    async fn meets(&self, client: &Client) -> Caller {
        let (connection, caller) = self.called(client, Trust::Pinned(self.node())).await;
        connection.unwrap();
        caller.unwrap()
    }
}

/// The `log-size` that a client sends on its control stream.
async fn log_size(quic: &quinn::Connection) -> Option<u64> {
    let mut stream = quic.accept_uni().await.ok()?;
    stream.read_exact(&mut [0]).await.ok()?;
    let mut reader = FrameReader::new(1);
    loop {
        if let Some(frame) = reader.next_frame().unwrap() {
            let Frame::Settings(settings) = frame else {
                panic!("SETTINGS is expected: {frame:?}")
            };
            let (_, size) = settings.into_iter().find(|(id, _)| *id == SettingId::LOG_SIZE)?;
            return Some(size);
        }
        reader.push_bytes(stream.read_chunk(4096, true).await.ok()??.bytes);
    }
}

/// Key list number `number` and QUIC with its TLS key, which is another for each number.
fn config_of(root: &SigningKey, number: u64, account: &Arc<Account>) -> (KeyList, ServerConfig) {
    let tls_key = SigningKey::from_seed(&Digest::of(&number.to_be_bytes()).0).unwrap();
    let listed =
        |key_use, key| ListedKey { key_use, key, not_before: 0, not_after: KeyList::NO_END };
    let keys = vec![listed(KeyUse::TLS, tls_key.public()), listed(KeyUse::LAYER, root.public())];
    let list = KeyList::sign(root, number, keys);

    let pkcs8 = PrivatePkcs8KeyDer::from(tls_key.to_pkcs8().unwrap());
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = certificate.self_signed(&KeyPair::try_from(&pkcs8).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(pkcs8))
        .unwrap();
    tls.alpn_protocols = vec![binding::ALPN.as_bytes().to_vec()];
    tls.session_storage = account.clone();
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(2).log(account.clone());
    config.validation_token_config(tokens);
    (list, config)
}

impl StoresServerSessions for Account {
    fn put(&self, ticket: Vec<u8>, session: Vec<u8>) -> bool {
        self.sessions.put(ticket, session)
    }

    fn get(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.brought.lock().unwrap().tickets.push(ticket.to_vec());
        self.sessions.get(ticket)
    }

    fn take(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.brought.lock().unwrap().tickets.push(ticket.to_vec());
        self.sessions.take(ticket)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

impl TokenLog for Account {
    fn check_and_insert(
        &self,
        nonce: u128,
        _: SystemTime,
        _: Duration,
    ) -> Result<(), TokenReuseError> {
        self.brought.lock().unwrap().address_tokens.push(nonce);
        Ok(())
    }
}

fn client(identity: Identity) -> Client {
    Client::new(ClientConfig::new(Arc::new(identity))).unwrap()
}

fn two_personas() -> Keyring {
    let mut keyring = Keyring::generate().unwrap();
    keyring.add("work".parse().unwrap()).unwrap();
    keyring
}

#[tokio::test]
async fn what_a_node_gave_one_persona_never_comes_back_from_another() {
    let (node, keyring) = (Linker::listen(&[1; 32]), two_personas());
    let [main, work] = ["main", "work"].map(|name| client(keyring.identity(Some(name)).unwrap()));
    let first = node.meets(&main).await;
    assert_eq!(first.brought.counts(), (0, 0), "a stranger brings nothing");
    // What one persona was given comes back from it, each piece once: this node could tell.
    let second = node.meets(&main).await;
    assert_eq!(second.brought.counts(), (1, 1));
    let third = node.meets(&main).await;
    assert_eq!(third.brought.counts(), (1, 1));
    assert_ne!(second.brought, third.brought);

    // [IDY-7] Neither a ticket nor an address token, a connection nor a UDP port of one persona serves another.
    let other = node.meets(&work).await;
    assert_eq!(other.brought.counts(), (0, 0));
    assert_ne!(other.address.port(), first.address.port());
    let other_again = node.meets(&work).await;
    assert_eq!(other_again.brought.counts(), (1, 1));
    let seen = [&second, &third, &other_again]
        .map(|it| (&it.brought.tickets[0], it.brought.address_tokens[0]));
    assert_eq!(seen.iter().map(|it| it.0).collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(seen.iter().map(|it| it.1).collect::<BTreeSet<_>>().len(), 3);
    // Nor does a second client of the same persona bring what the first was given.
    let again = client(keyring.identity(Some("main")).unwrap());
    assert_eq!(node.meets(&again).await.brought.counts(), (0, 0));
}

#[tokio::test]
async fn a_resumed_session_makes_no_node_more_trusted() {
    let node = Linker::listen(&[1; 32]);
    let client = client(Identity::ephemeral().unwrap());
    let (connection, _caller) = node.called(&client, Trust::FirstUse).await;
    drop(connection.unwrap());
    // [IDY-9] [RCP-2] Whom a connection is for is judged each time.
    let stranger = SigningKey::from_seed(&[9; 32]).unwrap().public();
    let (refused, _caller) = node.called(&client, Trust::Pinned(stranger)).await;
    let refused = refused.unwrap_err();
    let expected = Untrusted::OtherNode { expected: stranger, shown: node.node() };
    assert!(matches!(refused, ConnectError::Untrusted(it) if it == expected), "{refused}");
    let caller = node.meets(&client).await;
    assert_eq!(caller.brought.tickets.len(), 1);

    // [IDY-9] Where the word of authorities is needed, a session that began without it is not resumed.
    let address = node.endpoint.local_addr().unwrap();
    let (refused, caller) =
        tokio::join!(client.connect(address, "localhost", Trust::Authorities), node.accept());
    assert!(matches!(refused.unwrap_err(), ConnectError::Connection(_)));
    assert!(caller.is_none());
    let brought = std::mem::take(&mut *node.account.brought.lock().unwrap());
    assert_eq!(brought.tickets.len(), 0);
}

#[tokio::test]
async fn a_node_with_a_new_tls_key_is_reached_without_the_session_that_began_under_the_old_one() {
    let mut node = Linker::listen(&[1; 32]);
    let client = client(Identity::ephemeral().unwrap());
    node.meets(&client).await;
    node.rotate();
    // [IDY-9] The certificate of the session is not listed any more: the client MUST forget the session and connect once
    // without it.
    let both = async {
        let resumed = node.accept().await;
        assert!(resumed.is_none(), "the client says nothing where it does not trust");
        node.accept().await.unwrap()
    };
    let address = node.endpoint.local_addr().unwrap();
    let trust = Trust::Pinned(node.node());
    let (connection, caller) = tokio::join!(client.connect(address, "localhost", trust), both);
    assert_eq!(connection.unwrap().keys().number, 2);
    assert_eq!(caller.brought.tickets.len(), 0);
    // From then on there is a session again.
    assert_eq!(node.meets(&client).await.brought.tickets.len(), 1);
}

#[tokio::test]
async fn a_node_resumes_sessions_and_takes_them_for_no_sign_of_who_calls() {
    let node = Node::start("");
    let certificates = Arc::new(AnyCertificate::default());
    let config = wire::client_config_with(
        Arc::clone(&certificates),
        &[binding::ALPN],
        TransportConfig::default(),
    );
    let first = Wire::connect_with(&node, config).await;
    let key = SigningKey::from_seed(&[42; 32]).unwrap();
    let token = Forge::new(&node, key.public()).token();
    let origin = first.origin(&key, "0xS:echo");
    let answer = first.exchange(&[first.auth(&token, &key)], &origin).await.answer();
    assert_eq!(answer.status(), Status::OK);
    let again = first.again().await;
    assert_eq!(certificates.seen(), 1, "the second connection resumes the session of the first");
    // [IDY-10] Each connection proves its token anew.
    let known = Frame::Auth(Auth::Known(Digest::of(token.as_bytes())));
    let origin = again.origin(&key, "0xS:echo");
    let answer = again.exchange(&[], &origin).await.answer();
    assert_eq!(answer.status(), Status::IDENTITY_REQUIRED);
    let answer = again.exchange(&[known], &origin).await.answer();
    assert_eq!((answer.status(), answer.remedy()), (Status::TOKEN_INVALID, "resend-token"));
    let answer = again.exchange(&[again.auth(&token, &key)], &origin).await.answer();
    assert_eq!(answer.status(), Status::OK);
}

#[tokio::test]
async fn a_returning_address_is_not_asked_to_prove_itself() {
    // Whoever does not prove its address is sent a Retry, and begins its handshake a second time.
    let node = Node::start("[limits]\nhandshakes-retry = 0");
    let begun = |wire: &Wire| wire.connection.stats().frame_tx.crypto;
    let first = Wire::connect(&node).await;
    let again = first.again().await;
    assert!(begun(&again) < begun(&first), "{} {}", begun(&again), begun(&first));
    // A stranger is asked still.
    let stranger = Wire::connect(&node).await;
    assert!(begun(&stranger) > begun(&again), "{} {}", begun(&stranger), begun(&again));
}

#[tokio::test]
async fn what_is_kept_of_a_node_is_kept_for_each_persona() {
    let (node, home) = (Node::start(""), Home::empty());
    let secret = Passphrase::new("open sesame".to_owned());
    let kept = cmtp_client::Home::new(home.file(""));
    let mut keyring = Keyring::create(&kept, secret.clone(), cmtp_client::Existing::Keep).unwrap();
    keyring.add("work".parse().unwrap()).unwrap();
    keyring.save(&kept).unwrap();
    let logs = || -> BTreeSet<String> {
        let files = fs::read_dir(home.file("logs")).into_iter().flatten();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    };
    let mut saved = Vec::new();
    let mut names = Vec::new();
    for persona in keyring.personas() {
        let before = logs();
        let (name, file) = (persona.name().as_str(), home.file(persona.name().as_str()));
        let token = node.grant(&persona.did().to_string(), &["--scope", "0xS:**"]);
        let output = home
            .command()
            .env("CMTP_PASSPHRASE", "open sesame")
            .args(["call", &node.url("0xS:echo"), "--as", name, "--token", &token, "--save"])
            .arg(&file)
            .args(["--data", "hi"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let message = Unverified::<Message>::from_stored(fs::read(&file).unwrap()).unwrap();
        saved.push(message.into_untrusted());
        fs::remove_file(&file).unwrap();
        names.push(logs().difference(&before).cloned().collect::<Vec<_>>());
    }
    // [IDY-8] Each has a file of its own, and no name says whose it is; nor does anything else that is kept.
    assert_eq!(names.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    for persona in keyring.personas() {
        let telling = [persona.did().multibase(), persona.name().to_string() + "\n"];
        for (name, bytes) in files(&home.file("")) {
            for text in &telling {
                let is_told = name.contains(text) || holds(&bytes, text.as_bytes());
                assert!(!is_told, "{name} tells of {text}");
            }
            assert!(!holds(&bytes, &persona.did().0), "{name} tells of {}", persona.name());
        }
    }
    // Of what they sent, nothing that was made at random or is somebody's is the same.
    let [one, other] = [&saved[0], &saved[1]].map(own_values);
    assert!(one.len() >= 5, "{one:?}");
    assert_eq!(one.intersection(&other).count(), 0, "{one:?} {other:?}");

    // [IDY-8] The same node asks what was known of its log: of a third persona nothing, though its root was here before.
    keyring.add("third".parse().unwrap()).unwrap();
    let linker = Linker::listen(&root_seed(&node));
    let mut sizes = Vec::new();
    for persona in ["main", "work", "third"] {
        let identity = Arc::new(keyring.identity(Some(persona)).unwrap());
        let logs = Arc::new(KnownLogs::in_home(&kept, Arc::clone(&identity)));
        let config = ClientConfig { logs, ..ClientConfig::new(identity) };
        sizes.push(linker.meets(&Client::new(config).unwrap()).await.log_size);
    }
    assert!(sizes[0] > 0 && sizes[1] > 0, "{sizes:?}");
    assert_eq!(sizes[2], 0);
}

/// Names and contents of all files under a folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), fs::read(&path).unwrap()));
        }
    }
    found
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// What a caller made for one message, or is its own: all that is long enough not to be the same by chance.
fn own_values(message: &Message) -> BTreeSet<Vec<u8>> {
    let origin: &Layer = message.links.first().and_then(Link::layer).unwrap();
    let shared = [FieldIndex::AUDIENCE, FieldIndex::TARGET].map(|index| origin.value(index));
    let fields = origin.public.iter().map(|field| &field.value);
    let own = fields.filter(|&value| value.len() >= 8 && !shared.contains(&Some(value)));
    let mut values: BTreeSet<Vec<u8>> = own.map(|value| value.to_vec()).collect();
    values.insert(origin.actor.0.to_vec());
    values.insert(origin.public_salt.0.to_vec());
    values.insert(origin.time.to_be_bytes().to_vec());
    values.extend(origin.signature.map(|signature| signature.0.to_vec()));
    values
}
