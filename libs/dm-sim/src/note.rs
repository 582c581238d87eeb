//! What a device did and saw, for whoever counts.

use dm_objects::fumo::Operation;

/// A fault that was injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// An answer was thrown away.
    ReplyLost,
    /// A message was sent again although it was answered.
    Repeated,
    /// A message was broken off.
    CutMessage,
    /// A transfer was broken off.
    CutDownload,
    /// A message was held back.
    Slow,
    /// An attempt failed by plan.
    Failing,
    /// A device went silent for ever.
    Silent,
    /// An attempt reported success and changed nothing.
    WrongVersion,
    /// A trigger was thrown away.
    TriggerLost,
}

impl Fault {
    /// As reports name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReplyLost => "reply lost",
            Self::Repeated => "message repeated",
            Self::CutMessage => "message cut",
            Self::CutDownload => "download cut",
            Self::Slow => "slow",
            Self::Failing => "update failing",
            Self::Silent => "silent for ever",
            Self::WrongVersion => "wrong version",
            Self::TriggerLost => "trigger lost",
        }
    }
}

/// What a trigger that came to a device led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Triggered {
    /// A session.
    Session,
    /// Nothing: it was no notification, or was not made by the device's server with the device's nonce.
    Refused,
    /// Nothing: the device is in a session or busy with a package, and speaks to the server soon in any case.
    Busy,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// A fault was injected.
    Fault(Fault),
    /// A session came to its end, after so many answered messages.
    SessionDone {
        /// Answered messages.
        messages: u32,
    },
    /// A session did not.
    SessionBroken {
        /// Why.
        why: &'static str,
    },
    /// A trigger came.
    Trigger(Triggered),
    /// The server asked to come later.
    TurnedAway,
    /// An Exec came.
    Exec {
        /// Of what.
        operation: Operation,
        /// How often by now, for its correlator.
        times: u32,
    },
    /// A package arrived.
    Downloaded {
        /// Its digest was said, and is right.
        checked: bool,
    },
    /// A package could not be had.
    DownloadFailed,
    /// A transfer goes on where an earlier one broke.
    Resumed,
    /// The server took a report.
    Reported {
        /// On what.
        operation: Option<Operation>,
        /// The result code.
        code: u16,
    },
}
