//! Keys of secrets at rest, as the API says them. Never the keys themselves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What some devices' secrets are sealed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretsView {
    /// The ids of the keys, the newest, which seals, last. 0 is the key that a data directory made for itself.
    pub keys: Vec<u32>,
    /// How many of the devices looked at were sealed with each key.
    pub found: BTreeMap<u32, u64>,
    /// How many of them were sealed anew.
    pub resealed: u64,
    /// Where the next devices begin, as `from`; absent when there are no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u32>,
}
