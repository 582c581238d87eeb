//! What the service answers, as the API shows it.

use campaign::{CampaignId, Counts, EventView, Explanation, PauseCause, Plan};
use jiff::Timestamp;
use serde::Serialize;

/// One line of a list of campaigns.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Such as `c1`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `draft`, `running`, `paused`, `stopping`, `finished` or `stopped`.
    pub run: &'static str,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// When it was started.
    pub started: Option<Timestamp>,
    /// How many devices are in which state.
    pub counts: Counts,
}

/// A campaign as it is now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// What a list shows of it.
    #[serde(flatten)]
    pub summary: Summary,
    /// Why it is paused, where it is.
    pub cause: Option<PauseCause>,
    /// The definition with everything found out that it left open.
    pub plan: Plan,
    /// Its members.
    pub members: u32,
    /// Released, and neither ended nor waiting for another attempt.
    pub in_flight: u32,
    /// In their last state.
    pub ended: u32,
    /// By wave.
    pub waves: Vec<WaveStatus>,
    /// Last states by outcome and code, most frequent first.
    pub outcomes: Vec<OutcomeRow>,
    /// Devices that came to their end, a minute, over the last one.
    pub ended_per_minute: Option<f64>,
    /// When the campaign ends if it goes on like that.
    pub eta: Option<Timestamp>,
    /// Events of the ledger that it has read.
    pub ledger_offset: u64,
    /// Of those, events that said a thing again or came after a last state.
    pub ignored_events: u64,
}

/// A wave as it is now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WaveStatus {
    /// Its number, from 0.
    pub wave: u16,
    /// Its devices may be released.
    pub open: bool,
    /// Its members.
    pub members: u32,
    /// How many of them are in which state.
    pub counts: Counts,
}

/// Devices that ended alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutcomeRow {
    /// The outcome's name.
    pub outcome: &'static str,
    /// The device's result code or the refusing status.
    pub code: Option<u16>,
    /// How many.
    pub devices: u32,
}

/// A part of a campaign's members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DevicesPage {
    /// In the order of their ordinals.
    pub devices: Vec<DeviceRow>,
    /// Where the next page begins; `None`: this is the last.
    pub next: Option<u32>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceRow {
    /// Its name.
    pub device: String,
    /// Its ordinal.
    pub ordinal: u32,
    /// Its state.
    pub status: &'static str,
    /// Its wave, from 0.
    pub wave: u16,
    /// The attempt it is at; 0 before the first.
    pub attempt: u16,
    /// The device's result code or the refusing status of the last attempt.
    pub code: Option<u16>,
}

/// Why a device did or did not update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceReport {
    /// The device.
    pub device: String,
    /// Where it is in the campaign; `None`: it is no member.
    pub member: Option<Explanation>,
    /// Why it is no member, as the inventory is now: a stable name.
    pub refusal: Option<&'static str>,
    /// Its events in this campaign, oldest first.
    pub events: Vec<EventView>,
}

/// Whether a campaign's ledger adds up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Everything that was compared is equal, and every member is in exactly one state.
    pub adds_up: bool,
    /// Members.
    pub members: u32,
    /// Events read from the ledger.
    pub events: u64,
    /// Counters recomputed from the ledger.
    pub counts: Counts,
    /// What differs, in words.
    pub differences: Vec<String>,
}

impl Summary {
    pub(crate) fn new(
        id: CampaignId,
        name: &str,
        run: &'static str,
        (created, started): (Option<Timestamp>, Option<Timestamp>),
        counts: Counts,
    ) -> Self {
        Self { id: id.to_string(), name: name.into(), run, created, started, counts }
    }
}
