//! The ledger's entries: what happened to a campaign and to the devices in it. Every counter follows from them.
//!
//! Stores write these with postcard, so no type in here is tagged inside or untagged; the form for people and
//! programs outside is [`EventView`].

use dm_protocol::DevId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Outcome, Phase};

/// Something that happened to a device in a campaign, or to the campaign itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEvent {
    /// The device; `None` where the event is about the campaign as a whole.
    pub device: Option<DevId>,
    /// The device's ordinal; 0 where there is no device.
    pub ordinal: u32,
    /// The attempt it belongs to; 0 where there is none.
    pub attempt: u16,
    /// When.
    #[serde(with = "jiff::fmt::serde::timestamp::nanosecond::required")]
    pub at: Timestamp,
    /// What.
    pub kind: EventKind,
}

impl JobEvent {
    /// An event about the campaign as a whole.
    pub fn campaign(at: Timestamp, kind: EventKind) -> Self {
        Self { device: None, ordinal: 0, attempt: 0, at, kind }
    }
}

/// What happened. New kinds go to the end: their place is their number in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EventKind {
    /// The campaign's owner gave the device an attempt.
    Released {
        /// The wave it belongs to, from 0.
        wave: u16,
        /// Why there is this attempt: how the one before ended; `None` for the first.
        after: Option<Outcome>,
    },
    /// The attempt moved.
    Moved {
        /// To here.
        phase: Phase,
    },
    /// The attempt ended.
    Ended {
        /// How.
        outcome: Outcome,
        /// The version read back, where it was.
        version: Option<String>,
        /// What else helps a reader: the refused command, what was looked for.
        detail: Option<String>,
        /// From when on the device may have another attempt; `None`: this outcome is the device's last.
        #[serde(with = "jiff::fmt::serde::timestamp::nanosecond::optional")]
        retry_at: Option<Timestamp>,
    },
    /// The campaign started.
    Started {
        /// Who asked for it.
        by: String,
        /// How many members it has.
        members: u32,
    },
    /// The devices of a wave may be released from now on.
    WaveOpened {
        /// Which, from 0.
        wave: u16,
    },
    /// No more devices are given work, until someone resumes.
    Paused {
        /// Why.
        cause: PauseCause,
    },
    /// The campaign goes on, over the gate that held it, if one did.
    Resumed {
        /// Who asked for it.
        by: String,
    },
    /// The campaign gives no more work, for good.
    Stopped {
        /// Who asked for it.
        by: String,
        /// Attempts whose Exec was sent end as cancelled too, instead of by themselves.
        hard: bool,
    },
    /// Every member is in its last state.
    Finished,
}

/// Why a campaign was paused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PauseCause {
    /// Somebody asked.
    Operator {
        /// Who.
        by: String,
        /// Why, in their words.
        reason: String,
    },
    /// The whole campaign's failure gate closed.
    FailureGate {
        /// What was measured against which bound.
        reason: String,
    },
    /// The gate after a wave does not hold.
    WaveGate {
        /// The wave.
        wave: u16,
        /// What was measured against which bound.
        reason: String,
    },
    /// The gate after a wave holds, and the definition asks for somebody's approval before the next.
    Approval {
        /// The wave.
        wave: u16,
    },
}

impl PauseCause {
    /// Its name in answers and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Operator { .. } => "operator",
            Self::FailureGate { .. } => "failure-gate",
            Self::WaveGate { .. } => "wave-gate",
            Self::Approval { .. } => "approval",
        }
    }

    /// The wave whose gate it is about.
    pub fn wave(&self) -> Option<u16> {
        match self {
            Self::WaveGate { wave, .. } | Self::Approval { wave } => Some(*wave),
            Self::Operator { .. } | Self::FailureGate { .. } => None,
        }
    }
}

impl std::fmt::Display for PauseCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Operator { by, reason } if reason.is_empty() => write!(f, "paused by {by}"),
            Self::Operator { by, reason } => write!(f, "paused by {by}: {reason}"),
            Self::FailureGate { reason } => write!(f, "failure gate: {reason}"),
            Self::WaveGate { wave, reason } => write!(f, "gate of wave {wave}: {reason}"),
            Self::Approval { wave } => {
                write!(f, "wave {wave} is done and its gate holds; the next awaits approval")
            }
        }
    }
}

/// An event as the API shows it: flat, with names instead of variants. It is written only, never read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventView {
    /// When.
    pub at: Timestamp,
    /// What: `released`, `moved`, `ended`, `started`, `wave-opened`, `paused`, `resumed`, `stopped`, `finished`.
    pub event: &'static str,
    /// The device, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DevId>,
    /// The attempt, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u16>,
    /// The wave, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wave: Option<u16>,
    /// For `moved`: to where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// For `ended`: how. For `released`: how the attempt before ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'static str>,
    /// The device's result code or the refusing status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// The version read back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When the device may have another attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// More, for people: the reason of a pause, who asked, the refused command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl From<&JobEvent> for EventView {
    fn from(event: &JobEvent) -> Self {
        let mut view = Self {
            at: event.at,
            event: event.kind.name(),
            device: event.device.clone(),
            attempt: (event.attempt > 0).then_some(event.attempt),
            wave: None,
            phase: None,
            outcome: None,
            code: None,
            version: None,
            retry_at: None,
            detail: None,
        };
        match &event.kind {
            EventKind::Released { wave, after } => {
                view.wave = Some(*wave);
                view.outcome = after.map(Outcome::name);
                view.code = after.and_then(Outcome::code);
            }
            EventKind::Moved { phase } => view.phase = Some(*phase),
            EventKind::Ended { outcome, version, detail, retry_at } => {
                view.outcome = Some(outcome.name());
                view.code = outcome.code();
                view.version.clone_from(version);
                view.detail.clone_from(detail);
                view.retry_at = *retry_at;
            }
            EventKind::Started { by, members } => view.detail = Some(format!("{members} members, by {by}")),
            EventKind::WaveOpened { wave } => view.wave = Some(*wave),
            EventKind::Paused { cause } => {
                view.wave = cause.wave();
                view.detail = Some(cause.to_string());
            }
            EventKind::Resumed { by } => view.detail = Some(format!("by {by}")),
            EventKind::Stopped { by, hard } => {
                view.detail = Some(format!("by {by}{}", if *hard { ", hard" } else { "" }));
            }
            EventKind::Finished => {}
        }
        view
    }
}

impl EventKind {
    /// Its name in answers and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Released { .. } => "released",
            Self::Moved { .. } => "moved",
            Self::Ended { .. } => "ended",
            Self::Started { .. } => "started",
            Self::WaveOpened { .. } => "wave-opened",
            Self::Paused { .. } => "paused",
            Self::Resumed { .. } => "resumed",
            Self::Stopped { .. } => "stopped",
            Self::Finished => "finished",
        }
    }
}

#[cfg(test)]
mod tests {
    use dm_objects::{agenda::FirmwareStage, outcome::ResultClass};

    use super::*;

    #[test]
    fn every_event_comes_back_from_postcard() {
        let at: Timestamp = "2026-03-01T10:00:00.123456789Z".parse().unwrap();
        let kinds = [
            EventKind::Released { wave: 1, after: Some(Outcome::ExecLost) },
            EventKind::Moved { phase: Phase::Running(FirmwareStage::Updating) },
            EventKind::Ended {
                outcome: Outcome::Failed { class: ResultClass::Transient, code: 503 },
                version: None,
                detail: Some("Exec ./FUMO".into()),
                retry_at: Some(at),
            },
            EventKind::Started { by: "ann".into(), members: 3 },
            EventKind::WaveOpened { wave: 0 },
            EventKind::Paused { cause: PauseCause::Approval { wave: 0 } },
            EventKind::Resumed { by: "ann".into() },
            EventKind::Stopped { by: "ann".into(), hard: true },
            EventKind::Finished,
        ];
        for kind in kinds {
            let event = JobEvent { device: DevId::parse("IMEI:1").ok(), ordinal: 7, attempt: 2, at, kind };
            let bytes = postcard::to_allocvec(&event).unwrap();
            assert_eq!(postcard::from_bytes::<JobEvent>(&bytes).unwrap(), event);
            let json = serde_json::to_value(EventView::from(&event)).unwrap();
            assert_eq!(json["event"], event.kind.name());
        }
    }
}
