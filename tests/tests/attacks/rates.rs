//! Handshakes without end from one address: nothing is verified for them, and others are served. [SES-4]

use cmtp_codec::Layer;
use cmtp_spec::{CloseCode, Status, binding, limits};
use cmtp_tests::session::{Persona, Said, fresh_address};
use cmtp_tests::wire::{Ending, Wire, badly_signed, signed};
use futures::future::join_all;

use crate::scene::{Attacks, Fate, Scene, key};

const RATE: Fate = Fate::Counted(Status::TOO_MANY_REQUESTS, "session-rate");
const COOKIE: Fate = Fate::Counted(Status::TOKEN_INVALID, "session-cookie");
const MALFORMED: Fate = Fate::Counted(Status::BAD_REQUEST, "session-malformed");
const CHAIN: Fate = Fate::Reset(CloseCode::BAD_CHAIN);

pub async fn run(attacks: &mut Attacks) {
    let mut scene = Scene::new("").await;
    let wanted = Said::new(binding::SESSION_HELLO, "{}");
    let flood = Flood::new(&scene, |persona| persona.origin(&wanted)).await;
    let run = flood.run();
    attacks.attack_often(&mut scene, "hellos without end", &[MALFORMED, RATE], run).await;
    let junk = Said::new(binding::SESSION_ANSWER, "{}").with_cookie(&[7; 200]);
    let junk = Said { signature: Some(vec![7; 64]), ..junk };
    let flood = Flood::new(&scene, |persona| persona.origin(&junk)).await;
    let run = flood.run();
    attacks.attack_often(&mut scene, "answers without end", &[COOKIE, RATE], run).await;
    let consent = Said { target: binding::SESSION_CONSENT.to_owned(), ..junk };
    let flood = Flood::new(&scene, |persona| signed(persona.origin(&consent), persona.key)).await;
    let run = flood.run();
    attacks.attack_often(&mut scene, "consents without end", &[COOKIE, RATE], run).await;
    // What is over its rate is refused before its layer's signature is looked at, which is none here.
    let run = flood.after(|persona| badly_signed(persona.origin(&consent)));
    let name = "consents over their rate that nobody signed";
    attacks.attack_often(&mut scene, name, &[CHAIN, RATE], run).await;
    let bare = Said { body: None, ..consent.clone() };
    let run = flood.after(|persona| badly_signed(persona.origin(&bare)));
    let name = "consents over their rate that nobody signed, without bodies";
    attacks.attack_often(&mut scene, name, &[CHAIN, RATE], run).await;
    attacks.end(scene).await;
}

/// Some connections from one address, each with the same request over and over.
struct Flood<F> {
    wires: Vec<Wire>,
    make: F,
}

impl<F: Fn(&Persona<'_>) -> Layer> Flood<F> {
    async fn new(scene: &Scene, make: F) -> Self {
        let address = fresh_address();
        let wires = (0..CONNECTIONS).map(|_| Wire::connect_from(address, &scene.node));
        Self { wires: join_all(wires).await, make }
    }

    /// Asks until the address was told often enough that it asks too often.
    async fn run(&self) -> Vec<Ending> {
        let asked = self.wires.iter().map(|wire| async {
            let (mut endings, mut refused) = (Vec::new(), 0);
            while refused < limits::SESSION_RATE {
                let ending = send(wire, &self.make).await;
                refused += u64::from(is_over(&ending));
                endings.push(ending);
            }
            endings
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Asks for something else, of which some is over the rate again.
    async fn after(&self, make: impl Fn(&Persona<'_>) -> Layer) -> Vec<Ending> {
        let wire = &self.wires[0];
        let mut endings = Vec::new();
        while !endings.iter().any(is_over) {
            endings.push(wire.glance(&make(&Persona { wire, key: &key(7) })).await);
            assert!(endings.len() < 50, "none is over the rate");
        }
        endings
    }
}

async fn send(wire: &Wire, make: &impl Fn(&Persona<'_>) -> Layer) -> Ending {
    let origin = make(&Persona { wire, key: &key(7) });
    wire.exchange(&[], &origin).await
}

fn is_over(ending: &Ending) -> bool {
    match ending {
        Ending::Answer(answer) => answer.status() == Status::TOO_MANY_REQUESTS,
        Ending::Unverified(status) => *status == Status::TOO_MANY_REQUESTS,
        _ => false,
    }
}

const CONNECTIONS: usize = 4;
