//! How an attempt can end. The list is closed: nothing ends without one of these names.

use std::fmt;

use dm_objects::outcome::ResultClass;
use serde::{Deserialize, Serialize};

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The device reported success and its own tree shows the target version.
    Succeeded,
    /// The device had the target version before; no Exec was sent.
    AlreadyCurrent,
    /// The device reported a result code other than success.
    Failed {
        /// What the code means.
        class: ResultClass,
        /// The FUMO result code, verbatim.
        code: u16,
    },
    /// A command was refused before anything ran on the device.
    Refused {
        /// The status of the command at fault.
        code: u16,
    },
    /// The device reported success, but its own tree shows another version.
    WrongVersion,
    /// The device has no node, or no operation, that could do it.
    NotCapable,
    /// A phase took longer than its timer allows.
    TimedOut {
        /// The phase.
        phase: TimedPhase,
    },
    /// The Exec never arrived: the device's own state shows that nothing ran.
    ExecLost,
    /// An operator stopped the campaign before the attempt could end.
    Cancelled,
    /// The device is no longer known.
    Gone,
}

/// The phases that have a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimedPhase {
    /// From the release to the device's coming: one that times out is silent.
    Wait,
    /// The device came and left again before an Exec was sent.
    Session,
    /// The download was ordered and its end not reported.
    Download,
    /// The install was ordered (or due) and its end not reported.
    Install,
    /// Success was reported and the version not read back.
    Report,
}

impl TimedPhase {
    /// Its name in files, answers and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Session => "session",
            Self::Download => "download",
            Self::Install => "install",
            Self::Report => "report",
        }
    }
}

/// What an outcome means for gates and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The device has the version it should have.
    Success,
    /// It has not, and said or showed so.
    Failure,
    /// Nothing was heard of it in time.
    Silence,
    /// Nobody's fault: it was called off.
    Neither,
}

impl Outcome {
    /// What it means for gates and reports.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Succeeded | Self::AlreadyCurrent => Verdict::Success,
            Self::Failed { .. }
            | Self::Refused { .. }
            | Self::WrongVersion
            | Self::NotCapable
            | Self::ExecLost => Verdict::Failure,
            Self::TimedOut { .. } => Verdict::Silence,
            Self::Cancelled | Self::Gone => Verdict::Neither,
        }
    }

    /// Its name in answers and metrics, without the code.
    pub fn name(self) -> &'static str {
        self.kind().name()
    }

    /// The device's result code or the refusing status, where there is one.
    pub fn code(self) -> Option<u16> {
        match self {
            Self::Failed { code, .. } | Self::Refused { code } => Some(code),
            _ => None,
        }
    }

    /// The outcome without its code.
    pub fn kind(self) -> OutcomeKind {
        match self {
            Self::Succeeded => OutcomeKind::Succeeded,
            Self::AlreadyCurrent => OutcomeKind::AlreadyCurrent,
            Self::Failed { class, .. } => match class {
                ResultClass::Transient => OutcomeKind::FailedTransient,
                ResultClass::NeedsUser => OutcomeKind::FailedNeedsUser,
                ResultClass::PackageFault => OutcomeKind::FailedPackageFault,
                // A success code is no failure; whoever calls it one means that the device could not.
                ResultClass::DeviceFault | ResultClass::Success => OutcomeKind::FailedDeviceFault,
            },
            Self::Refused { .. } => OutcomeKind::Refused,
            Self::WrongVersion => OutcomeKind::WrongVersion,
            Self::NotCapable => OutcomeKind::NotCapable,
            Self::TimedOut { phase } => match phase {
                TimedPhase::Wait => OutcomeKind::TimedOutWait,
                TimedPhase::Session => OutcomeKind::TimedOutSession,
                TimedPhase::Download => OutcomeKind::TimedOutDownload,
                TimedPhase::Install => OutcomeKind::TimedOutInstall,
                TimedPhase::Report => OutcomeKind::TimedOutReport,
            },
            Self::ExecLost => OutcomeKind::ExecLost,
            Self::Cancelled => OutcomeKind::Cancelled,
            Self::Gone => OutcomeKind::Gone,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code() {
            Some(code) => write!(f, "{} ({code})", self.name()),
            None => f.write_str(self.name()),
        }
    }
}

macro_rules! outcome_kinds {
    ($($(#[$doc:meta])* $kind:ident $name:literal $outcome:expr;)*) => {
        /// An outcome without its code: what counters count by.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum OutcomeKind {
            $($(#[$doc])* $kind,)*
        }

        impl OutcomeKind {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// Its name in answers and metrics.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// The outcome with its code; the code counts only where the outcome has one.
            pub(crate) fn with_code(self, code: u16) -> Outcome {
                let _ = code;
                match self { $(Self::$kind => $outcome(code),)* }
            }
        }
    };
}

outcome_kinds! {
    /// See [`Outcome::Succeeded`].
    Succeeded "succeeded" |_| Outcome::Succeeded;
    /// See [`Outcome::AlreadyCurrent`].
    AlreadyCurrent "already-current" |_| Outcome::AlreadyCurrent;
    /// The network, a server, a time-out or free memory.
    FailedTransient "failed-transient" |code| Outcome::Failed { class: ResultClass::Transient, code };
    /// The user said no.
    FailedNeedsUser "failed-needs-user" |code| Outcome::Failed { class: ResultClass::NeedsUser, code };
    /// The package is wrong for this device, or broken.
    FailedPackageFault "failed-package-fault" |code| Outcome::Failed { class: ResultClass::PackageFault, code };
    /// The device could not.
    FailedDeviceFault "failed-device-fault" |code| Outcome::Failed { class: ResultClass::DeviceFault, code };
    /// See [`Outcome::Refused`].
    Refused "refused" |code| Outcome::Refused { code };
    /// See [`Outcome::WrongVersion`].
    WrongVersion "wrong-version" |_| Outcome::WrongVersion;
    /// See [`Outcome::NotCapable`].
    NotCapable "not-capable" |_| Outcome::NotCapable;
    /// The device never came.
    TimedOutWait "silent" |_| Outcome::TimedOut { phase: TimedPhase::Wait };
    /// See [`TimedPhase::Session`].
    TimedOutSession "timed-out-session" |_| Outcome::TimedOut { phase: TimedPhase::Session };
    /// See [`TimedPhase::Download`].
    TimedOutDownload "timed-out-download" |_| Outcome::TimedOut { phase: TimedPhase::Download };
    /// See [`TimedPhase::Install`].
    TimedOutInstall "timed-out-install" |_| Outcome::TimedOut { phase: TimedPhase::Install };
    /// See [`TimedPhase::Report`].
    TimedOutReport "timed-out-report" |_| Outcome::TimedOut { phase: TimedPhase::Report };
    /// See [`Outcome::ExecLost`].
    ExecLost "exec-lost" |_| Outcome::ExecLost;
    /// See [`Outcome::Cancelled`].
    Cancelled "cancelled" |_| Outcome::Cancelled;
    /// See [`Outcome::Gone`].
    Gone "gone" |_| Outcome::Gone;
}

impl OutcomeKind {
    /// What it means for gates and reports.
    pub fn verdict(self) -> Verdict {
        self.with_code(0).verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_names_itself_once_and_comes_back_from_its_outcome() {
        let mut names = std::collections::BTreeSet::new();
        for &kind in OutcomeKind::ALL {
            assert_eq!(kind.with_code(411).kind(), kind);
            assert!(names.insert(kind.name()), "{} twice", kind.name());
        }
    }
}
