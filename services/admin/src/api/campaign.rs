//! Campaigns as the API shows them.

use campaign::Counts;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::EventView;

/// One line of a list of campaigns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CampaignSummary {
    /// Its id, such as `c7`.
    pub id: String,
    /// Its name, for people.
    pub name: String,
    /// `draft`, `running`, `paused`, `stopping`, `finished` or `stopped`.
    pub state: String,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// When it was started.
    pub started: Option<Timestamp>,
    /// How many devices are in which state; they add up to the members.
    pub counts: Counts,
}

/// One campaign, as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CampaignView {
    /// What a list shows of it.
    #[serde(flatten)]
    pub summary: CampaignSummary,
    /// Of a paused one: why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<PauseView>,
    /// The name its artifact was added by.
    pub artifact: String,
    /// The version its artifact was added by.
    pub artifact_version: String,
    /// SHA-256 of its artifact, in hexadecimal.
    pub artifact_digest: String,
    /// What `./DevDetail/FwV` says after success.
    pub target_version: String,
    /// How many devices are in it; 0 before its start.
    pub members: u32,
    /// Devices in flight.
    pub in_flight: u32,
    /// The most devices in flight at a time.
    pub in_flight_max: u32,
    /// Devices in their last state.
    pub ended: u32,
    /// Its waves, in their order.
    pub waves: Vec<WaveView>,
    /// Last states by outcome and code, most frequent first.
    pub outcomes: Vec<OutcomeView>,
    /// Devices that came to their end, a minute, over the last one.
    pub ended_per_minute: Option<f64>,
    /// When it ends if it goes on like that.
    pub eta: Option<Timestamp>,
    /// Events of the ledger that were read.
    pub events: u64,
    /// Of those, events that said a thing again or came after a last state.
    pub events_ignored: u64,
    /// The definition, with everything filled in that it left open.
    pub definition: serde_json::Value,
}

/// Why a campaign is paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseView {
    /// `operator`, `failure-gate`, `wave-gate` or `approval`.
    pub cause: String,
    /// In words.
    pub detail: String,
}

/// Devices that ended alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeView {
    /// The outcome's name.
    pub outcome: String,
    /// The device's result code or the refusing status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// How many.
    pub devices: u32,
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
    /// Devices that were looked at.
    pub devices: u32,
    /// Devices that would be in it.
    pub members: u32,
    /// Of them, by wave, exactly as they would be.
    pub waves: Vec<PreviewWave>,
    /// Why the others would not, most frequent first.
    pub refusals: Vec<PreviewRefusal>,
    /// Octets that the members would download at their first attempts.
    pub download_bytes: u64,
    /// How long it takes at most while nobody is retried and nobody pauses it.
    pub longest: String,
}

/// A wave of a dry run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewWave {
    /// Its number, from 0.
    pub wave: u16,
    /// How many devices would be in it.
    pub members: u32,
    /// The same by maker and model, most frequent first.
    pub models: Vec<PreviewModel>,
}

/// The members of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewModel {
    /// `./DevInfo/Man`
    pub maker: String,
    /// `./DevInfo/Mod`
    pub model: String,
    /// How many.
    pub members: u32,
}

/// A reason why devices are not in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewRefusal {
    /// Its stable name.
    pub reason: String,
    /// How many devices.
    pub devices: u32,
    /// Some of them.
    pub samples: Vec<String>,
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
    /// The device's result code or the refusing status of its last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
}

/// Where a device is in a campaign, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainView {
    /// The campaign, such as `c1`.
    pub campaign: String,
    /// Its name, for people.
    pub name: String,
    /// Where it is as a whole.
    pub campaign_state: String,
    /// Where the device is in it; absent where it is no member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<ExplainMember>,
    /// Why it is no member, as the device is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

/// Where a member is, and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainMember {
    /// Its state.
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
    /// Its members.
    pub members: u32,
    /// What differs, in words.
    pub differences: Vec<String>,
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
