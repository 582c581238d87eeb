//! The lines of a file.

use std::collections::{BTreeMap, BTreeSet};

use campaign::{Job, JobEvent};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use storage::Inventory;

use crate::{octets, tree::ChangeLine};

/// The form that is written today. A newer one is refused, an older one is read for ever.
pub const FORMAT: u32 = 1;

/// One line: an object with one key, its kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Line {
    Header(Header),
    Artifact(Artifact),
    Octets(Octets),
    Device(Box<DeviceLine>),
    Tree(Tree),
    Campaign(Campaign),
    Job(JobLine),
    Events(Events),
    State(State),
    End(Counts),
}

impl Line {
    /// The header, which the first line has to be, of a form that is known.
    pub(crate) fn as_header(&self) -> Result<&Header, String> {
        match self {
            Self::Header(header) if (1..=FORMAT).contains(&header.format) => Ok(header),
            Self::Header(header) => Err(format!(
                "expected form {FORMAT} at most, got {}: a newer version wrote it",
                header.format
            )),
            _ => Err("expected the header".to_owned()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub(crate) format: u32,
    pub(crate) tenant: String,
    pub(crate) written: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Artifact {
    pub(crate) digest: String,
    pub(crate) size: u64,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) media_type: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Octets {
    pub(crate) offset: u64,
    #[serde(with = "octets")]
    pub(crate) data: Vec<u8>,
}

/// A device; its account is sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeviceLine {
    pub(crate) id: String,
    pub(crate) ordinal: u32,
    #[serde(with = "octets")]
    pub(crate) account: Vec<u8>,
    pub(crate) tags: BTreeSet<String>,
    pub(crate) added: Timestamp,
    pub(crate) last_seen: Option<Timestamp>,
    pub(crate) inventory: Inventory,
    pub(crate) fumo_root: Option<String>,
    pub(crate) dev_detail_read: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) notify_address: Option<storage::NotifyAddress>,
    /// What later versions of a device have, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) more: BTreeMap<String, serde_json::Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tree {
    pub(crate) device: String,
    pub(crate) since: Timestamp,
    pub(crate) seen: Timestamp,
    pub(crate) changes: Vec<ChangeLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Campaign {
    pub(crate) id: u64,
    #[serde(with = "octets")]
    pub(crate) definition: Vec<u8>,
    #[serde(with = "octets")]
    pub(crate) members: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobLine {
    pub(crate) device: String,
    pub(crate) job: Job,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Events {
    pub(crate) from: u64,
    pub(crate) events: Vec<JobEvent>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    #[serde(with = "octets")]
    pub(crate) state: Vec<u8>,
}

/// How much of each there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Files.
    pub artifacts: u64,
    /// Devices.
    pub devices: u64,
    /// Trees, those of the past among them.
    pub trees: u64,
    /// Campaigns.
    pub campaigns: u64,
    /// Events of their ledgers.
    pub events: u64,
    /// Jobs in flight.
    pub jobs: u64,
}
