//! What a grant says of a persona: `cmtp-spec/spec/23-policies.md`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// What a grant says of a persona, beside who it is.
///
/// Bounded by who makes one: `groups-max`, `attributes-max` and `attribute-max` in chapter 15.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Names of the groups that it is in.
    pub groups: BTreeSet<String>,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
}
