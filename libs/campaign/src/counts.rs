//! How many devices are in which state.

use serde::{Deserialize, Serialize};

use crate::{OutcomeKind, Verdict, member::Status};

/// How many devices are in which state. Every device is in exactly one, so the counts add up to the members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counts {
    /// Not given an attempt yet.
    pub pending: u32,
    /// In flight: released, and not come.
    pub waiting: u32,
    /// In flight: in a session that has sent no Exec.
    pub session: u32,
    /// In flight: a download was ordered.
    pub downloading: u32,
    /// In flight: the download is complete, the update is due.
    pub downloaded: u32,
    /// In flight: the update was ordered.
    pub updating: u32,
    /// In flight: success was reported, the version is awaited.
    pub reported: u32,
    /// Waits for another attempt after a failure.
    pub retry_failed: u32,
    /// Waits for another attempt after a timer.
    pub retry_silent: u32,
    /// Last state: see [`OutcomeKind::Succeeded`].
    pub succeeded: u32,
    /// Last state: see [`OutcomeKind::AlreadyCurrent`].
    pub already_current: u32,
    /// Last state: see [`OutcomeKind::FailedTransient`].
    pub failed_transient: u32,
    /// Last state: see [`OutcomeKind::FailedNeedsUser`].
    pub failed_needs_user: u32,
    /// Last state: see [`OutcomeKind::FailedPackageFault`].
    pub failed_package_fault: u32,
    /// Last state: see [`OutcomeKind::FailedDeviceFault`].
    pub failed_device_fault: u32,
    /// Last state: see [`OutcomeKind::Refused`].
    pub refused: u32,
    /// Last state: see [`OutcomeKind::WrongVersion`].
    pub wrong_version: u32,
    /// Last state: see [`OutcomeKind::NotCapable`].
    pub not_capable: u32,
    /// Last state: see [`OutcomeKind::TimedOutWait`].
    pub silent: u32,
    /// Last state: see [`OutcomeKind::TimedOutSession`].
    pub timed_out_session: u32,
    /// Last state: see [`OutcomeKind::TimedOutDownload`].
    pub timed_out_download: u32,
    /// Last state: see [`OutcomeKind::TimedOutInstall`].
    pub timed_out_install: u32,
    /// Last state: see [`OutcomeKind::TimedOutReport`].
    pub timed_out_report: u32,
    /// Last state: see [`OutcomeKind::ExecLost`].
    pub exec_lost: u32,
    /// Last state: see [`OutcomeKind::Cancelled`].
    pub cancelled: u32,
    /// Last state: see [`OutcomeKind::Gone`].
    pub gone: u32,
}

impl Counts {
    /// All devices.
    pub fn members(&self) -> u32 {
        self.pending + self.in_flight() + self.retry() + self.ended()
    }

    /// Released, and neither ended nor waiting for another attempt: what the budget bounds.
    pub fn in_flight(&self) -> u32 {
        self.waiting + self.session + self.downloading + self.downloaded + self.updating + self.reported
    }

    /// Waiting for another attempt.
    pub fn retry(&self) -> u32 {
        self.retry_failed + self.retry_silent
    }

    /// In their last state.
    pub fn ended(&self) -> u32 {
        OutcomeKind::ALL.iter().map(|&kind| self.of(kind)).sum()
    }

    /// In this last state.
    pub fn of(&self, kind: OutcomeKind) -> u32 {
        // A copy of a few words, so that one table serves reading and writing.
        let mut counts = *self;
        *counts.ended_mut(kind)
    }

    /// In a last state that means this.
    pub fn ended_by(&self, verdict: Verdict) -> u32 {
        OutcomeKind::ALL.iter().filter(|kind| kind.verdict() == verdict).map(|&kind| self.of(kind)).sum()
    }

    /// Have the version they should have.
    pub fn succeeding(&self) -> u32 {
        self.succeeded + self.already_current
    }

    /// Failed, for good or for now.
    pub fn failing(&self) -> u32 {
        self.ended_by(Verdict::Failure) + self.retry_failed
    }

    /// Ended by a timer, for good or for now.
    pub fn unheard(&self) -> u32 {
        self.ended_by(Verdict::Silence) + self.retry_silent
    }

    /// Tried: what percentages of gates are of.
    pub fn tried(&self) -> u32 {
        self.succeeding() + self.failing() + self.unheard()
    }

    /// The state's counter.
    pub(crate) fn slot(&mut self, status: Status) -> &mut u32 {
        match status {
            Status::Pending => &mut self.pending,
            Status::Waiting => &mut self.waiting,
            Status::Session => &mut self.session,
            Status::Downloading => &mut self.downloading,
            Status::Downloaded => &mut self.downloaded,
            Status::Updating => &mut self.updating,
            Status::Reported => &mut self.reported,
            Status::Retry(kind) if kind.verdict() == Verdict::Silence => &mut self.retry_silent,
            Status::Retry(_) => &mut self.retry_failed,
            Status::Ended(kind) => self.ended_mut(kind),
        }
    }

    fn ended_mut(&mut self, kind: OutcomeKind) -> &mut u32 {
        match kind {
            OutcomeKind::Succeeded => &mut self.succeeded,
            OutcomeKind::AlreadyCurrent => &mut self.already_current,
            OutcomeKind::FailedTransient => &mut self.failed_transient,
            OutcomeKind::FailedNeedsUser => &mut self.failed_needs_user,
            OutcomeKind::FailedPackageFault => &mut self.failed_package_fault,
            OutcomeKind::FailedDeviceFault => &mut self.failed_device_fault,
            OutcomeKind::Refused => &mut self.refused,
            OutcomeKind::WrongVersion => &mut self.wrong_version,
            OutcomeKind::NotCapable => &mut self.not_capable,
            OutcomeKind::TimedOutWait => &mut self.silent,
            OutcomeKind::TimedOutSession => &mut self.timed_out_session,
            OutcomeKind::TimedOutDownload => &mut self.timed_out_download,
            OutcomeKind::TimedOutInstall => &mut self.timed_out_install,
            OutcomeKind::TimedOutReport => &mut self.timed_out_report,
            OutcomeKind::ExecLost => &mut self.exec_lost,
            OutcomeKind::Cancelled => &mut self.cancelled,
            OutcomeKind::Gone => &mut self.gone,
        }
    }

    /// These and those.
    pub fn plus(mut self, other: &Self) -> Self {
        let mut other = *other;
        for status in Status::all() {
            *self.slot(status) += std::mem::take(other.slot(status));
        }
        self
    }
}
