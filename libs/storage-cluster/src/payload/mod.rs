//! What stands in the topics: versioned protobuf messages, described by `proto/topics.proto`.
//!
//! Within a version, fields are only added. What a reader does not know it leaves alone, but where it has to know (a
//! kind of event, an outcome) it says [`PayloadError::Unknown`], and of a later version [`PayloadError::Newer`]: the
//! message is then put aside until a newer program replays it, and the queue moves on.

mod convert;
#[cfg(test)]
mod tests;
mod wire;

use campaign::{CampaignId, JobEvent};
use dm_protocol::DevId;
use jiff::Timestamp;
use prost::Message as _;
use storage::{Release, TenantId};

/// The version that is written, and the latest that is read.
pub const VERSION: u32 = 1;

/// A payload that cannot be taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Written by a later program.
    #[error("expected version {VERSION} of the {what} at most, got {version}")]
    Newer {
        /// Which message.
        what: &'static str,
        /// What it says of itself.
        version: u32,
    },
    /// Not this message at all, or damaged.
    #[error("expected the {what} as protobuf: {problem}")]
    Malformed {
        /// Which message.
        what: &'static str,
        /// What the decoder met.
        problem: String,
    },
    /// A field that must be there is not, or does not hold what it should.
    #[error("expected {expected} in {field}, got {got}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What was expected.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// A value of an enumeration or a choice that this program does not know.
    #[error("unknown value in {field}: written by a later program")]
    Unknown {
        /// Which field.
        field: &'static str,
    },
}

/// `dm.jobs`: a job that its campaign's owner has given to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobMessage {
    /// Whose device it is.
    pub tenant: TenantId,
    /// The device, the job, and the ledger's event of it.
    pub release: Release,
}

/// `dm.triggers`: a device to be asked to open a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerMessage {
    /// Whose device it is.
    pub tenant: TenantId,
    /// The device.
    pub device: DevId,
    /// When it was asked for.
    pub asked: Timestamp,
    /// Not sent after this.
    pub until: Timestamp,
    /// What the device's user sees of it.
    pub ui_mode: UiMode,
    /// Why.
    pub reason: TriggerReason,
    /// Not sent before this; `None`: at once.
    pub due: Option<Timestamp>,
    /// How often it was sent.
    pub sent: u16,
}

/// Why a device is asked to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TriggerReason {
    /// A job waits.
    Job {
        /// Of this campaign.
        campaign: CampaignId,
        /// This attempt.
        attempt: u16,
    },
    /// Somebody asked for it.
    Operator {
        /// Who.
        by: String,
    },
}

/// What the device's user sees of a session: the two bits `ui-mode` of the notification's header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UiMode {
    /// The device decides.
    #[default]
    NotSpecified,
    /// Nothing.
    Background,
    /// That it happens.
    Informative,
    /// The user is asked first.
    Interaction,
}

/// `dm.events`: what one write of a job says to its campaign's ledger.
///
/// Device, attempt and revision name it: a second with the same three says the same and is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsMessage {
    /// Whose campaign it is.
    pub tenant: TenantId,
    /// The campaign.
    pub campaign: CampaignId,
    /// The device.
    pub device: DevId,
    /// The attempt that was moved.
    pub attempt: u16,
    /// Of the job's row, after the write.
    pub revision: u64,
    /// Published again by who found the row, not by who wrote it.
    pub copy: bool,
    /// What happened, in its order.
    pub events: Vec<JobEvent>,
}

impl JobMessage {
    /// As octets.
    pub fn encode(&self) -> Vec<u8> {
        wire::JobMessage::from(self).encode_to_vec()
    }

    /// Reads what [`Self::encode`] wrote, in this or an earlier release.
    ///
    /// # Errors
    ///
    /// [`PayloadError`]: the message is to be put aside.
    pub fn decode(payload: &[u8]) -> Result<Self, PayloadError> {
        decode::<wire::JobMessage>("job message", payload)?.try_into()
    }
}

impl TriggerMessage {
    /// As octets.
    pub fn encode(&self) -> Vec<u8> {
        wire::TriggerMessage::from(self).encode_to_vec()
    }

    /// Reads what [`Self::encode`] wrote, in this or an earlier release.
    ///
    /// # Errors
    ///
    /// [`PayloadError`]: the message is to be put aside.
    pub fn decode(payload: &[u8]) -> Result<Self, PayloadError> {
        decode::<wire::TriggerMessage>("trigger message", payload)?.try_into()
    }
}

impl EventsMessage {
    /// As octets.
    pub fn encode(&self) -> Vec<u8> {
        wire::EventsMessage::from(self).encode_to_vec()
    }

    /// Reads what [`Self::encode`] wrote, in this or an earlier release.
    ///
    /// # Errors
    ///
    /// [`PayloadError`]: the message is to be put aside.
    pub fn decode(payload: &[u8]) -> Result<Self, PayloadError> {
        decode::<wire::EventsMessage>("events message", payload)?.try_into()
    }
}

/// The one field that every version of every message has.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Versioned {
    #[prost(uint32, tag = "1")]
    version: u32,
}

/// Looks at the version before anything else, because a later one may not even have the same fields.
fn decode<M: prost::Message + Default>(what: &'static str, payload: &[u8]) -> Result<M, PayloadError> {
    let malformed = |error: prost::DecodeError| PayloadError::Malformed { what, problem: error.to_string() };
    match Versioned::decode(payload).map_err(malformed)?.version {
        VERSION => M::decode(payload).map_err(malformed),
        0 => Err(PayloadError::Malformed { what, problem: "it has no version".to_owned() }),
        version => Err(PayloadError::Newer { what, version }),
    }
}
