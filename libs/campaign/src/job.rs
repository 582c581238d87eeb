//! One operation for one device.

use std::fmt;

use dm_objects::agenda::FirmwareStage;
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

impl std::str::FromStr for CampaignId {
    type Err = CampaignIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix('c').unwrap_or(text);
        digits.parse().map(Self).map_err(|_| CampaignIdError(text.into()))
    }
}

/// A text that names no campaign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a campaign id such as c7, got {0:?}")]
pub struct CampaignIdError(Box<str>);

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
    #[serde(with = "jiff::fmt::serde::timestamp::nanosecond::required")]
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

impl Phase {
    /// The firmware stage; what only waits has none sent.
    pub fn stage(self) -> FirmwareStage {
        match self {
            Self::Waiting => FirmwareStage::Pending,
            Self::Session(stage) | Self::Running(stage) => stage,
        }
    }

    /// An Exec of this attempt may have left, so that the attempt cannot be taken back.
    pub fn exec_may_have_left(self) -> bool {
        self.stage() > FirmwareStage::Pending
    }
}
