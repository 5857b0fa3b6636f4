//! What these tests share.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use async_nats::{Client, Message};
use cmtp_client::{Answer, Connection, Identity, Request};
use cmtp_codec::{Field, Fqmn};
use cmtp_spec::FieldIndex;
use cmtp_tests::load::Caller;
use cmtp_tests::{NatsServer, Node};
use futures::StreamExt;
use tempfile::TempDir;

/// A node on a nats-server, and who calls it.
pub(crate) struct Scene {
    pub(crate) server: NatsServer,
    pub(crate) node: Node,
    pub(crate) caller: Arc<Caller>,
    pub(crate) connection: Connection,
    metrics: SocketAddr,
    _data: TempDir,
}

impl Scene {
    /// Starts a node whose configuration goes on with `config`; what has to stand before its tables is `head`.
    pub(crate) async fn new(head: &str, config: &str) -> Self {
        Self::start(NatsServer::start(), head, config, &[]).await
    }

    /// Starts a node by way of `wrapper`, a command that is given the node's.
    pub(crate) async fn wrapped(server: NatsServer, config: &str, wrapper: &[&str]) -> Self {
        Self::start(server, "", config, wrapper).await
    }

    async fn start(server: NatsServer, head: &str, config: &str, wrapper: &[&str]) -> Self {
        // Free when it was asked for, which the system does not give away again soon.
        let metrics = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = format!(
            "bus = \"nats={}\"\n{head}\n[http]\nlisten = \"{metrics}\"\n{config}",
            server.url
        );
        let data = tempfile::tempdir().unwrap();
        let node = Node::start_in(data.path(), &config, wrapper);
        let caller = Arc::new(Caller::new(&node));
        let connection = caller.connect().await;
        Self { server, node, caller, connection, metrics, _data: data }
    }

    pub(crate) async fn client(&self) -> Client {
        async_nats::connect(&self.server.url).await.unwrap()
    }

    /// Calls `target` with a body; as a write where the target is one.
    pub(crate) async fn call(&self, target: &str, body: &str) -> Answer {
        let request = self.caller.write(&self.connection, target, body);
        self.connection.send(&request).await.unwrap()
    }

    /// Calls `target` with a field and a body.
    pub(crate) async fn call_with(&self, target: &str, name: &str, value: &[u8]) -> Answer {
        let field = Field::new(name, value.to_vec()).unwrap();
        let request = Request::new(Fqmn::parse(target).unwrap()).field(field).body("x");
        self.connection.call(request).await.unwrap()
    }

    /// A counter of the node's.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let text = self.scrape();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap()
    }

    fn scrape(&self) -> String {
        // The node says that it listens for requests before it listens for this.
        let mut stream = loop {
            if let Ok(stream) = TcpStream::connect(self.metrics) {
                break stream;
            }
        };
        let request = "GET /metrics HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }
}

/// Gives each request on `subject` to `answer`, which may answer or not.
pub(crate) async fn listen<F: Future<Output = ()> + Send>(
    client: &Client,
    subject: &str,
    mut answer: impl FnMut(Client, Message) -> F + Send + 'static,
) {
    let mut requests = client.subscribe(subject.to_owned()).await.unwrap();
    settled(client).await;
    let client = client.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            answer(client.clone(), request).await;
        }
    });
}

/// Waits until the server knows what this client subscribed to: it takes what a client sends in order.
pub(crate) async fn settled(client: &Client) {
    let inbox = client.new_inbox();
    let mut echo = client.subscribe(inbox.clone()).await.unwrap();
    client.publish(inbox, "".into()).await.unwrap();
    echo.next().await.unwrap();
}

pub(crate) fn has(answer: &Answer, field: FieldIndex) -> bool {
    answer.fields().any(|there| there.name.index() == Some(field))
}

/// The identity of the services that routes here pin.
pub(crate) fn actor() -> Identity {
    Identity::from_seed(&[7; 32]).unwrap()
}

/// A route to a layered service of [`actor`]'s: for reads and for writes, with more lines in each.
pub(crate) fn route(target: &str, subject: &str, more: &str) -> String {
    let actor = actor().did();
    ["0xS", "0xSW"].map(|opcode| {
        format!(
            "[[route]]\ntarget = \"{opcode}:{target}\"\nto = \"nats:{subject}\"\nactors = [\"{actor}\"]\n{more}\n"
        )
    })
    .concat()
}
