//! `cmtpd demo`: the main job, from nothing to a refused forgery.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use clap::Args;
use cmtp_client::{
    Answer, Client, ClientConfig, Connection, Identity, NodeUrl, Request, Style, Trust, tree,
};
use cmtp_codec::{
    Chain, Entry, Fqmn, Invalid, Link, Message, Pattern, PublicKey, Receipt, Scope, SigningKey,
    Unverified, Verdict,
};
use cmtp_server::{Bus, Config, Grant, JOURNAL, Listener, Node, NodeKeys, check_journal};
use cmtp_spec::Status;
use futures::StreamExt;
use tokio::task::JoinHandle;

/// Show the main job: a node, an identity, calls, verification, and what happens to forgeries.
///
/// Everything lives in a temporary directory and on a free loopback port; nothing of it is left behind.
/// The node, its QUIC connections and its keys are real.
///
///   cmtpd demo
///   cmtpd demo --nats nats://127.0.0.1:4222      # with a service on a nats-server
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Demo {
    /// Put a backing service on this NATS server, such as nats://127.0.0.1:4222, and reach it over the bus.
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
}

impl Demo {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        tokio::runtime::Runtime::new()?.block_on(demo(self.nats))
    }
}

async fn demo(nats: Option<String>) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let config = config(data.path(), nats.as_deref())?;
    if let Some(url) = &nats {
        serve_on_nats(url).await.with_context(|| {
            format!("no service can be put on {url}; is a nats-server running there?")
        })?;
        println!("A service answers on {url}, subject {SUBJECT}: it takes JSON and says hello.\n");
    }

    let mut settings = config;
    let running = Running::start(&settings).await?;
    let (did, address) = (running.node.did(), running.listener.address()?);
    println!("1  A node listens on {address}. Its key was made just now:\n   {did}\n");

    let identity = Arc::new(Identity::ephemeral()?);
    let token = grant(data.path(), identity.did())?;
    println!("2  An identity was made, and the node grants it State, and reads of names:");
    println!(
        "   {}\n   token of {} bytes, useless without the identity's key\n",
        identity.did(),
        token.len()
    );

    let config = ClientConfig { token: Some(token), ..ClientConfig::new(Arc::clone(&identity)) };
    let client = Client::new(config)?;
    let connection = client.connect(address, "localhost", Trust::Pinned(did)).await?;

    let request = Request::new(Fqmn::parse("0xS:echo")?).body("hello, CMTP");
    let answer = connection.call(request).await?;
    println!(
        "3  cmtp call cmtp://{address}/0xS:echo --data 'hello, CMTP'\n   {}\n",
        text(&answer)?
    );

    let named = call_named(&connection, &format!("cmtp://{address}/helloworld.mcom")).await?;
    println!("4  cmtp call cmtp://{address}/helloworld.mcom Dexter\n   {}\n", text(&named)?);

    let nobody = Client::new(ClientConfig::new(Arc::new(Identity::ephemeral()?)))?;
    let stranger = nobody.connect(address, "localhost", Trust::Pinned(did)).await?;
    let refused = stranger.call(Request::new(Fqmn::parse("0xS:echo")?)).await?;
    ensure!(refused.status() == Status::IDENTITY_REQUIRED, "{}", refused.status());
    println!("5  The same without a token is refused: {} {}", refused.status().0, refused.status());
    println!("   what to do: {}\n", refused.remedy().unwrap_or_default());

    println!("6  The layers of answer 4, who stands for each, and what they prove:\n");
    println!("{}", indent(&tree(named.replay(), Style::Plain)));

    let file = named.to_saved().to_stored();
    let verdict = verify(&file, did)?;
    ensure!(verdict == Verdict::Authentic, "the saved answer is only {verdict:?}");
    println!(
        "7  Saved ({} bytes) and verified offline against the node's DID: authentic.\n",
        file.len()
    );

    let mut flipped = file.to_vec();
    let place = find(&flipped, b"Dexter").context("the argument is in the file")?;
    flipped[place] ^= 1;
    let error = expect_invalid(&flipped, did)?;
    println!("8  One bit of byte {place} flipped (\"Dexter\" became \"Eexter\"):\n   {error}\n");

    let forged = forge(named.to_saved())?;
    ensure!(Unverified::from_stored(forged.clone())?.verify(None).is_ok(), "the forgery is clumsy");
    let error = expect_invalid(&forged, did)?;
    println!("9  Another answer put in its place, every hash made anew, sealed by the forger:");
    println!("   all hashes agree, and yet {error}\n");

    let color = Fqmn::parse("0xSW:0x001:color")?;
    let write = connection.prepare(Request::new(color).body("blue"))?;
    let written = connection.send(&write).await?;
    ensure!(written.status() == Status::CREATED, "{}", written.status());
    println!("10 cmtp call cmtp://{address}/0xSW:0x001:color --data blue");
    println!(
        "   201 created, entry {} of the journal, on the disk before the answer left\n",
        entry(&written)?
    );

    running.stop().await;
    settings.listen = address;
    let running = Running::start(&settings).await?;
    let connection = client.connect(address, "localhost", Trust::Pinned(did)).await?;
    let again = connection.send(&write).await?;
    ensure!(again.replay().message.seal.recorded, "the write was executed twice");
    ensure!(entry(&again)? == entry(&written)?, "the record names another entry");
    let read = connection.call(Request::new(Fqmn::parse("0xS:0x001:color")?)).await?;
    println!(
        "11 The node was stopped and started again. The same bytes sent again are answered from"
    );
    println!("   the record, not executed again; and 0xS:0x001:color reads: {}\n", text(&read)?);

    drop(connection);
    client.close().await;
    nobody.close().await;
    running.stop().await;
    let check = check_journal(&settings.data.join(JOURNAL), &did, |_entry| {})?;
    ensure!(check.faults.is_empty() && check.open == 0, "{check:?}");
    println!(
        "12 The journal, replayed: {} entries, {} messages read back;",
        check.report.entries, check.messages
    );
    println!("   every layer, seal and receipt agrees (cmtpd journal check)\n");
    println!("{NEXT}");
    Ok(())
}

/// A node that answers.
struct Running {
    node: Arc<Node>,
    listener: Arc<Listener>,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(config: &Config) -> anyhow::Result<Self> {
        let node = Arc::new(Node::open(config).await?);
        let listener = Arc::new(Listener::bind(Arc::clone(&node), config.listen)?);
        let task = tokio::spawn({
            let listener = Arc::clone(&listener);
            async move { listener.run().await }
        });
        Ok(Self { node, listener, task })
    }

    async fn stop(self) {
        self.listener.drain(Duration::from_secs(1)).await;
        self.listener.close().await;
        self.node.close();
        // It ends with the socket, which the next start needs.
        let _ended = self.task.await;
    }
}

/// The entry that an answer's receipt names.
fn entry(answer: &Answer) -> anyhow::Result<u64> {
    let receipt = answer.replay().message.seal.receipt.as_ref();
    receipt.and_then(Receipt::index).context("the receipt names an entry")
}

fn config(data: &std::path::Path, nats: Option<&str>) -> anyhow::Result<Config> {
    let to = if nats.is_some() { format!("nats:{SUBJECT}") } else { "local:hello".to_owned() };
    let text = format!(
        r#"
        listen = "127.0.0.1:0"
        [names]
        "helloworld.mcom" = "0xS:0x001:hello_world"
        [[route]]
        target = "0xS:0x001:hello_world"
        to = "{to}"
        "#
    );
    let mut config = Config::from_toml(&text)?;
    config.data = data.to_owned();
    if let Some(url) = nats {
        config.bus = Bus::Nats(url.to_owned());
    }
    Ok(config)
}

fn grant(data: &std::path::Path, to: PublicKey) -> anyhow::Result<String> {
    let read = vec![Pattern::parse("0xS:**")?, Pattern::parse("0xR:**")?];
    let lifetime = Duration::from_secs(300);
    let write = vec![Pattern::parse("0xS:**")?];
    let grant = Grant { to, scope: Scope::new(read, write)?, lifetime };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Ok(grant.mint(&NodeKeys::load_or_create(data)?, now)?)
}

async fn call_named(connection: &Connection, url: &str) -> anyhow::Result<Answer> {
    let url: NodeUrl = url.parse()?;
    let target = Fqmn::from_sugar(&url.path)?.with_words(["Dexter"])?;
    let answer = connection.call(Request::new(target)).await?;
    ensure!(text(&answer)? == "Hello, Dexter!", "unexpected answer {:?}", text(&answer)?);
    Ok(answer)
}

/// A backing service as any NATS user would write it: it knows nothing of CMTP.
async fn serve_on_nats(url: &str) -> anyhow::Result<()> {
    let client = async_nats::connect(url).await?;
    let mut requests = client.subscribe(SUBJECT).await?;
    client.flush().await?;
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let names: Vec<String> = serde_json::from_slice(&request.payload).unwrap_or_default();
            let name = names.first().map_or("world", String::as_str);
            let reply = format!("Hello, {name}!");
            if let Some(inbox) = request.reply
                && client.publish(inbox, reply.into()).await.is_err()
            {
                return;
            }
        }
    });
    Ok(())
}

fn verify(file: &[u8], did: PublicKey) -> anyhow::Result<Verdict> {
    let message = Unverified::from_stored(file.to_vec())?;
    Ok(message.verify(Some(&did))?.verdict)
}

fn expect_invalid(file: &[u8], did: PublicKey) -> anyhow::Result<Invalid> {
    match Unverified::from_stored(file.to_vec())?.verify(Some(&did)) {
        Err(invalid) => Ok(invalid),
        Ok(replay) => bail!("a changed message passed as {:?}", replay.verdict),
    }
}

/// Does what somebody can do who holds a message and any key but the node's.
fn forge(mut message: Message) -> anyhow::Result<Vec<u8>> {
    let forger = SigningKey::from_seed(&[66; 32])?;
    let salt = message.origin().context("the origin is there")?.public_salt;
    if let Some(Link::Layer(last)) = message.links.last_mut() {
        *last = last.clone().with_body(salt, "Hello, Mallory!");
    }
    let mut chain = Chain::default();
    let heads = message.links.iter().map(|link| chain.push(link)).collect::<Result<_, _>>()?;
    message.seal.key = forger.public();
    message.seal.hash = chain.seal(&forger.public());
    message.seal.heads = Some(heads);
    let status = message.status();
    let receipt = message.seal.receipt.as_mut().context("the answer has R0")?;
    let entry: Entry = receipt.entry(status, chain.length(), message.seal.hash);
    receipt.statement.root = entry.leaf();
    receipt.signature = receipt.statement.sign(&forger);
    Ok(message.to_stored().to_vec())
}

fn text(answer: &Answer) -> anyhow::Result<String> {
    ensure!(answer.is_success(), "{}: {}", answer.status(), answer.detail().unwrap_or_default());
    Ok(String::from_utf8(answer.body().unwrap_or_default().to_vec())?)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("   {line}\n")).collect()
}

const SUBJECT: &str = "demo.hello";

const NEXT: &str = "Next, with a node that stays:
   cmtp id new                                        make an identity; prints its DID
   cmtpd serve &                                      start the node
   cmtp login cmtp://127.0.0.1:4433                   open a session; the operator need not be asked
   cmtp call cmtp://127.0.0.1:4433/0xS:echo --data hi --save hi.cmtp -v
   cmtp verify hi.cmtp";
