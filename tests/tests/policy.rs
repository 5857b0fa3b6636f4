//! Policies on a real node: who is let in, how they change under its callers, and that an auditor finds what was not decided so.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use cmtp_client::policy::Policies;
use cmtp_codec::{Digest, Layer, PolicyFiles, SigningKey};
use cmtp_spec::{FieldIndex, LayerFlags, Status, Step};
use cmtp_tests::archive::{Judged, Maker, Plan};
use cmtp_tests::http::{free_port, get};
use cmtp_tests::wire::{Answer, Forge, Wire, salt, signed};
use cmtp_tests::{Home, Node};
use serde_json::Value;

fn key() -> SigningKey {
    SigningKey::from_seed(&[5; 32]).expect("a seed")
}

/// A node with one policy file, somebody with a token for everything, and a connection.
struct Scene {
    node: Node,
    wire: Wire,
    token: String,
    port: u16,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn new(policies: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("policies")).expect("a folder");
        fs::write(folder.path().join("policies/a.cedar"), policies).expect("a file");
        let port = free_port();
        let config =
            format!("[http]\nlisten = \"127.0.0.1:{port}\"\n[names]\nname = \"0xS:0x001:color\"\n");
        let node = Node::start_in(folder.path(), &config, &[]);
        let wire = Wire::connect(&node).await;
        let token = Forge::new(&node, key().public()).token();
        Self { node, wire, token, port, folder }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.policies().join(name), text).expect("a file");
    }

    fn policies(&self) -> PathBuf {
        self.folder.path().join("policies")
    }

    fn digest(&self) -> Digest {
        Policies::load(&self.policies()).expect("good policies").digest()
    }

    async fn call(&self, target: &str) -> Answer {
        let origin = signed(self.wire.origin(&key(), target).with_body(salt(), "x"), &key());
        let auth = self.wire.auth(&self.token, &key());
        self.wire.exchange(&[auth], &origin).await.answer()
    }

    /// Calls until the answer has this status: a change is seen at some time after it was made.
    async fn call_until(&self, target: &str, status: Status) {
        while self.call(target).await.status() != status {}
    }

    /// `cmtpd policy explain`, with its exit code.
    fn explain(&self, target: &str, more: &[&str]) -> (Option<i32>, Value) {
        let did = key().public().to_string();
        let arguments = ["policy", "explain", "--as", &did, "--target", target, "--json"];
        let output = self.node.cmtpd(&[&arguments[..], more].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), serde_json::from_slice(&output.stdout).expect(&error))
    }

    fn reloads(&self, result: &str) -> u64 {
        self.counted(&format!("cmtpd_policy_reloads_total{{result=\"{result}\"}}"))
    }

    /// What the node counted, as its metrics call it.
    fn counted(&self, name: &str) -> u64 {
        let (_, body) = get(self.port, "/metrics").expect("metrics");
        let text = String::from_utf8(body).expect("text");
        let count = text.lines().find_map(|said| said.strip_prefix(name)?.strip_prefix(' '));
        count.map_or(0, |count| count.parse().expect("a number"))
    }

    fn audit(&self, policies: &str) -> (Option<i32>, Value) {
        audit(self.folder.path(), &self.node.did, policies)
    }
}

fn audit(data: &Path, did: &str, policies: &str) -> (Option<i32>, Value) {
    let data = data.to_str().expect("a path is text");
    let arguments = ["audit", "verify", data, "--pin", did, "--json", "--policies", policies];
    let output = Home::empty().cmtp(arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), serde_json::from_slice(&output.stdout).expect(&error))
}

fn admit(answer: &Answer) -> &Layer {
    answer.replay.message.links[1].layer().expect("an admit layer")
}

fn said(layer: &Layer) -> &str {
    layer.text(FieldIndex::DETAIL).unwrap_or_default()
}

const READS: &str = "@id(\"reads\") permit (principal, action == Action::\"read\", resource);";
const NO_COLOR: &str =
    "@id(\"no-color\") forbid (principal, action, resource in Fqmn::\"0xS:0x001\");";
const ALL: &str = "@id(\"all\") permit (principal, action, resource);";

#[tokio::test]
async fn what_nothing_permits_is_denied_and_what_something_forbids_too() {
    // [POL-1] [POL-2] [POL-8] [POL-9] [ADM-8]
    let scene = Scene::new(&format!("{READS}\n{NO_COLOR}")).await;
    let digest = scene.digest();
    // Target, status, what the admit layer names, what the refusal says.
    let table = [
        ("0xS:echo", Status::OK, Some("0xS:** reads"), ""),
        (
            "0xSW:0x002:color",
            Status::FORBIDDEN,
            Some("0xS:**"),
            "no policy of this node permits 0xSW:0x002:color",
        ),
        (
            "0xS:0x001:color",
            Status::FORBIDDEN,
            Some("0xS:** no-color"),
            "policies of this node deny 0xS:0x001:color: no-color",
        ),
        ("0xS:0x002:color", Status::NOT_FOUND, Some("0xS:** reads"), ""),
        // The scope comes first, and what it does not cover no policy is asked about.
        ("0xC:status", Status::FORBIDDEN, None, "the token does not cover 0xC:status"),
        ("0xI:log:growth", Status::NOT_FOUND, Some("0xI:log:*"), ""),
    ];
    for (target, status, named, detail) in table {
        let answer = scene.call(target).await;
        assert_eq!(answer.status(), status, "{target}: {}", said(answer.last()));
        let layer = admit(&answer);
        assert_eq!(layer.text(FieldIndex::POLICIES), named, "{target}");
        assert_eq!(layer.digest(FieldIndex::POLICY_DIGEST), Some(digest), "{target}");
        if layer.refuses() {
            assert_eq!(said(layer), detail, "{target}");
            assert_eq!(answer.remedy(), "ask-access");
        }
    }
    // A name gives no authority: what it stands for is judged, too.
    let answer = scene.call("0xR:name").await;
    assert_eq!((answer.status(), answer.last().step), (Status::FORBIDDEN, Step::RESOLVE));
    assert_eq!(said(answer.last()), "policies of this node deny 0xS:0x001:color: no-color");
    let (exit, view) = scene.audit("journal");
    // With the node's own consent, which no policy is asked about.
    assert_eq!((exit, view["counts"]["decisions"].as_u64()), (Some(0), Some(7)), "{view:#}");
}

#[tokio::test]
async fn explain_says_what_the_node_does() {
    let scene = Scene::new(&format!("{READS}\n{NO_COLOR}")).await;
    for target in ["0xS:echo", "0xSW:0x002:color", "0xS:0x001:color", "0xI:log:growth"] {
        let answer = scene.call(target).await;
        let (exit, view) = scene.explain(target, &[]);
        let is_allowed = !admit(&answer).refuses();
        assert_eq!(exit, Some(i32::from(!is_allowed)), "{view}");
        assert_eq!(view["allowed"], is_allowed, "{view}");
        let named = admit(&answer).text(FieldIndex::POLICIES).expect("policies");
        let ids: Vec<_> = named.split(' ').skip(1).collect();
        assert_eq!(view["policies"], serde_json::json!(ids), "{view}");
        assert_eq!(view["digest"], scene.digest().to_string());
    }
    scene.write("b.cedar", "permit (principal in Group::\"g\", action == Action::\"write\", resource) when { principal.hasTag(\"k\") && principal.getTag(\"k\") == \"v=w\" && context.granted == \"session\" };");
    let known = ["--group", "g", "--attribute", "k=v=w", "--granted", "session"];
    let (exit, view) = scene.explain("0xSW:x", &known);
    assert_eq!((exit, &view["policies"][0]), (Some(0), &"b#0".into()), "{view}");
    assert_eq!((&view["action"], &view["resource"]), (&"write".into(), &"0xS:x".into()));
    assert_eq!(scene.explain("0xSW:x", &known[..4]).0, Some(1));
}

#[tokio::test]
async fn a_good_change_comes_into_force_and_a_bad_one_does_not() {
    // [POL-10] [POL-11]
    let scene = Scene::new(READS).await;
    let first = scene.digest();
    assert_eq!(scene.call("0xSW:0x001:color").await.status(), Status::FORBIDDEN);
    scene.write("a.cedar", ALL);
    let second = scene.digest();
    scene.call_until("0xSW:0x001:color", Status::CREATED).await;
    assert_eq!(
        admit(&scene.call("0xS:echo").await).digest(FieldIndex::POLICY_DIGEST),
        Some(second)
    );
    scene.write("a.cedar", "permit (principal);");
    while scene.reloads("invalid") == 0 {}
    let answer = scene.call("0xS:echo").await;
    assert_eq!(admit(&answer).digest(FieldIndex::POLICY_DIGEST), Some(second));
    assert_eq!(scene.reloads("invalid"), 1);
    // A signal asks for it at once.
    scene.write("a.cedar", READS);
    scene.node.signal("HUP");
    scene.call_until("0xSW:0x001:color", Status::FORBIDDEN).await;
    // An empty folder is an empty set.
    fs::remove_file(scene.policies().join("a.cedar")).expect("a file");
    scene.call_until("0xS:echo", Status::FORBIDDEN).await;
    let noted: Vec<_> = cmtp_tests::load::entries(&scene.node)
        .iter()
        .filter(|entry| entry["type"] == "policy")
        .map(|entry| entry["seal"].as_str().expect("F").to_owned())
        .collect();
    let empty = scene.digest();
    assert_eq!(noted, [first, second, first, empty].map(|digest| digest.to_string()));
    let (exit, view) = scene.audit("journal");
    assert_eq!((exit, &view["counts"]["decisions-not-checked"]), (Some(0), &0.into()), "{view:#}");
    let peer = scene.node.read_by_peer();
    assert!(peer["entries"].as_u64() > Some(0), "{peer:#}");
}

#[tokio::test]
async fn a_stream_that_a_new_set_denies_is_cut() {
    // [POL-12]
    let scene = Scene::new(ALL).await;
    let origin = signed(scene.wire.origin(&key(), "0xS:time:ticks"), &key());
    let (mut send, mut recv) = scene.wire.open().await;
    let mut bytes = BytesMut::new();
    scene.wire.auth(&scene.token, &key()).encode(&mut bytes);
    origin.encode(&mut bytes);
    send.write_all(&bytes).await.expect("a stream");
    send.finish().expect("a stream");
    let first = recv.read_chunk(1, true).await.expect("a stream").expect("its beginning");
    // One that the new set allows as well goes on.
    scene.write("a.cedar", &format!("{ALL}\n{NO_COLOR}"));
    scene.call_until("0xS:0x001:color", Status::FORBIDDEN).await;
    scene.write(
        "a.cedar",
        &format!(
            "{ALL}\n@id(\"no-time\") forbid (principal, action, resource in Fqmn::\"0xS:time\");"
        ),
    );
    let answer = scene.wire.read_answer_from(first.bytes, recv, &origin).await.answer();
    assert!(answer.last().has(LayerFlags::CUT), "{:?}", answer.last());
    let (exit, view) = scene.audit("journal");
    assert_eq!((exit, &view["counts"]["findings"]), (Some(0), &0.into()), "{view:#}");
}

#[tokio::test]
async fn ten_thousand_decisions_of_a_node_are_judged_again() {
    // [POL-13]
    let scene = Scene::new(&format!("{READS}\n{NO_COLOR}")).await;
    let home = Home::new();
    let token = scene.node.grant(&home.did, &["--scope", "0xS:**"]);
    let url = scene.node.url("0xS:echo");
    assert_eq!(scene.call("0xS:0x001:color").await.status(), Status::FORBIDDEN);
    let mut seconds = 0;
    while scene.counted("cmtpd_journal_entries_total") < 10_100 {
        let arguments = ["bench", &url, "--token", &token, "--pin", &scene.node.did];
        let more = ["--seconds", "3", "--in-flight", "128", "--verify", "1000"];
        let output = home.cmtp([&arguments[..], &more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        seconds += 3;
        assert!(seconds < 300, "the node is too slow");
    }
    let (exit, view) = scene.audit("journal");
    assert_eq!((exit, view["counts"]["findings"].as_u64()), (Some(0), Some(0)), "{view:#}");
    let decisions = view["counts"]["decisions"].as_u64().expect("a count");
    assert!(decisions >= 10_000, "{view:#}");
    println!("{decisions} decisions were judged again");
    // The sets may come from elsewhere, each in a folder of its own; others are of no use.
    let sets = tempfile::tempdir().expect("a folder");
    for name in ["old", "new"] {
        let set = sets.path().join(name);
        fs::create_dir(&set).expect("a folder");
        fs::write(set.join("a.cedar"), format!("// {name}\n{ALL}")).expect("a file");
    }
    let (exit, view) = scene.audit(sets.path().to_str().expect("a path is text"));
    assert_eq!(
        (exit, view["counts"]["decisions"].as_u64()),
        (Some(0), Some(decisions)),
        "{view:#}"
    );
}

/// A data folder that a node would leave which notes this set, if any, and then does this.
fn left_behind(noted: Option<&Policies>, judged: &[Judged<'_>]) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let plan = Plan { entries: 0, file_entries: 1_000, commit_entries: 20, is_archive: false };
    let mut maker = Maker::new(folder.path(), plan);
    if let Some(policies) = noted {
        maker.note(cmtp_spec::EntryType::POLICY, policies.note());
    }
    judged.iter().for_each(|judged| maker.judged(judged));
    let did = maker.finish().node.to_string();
    (folder, did)
}

#[test]
fn an_auditor_finds_what_was_not_decided_so() {
    // [POL-13] [POL-14]
    let set = |text: &str| {
        let mut files = PolicyFiles::default();
        files.insert("a.cedar", text.as_bytes().to_vec()).expect("a file");
        Policies::of(&files).expect("good policies")
    };
    let policies = set(&format!("{READS}\n{NO_COLOR}"));
    let (digest, none) = (policies.digest(), Policies::none().digest());
    let (ok, no) = (Status::OK, Status::FORBIDDEN);
    let read = |target, status, digest, named| Judged { target, status, digest, named, name: None };
    let named =
        |target, named| Judged { name: Some(target), ..read("0xR:name", ok, digest, named) };
    let good = [
        read("0xS:echo", ok, digest, Some("0xS:** reads")),
        read("0xS:0x001:color", no, digest, Some("0xS:** no-color")),
        read("0xEW:0xR:a:b", no, digest, Some("0xE:**")),
        read("0xI:log:proof", ok, digest, Some("0xI:log:*")),
        // Refused for another reason: there is nothing to judge.
        read("0xS:echo", no, digest, None),
        named("0xS:echo", Some("0xR:* reads")),
    ];
    let (folder, did) = left_behind(Some(&policies), &good);
    let (exit, view) = audit(folder.path(), &did, "journal");
    assert_eq!((exit, view["counts"]["decisions"].as_u64()), (Some(0), Some(5)), "{view:#}");
    // What the node said, and the kind and the layer of what is found.
    let bad = [
        (read("0xS:0x001:color", ok, digest, Some("0xS:** reads")), "other-decision", 1),
        (read("0xS:0x001:color", ok, digest, Some("0xS:**")), "other-decision", 1),
        (read("0xE:a", ok, digest, Some("0xE:**")), "other-decision", 1),
        (read("0xS:echo", ok, digest, None), "other-decision", 1),
        (read("0xS:echo", no, digest, Some("0xS:**")), "other-decision", 1),
        (read("0xS:echo", no, digest, Some("0xS:** no-color")), "other-decision", 1),
        (read("0xS:echo", ok, digest, Some("0xS:** reads no-color")), "other-decision", 1),
        (read("0xS:0x001:color", no, digest, Some("0xS:**")), "other-decision", 1),
        (named("0xS:0x001:color", Some("0xR:* reads")), "denied-name", 2),
        (read("0xS:echo", ok, Digest::of(b"x"), Some("0xS:** reads")), "unknown-policies", 1),
        (read("0xS:echo", ok, none, Some("0xS:**")), "no-policies", 1),
    ];
    for (number, (judged, kind, layer)) in bad.into_iter().enumerate() {
        let (folder, did) = left_behind(Some(&policies), &[good[0], judged, good[1]]);
        let (exit, view) = audit(folder.path(), &did, "journal");
        let found = (&view["first"]["kind"], &view["first"]["layer"], &view["first"]["index"]);
        assert_eq!(
            (exit, found),
            (Some(4), (&kind.into(), &layer.into(), &5.into())),
            "{number}: {view:#}"
        );
        assert_eq!(view["counts"]["findings"], 1, "{number}: {view:#}");
        // Who does not ask for it is told nothing of it.
        let home = Home::empty();
        let data = folder.path().to_str().expect("a path is text");
        assert_eq!(home.cmtp(["audit", "verify", data, "--pin", &did]).status.code(), Some(0));
    }
    // Where no set was ever noted, the scope alone decides, as in nodes of before.
    let (folder, did) = left_behind(None, &[read("0xS:echo", ok, none, Some("0xS:**"))]);
    let (exit, view) = audit(folder.path(), &did, "journal");
    assert_eq!((exit, view["counts"]["decisions"].as_u64()), (Some(0), Some(1)), "{view:#}");
    // A journal that notes no set is judged by what is given.
    let (folder, did) = left_behind(None, &good);
    assert_eq!(audit(folder.path(), &did, "journal").1["counts"]["decisions-not-checked"], 5);
    let given = tempfile::tempdir().expect("a folder");
    fs::write(given.path().join("a.cedar"), format!("{READS}\n{NO_COLOR}")).expect("a file");
    let (exit, view) = audit(folder.path(), &did, given.path().to_str().expect("text"));
    assert_eq!((exit, view["counts"]["decisions"].as_u64()), (Some(0), Some(5)), "{view:#}");
}
