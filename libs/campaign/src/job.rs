//! One operation for one device, and the events that are its history.

use std::fmt;

use dm_objects::{agenda::FirmwareStage, outcome::ResultClass};
use dm_protocol::DevId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Names a campaign within its tenant. Shown as `c` and the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CampaignId(pub u64);

impl fmt::Display for CampaignId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}

/// The job that waits for, or runs on, one device: one attempt of a campaign's operation.
///
/// What the operation is stands in the campaign; a job is small and there is one per device in flight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The campaign.
    pub campaign: CampaignId,
    /// The device's ordinal within its tenant.
    pub ordinal: u32,
    /// From 1. A new attempt is a new recorded fact with a reason.
    pub attempt: u16,
    /// How far the attempt has come.
    pub phase: Phase,
    /// When it came there.
    pub since: Timestamp,
}

impl Job {
    /// The correlator of this attempt: unique over all campaigns of the tenant.
    pub fn correlator(&self) -> String {
        format!("{}-{}-{}", self.campaign, self.ordinal, self.attempt)
    }
}

/// Where an attempt is. Each phase has a timer of its own, and each ends in a named outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Released; the device has not come yet.
    Waiting,
    /// The device is in a session; commands are being exchanged.
    Session(FirmwareStage),
    /// The device accepted and works on it between sessions: downloading, installing.
    Running(FirmwareStage),
}

/// Something that happened to a device in a campaign. The ledger is the list of these, and every counter follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEvent {
    /// The device.
    pub device: DevId,
    /// Its ordinal.
    pub ordinal: u32,
    /// The attempt it belongs to; 0 before the first.
    pub attempt: u16,
    /// When.
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EventKind {
    /// The campaign's owner gave the device an attempt.
    Released {
        /// Of the members, the wave it belongs to, from 0.
        wave: u16,
    },
    /// The attempt moved.
    Moved {
        /// To here.
        phase: Phase,
    },
    /// The attempt ended with a result.
    Result {
        /// The device's result code or the refusing status.
        code: u16,
        /// What it means.
        class: ResultClass,
        /// The version read back, where it was.
        version: Option<String>,
    },
}
