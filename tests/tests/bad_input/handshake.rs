//! What comes before there is a connection: wrong protocols, wrong versions, handshakes that go nowhere.

use std::net::SocketAddr;

use cmtp_spec::binding;
use cmtp_tests::wire::{Wire, dial_with};
use quinn::TransportConfig;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::scene::{Cases, End, Scene, refused, said};

pub async fn run(cases: &mut Cases) {
    let scene = Scene::new("");
    // [QUI-1] Without the ALPN `cmtp/0` the handshake fails (TLS alert `no_application_protocol`).
    let table: [(&str, &[&str]); 5] = [
        ("ALPN h3", &["h3"]),
        ("ALPN of a later version", &["cmtp/1"]),
        ("ALPN in upper case", &["CMTP/0"]),
        ("several ALPNs, none of them ours", &["h3", "hq-interop", "doq"]),
        ("no ALPN", &[]),
    ];
    for (name, alpns) in table {
        let run = async {
            match dial_with(scene.address(), alpns, TransportConfig::default()).await {
                Ok(_) => End::AsSaid,
                Err(error) => refused(&error),
            }
        };
        cases.case(&scene, name, End::Alert(NO_APPLICATION_PROTOCOL), run).await;
    }
    let run = async {
        let alpns = ["h3", binding::ALPN];
        said(dial_with(scene.address(), &alpns, TransportConfig::default()).await.is_ok())
    };
    cases.case(&scene, "several ALPNs, ours among them", End::AsSaid, run).await;
    datagrams(cases, &scene).await;
    places(cases).await;
    half_open(cases).await;
}

/// Datagrams that begin no connection.
async fn datagrams(cases: &mut Cases, scene: &Scene) {
    for (name, version) in
        [("QUIC version 2", 0x6b33_43cf), ("an unknown QUIC version", 0x0a0a_0a0a)]
    {
        let run = async {
            let socket = socket().await;
            said(negotiates(&socket, scene.address(), version).await)
        };
        cases.case(scene, name, End::AsSaid, run).await;
    }
    let table: [(&str, Vec<u8>); 6] = [
        ("an empty datagram", vec![]),
        ("a datagram of zeros", vec![0; 1200]),
        ("a datagram of ones", vec![0xff; 1200]),
        ("an Initial without its keys", initial(1, 1200)),
        ("an Initial that is too short", initial(1, 100)),
        ("a version negotiation from a client", initial(0, 1200)),
    ];
    for (name, datagram) in table {
        let run = async {
            let socket = socket().await;
            socket.send_to(&datagram, scene.address()).await.unwrap();
            // The node is done with the datagram once it answers the next.
            said(negotiates(&socket, scene.address(), 0x0a0a_0a0a).await)
        };
        cases.case(scene, name, End::AsSaid, run).await;
    }
}

/// [LIM-6] As many connections as there are places.
async fn places(cases: &mut Cases) {
    for (name, key) in [
        ("more connections than the node holds", "connections-max"),
        ("more connections than one address may have", "connections-per-address-max"),
    ] {
        let scene = Scene::new(&format!("[limits]\n{key} = 3"));
        let run = async {
            let _held = [scene.wire().await, scene.wire().await, scene.wire().await];
            dial(scene.address()).await
        };
        cases.case(&scene, name, End::Refused, run).await;
    }
    let scene = Scene::new("[limits]\nidle-timeout-ms = 1000");
    let run = async {
        let wire = scene.wire().await;
        refused(&wire.connection.closed().await)
    };
    cases.case(&scene, "a connection without packets", End::Silence, run).await;
}

/// Handshakes whose client falls silent behind its first datagram.
async fn half_open(cases: &mut Cases) {
    let scene = Scene::new("[limits]\nhandshakes-retry = 0");
    let run = async {
        let (address, mut heard) = relay(scene.address(), usize::MAX).await;
        let wire = Wire::connect_to(address, TransportConfig::default()).await.unwrap();
        // [LIM-7] Retry comes first, and whoever answers it is served.
        assert!(is_retry(&heard.recv().await.unwrap()));
        scene.echo(&wire, vec![1]).await.into()
    };
    let wanted = End::Status(cmtp_spec::Status::OK);
    cases.case(&scene, "an address that must be validated", wanted, run).await;

    let scene = Scene::new("[limits]\nhandshakes-retry = 2\nheader-timeout-ms = 2000");
    let run = async {
        let mut retries = 0;
        let mut stalled = Vec::new();
        for _ in 0..6 {
            let (address, mut heard) = relay(scene.address(), 1).await;
            stalled.push(tokio::spawn(dial(address)));
            retries += usize::from(is_retry(&heard.recv().await.unwrap()));
        }
        stalled.iter().for_each(tokio::task::JoinHandle::abort);
        said(retries == 4)
    };
    cases.case(&scene, "handshakes of addresses that are not validated", End::AsSaid, run).await;

    let scene = Scene::new("[limits]\nhandshakes-max = 1\nheader-timeout-ms = 2000");
    let run = async {
        let (address, mut heard) = relay(scene.address(), 1).await;
        tokio::spawn(dial(address));
        heard.recv().await.unwrap();
        // [LIM-3] The node ends the one that stalls, or it would answer nobody after this case.
        dial(scene.address()).await
    };
    cases.case(&scene, "more handshakes than the node takes", End::Refused, run).await;
}

async fn dial(address: SocketAddr) -> End {
    match dial_with(address, &[binding::ALPN], TransportConfig::default()).await {
        Ok(_) => End::AsSaid,
        Err(error) => refused(&error),
    }
}

/// Carries datagrams to the node and back: of the client's only the first `through`. Node's are handed out, too.
async fn relay(node: SocketAddr, through: usize) -> (SocketAddr, mpsc::UnboundedReceiver<Vec<u8>>) {
    let (front, back) = (socket().await, socket().await);
    back.connect(node).await.unwrap();
    let address = front.local_addr().unwrap();
    let (tell, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (mut there, mut here) = (vec![0; 65_536], vec![0; 65_536]);
        let (mut client, mut count) = (None, 0);
        loop {
            tokio::select! {
                Ok((length, from)) = front.recv_from(&mut there) => {
                    client = Some(from);
                    count += 1;
                    if count <= through {
                        let _lost = back.send(&there[..length]).await;
                    }
                }
                Ok(length) = back.recv(&mut here) => {
                    // Whether anybody listens is the case's business.
                    let _heard = tell.send(here[..length].to_vec());
                    if let Some(client) = client {
                        let _lost = front.send_to(&here[..length], client).await;
                    }
                }
                else => return,
            }
        }
    });
    (address, heard)
}

async fn socket() -> UdpSocket {
    UdpSocket::bind(("127.0.0.1", 0)).await.unwrap()
}

/// Whether the node answers an Initial of this version with the versions that it has (RFC 9000 section 17.2.1).
async fn negotiates(socket: &UdpSocket, node: SocketAddr, version: u32) -> bool {
    socket.send_to(&initial(version, 1200), node).await.unwrap();
    let mut answer = vec![0; 2048];
    loop {
        let length = socket.recv(&mut answer).await.unwrap();
        let answer = &answer[..length];
        // A long header of version 0, to our connection id, and a list that has version 1.
        if answer.len() > 23 && answer[0] & 0x80 != 0 && answer[1..5] == [0; 4] {
            let versions = answer[7 + 2 * ID.len()..].chunks_exact(4);
            return answer[6..6 + ID.len()] == ID
                && versions.into_iter().any(|it| it == [0, 0, 0, 1]);
        }
    }
}

/// The header of an Initial packet, and nothing that could be opened.
fn initial(version: u32, length: usize) -> Vec<u8> {
    let mut datagram = vec![0xc3];
    datagram.extend_from_slice(&version.to_be_bytes());
    for _destination_and_source in 0..2 {
        datagram.push(ID.len() as u8);
        datagram.extend_from_slice(&ID);
    }
    // No token; the rest of the datagram is the payload.
    datagram.push(0);
    datagram.extend_from_slice(&(0x4000 | (length.saturating_sub(26)) as u16).to_be_bytes());
    datagram.resize(length, 0x5a);
    datagram
}

fn is_retry(datagram: &[u8]) -> bool {
    // RFC 9000 section 17.2.5: long header, type 3, version 1.
    datagram[0] & 0xf0 == 0xf0 && datagram[1..5] == [0, 0, 0, 1]
}

const ID: [u8; 8] = *b"cmtptest";
/// RFC 7301.
const NO_APPLICATION_PROTOCOL: u8 = 120;
