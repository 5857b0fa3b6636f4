//! Sets that are good and bad, and what they say.

use std::collections::{BTreeMap, BTreeSet};

use cmtp_codec::{Digest, Fqmn, PolicyFiles, PublicKey, SigningKey};

use super::*;

fn files(texts: &[(&str, &str)]) -> PolicyFiles {
    let mut files = PolicyFiles::default();
    for (name, text) in texts {
        files.insert(name, text.as_bytes().to_vec()).unwrap();
    }
    files
}

fn set(text: &str) -> Policies {
    Policies::of(&files(&[("a.cedar", text)])).unwrap()
}

fn persona(seed: u8) -> PublicKey {
    SigningKey::from_seed(&[seed; 32]).unwrap().public()
}

/// What a set says to persona 1 with this subject.
fn ask(policies: &Policies, subject: &Subject, granted: GrantedBy, target: &str) -> String {
    let target = Fqmn::parse(target).unwrap();
    let question = Question { principal: persona(1), subject, granted, target: &target };
    let decision = policies.decide(&question);
    // What is kept is what is said.
    let decider = Decider::new(policies.clone());
    for _ in 0..2 {
        assert_eq!(*decider.decide(&question), decision);
    }
    decision.to_string()
}

fn stranger(policies: &Policies, target: &str) -> String {
    ask(policies, &Subject::default(), GrantedBy::Session, target)
}

#[test]
fn nothing_is_allowed_unless_something_permits_it_and_nothing_forbids_it() {
    // [POL-1] [POL-8]
    assert_eq!(stranger(&set(""), "0xS:a"), "denied");
    assert_eq!(stranger(&Policies::of(&PolicyFiles::default()).unwrap(), "0xS:a"), "denied");
    let permits = "@id(\"z\") permit (principal, action, resource);
        permit (principal, action == Action::\"read\", resource);";
    assert_eq!(stranger(&set(permits), "0xS:a"), "allowed: a#1 z");
    assert_eq!(stranger(&set(permits), "0xSW:a"), "allowed: z");
    let forbids = format!("{permits} forbid (principal, action, resource in Fqmn::\"0xS:a\");");
    assert_eq!(stranger(&set(&forbids), "0xS:a:b"), "denied: a#2");
    assert_eq!(stranger(&set(&forbids), "0xS:b"), "allowed: a#1 z");
}

#[test]
fn policies_see_action_resource_groups_attributes_and_grant() {
    let text = r#"
        @id("action") permit (principal, action == Action::"register", resource == Fqmn::"0xR:register:a");
        @id("group") permit (principal in Group::"editors", action, resource in Fqmn::"0xS:g");
        @id("tag") permit (principal, action, resource in Fqmn::"0xS:t")
            when { principal.hasTag("country") && principal.getTag("country") == "ch" };
        @id("opcode") permit (principal, action, resource) when { resource.opcode == "0xE" };
        @id("operator") permit (principal, action, resource in Fqmn::"0xA") when { context.granted == "operator" };"#;
    let did = persona(1);
    let policies = set(&format!(
        "{text} @id(\"who\") permit (principal == Persona::\"{did}\", action, resource in Fqmn::\"0xC\");"
    ));
    let subject = Subject {
        groups: BTreeSet::from(["editors".to_owned()]),
        attributes: BTreeMap::from([("country".to_owned(), "ch".to_owned())]),
    };
    let other = Subject {
        attributes: BTreeMap::from([("country".to_owned(), "de".to_owned())]),
        ..Subject::default()
    };
    // What is asked for; what the subject gets, another, and the operator's grant without a subject.
    let table = [
        ("0xRW:register:a", "allowed: action", "allowed: action", "allowed: action"),
        ("0xR:register:a", "denied", "denied", "denied"),
        ("0xS:g:1", "allowed: group", "denied", "denied"),
        ("0xSW:g:1", "allowed: group", "denied", "denied"),
        ("0xS:t", "allowed: tag", "denied", "denied"),
        ("0xE:0xR:a:b", "allowed: opcode", "allowed: opcode", "allowed: opcode"),
        ("0xEW:0xR:a:b", "allowed: opcode", "allowed: opcode", "allowed: opcode"),
        ("0xAW:box", "denied", "denied", "allowed: operator"),
        ("0xCW:a", "allowed: who", "allowed: who", "allowed: who"),
        // [POL-2]
        ("0xI:log:proof", "allowed", "allowed", "allowed"),
        ("0xI:identity", "denied", "denied", "denied"),
    ];
    for (target, known, unknown, granted) in table {
        assert_eq!(ask(&policies, &subject, GrantedBy::Session, target), known, "{target}");
        assert_eq!(ask(&policies, &other, GrantedBy::Session, target), unknown, "{target}");
        let by_operator = ask(&policies, &Subject::default(), GrantedBy::Operator, target);
        assert_eq!(by_operator, granted, "{target}");
    }
}

#[test]
fn a_policy_that_fails_never_allows() {
    // [POL-3]
    let overflow = "9223372036854775807 + 1 == 0 || context.granted == \"x\"";
    let all = "@id(\"all\") permit (principal, action, resource);";
    let forbid = format!("@id(\"f\") forbid (principal, action, resource) when {{ {overflow} }};");
    assert_eq!(stranger(&set(&format!("{all}{forbid}")), "0xS:a"), "denied: f");
    assert_eq!(stranger(&set(&forbid), "0xS:a"), "denied: f");
    let permit = format!("permit (principal, action, resource) when {{ {overflow} }};");
    assert_eq!(stranger(&set(&permit), "0xS:a"), "denied");
    assert_eq!(stranger(&set(&format!("{all}{permit}")), "0xS:a"), "allowed: all");
}

#[test]
fn what_a_node_begins_with_is_good_and_says_so() {
    let policies = Policies::of(&files(&[("default.cedar", DEFAULT_POLICIES)])).unwrap();
    assert_eq!(policies.ids().collect::<Vec<_>>(), ["everybody", "operator"]);
    assert_eq!(stranger(&policies, "0xS:echo"), "allowed: everybody");
    assert_eq!(stranger(&policies, "0xS:time:ticks"), "allowed: everybody");
    assert_eq!(stranger(&policies, "0xSW:echo"), "denied");
    assert_eq!(stranger(&policies, "0xS:0x001:color"), "denied");
    let operator = |target| ask(&policies, &Subject::default(), GrantedBy::Operator, target);
    assert_eq!(operator("0xSW:0x001:color"), "allowed: operator");
    assert_eq!(operator("0xS:echo"), "allowed: everybody operator");
    // What stands there as an example is one.
    let more: Vec<_> =
        DEFAULT_POLICIES.split_once("More of this kind:").unwrap().1.lines().collect();
    let more: String = more.iter().map(|line| line.trim_start_matches("//")).collect();
    assert_eq!(set(&more).ids().collect::<Vec<_>>(), ["editors", "no-deploys"]);
}

#[test]
fn a_bad_set_names_file_line_culprit_and_cure() {
    // [POL-4] [POL-6]
    let long = "n".repeat(65);
    let long_id = format!("@id(\"{long}\") permit (principal, action, resource);");
    let one = "permit (principal, action, resource);";
    let many = one.repeat(1025);
    // Files by name, and what the error has to name.
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
    let table: [Row<'_>; 14] = [
        (
            &[("a.cedar", "\n\npermit (principal, action)")],
            &["a.cedar, line 3", "such as: permit ("],
        ),
        (&[("a.cedar", "\npermit (principal, action, resource)\n")], &["a.cedar, line", "such as"]),
        (
            &[
                ("a.cedar", one),
                ("b.cedar", "permit (principal, action == Action::\"raed\", resource);"),
            ],
            &["b.cedar, line 1", "policy b#0", "raed", "did you mean", "cmtpd policy --help"],
        ),
        (
            &[(
                "a.cedar",
                "\n\npermit (principal, action, resource)\nwhen { context.grantd == \"x\" };",
            )],
            &["a.cedar, line 4, policy a#0", "grantd", "did you mean"],
        ),
        (
            &[(
                "a.cedar",
                "permit (principal, action, resource) when { principal.getTag(\"a\") == \"b\" };",
            )],
            &["a.cedar, line 1", "tag"],
        ),
        (
            &[("a.cedar", "permit (principal == User::\"x\", action, resource);")],
            &["a.cedar", "User", "cmtpd policy --help"],
        ),
        (
            &[("a.cedar", "permit (principal, action, resource) when { resource.opcode == 7 };")],
            &["a.cedar, line 1", "policy a#0"],
        ),
        (
            &[("a.cedar", "permit (principal == ?principal, action, resource);")],
            &["a.cedar", "template"],
        ),
        (
            &[("a.cedar", "@id(\"a b\") permit (principal, action, resource);")],
            &["\"a b\"", "@id("],
        ),
        (&[("a.cedar", "@id permit (principal, action, resource);")], &["\"\"", "@id("]),
        (&[("a.cedar", &long_id)], &["1 to 64", &long]),
        (
            &[("a.cedar", one), ("b.cedar", "@id(\"a#0\") permit (principal, action, resource);")],
            &["b.cedar, policy a#0", "another policy has that id"],
        ),
        (&[("a.cedar", &many)], &["a.cedar", "more than 1024 policies"]),
        (&[("a.cedar", "\u{0}")], &["a.cedar, line 1"]),
    ];
    for (texts, named) in table {
        let error = Policies::of(&files(texts)).unwrap_err().to_string();
        for part in named {
            assert!(error.contains(part), "{part:?} is not named: {error}");
        }
        assert!(!error.contains('\n'), "{error}");
    }
    let mut bytes = PolicyFiles::default();
    bytes.insert("a.cedar", vec![0xff]).unwrap();
    assert!(Policies::of(&bytes).unwrap_err().to_string().contains("a.cedar: it is not UTF-8"));
}

#[test]
fn a_set_comes_back_from_its_note() {
    // [POL-7] [POL-10]
    let files = files(&[("b.cedar", "permit (principal, action, resource);"), ("a.cedar", "")]);
    let policies = Policies::of(&files).unwrap();
    assert_eq!(policies.digest(), Digest::of(policies.note()));
    assert_eq!(policies.digest(), files.digest());
    let again = Policies::from_note(policies.note()).unwrap();
    assert_eq!((again.digest(), again.ids().collect::<Vec<_>>()), (files.digest(), vec!["b#0"]));
    let none = Policies::from_note(b"").unwrap();
    assert_eq!((none.digest(), none.are_asked()), (Digest::of(b""), false));
    assert_eq!(stranger(&none, "0xS:a"), "allowed");
    assert!(Policies::from_note(b"x").is_err());
}

#[test]
fn a_folder_is_its_policy_files() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let is_missing = Policies::load(&folder.path().join("x")).unwrap_err().to_string();
    assert!(is_missing.contains("No such file"), "{is_missing}");
    assert_eq!(Policies::load(folder.path()).unwrap().ids().count(), 0);
    write("a.cedar", "permit (principal, action, resource);");
    write("notes.txt", "not one");
    write(".b.cedar", "not one either");
    let policies = Policies::load(folder.path()).unwrap();
    assert_eq!(policies.ids().collect::<Vec<_>>(), ["a#0"]);
    for (name, text, named) in [
        ("b c.cedar", String::new(), "rename it"),
        ("b.cedar", "x".repeat(1 << 20), "more than 1048576 bytes"),
        ("b.cedar", "x".repeat((1 << 20) + 1), "more than 1048576 bytes"),
    ] {
        write(name, &text);
        let error = Policies::load(folder.path()).unwrap_err().to_string();
        let folder = folder.path().join(name);
        assert!(error.contains(named), "{error}");
        assert!(error.contains(&folder.parent().unwrap().display().to_string()), "{error}");
        std::fs::remove_file(folder).unwrap();
    }
    std::fs::create_dir(folder.path().join("d.cedar")).unwrap();
    assert!(Policies::load(folder.path()).unwrap_err().to_string().contains("it is no file"));
}

#[test]
fn what_is_kept_is_bounded_and_told_apart_by_all_that_was_asked() {
    let policies = set(
        "permit (principal in Group::\"g\", action, resource) when { context.granted == \"session\" };",
    );
    let decider = Decider::keeping(policies, 512);
    let (member, nobody) = (
        Subject { groups: BTreeSet::from(["g".to_owned()]), ..Subject::default() },
        Subject::default(),
    );
    let target = Fqmn::parse("0xS:a").unwrap();
    for principal in [persona(1), persona(2)] {
        for (subject, granted, expected) in [
            (&member, GrantedBy::Session, true),
            (&nobody, GrantedBy::Session, false),
            (&member, GrantedBy::Operator, false),
        ] {
            let question = Question { principal, subject, granted, target: &target };
            assert_eq!(decider.decide(&question).is_allowed, expected);
        }
    }
    assert_eq!(decider.kept(), 6);
    for number in 0..2_000 {
        let target = Fqmn::parse(&format!("0xS:{number}")).unwrap();
        let subject = &nobody;
        let granted = GrantedBy::Session;
        decider.decide(&Question { principal: persona(1), subject, granted, target: &target });
    }
    assert!(decider.kept() <= 512, "{}", decider.kept());
}
