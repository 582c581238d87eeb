//! Between the messages as they are encoded and the types of this program.

use std::sync::Arc;

use campaign::{CampaignId, EventKind, Job, JobEvent, Outcome, PauseCause, Phase, TimedPhase};
use dm_objects::{agenda::FirmwareStage, outcome::ResultClass};
use dm_protocol::DevId;
use jiff::Timestamp;
use storage::{Release, TenantId};

use super::{
    EventsMessage, JobMessage, PayloadError, TriggerMessage, TriggerReason, UiMode, VERSION,
    wire::{self, JobEventKind, OutcomeKind, PausedCause, PhaseKind, Stage, TriggerReason as Reason},
};

type Result<T> = std::result::Result<T, PayloadError>;

fn device(field: &'static str, text: &str) -> Result<DevId> {
    let wrong = |error: dm_protocol::DevIdError| PayloadError::Field {
        field,
        expected: "a device id",
        got: error.to_string(),
    };
    DevId::parse(text).map_err(wrong)
}

/// The bounds of [`TenantId`]: it becomes part of keys.
fn tenant(text: &str) -> Result<TenantId> {
    let is_good = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
    if (1..=32).contains(&text.len()) && text.bytes().all(is_good) {
        return Ok(TenantId(Arc::from(text)));
    }
    Err(PayloadError::Field { field: "tenant", expected: "a tenant", got: format!("{text:?}") })
}

fn u16_of(field: &'static str, value: u32) -> Result<u16> {
    let wrong = |_| PayloadError::Field { field, expected: "at most 65535", got: value.to_string() };
    u16::try_from(value).map_err(wrong)
}

fn present<T>(field: &'static str, value: Option<T>) -> Result<T> {
    value.ok_or(PayloadError::Field { field, expected: "a value", got: "none".to_owned() })
}

fn instant(at: Timestamp) -> wire::Instant {
    // The protobuf type counts nanoseconds upwards, also before 1970.
    let (seconds, nanos) = (at.as_second(), at.subsec_nanosecond());
    if nanos < 0 {
        wire::Instant { seconds: seconds - 1, nanos: nanos + 1_000_000_000 }
    } else {
        wire::Instant { seconds, nanos }
    }
}

fn timestamp(field: &'static str, instant: Option<&wire::Instant>) -> Result<Timestamp> {
    let instant = present(field, instant)?;
    let wrong =
        |error: jiff::Error| PayloadError::Field { field, expected: "an instant", got: error.to_string() };
    Timestamp::new(instant.seconds, instant.nanos).map_err(wrong)
}

impl From<&JobMessage> for wire::JobMessage {
    fn from(message: &JobMessage) -> Self {
        let Release { device, job, event, trigger_until } = &message.release;
        Self {
            version: VERSION,
            tenant: message.tenant.to_string(),
            device: device.as_str().to_owned(),
            job: Some(job.into()),
            event: Some(event.into()),
            trigger_until: trigger_until.map(instant),
        }
    }
}

impl TryFrom<wire::JobMessage> for JobMessage {
    type Error = PayloadError;

    fn try_from(message: wire::JobMessage) -> Result<Self> {
        let release = Release {
            device: device("device", &message.device)?,
            job: present("job", message.job)?.try_into()?,
            event: present("event", message.event)?.try_into()?,
            trigger_until: message
                .trigger_until
                .map(|until| timestamp("trigger_until", Some(&until)))
                .transpose()?,
        };
        Ok(Self { tenant: tenant(&message.tenant)?, release })
    }
}

impl From<&Job> for wire::Job {
    fn from(job: &Job) -> Self {
        Self {
            campaign: job.campaign.0,
            ordinal: job.ordinal,
            attempt: job.attempt.into(),
            phase: Some(job.phase.into()),
            since: Some(instant(job.since)),
        }
    }
}

impl TryFrom<wire::Job> for Job {
    type Error = PayloadError;

    fn try_from(job: wire::Job) -> Result<Self> {
        Ok(Self {
            campaign: CampaignId(job.campaign),
            ordinal: job.ordinal,
            attempt: u16_of("job.attempt", job.attempt)?,
            phase: present("job.phase", job.phase)?.try_into()?,
            since: timestamp("job.since", job.since.as_ref())?,
        })
    }
}

/// Pairs of one enumeration and the other, both ways.
macro_rules! same {
    ($ours:ty, $theirs:ty, $field:literal: $($our:pat => $their:ident = $back:expr,)+) => {
        impl From<$ours> for $theirs {
            fn from(value: $ours) -> Self {
                match value { $($our => Self::$their,)+ }
            }
        }

        impl TryFrom<$theirs> for $ours {
            type Error = PayloadError;

            fn try_from(value: $theirs) -> Result<Self> {
                match value {
                    $(<$theirs>::$their => Ok($back),)+
                    <$theirs>::Unspecified => {
                        let got = "none".to_owned();
                        Err(PayloadError::Field { field: $field, expected: "a value", got })
                    }
                }
            }
        }
    };
}

same! { FirmwareStage, Stage, "phase.stage":
    FirmwareStage::Pending => Pending = FirmwareStage::Pending,
    FirmwareStage::DownloadExecSent => DownloadExecSent = FirmwareStage::DownloadExecSent,
    FirmwareStage::Downloading => Downloading = FirmwareStage::Downloading,
    FirmwareStage::Downloaded => Downloaded = FirmwareStage::Downloaded,
    FirmwareStage::ExecSent => ExecSent = FirmwareStage::ExecSent,
    FirmwareStage::Updating => Updating = FirmwareStage::Updating,
    FirmwareStage::Reported => Reported = FirmwareStage::Reported,
}

same! { UiMode, wire::UiMode, "ui_mode":
    UiMode::NotSpecified => NotSpecified = UiMode::NotSpecified,
    UiMode::Background => Background = UiMode::Background,
    UiMode::Informative => Informative = UiMode::Informative,
    UiMode::Interaction => Interaction = UiMode::Interaction,
}

impl From<Phase> for wire::Phase {
    fn from(phase: Phase) -> Self {
        let kind = match phase {
            Phase::Waiting => PhaseKind::Waiting,
            Phase::Session(_) => PhaseKind::Session,
            Phase::Running(_) => PhaseKind::Running,
        };
        Self { kind: kind.into(), stage: Stage::from(phase.stage()).into() }
    }
}

impl TryFrom<wire::Phase> for Phase {
    type Error = PayloadError;

    fn try_from(phase: wire::Phase) -> Result<Self> {
        let stage = || known::<Stage>("phase.stage", phase.stage)?.try_into();
        match known::<PhaseKind>("phase.kind", phase.kind)? {
            PhaseKind::Waiting => Ok(Self::Waiting),
            PhaseKind::Session => stage().map(Self::Session),
            PhaseKind::Running => stage().map(Self::Running),
            PhaseKind::Unspecified => present("phase.kind", None),
        }
    }
}

/// The value of an enumeration, unless a later program added it.
fn known<T: TryFrom<i32>>(field: &'static str, value: i32) -> Result<T> {
    T::try_from(value).map_err(|_| PayloadError::Unknown { field })
}

impl From<Outcome> for wire::Outcome {
    fn from(outcome: Outcome) -> Self {
        let kind = match outcome {
            Outcome::Succeeded => OutcomeKind::Succeeded,
            Outcome::AlreadyCurrent => OutcomeKind::AlreadyCurrent,
            Outcome::Failed { class, .. } => match class {
                ResultClass::Transient => OutcomeKind::FailedTransient,
                ResultClass::NeedsUser => OutcomeKind::FailedNeedsUser,
                ResultClass::PackageFault => OutcomeKind::FailedPackageFault,
                ResultClass::DeviceFault => OutcomeKind::FailedDeviceFault,
                ResultClass::Success => OutcomeKind::FailedSuccess,
            },
            Outcome::Refused { .. } => OutcomeKind::Refused,
            Outcome::WrongVersion => OutcomeKind::WrongVersion,
            Outcome::NotCapable => OutcomeKind::NotCapable,
            Outcome::TimedOut { phase } => match phase {
                TimedPhase::Wait => OutcomeKind::TimedOutWait,
                TimedPhase::Session => OutcomeKind::TimedOutSession,
                TimedPhase::Download => OutcomeKind::TimedOutDownload,
                TimedPhase::Install => OutcomeKind::TimedOutInstall,
                TimedPhase::Report => OutcomeKind::TimedOutReport,
            },
            Outcome::ExecLost => OutcomeKind::ExecLost,
            Outcome::Cancelled => OutcomeKind::Cancelled,
            Outcome::Gone => OutcomeKind::Gone,
        };
        Self { kind: kind.into(), code: outcome.code().unwrap_or(0).into() }
    }
}

impl TryFrom<wire::Outcome> for Outcome {
    type Error = PayloadError;

    fn try_from(outcome: wire::Outcome) -> Result<Self> {
        let code = u16_of("outcome.code", outcome.code)?;
        let failed = |class| Self::Failed { class, code };
        let timed_out = |phase| Self::TimedOut { phase };
        Ok(match known::<OutcomeKind>("outcome.kind", outcome.kind)? {
            OutcomeKind::Succeeded => Self::Succeeded,
            OutcomeKind::AlreadyCurrent => Self::AlreadyCurrent,
            OutcomeKind::FailedTransient => failed(ResultClass::Transient),
            OutcomeKind::FailedNeedsUser => failed(ResultClass::NeedsUser),
            OutcomeKind::FailedPackageFault => failed(ResultClass::PackageFault),
            OutcomeKind::FailedDeviceFault => failed(ResultClass::DeviceFault),
            OutcomeKind::FailedSuccess => failed(ResultClass::Success),
            OutcomeKind::Refused => Self::Refused { code },
            OutcomeKind::WrongVersion => Self::WrongVersion,
            OutcomeKind::NotCapable => Self::NotCapable,
            OutcomeKind::TimedOutWait => timed_out(TimedPhase::Wait),
            OutcomeKind::TimedOutSession => timed_out(TimedPhase::Session),
            OutcomeKind::TimedOutDownload => timed_out(TimedPhase::Download),
            OutcomeKind::TimedOutInstall => timed_out(TimedPhase::Install),
            OutcomeKind::TimedOutReport => timed_out(TimedPhase::Report),
            OutcomeKind::ExecLost => Self::ExecLost,
            OutcomeKind::Cancelled => Self::Cancelled,
            OutcomeKind::Gone => Self::Gone,
            OutcomeKind::Unspecified => return present("outcome.kind", None),
        })
    }
}

impl From<&JobEvent> for wire::JobEvent {
    fn from(event: &JobEvent) -> Self {
        Self {
            device: event.device.as_ref().map(|device| device.as_str().to_owned()).unwrap_or_default(),
            ordinal: event.ordinal,
            attempt: event.attempt.into(),
            at: Some(instant(event.at)),
            kind: event_kind(&event.kind),
        }
    }
}

/// `None` for a kind that this module has not learned; the test of all kinds finds it.
fn event_kind(kind: &EventKind) -> Option<JobEventKind> {
    Some(match kind {
        EventKind::Released { wave, after } => {
            JobEventKind::Released(wire::Released { wave: (*wave).into(), after: after.map(Into::into) })
        }
        EventKind::Moved { phase } => JobEventKind::Moved(wire::Moved { phase: Some((*phase).into()) }),
        EventKind::Ended { outcome, version, detail, retry_at } => JobEventKind::Ended(wire::Ended {
            outcome: Some((*outcome).into()),
            version: version.clone(),
            detail: detail.clone(),
            retry_at: retry_at.map(instant),
        }),
        EventKind::Started { by, members } => {
            JobEventKind::Started(wire::Started { by: by.clone(), members: *members })
        }
        EventKind::WaveOpened { wave } => JobEventKind::WaveOpened(wire::WaveOpened { wave: (*wave).into() }),
        EventKind::Paused { cause } => JobEventKind::Paused(wire::Paused { cause: Some(pause_cause(cause)) }),
        EventKind::Resumed { by } => JobEventKind::Resumed(wire::Resumed { by: by.clone() }),
        EventKind::Stopped { by, hard } => {
            JobEventKind::Stopped(wire::Stopped { by: by.clone(), hard: *hard })
        }
        EventKind::Finished => JobEventKind::Finished(wire::Finished {}),
        _ => return None,
    })
}

fn pause_cause(cause: &PauseCause) -> PausedCause {
    match cause.clone() {
        PauseCause::Operator { by, reason } => PausedCause::Operator(wire::Operator { by, reason }),
        PauseCause::FailureGate { reason } => PausedCause::FailureGate(wire::FailureGate { reason }),
        PauseCause::WaveGate { wave, reason } => {
            PausedCause::WaveGate(wire::WaveGate { wave: wave.into(), reason })
        }
        PauseCause::Approval { wave } => PausedCause::Approval(wire::Approval { wave: wave.into() }),
    }
}

impl TryFrom<wire::JobEvent> for JobEvent {
    type Error = PayloadError;

    fn try_from(event: wire::JobEvent) -> Result<Self> {
        Ok(Self {
            device: (!event.device.is_empty()).then(|| device("event.device", &event.device)).transpose()?,
            ordinal: event.ordinal,
            attempt: u16_of("event.attempt", event.attempt)?,
            at: timestamp("event.at", event.at.as_ref())?,
            // A kind of a later program leaves the choice empty.
            kind: event.kind.ok_or(PayloadError::Unknown { field: "event.kind" })?.try_into()?,
        })
    }
}

impl TryFrom<JobEventKind> for EventKind {
    type Error = PayloadError;

    fn try_from(kind: JobEventKind) -> Result<Self> {
        Ok(match kind {
            JobEventKind::Released(released) => Self::Released {
                wave: u16_of("released.wave", released.wave)?,
                after: released.after.map(TryInto::try_into).transpose()?,
            },
            JobEventKind::Moved(moved) => {
                Self::Moved { phase: present("moved.phase", moved.phase)?.try_into()? }
            }
            JobEventKind::Ended(ended) => Self::Ended {
                outcome: present("ended.outcome", ended.outcome)?.try_into()?,
                version: ended.version,
                detail: ended.detail,
                retry_at: match ended.retry_at {
                    Some(at) => Some(timestamp("ended.retry_at", Some(&at))?),
                    None => None,
                },
            },
            JobEventKind::Started(started) => Self::Started { by: started.by, members: started.members },
            JobEventKind::WaveOpened(opened) => {
                Self::WaveOpened { wave: u16_of("wave_opened.wave", opened.wave)? }
            }
            JobEventKind::Paused(paused) => Self::Paused {
                cause: paused.cause.ok_or(PayloadError::Unknown { field: "paused.cause" })?.try_into()?,
            },
            JobEventKind::Resumed(resumed) => Self::Resumed { by: resumed.by },
            JobEventKind::Stopped(stopped) => Self::Stopped { by: stopped.by, hard: stopped.hard },
            JobEventKind::Finished(wire::Finished {}) => Self::Finished,
        })
    }
}

impl TryFrom<PausedCause> for PauseCause {
    type Error = PayloadError;

    fn try_from(cause: PausedCause) -> Result<Self> {
        let wave = |wave| u16_of("paused.wave", wave);
        Ok(match cause {
            PausedCause::Operator(operator) => Self::Operator { by: operator.by, reason: operator.reason },
            PausedCause::FailureGate(gate) => Self::FailureGate { reason: gate.reason },
            PausedCause::WaveGate(gate) => Self::WaveGate { wave: wave(gate.wave)?, reason: gate.reason },
            PausedCause::Approval(approval) => Self::Approval { wave: wave(approval.wave)? },
        })
    }
}

impl From<&TriggerMessage> for wire::TriggerMessage {
    fn from(message: &TriggerMessage) -> Self {
        let reason = match &message.reason {
            TriggerReason::Job { campaign, attempt } => {
                Reason::Job(wire::JobReason { campaign: campaign.0, attempt: (*attempt).into() })
            }
            TriggerReason::Operator { by } => Reason::Operator(wire::OperatorReason { by: by.clone() }),
        };
        Self {
            version: VERSION,
            tenant: message.tenant.to_string(),
            device: message.device.as_str().to_owned(),
            asked: Some(instant(message.asked)),
            until: Some(instant(message.until)),
            ui_mode: wire::UiMode::from(message.ui_mode).into(),
            reason: Some(reason),
            due: message.due.map(instant),
            sent: message.sent.into(),
        }
    }
}

impl TryFrom<wire::TriggerMessage> for TriggerMessage {
    type Error = PayloadError;

    fn try_from(message: wire::TriggerMessage) -> Result<Self> {
        let reason = match message.reason.ok_or(PayloadError::Unknown { field: "reason" })? {
            Reason::Job(job) => TriggerReason::Job {
                campaign: CampaignId(job.campaign),
                attempt: u16_of("job.attempt", job.attempt)?,
            },
            Reason::Operator(operator) => TriggerReason::Operator { by: operator.by },
        };
        Ok(Self {
            tenant: tenant(&message.tenant)?,
            device: device("device", &message.device)?,
            asked: timestamp("asked", message.asked.as_ref())?,
            until: timestamp("until", message.until.as_ref())?,
            ui_mode: known::<wire::UiMode>("ui_mode", message.ui_mode)?.try_into()?,
            reason,
            due: message.due.as_ref().map(|due| timestamp("due", Some(due))).transpose()?,
            sent: u16_of("sent", message.sent)?,
        })
    }
}

impl From<&EventsMessage> for wire::EventsMessage {
    fn from(message: &EventsMessage) -> Self {
        Self {
            version: VERSION,
            tenant: message.tenant.to_string(),
            campaign: message.campaign.0,
            device: message.device.as_str().to_owned(),
            attempt: message.attempt.into(),
            revision: message.revision,
            copy: message.copy,
            events: message.events.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<wire::EventsMessage> for EventsMessage {
    type Error = PayloadError;

    fn try_from(message: wire::EventsMessage) -> Result<Self> {
        Ok(Self {
            tenant: tenant(&message.tenant)?,
            campaign: CampaignId(message.campaign),
            device: device("device", &message.device)?,
            attempt: u16_of("attempt", message.attempt)?,
            revision: message.revision,
            copy: message.copy,
            events: message.events.into_iter().map(TryInto::try_into).collect::<Result<_>>()?,
        })
    }
}
