//! Trees, their history and their differences as the API shows them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use campaign::{CampaignId, JobEvent, Phase};
use dm_tree::{Change, Format, Leaf};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use storage::SnapshotRef;

use super::artifact::hex;

/// A tree at an instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotView {
    /// The hash of the tree: equal trees have equal roots.
    pub root: String,
    /// Since when the tree is so.
    pub since: Timestamp,
    /// When it was last seen to be so.
    pub seen: Timestamp,
}

impl From<SnapshotRef> for SnapshotView {
    fn from(snapshot: SnapshotRef) -> Self {
        Self { root: hex(&snapshot.root.0), since: snapshot.since, seen: snapshot.seen }
    }
}

/// A subtree as last seen, or as of an instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeView {
    /// Which tree.
    pub snapshot: SnapshotView,
    /// Its nodes, in the order of their addresses.
    pub nodes: Vec<NodeView>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its address, without a leading `./`; the root is `.`.
    pub uri: String,
    /// Of a leaf: its value.
    #[serde(default, flatten)]
    pub leaf: Option<LeafView>,
    /// Of an interior node: its `Type`, where known.
    #[serde(default, rename = "object", skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
}

/// The value of a leaf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafView {
    /// The `Format` property, such as `chr`.
    pub format: String,
    /// The media type, where it is not `text/plain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// The value as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The value in base64, where it is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_base64: Option<String>,
}

impl From<Leaf> for LeafView {
    fn from(leaf: Leaf) -> Self {
        let (value, value_base64) = match String::from_utf8(leaf.value.into_vec()) {
            Ok(text) if leaf.format != Format::Bin => (Some(text), None),
            Ok(text) => (None, Some(STANDARD.encode(text))),
            Err(error) => (None, Some(STANDARD.encode(error.into_bytes()))),
        };
        let format = format_name(leaf.format).to_owned();
        Self { format, mime: leaf.mime.map(Into::into), value, value_base64 }
    }
}

/// The word of the specification (DM TND 1.2, 7.7.3).
fn format_name(format: Format) -> &'static str {
    match format {
        Format::B64 => "b64",
        Format::Bin => "bin",
        Format::Bool => "bool",
        Format::Chr => "chr",
        Format::Int => "int",
        Format::Node => "node",
        Format::Null => "null",
        Format::Xml => "xml",
        Format::Date => "date",
        Format::Time => "time",
        Format::Float => "float",
    }
}

/// One difference, or one step of building a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum ChangeView {
    /// A leaf has this value now.
    Leaf(NodeView),
    /// An interior node exists.
    Interior(NodeView),
    /// An interior node has these children and no others.
    Children {
        /// Its address.
        uri: String,
        /// Their names.
        names: Vec<String>,
    },
    /// A node and all below it are gone.
    Removed {
        /// Its address.
        uri: String,
    },
}

impl From<Change> for ChangeView {
    fn from(change: Change) -> Self {
        match change {
            Change::Leaf { uri, leaf } => Self::Leaf(NodeView { uri, leaf: Some(leaf.into()), object: None }),
            Change::Interior { uri, type_ } => {
                Self::Interior(NodeView { uri, leaf: None, object: type_.map(Into::into) })
            }
            Change::Children { uri, names } => {
                Self::Children { uri, names: names.into_iter().map(Into::into).collect() }
            }
            Change::Remove { uri } => Self::Removed { uri },
        }
    }
}

/// What changed between two instants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffView {
    /// The tree at the first instant; `None`: nothing was known of it.
    pub from: Option<SnapshotView>,
    /// The tree at the second instant.
    pub to: SnapshotView,
    /// What makes the second of the first.
    pub changes: Vec<ChangeView>,
}

/// What is kept of a device's past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryView {
    /// Its trees, newest first.
    pub snapshots: Vec<SnapshotView>,
    /// What campaigns did with it, newest first.
    pub events: Vec<EventView>,
}

/// One event of a campaign's ledger, as clients read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventView {
    /// The campaign, such as `c1`.
    pub campaign: String,
    /// When.
    pub at: Timestamp,
    /// What: `released`, `moved`, `ended`, `started`, `wave-opened`, `paused`, `resumed`, `stopped`, `finished`.
    pub event: String,
    /// The device, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The attempt, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u16>,
    /// The wave, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<u16>,
    /// Of `moved`: to where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Of `ended`: how. Of `released`: how the attempt before ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The device's result code or the refusing status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// The version read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When the device may have another attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// More, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl From<(CampaignId, &JobEvent)> for EventView {
    fn from((campaign, event): (CampaignId, &JobEvent)) -> Self {
        let view = campaign::EventView::from(event);
        Self {
            campaign: campaign.to_string(),
            at: view.at,
            event: view.event.to_owned(),
            device: view.device.map(|device| device.as_str().to_owned()),
            attempt: view.attempt,
            wave: view.wave,
            phase: view.phase,
            outcome: view.outcome.map(str::to_owned),
            code: view.code,
            version: view.version,
            retry_at: view.retry_at,
            detail: view.detail,
        }
    }
}
