//! The messages of `proto/topics.proto` as they are encoded. Written by hand from it; a test compares the two.

use prost::{Enumeration, Message, Oneof};

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Instant {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct JobMessage {
    #[prost(uint32, tag = "1")]
    pub(super) version: u32,
    #[prost(string, tag = "2")]
    pub(super) tenant: String,
    #[prost(string, tag = "3")]
    pub(super) device: String,
    #[prost(message, optional, tag = "4")]
    pub(super) job: Option<Job>,
    #[prost(message, optional, tag = "5")]
    pub(super) event: Option<JobEvent>,
    #[prost(message, optional, tag = "6")]
    pub(super) trigger_until: Option<Instant>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Job {
    #[prost(uint64, tag = "1")]
    pub(super) campaign: u64,
    #[prost(uint32, tag = "2")]
    pub(super) ordinal: u32,
    #[prost(uint32, tag = "3")]
    pub(super) attempt: u32,
    #[prost(message, optional, tag = "4")]
    pub(super) phase: Option<Phase>,
    #[prost(message, optional, tag = "5")]
    pub(super) since: Option<Instant>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Phase {
    #[prost(enumeration = "PhaseKind", tag = "1")]
    pub(super) kind: i32,
    #[prost(enumeration = "Stage", tag = "2")]
    pub(super) stage: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(super) enum PhaseKind {
    Unspecified = 0,
    Waiting = 1,
    Session = 2,
    Running = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(super) enum Stage {
    Unspecified = 0,
    Pending = 1,
    DownloadExecSent = 2,
    Downloading = 3,
    Downloaded = 4,
    ExecSent = 5,
    Updating = 6,
    Reported = 7,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct TriggerMessage {
    #[prost(uint32, tag = "1")]
    pub(super) version: u32,
    #[prost(string, tag = "2")]
    pub(super) tenant: String,
    #[prost(string, tag = "3")]
    pub(super) device: String,
    #[prost(message, optional, tag = "4")]
    pub(super) asked: Option<Instant>,
    #[prost(message, optional, tag = "5")]
    pub(super) until: Option<Instant>,
    #[prost(enumeration = "UiMode", tag = "6")]
    pub(super) ui_mode: i32,
    #[prost(oneof = "TriggerReason", tags = "7, 8")]
    pub(super) reason: Option<TriggerReason>,
    #[prost(message, optional, tag = "9")]
    pub(super) due: Option<Instant>,
    #[prost(uint32, tag = "10")]
    pub(super) sent: u32,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
pub(super) enum TriggerReason {
    #[prost(message, tag = "7")]
    Job(JobReason),
    #[prost(message, tag = "8")]
    Operator(OperatorReason),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct JobReason {
    #[prost(uint64, tag = "1")]
    pub(super) campaign: u64,
    #[prost(uint32, tag = "2")]
    pub(super) attempt: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct OperatorReason {
    #[prost(string, tag = "1")]
    pub(super) by: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(super) enum UiMode {
    Unspecified = 0,
    NotSpecified = 1,
    Background = 2,
    Informative = 3,
    Interaction = 4,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct EventsMessage {
    #[prost(uint32, tag = "1")]
    pub(super) version: u32,
    #[prost(string, tag = "2")]
    pub(super) tenant: String,
    #[prost(uint64, tag = "3")]
    pub(super) campaign: u64,
    #[prost(string, tag = "4")]
    pub(super) device: String,
    #[prost(uint32, tag = "5")]
    pub(super) attempt: u32,
    #[prost(uint64, tag = "6")]
    pub(super) revision: u64,
    #[prost(bool, tag = "7")]
    pub(super) copy: bool,
    #[prost(message, repeated, tag = "8")]
    pub(super) events: Vec<JobEvent>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct JobEvent {
    #[prost(string, tag = "1")]
    pub(super) device: String,
    #[prost(uint32, tag = "2")]
    pub(super) ordinal: u32,
    #[prost(uint32, tag = "3")]
    pub(super) attempt: u32,
    #[prost(message, optional, tag = "4")]
    pub(super) at: Option<Instant>,
    #[prost(oneof = "JobEventKind", tags = "5, 6, 7, 8, 9, 10, 11, 12, 13")]
    pub(super) kind: Option<JobEventKind>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
pub(super) enum JobEventKind {
    #[prost(message, tag = "5")]
    Released(Released),
    #[prost(message, tag = "6")]
    Moved(Moved),
    #[prost(message, tag = "7")]
    Ended(Ended),
    #[prost(message, tag = "8")]
    Started(Started),
    #[prost(message, tag = "9")]
    WaveOpened(WaveOpened),
    #[prost(message, tag = "10")]
    Paused(Paused),
    #[prost(message, tag = "11")]
    Resumed(Resumed),
    #[prost(message, tag = "12")]
    Stopped(Stopped),
    #[prost(message, tag = "13")]
    Finished(Finished),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Released {
    #[prost(uint32, tag = "1")]
    pub(super) wave: u32,
    #[prost(message, optional, tag = "2")]
    pub(super) after: Option<Outcome>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Moved {
    #[prost(message, optional, tag = "1")]
    pub(super) phase: Option<Phase>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Ended {
    #[prost(message, optional, tag = "1")]
    pub(super) outcome: Option<Outcome>,
    #[prost(string, optional, tag = "2")]
    pub(super) version: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub(super) detail: Option<String>,
    #[prost(message, optional, tag = "4")]
    pub(super) retry_at: Option<Instant>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Started {
    #[prost(string, tag = "1")]
    pub(super) by: String,
    #[prost(uint32, tag = "2")]
    pub(super) members: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct WaveOpened {
    #[prost(uint32, tag = "1")]
    pub(super) wave: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Paused {
    #[prost(oneof = "PausedCause", tags = "1, 2, 3, 4")]
    pub(super) cause: Option<PausedCause>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
pub(super) enum PausedCause {
    #[prost(message, tag = "1")]
    Operator(Operator),
    #[prost(message, tag = "2")]
    FailureGate(FailureGate),
    #[prost(message, tag = "3")]
    WaveGate(WaveGate),
    #[prost(message, tag = "4")]
    Approval(Approval),
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Operator {
    #[prost(string, tag = "1")]
    pub(super) by: String,
    #[prost(string, tag = "2")]
    pub(super) reason: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct FailureGate {
    #[prost(string, tag = "1")]
    pub(super) reason: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct WaveGate {
    #[prost(uint32, tag = "1")]
    pub(super) wave: u32,
    #[prost(string, tag = "2")]
    pub(super) reason: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Approval {
    #[prost(uint32, tag = "1")]
    pub(super) wave: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Resumed {
    #[prost(string, tag = "1")]
    pub(super) by: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Stopped {
    #[prost(string, tag = "1")]
    pub(super) by: String,
    #[prost(bool, tag = "2")]
    pub(super) hard: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Finished {}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Outcome {
    #[prost(enumeration = "OutcomeKind", tag = "1")]
    pub(super) kind: i32,
    #[prost(uint32, tag = "2")]
    pub(super) code: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub(super) enum OutcomeKind {
    Unspecified = 0,
    Succeeded = 1,
    AlreadyCurrent = 2,
    FailedTransient = 3,
    FailedNeedsUser = 4,
    FailedPackageFault = 5,
    FailedDeviceFault = 6,
    FailedSuccess = 7,
    Refused = 8,
    WrongVersion = 9,
    NotCapable = 10,
    TimedOutWait = 11,
    TimedOutSession = 12,
    TimedOutDownload = 13,
    TimedOutInstall = 14,
    TimedOutReport = 15,
    ExecLost = 16,
    Cancelled = 17,
    Gone = 18,
}
