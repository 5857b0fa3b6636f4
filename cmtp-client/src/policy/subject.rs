//! What a grant says of its persona.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The groups and attributes of a persona, which its grant keeps and policies see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The groups that it is in.
    pub groups: BTreeSet<String>,
    /// Its attributes, by name.
    pub attributes: BTreeMap<String, String>,
}
