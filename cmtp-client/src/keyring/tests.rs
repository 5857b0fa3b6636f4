//! Keyrings in files, old and new, open and under a passphrase.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use super::*;

fn nobody(path: &Path) -> Result<Passphrase, KeyringError> {
    Err(KeyringError::NoPassphrase { path: path.to_owned() })
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.to_owned()).unwrap()
}

fn load(home: &Home) -> Result<Option<Keyring>, KeyringError> {
    Keyring::load(home, nobody)
}

fn dids(keyring: &Keyring) -> Vec<PublicKey> {
    keyring.personas().iter().map(Persona::did).collect()
}

#[test]
fn a_keyring_is_kept_and_not_lost_by_accident() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::new(directory.path().join("deep").join("home"));
    assert!(load(&home).unwrap().is_none());
    let mut made = Keyring::create(&home, None, Existing::Keep).unwrap();
    made.add("work".parse().unwrap()).unwrap();
    made.set_default("work").unwrap();
    made.save(&home).unwrap();
    let kept = load(&home).unwrap().unwrap();
    assert_eq!(dids(&made), dids(&kept));
    assert_eq!(kept.persona(None).unwrap().name().as_str(), "work");
    assert_eq!(kept.identity(None).unwrap().did(), dids(&kept)[1]);
    assert!(!kept.identity(Some("main")).unwrap().is_ephemeral());

    let again = Keyring::create(&home, None, Existing::Keep).unwrap_err();
    assert!(matches!(again, KeyringError::Exists { .. }));
    assert_eq!(dids(&load(&home).unwrap().unwrap()), dids(&made));
    // [IDY-1] No root comes twice.
    let replaced = Keyring::create(&home, None, Existing::Replace).unwrap();
    assert_ne!(dids(&replaced)[0], dids(&made)[0]);
    // What another process wrote meanwhile is not overwritten.
    assert!(matches!(made.save(&home).unwrap_err(), KeyringError::Changed { .. }));
    assert_eq!(dids(&load(&home).unwrap().unwrap()), dids(&replaced));
    let mut names: Vec<_> =
        fs::read_dir(home.file("")).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["identity", "lock"]);
}

#[test]
fn an_old_file_goes_on_and_is_written_anew_only_where_something_changes() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::new(directory.path());
    let old = format!("cmtp-identity-v0 {}\n", "11".repeat(32));
    write_whole(&home.file(FILE), old.as_bytes(), Existing::Keep).unwrap();
    let mut keyring = load(&home).unwrap().unwrap();
    let did = Identity::from_seed(&[0x11; 32]).unwrap().did();
    assert_eq!(keyring.identity(None).unwrap().did(), did);
    assert_eq!(keyring.identity(Some("default")).unwrap().did(), did);
    assert_eq!(keyring.personas()[0].number(), None);
    assert!(matches!(keyring.words().unwrap_err(), KeyringError::NoRoot));
    let name = || "work".parse().unwrap();
    assert!(matches!(keyring.add(name()).unwrap_err(), KeyringError::NoRoot));
    assert!(matches!(keyring.recovery("default"), Err(KeyringError::NoRecovery { .. })));
    assert_eq!(fs::read_to_string(home.file(FILE)).unwrap(), old);

    keyring.protect(Some(passphrase("x")));
    keyring.save(&home).unwrap();
    assert!(matches!(load(&home).unwrap_err(), KeyringError::NoPassphrase { .. }));
    let read = Keyring::load(&home, |_| Ok(passphrase("x"))).unwrap().unwrap();
    assert_eq!(dids(&read), [did]);
}

#[test]
fn a_passphrase_keeps_all_of_it_from_who_has_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::new(directory.path());
    let made = Keyring::create(&home, Some(passphrase("open sesame")), Existing::Keep);
    let made = made.unwrap();
    let bytes = fs::read(home.file(FILE)).unwrap();
    assert!(bytes.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----\n"));
    let mut read = Keyring::load(&home, |_| Ok(passphrase("open sesame"))).unwrap().unwrap();
    assert_eq!(dids(&read), dids(&made));
    // It stays encrypted when it changes.
    read.add("work".parse().unwrap()).unwrap();
    read.save(&home).unwrap();
    let error = Keyring::load(&home, |_| Ok(passphrase("open barley"))).unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, KeyringError::WrongPassphrase { .. }), "{said}");
    assert!(said.contains("identity") && said.contains("CMTP_PASSPHRASE"), "{said}");
    let said = load(&home).unwrap_err().to_string();
    assert!(said.contains("set CMTP_PASSPHRASE"), "{said}");
    let mut read = Keyring::load(&home, |_| Ok(passphrase("open sesame"))).unwrap().unwrap();
    assert_eq!(read.personas().len(), 2);
    read.protect(None);
    read.save(&home).unwrap();
    assert_eq!(dids(&load(&home).unwrap().unwrap()), dids(&read));
}

#[test]
fn what_would_take_minutes_to_open_is_not_tried() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::new(directory.path());
    Keyring::create(&home, Some(passphrase("x")), Existing::Keep).unwrap();
    let sealed = fs::read_to_string(home.file(FILE)).unwrap();
    let body: String = sealed.lines().filter(|line| !line.starts_with('-')).collect();
    let text = data_encoding::BASE64.decode(body.as_bytes()).unwrap();
    let end = text.windows(4).position(|it| it == b"\n---").unwrap();
    let head = String::from_utf8(text[..end].to_vec()).unwrap();
    let changed = head.replacen(" 2\n", " 30\n", 1);
    assert_ne!(head, changed);
    let whole = [changed.as_bytes(), &text[end..]].concat();
    write_whole(&home.file(FILE), &whole, Existing::Replace).unwrap();
    let error = Keyring::load(&home, |_| Ok(passphrase("x"))).unwrap_err();
    assert!(matches!(error, KeyringError::TooMuchWork { factor: 30, .. }), "{error}");
}

#[test]
fn words_bring_back_the_same_personas() {
    let mut keyring = Keyring::generate().unwrap();
    keyring.add("work".parse().unwrap()).unwrap();
    keyring.add("play".parse().unwrap()).unwrap();
    let restored = Keyring::restore(&keyring.words().unwrap(), 3).unwrap();
    assert_eq!(dids(&restored), dids(&keyring));
    let names: Vec<_> = restored.personas().iter().map(|it| it.name().as_str()).collect();
    assert_eq!(names, ["main", "persona-1", "persona-2"]);
    let [one, other] =
        [&keyring, &restored].map(|it| it.recovery(it.personas()[2].name().as_str()));
    assert_eq!(one.unwrap().public(), other.unwrap().public());
    assert!(matches!(
        Keyring::restore(&keyring.words().unwrap(), PERSONAS_MAX + 1).unwrap_err(),
        KeyringError::TooMany { .. }
    ));
}

#[test]
fn a_persona_goes_to_another_device_and_its_root_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("work.persona");
    let mut keyring = Keyring::generate().unwrap();
    keyring.add("work".parse().unwrap()).unwrap();
    let work = keyring.personas()[1].clone();
    for secret in [None, Some(passphrase("x"))] {
        let bytes = keyring.export("work", secret.as_ref()).unwrap();
        write_whole(&path, &bytes, Existing::Replace).unwrap();
        let ask = |path: &Path| secret.clone().map_or_else(|| nobody(path), Ok);
        let mut other = Keyring::from_exported(&path, None, ask).unwrap();
        let there = &other.personas()[0];
        assert_eq!((there.name(), there.did()), (work.name(), work.did()));
        assert_eq!((there.number(), there.commitment()), (None, work.commitment()));
        let again = other.import(&path, Some("two".parse().unwrap()), ask).unwrap_err();
        assert!(matches!(again, KeyringError::Known { .. }), "{again}");
        let mut third = Keyring::generate().unwrap();
        third.add("work".parse().unwrap()).unwrap();
        let taken = third.import(&path, None, ask).unwrap_err();
        assert!(matches!(taken, KeyringError::NameTaken { .. }), "{taken}");
        third.import(&path, Some("two".parse().unwrap()), ask).unwrap();
        assert_eq!(third.identity(Some("two")).unwrap().did(), work.did());
    }
}

#[test]
fn a_revocation_is_believed_by_the_commitment_that_the_persona_showed() {
    // [IDY-5]
    let keyring = Keyring::generate().unwrap();
    let main = &keyring.personas()[0];
    let statement = keyring.revoke("main", 1_760_000_000_000_000).unwrap();
    let read = Revocation::from_json(&statement.to_json()).unwrap();
    let believed = read.verify(&main.commitment().unwrap()).unwrap();
    assert_eq!(believed.persona, main.did());
    let other = Keyring::generate().unwrap().personas()[0].commitment().unwrap();
    assert!(read.verify(&other).is_err());
}

#[test]
fn a_file_that_is_no_keyring_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let home = Home::new(directory.path());
    let seed = "11".repeat(32);
    let head = "cmtp-identity-v1\n";
    let table = [
        format!("{head}imported {seed} - a\nimported {seed} - b\ndefault a\n"),
        format!("{head}imported {seed} - a\nimported {} - a\ndefault a\n", "22".repeat(32)),
        format!("{head}imported {seed} - a\ndefault b\n"),
        format!("{head}root {seed}\ndefault main\n"),
        "-----BEGIN AGE ENCRYPTED FILE-----\n".to_owned(),
        "x".repeat(usize::try_from(file::FILE_MAX).unwrap() + 1),
        String::new(),
    ];
    for text in table {
        write_whole(&home.file(FILE), text.as_bytes(), Existing::Replace).unwrap();
        let error = Keyring::load(&home, |_| Ok(passphrase("x"))).unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, KeyringError::Malformed { .. }), "{said}");
        assert!(!said.contains(&seed), "{said}");
    }
}

#[cfg(unix)]
#[test]
fn a_secret_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let home = Home::new(directory.path());
    Keyring::create(&home, None, Existing::Keep).unwrap();
    let path = home.file(FILE);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = load(&home).unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[test]
fn a_name_is_short_and_plain() {
    for (text, good) in [
        ("a", true),
        ("main-2.b_c", true),
        (&"x".repeat(64), true),
        (&"x".repeat(65), false),
        ("", false),
        ("Main", false),
        ("a b", false),
        ("a/b", false),
        ("\u{e4}", false),
    ] {
        assert_eq!(text.parse::<PersonaName>().is_ok(), good, "{text}");
    }
}
