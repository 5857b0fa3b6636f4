//! `cmtp disclose`: what it shows verifies, and what it hides can't be found out. `cmtp-spec/spec/12-stored.md`, Redaction.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use cmtp_codec::{Body, Field, Layer, Link, Message, Private, Salt, Unverified, hash};
use cmtp_tests::{Home, Node};

struct Scene {
    node: Node,
    home: Home,
    saved: PathBuf,
}

/// Fields of few possible values, such as somebody would guess.
const HIDDEN: [(&str, &str); 2] = [("x-consent", "yes"), ("x-age", "41")];
const SHOWN: (&str, &str) = ("x-city", "Linz");
const BODY: &str = "hi, auditor";

impl Scene {
    fn new() -> Self {
        let (node, home) = (Node::start(""), Home::new());
        let token = node.grant(&home.did, &["--scope", "0xS:**"]);
        let saved = home.file("saved.cmtp");
        let (url, file) = (node.url("0xS:echo"), saved.to_str().unwrap().to_owned());
        let mut arguments: Vec<String> =
            ["call", &url, "--token", &token, "--data", BODY, "--save", &file]
                .map(str::to_owned)
                .to_vec();
        for (name, value) in HIDDEN.into_iter().chain([SHOWN]) {
            arguments.extend(["-H".to_owned(), format!("{name}: {value}")]);
        }
        let output = home.cmtp(&arguments);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        Self { node, home, saved }
    }

    fn disclose(&self, arguments: &[&str]) -> (Output, PathBuf) {
        let copy = self.home.file("copy.cmtp");
        let fixed = ["disclose", self.saved.to_str().unwrap(), "-o", copy.to_str().unwrap()];
        let pin = ["--pin", &self.node.did];
        (self.home.cmtp(fixed.iter().chain(&pin).chain(arguments)), copy)
    }

    fn shown(&self, arguments: &[&str]) -> Vec<u8> {
        let (output, copy) = self.disclose(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", err(&output));
        for file in [&self.saved, &copy] {
            let verified =
                self.home.cmtp(["verify", file.to_str().unwrap(), "--pin", &self.node.did]);
            assert_eq!(verified.status.code(), Some(0), "{}", err(&verified));
        }
        fs::read(copy).unwrap()
    }
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn message(bytes: &[u8]) -> Message {
    Unverified::from_stored(bytes.to_vec()).unwrap().untrusted().clone()
}

fn has(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

fn layers(message: &Message) -> impl Iterator<Item = &Layer> {
    message.links.iter().filter_map(Link::layer)
}

#[test]
fn what_is_named_shows_and_nothing_else() {
    // [STO-8] [STO-9]
    let scene = Scene::new();
    let original = fs::read(&scene.saved).unwrap();
    let copy = scene.shown(&["--field", SHOWN.0]);
    assert!(has(&copy, SHOWN.1.as_bytes()));
    for (_, value) in HIDDEN {
        assert!(!has(&copy, value.as_bytes()) || value.len() < 3, "{value}");
    }
    assert!(has(&original, BODY.as_bytes()) && !has(&copy, BODY.as_bytes()), "bodies are hidden");
    // The salts are what hides a value that has few others beside it; they are gone.
    let mut salts = 0;
    for layer in layers(&message(&original)) {
        for private in &layer.private {
            let Private::Disclosed { salt, field } = private else { continue };
            assert_eq!(has(&copy, &salt.0), field.name.as_str() == SHOWN.0, "{}", field.name);
            salts += 1;
        }
        if let Body::Present { salt, .. } = &layer.body {
            assert!(!has(&copy, &salt.0));
            salts += 1;
        }
    }
    assert_eq!(
        salts,
        HIDDEN.len() + 1 + 2,
        "three fields; two bodies: the request's and the echo's"
    );
    let copied = message(&copy);
    let fields: Vec<_> = layers(&copied)
        .flat_map(|layer| layer.private.iter().filter_map(Private::field))
        .map(|field| field.name.to_string())
        .collect();
    assert_eq!(fields, [SHOWN.0]);
}

#[test]
fn a_guess_at_what_is_hidden_cant_be_confirmed() {
    let scene = Scene::new();
    let copy = scene.shown(&["--field", SHOWN.0]);
    let copied = message(&copy);
    let mut hidden = Vec::new();
    let mut salts = vec![Salt([0; 16]), Salt([0xff; 16])];
    for layer in layers(&copied) {
        salts.push(layer.public_salt);
        for private in &layer.private {
            match private {
                Private::Withheld(leaf) => hidden.push(*leaf),
                Private::Disclosed { salt, .. } => salts.push(*salt),
            }
        }
    }
    assert_eq!(hidden.len(), HIDDEN.len());
    // Every sixteen bytes of the file might be a salt.
    salts.extend(copy.windows(16).map(|window| Salt(window.try_into().unwrap())));
    let original = message(&fs::read(&scene.saved).unwrap());
    let known = layers(&original).next().unwrap();
    for (name, value) in [("x-consent", "yes"), ("x-consent", "no"), ("x-age", "41")] {
        let field = Field::new(name, value.to_owned()).unwrap();
        for salt in &salts {
            let guess = hash::private_leaf(salt, &field);
            assert!(!hidden.contains(&guess), "{name}: {value} is confirmed");
        }
        assert!(!has(&copy, &cmtp_codec::Digest::of(value.as_bytes()).0));
    }
    // With the salt it would have been: the guesses are made as the leaves are.
    for private in &known.private {
        let Private::Disclosed { salt, field } = private else { panic!("all is there") };
        let is_hidden = hidden.contains(&hash::private_leaf(salt, field));
        assert_eq!(is_hidden, field.name.as_str() != SHOWN.0);
    }
}

#[test]
fn layers_bodies_and_wrong_names() {
    let scene = Scene::new();
    let bodies = |bytes: &[u8]| -> Vec<bool> {
        let message = message(bytes);
        layers(&message).map(|layer| matches!(layer.body, Body::Present { .. })).collect()
    };
    let all = bodies(&fs::read(&scene.saved).unwrap());
    assert_eq!(all.iter().filter(|it| **it).count(), 2);
    assert_eq!(bodies(&scene.shown(&["--body"])), all);
    let first = bodies(&scene.shown(&["--body", "--layer", "0"]));
    assert_eq!(first.iter().filter(|it| **it).count(), 1);
    assert!(first[0]);
    // Without any all is hidden; the public fields show.
    let copy = scene.shown(&[]);
    assert!(bodies(&copy).iter().all(|it| !it) && has(&copy, b"0xS:echo"));
    // A copy of a copy shows less, and never more.
    let (output, copy) = scene.disclose(&["--field", "X-City"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let again = scene.home.file("again.cmtp");
    let files = [copy.to_str().unwrap(), "-o", again.to_str().unwrap()];
    let output = scene.home.cmtp(["disclose"].iter().chain(&files).chain(&["--field", "x-age"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("there are: x-city"), "{}", err(&output));
    for (arguments, said) in [
        (
            &["--field", "x-name"][..],
            "no private field has that name; there are: x-age, x-city, x-consent",
        ),
        (&["--field", "target"], "--field target: no private field"),
        (&["--field", SHOWN.0, "--layer", "1"], "there are: none"),
        (&["--layer", "77"], "--layer 77: there are layers 0 to 2"),
    ] {
        let (output, _) = scene.disclose(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(err(&output).contains(said), "{arguments:?}: {}", err(&output));
    }
    // What does not hold is not passed on.
    let mut broken = fs::read(&scene.saved).unwrap();
    let at = broken.windows(BODY.len()).position(|it| it == BODY.as_bytes()).unwrap();
    broken[at] ^= 1;
    fs::write(&scene.saved, broken).unwrap();
    let (output, _) = scene.disclose(&[]);
    assert_eq!(output.status.code(), Some(4), "{}", err(&output));
}
