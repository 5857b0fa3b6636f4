//! A new list, with new keys in place of those that are used now. `cmtp-spec/spec/25-node-keys.md`.

use std::path::Path;

use cmtp_client::Existing;
use cmtp_codec::{KeyList, ListedKey, SigningKey, Verified};
use cmtp_spec::{KeyUse, limits};

use crate::node_keys::error::{NodeKeysError, RotateError};
use crate::node_keys::online::{Online, SECOND, end, listed, lock};
use crate::node_keys::random;
use crate::node_keys::root::RootKey;

/// Which keys are to be replaced, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The uses of the keys.
    pub uses: Vec<KeyUse>,
    /// Whether somebody else may have them, so that they are to count no longer than they must.
    pub at_once: bool,
}

/// Makes new online keys for the node of the data directory `data`, and has its root key sign the next list; `now` is in
/// microseconds since 1970. A node that runs takes them over.
///
/// # Errors
/// [`RotateError`]; nothing was changed.
pub fn rotate(
    data: &Path,
    root: &RootKey,
    rotation: &Rotation,
    now: u64,
) -> Result<Verified<KeyList>, RotateError> {
    // [NKY-11] A key of use `log` MUST NOT be replaced.
    if rotation.uses.contains(&KeyUse::LOG) {
        return Err(RotateError::Log);
    }
    let _lock = lock(data)?;
    let mut online = Online::load(data)?.ok_or(RotateError::NoKeys)?;
    if online.list.root != root.public() {
        let (node, shown) = (online.list.root, root.public());
        return Err(RotateError::OtherRoot { node, shown });
    }
    let mut keys = retire(&online.list.keys, rotation, now);
    for &key_use in &rotation.uses {
        let seed = online.seeds.of(key_use).ok_or(RotateError::Use { key_use })?;
        *seed = random()?;
        let key = SigningKey::from_seed(seed).map_err(NodeKeysError::from)?.public();
        keys.push(listed(key_use, key, now));
    }
    // [NKY-4] A list that would have more than `keys-max` keys MUST NOT be made.
    if keys.len() as u64 > limits::KEYS_MAX {
        return Err(RotateError::Full { keys: keys.len() });
    }
    // [NKY-2] The number of a new list MUST be higher than that of every list before.
    online.list = KeyList::sign(root.key(), online.list.number + 1, keys);
    online.save(data, Existing::Replace)?;
    Ok(online.list.verify().map_err(NodeKeysError::from)?)
}

/// What is left of the keys of a list when those of `rotation` are replaced.
fn retire(keys: &[ListedKey], rotation: &Rotation, now: u64) -> Vec<ListedKey> {
    let retired = |listed: &ListedKey| {
        let key_use = listed.key_use;
        let has_past = !matches!(key_use, KeyUse::TLS | KeyUse::TOKEN);
        if !rotation.uses.contains(&key_use) {
            // [NKY-2] A key of use `tls` or `token` that is not valid any more has no past to verify.
            return (has_past || listed.not_after > now).then_some(*listed);
        }
        let not_after = match (rotation.at_once, has_past) {
            // [NKY-3] Keys of use `tls` and `token` that are or were current are not listed any more.
            (true, false) => return None,
            (true, true) => now + TAKEN_OVER,
            (false, _) => end(key_use, now),
        };
        // [NKY-2] What a list said of a key's end MUST NOT be made later.
        let listed = ListedKey { not_after: listed.not_after.min(not_after), ..*listed };
        (has_past || listed.not_after > now).then_some(listed)
    };
    keys.iter().filter_map(retired).collect()
}

/// By then a node that runs has taken the list over. Microseconds.
const TAKEN_OVER: u64 = 2 * SECOND;
