//! Keys on a disk: made, upgraded, replaced, taken offline.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cmtp_codec::SigningKey;
use cmtp_spec::limits;
use data_encoding::HEXLOWER;

use super::*;

const SEED: [u8; 32] = [7; 32];
const SECOND: u64 = 1_000_000;

/// A data directory as nodes had it before they had online keys.
fn old_folder() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    let text = format!("cmtp-node-key-v0 {}\n", HEXLOWER.encode(&SEED));
    fs::write(data.path().join(root::FILE), text).unwrap();
    data
}

fn load(data: &Path) -> NodeKeys {
    NodeKeys::load_or_create(data).unwrap()
}

fn all(at_once: bool) -> Rotation {
    Rotation { uses: vec![KeyUse::TLS, KeyUse::TOKEN, KeyUse::LAYER], at_once }
}

fn rotated(data: &Path, rotation: &Rotation, now: u64) -> NodeKeys {
    rotate(data, &RootKey::in_data(data).unwrap(), rotation, now).unwrap();
    load(data)
}

fn none() -> io::Result<Passphrase> {
    Err(io::ErrorKind::NotFound.into())
}

#[test]
fn a_new_node_has_a_key_for_each_use_and_reads_them_again() {
    // [NKY-1]
    let data = tempfile::tempdir().unwrap();
    assert!(!NodeKeys::is_in(data.path()));
    let made = load(data.path());
    assert!(NodeKeys::is_in(data.path()));
    let keys: BTreeSet<_> = made.list.keys.iter().map(|listed| listed.key).collect();
    assert_eq!(keys.len(), 4);
    assert!(!keys.contains(&made.public()));
    assert!(made.list.keys.iter().all(|listed| made.is_current(listed)));
    assert_eq!(made.list.number, 1);
    let read = load(data.path());
    assert_eq!(made.list, read.list);
    assert_eq!(made.derived("a new purpose"), read.derived("a new purpose"));
    for file in [root::FILE, online::FILE] {
        let mode = fs::metadata(data.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn those_that_are_first_at_once_get_the_same_keys() {
    let data = tempfile::tempdir().unwrap();
    let keys = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| load(data.path()).list)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(keys.iter().all(|list| *list == keys[0]));
}

#[test]
fn a_file_that_holds_no_keys_is_not_overwritten() {
    for file in [root::FILE, online::FILE] {
        let data = old_folder();
        fs::write(data.path().join(file), "hello").unwrap();
        NodeKeys::load_or_create(data.path()).unwrap_err();
        assert_eq!(fs::read_to_string(data.path().join(file)).unwrap(), "hello");
    }
}

#[test]
fn a_folder_of_before_is_upgraded_and_keeps_its_past() {
    // [NKY-2] [LOG-21]
    let data = old_folder();
    let before = NodeKeys::from_seed(&SEED).unwrap();
    let keys = load(data.path());
    assert_eq!(keys.public(), before.public());
    assert!(keys.list.number > before.list.number);
    // The log goes on, and what the journal knows by hashes is known.
    assert_eq!(keys.log_key(3).unwrap(), before.log_key(3).unwrap());
    for purpose in ["erased State", "erased writes", "stateless reset", "connection ids"] {
        assert_eq!(keys.derived(purpose), before.derived(purpose), "{purpose}");
    }
    assert_ne!(keys.derived("a new purpose"), before.derived("a new purpose"));
    // What the root key sealed is verified, and nothing that it seals from now on.
    let (root, now) = (keys.public(), node::now());
    assert!(keys.list.allows(KeyUse::LAYER, &root, 1));
    assert!(!keys.list.allows(KeyUse::LAYER, &root, now + limits::KEYS_OVERLAP * SECOND + SECOND));
    assert!(keys.list.allows(KeyUse::TOKEN, &root, now));
    assert!(!keys.list.lists(KeyUse::TLS, &root));
    assert_ne!(keys.layer_key().public(), root);
    assert_eq!(load(data.path()).list, keys.list);
    // A crash before the online keys were written: they are made at the next start.
    fs::remove_file(data.path().join(online::FILE)).unwrap();
    assert_eq!(load(data.path()).list.number, keys.list.number);
}

#[test]
fn a_replaced_key_ends_and_stays_where_it_has_a_past() {
    // [NKY-2] [NKY-3]
    let now = node::now();
    let data = tempfile::tempdir().unwrap();
    let first = load(data.path());
    let second = rotated(data.path(), &all(false), now);
    assert_eq!(second.list.number, first.list.number + 1);
    assert_eq!(second.log_key(0).unwrap(), first.log_key(0).unwrap());
    assert_eq!(second.derived("purpose"), first.derived("purpose"));
    let ends = [
        (KeyUse::TLS, first.tls.public(), limits::KEYS_OVERLAP),
        (KeyUse::TOKEN, first.token.public(), limits::TOKEN_LIFETIME_MAX),
        (KeyUse::LAYER, first.layer.public(), limits::KEYS_OVERLAP),
    ];
    for (key_use, key, seconds) in ends {
        assert!(second.list.allows(key_use, &key, now + seconds * SECOND - 1), "{key_use:?}");
        assert!(!second.list.allows(key_use, &key, now + seconds * SECOND), "{key_use:?}");
        assert!(second.list.allows(key_use, &second.current(key_use), now));
    }
    // The end of a key is never put off; without a past it is left out when it came.
    let later = now + 2 * limits::TOKEN_LIFETIME_MAX * SECOND;
    let third = rotated(data.path(), &all(false), later);
    assert!(!third.list.lists(KeyUse::TLS, &first.tls.public()));
    assert!(!third.list.lists(KeyUse::TOKEN, &first.token.public()));
    assert!(!third.list.allows(KeyUse::LAYER, &first.layer.public(), later));
    assert!(third.list.allows(KeyUse::LAYER, &first.layer.public(), now));
    assert_eq!(third.sealers().len(), 3);
}

#[test]
fn a_stolen_key_ends_at_once() {
    // [NKY-3]
    let now = node::now();
    let data = tempfile::tempdir().unwrap();
    let first = load(data.path());
    let second = rotated(data.path(), &all(false), now);
    let third = rotated(data.path(), &all(true), now + SECOND);
    for keys in [&first, &second] {
        assert!(!third.list.lists(KeyUse::TLS, &keys.tls.public()));
        assert!(!third.list.lists(KeyUse::TOKEN, &keys.token.public()));
        assert!(third.list.allows(KeyUse::LAYER, &keys.layer.public(), now));
        assert!(!third.list.allows(KeyUse::LAYER, &keys.layer.public(), now + 3 * SECOND));
    }
}

#[test]
fn a_full_list_and_a_log_key_are_refused() {
    // [NKY-4] [NKY-11]
    let now = node::now();
    let data = tempfile::tempdir().unwrap();
    let root = load(data.path());
    let root_key = RootKey::in_data(data.path()).unwrap();
    let try_to = |uses: &[KeyUse], at_once| {
        let rotation = Rotation { uses: uses.to_vec(), at_once };
        rotate(data.path(), &root_key, &rotation, now)
    };
    assert!(matches!(try_to(&[KeyUse::TOKEN, KeyUse::LOG], false), Err(RotateError::Log)));
    assert_eq!(load(data.path()).list, root.list);
    for _ in 4..limits::KEYS_MAX {
        try_to(&[KeyUse::LAYER], false).unwrap();
    }
    let full = load(data.path());
    assert_eq!(full.list.keys.len() as u64, limits::KEYS_MAX);
    assert!(full.key_list().to_bytes().len() as u64 <= limits::KEYS_FRAME_MAX);
    assert!(matches!(try_to(&[KeyUse::LAYER], false), Err(RotateError::Full { .. })));
    assert!(matches!(try_to(&[KeyUse::TOKEN], false), Err(RotateError::Full { .. })));
    assert_eq!(load(data.path()).list, full.list);
    // A stolen token key is replaced all the same.
    try_to(&[KeyUse::TOKEN, KeyUse::TLS], true).unwrap();
}

#[test]
fn nobody_else_replaces_keys() {
    // [NKY-1]
    let now = node::now();
    let data = tempfile::tempdir().unwrap();
    let keys = load(data.path());
    let stranger = RootKey::from_seed(SEED).unwrap();
    let refused = rotate(data.path(), &stranger, &all(false), now);
    assert!(matches!(refused, Err(RotateError::OtherRoot { .. })));
    // Nor does a list count that the root key did not sign.
    let mut forged = Online::load(data.path()).unwrap().unwrap();
    let signer = SigningKey::from_seed(&SEED).unwrap();
    let list = KeyList::sign(&signer, 9, keys.list.keys.clone());
    forged.list = KeyList { root: keys.public(), ..list };
    forged.save(data.path(), cmtp_client::Existing::Replace).unwrap();
    let refused = NodeKeys::load_or_create(data.path());
    assert!(matches!(refused, Err(NodeKeysError::Malformed { .. })));
}

#[test]
fn the_root_key_goes_and_the_node_stays() {
    // [NKY-1]
    let now = node::now();
    let data = tempfile::tempdir().unwrap();
    let keys = load(data.path());
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("root.key");
    let exported = RootKey::export(data.path(), &file, Some(&"a passphrase".into())).unwrap();
    assert_eq!(exported.public(), keys.public());
    assert!(!data.path().join(root::FILE).exists());
    assert_eq!(load(data.path()).list, keys.list);

    let error = RootKey::in_data(data.path()).unwrap_err().to_string();
    let (did, path) = (keys.public().to_string(), file.display().to_string());
    for part in [did.as_str(), path.as_str(), "--root FILE"] {
        assert!(error.contains(part), "{error}");
    }
    let wrong = RootKey::in_file(&file, || Ok("another".into())).unwrap_err();
    assert!(matches!(wrong, RootKeyError::Locked { .. }), "{wrong}");
    assert!(matches!(RootKey::in_file(&file, none), Err(RootKeyError::NoPassphrase(_))));
    let root = RootKey::in_file(&file, || Ok("a passphrase".into())).unwrap();
    assert_eq!(root.identity().unwrap().did(), keys.public());
    rotate(data.path(), &root, &all(false), now).unwrap();
    assert_eq!(load(data.path()).list.number, keys.list.number + 1);

    // Without the online keys nothing is made in place of the node.
    fs::remove_file(data.path().join(online::FILE)).unwrap();
    let lost = NodeKeys::load_or_create(data.path());
    assert!(matches!(lost, Err(NodeKeysError::Lost { .. })));
}

#[test]
fn a_root_key_is_removed_only_once_it_is_elsewhere() {
    let data = old_folder();
    load(data.path());
    let taken = data.path().join("taken");
    fs::write(&taken, "mine").unwrap();
    assert!(matches!(RootKey::export(data.path(), &taken, None), Err(RootKeyError::Io { .. })));
    assert_eq!(fs::read_to_string(&taken).unwrap(), "mine");
    RootKey::in_data(data.path()).unwrap();
    let plain = data.path().join("plain");
    RootKey::export(data.path(), &plain, None).unwrap();
    assert_eq!(RootKey::in_file(&plain, none).unwrap().seed(), SEED);
}
