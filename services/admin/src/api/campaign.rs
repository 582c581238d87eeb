//! Campaigns as the API shows them.

use std::collections::BTreeMap;

use campaign::Counts;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ArtifactView, EventView};

/// One campaign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CampaignView {
    /// Its id, such as `c7`.
    pub id: String,
    /// Its name, for people.
    pub name: String,
    /// `draft`, `running`, `paused`, `stopping`, `finished` or `stopped`.
    pub state: String,
    /// Of a paused one: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseView>,
    /// The artifact, by its digest.
    pub artifact: String,
    /// What `./DevDetail/FwV` says after success.
    pub target_version: String,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// When it was started.
    pub started: Option<Timestamp>,
    /// Who started it.
    pub started_by: Option<String>,
    /// How many devices are in it; 0 before its start.
    pub members: u32,
    /// The most devices in flight at a time.
    pub in_flight_max: u32,
    /// How many devices are in which state; they add up to the members.
    pub counts: Counts,
    /// Its waves, in their order; absent in a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<WaveView>,
}

/// Why a campaign is paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseView {
    /// `operator`, `failure-gate`, `wave-gate` or `approval`.
    pub cause: String,
    /// In words.
    pub detail: String,
}

/// A part of a campaign that starts together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveView {
    /// Its number, from 0.
    pub wave: u16,
    /// How many devices are in it.
    pub members: u32,
    /// Whether its devices may be released.
    pub open: bool,
    /// How many of its devices are in which state.
    pub counts: Counts,
}

/// What a campaign would be, were it created and started now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewView {
    /// The artifact that the definition names.
    pub artifact: ArtifactView,
    /// What `./DevDetail/FwV` says after success.
    pub target_version: String,
    /// Devices that were looked at.
    pub devices: u64,
    /// Devices that would be in it.
    pub members: u32,
    /// Of them, by wave.
    pub waves: Vec<u32>,
    /// Of them, those that have the target version already: nothing is sent to these.
    pub already_current: u32,
    /// Devices that would not be in it, by the reason that comes first.
    pub refused: BTreeMap<String, u64>,
    /// Octets that the members would fetch altogether.
    pub bytes: u64,
    /// Names of the first members.
    pub examples: Vec<String>,
}

/// One device of a campaign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberView {
    /// Its name.
    pub device: String,
    /// Its dense number.
    pub ordinal: u32,
    /// Its state, such as `pending`, `updating` or `succeeded`.
    pub state: String,
    /// Its wave, from 0.
    pub wave: u16,
    /// The attempt it is at; 0 before the first.
    pub attempt: u16,
    /// How its last attempt ended, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The device's result code or the refusing status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
}

/// Why a device is where it is in a campaign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainView {
    /// The campaign, such as `c1`.
    pub campaign: String,
    /// Its name, for people.
    pub name: String,
    /// The device's state in it.
    pub state: String,
    /// Its wave, from 0.
    pub wave: u16,
    /// The attempt it is at; 0 before the first.
    pub attempt: u16,
    /// How its last attempt ended, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The device's result code or the refusing status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// What happens next by itself, or why nothing does.
    pub reason: String,
    /// When that is, where it is a matter of time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What a recount from the ledger found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyView {
    /// The counters are what the ledger says, and they add up to the members.
    pub adds_up: bool,
    /// What does not, in words.
    pub problems: Vec<String>,
    /// Events that were read.
    pub events: u64,
    /// The counters as recounted.
    pub counts: Counts,
}

/// A stretch of a campaign's ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsView {
    /// The events, in their order.
    pub items: Vec<EventView>,
    /// Give it as `from` to go on.
    pub next: u64,
}
