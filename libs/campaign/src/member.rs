//! What the owner keeps of one member: eight octets.

use std::fmt;

use dm_objects::agenda::FirmwareStage;

use crate::{Outcome, OutcomeKind, Phase};

/// The one state that a device of a campaign is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// Not given an attempt yet.
    Pending,
    /// In flight: released, and not come.
    Waiting,
    /// In flight: in a session that has sent no Exec.
    Session,
    /// In flight: a download was ordered.
    Downloading,
    /// In flight: the download is complete, the update is due.
    Downloaded,
    /// In flight: the update was ordered.
    Updating,
    /// In flight: success was reported, the version is awaited.
    Reported,
    /// Waits for another attempt; the last one ended so.
    Retry(OutcomeKind),
    /// In its last state.
    Ended(OutcomeKind),
}

const IN_FLIGHT: [Status; 6] = [
    Status::Waiting,
    Status::Session,
    Status::Downloading,
    Status::Downloaded,
    Status::Updating,
    Status::Reported,
];

impl Status {
    /// The state of a device whose attempt is in this phase.
    pub fn of(phase: Phase) -> Self {
        match phase {
            Phase::Waiting => Self::Waiting,
            Phase::Session(stage) | Phase::Running(stage) => match stage {
                FirmwareStage::Pending => Self::Session,
                FirmwareStage::DownloadExecSent | FirmwareStage::Downloading => Self::Downloading,
                FirmwareStage::Downloaded => Self::Downloaded,
                FirmwareStage::ExecSent | FirmwareStage::Updating => Self::Updating,
                FirmwareStage::Reported => Self::Reported,
            },
        }
    }

    /// Released, and neither ended nor waiting for another attempt.
    pub fn is_in_flight(self) -> bool {
        !matches!(self, Self::Pending | Self::Retry(_) | Self::Ended(_))
    }

    /// Never changes again.
    pub fn is_last(self) -> bool {
        matches!(self, Self::Ended(_))
    }

    /// Its name in answers and filters. All that wait for another attempt share one.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Waiting => "waiting",
            Self::Session => "session",
            Self::Downloading => "downloading",
            Self::Downloaded => "downloaded",
            Self::Updating => "updating",
            Self::Reported => "reported",
            Self::Retry(_) => "retry",
            Self::Ended(kind) => kind.name(),
        }
    }

    /// Every state there is.
    pub fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::Pending)
            .chain(IN_FLIGHT)
            .chain(OutcomeKind::ALL.iter().map(|&kind| Self::Retry(kind)))
            .chain(OutcomeKind::ALL.iter().map(|&kind| Self::Ended(kind)))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One member. Times are tenths of a second from the campaign's start, which reaches 13 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// When the timer of its phase ends, or its next attempt is due; 0 where nothing is.
    pub(crate) due: u32,
    /// The code of the outcome it has.
    pub(crate) code: u16,
    /// The attempt it is at; 0 before the first.
    pub(crate) attempt: u8,
    /// Its state, as a number.
    status: u8,
}

const RETRY: u8 = 0x40;
const ENDED: u8 = 0x80;

impl Member {
    pub(crate) const NEW: Self = Self { due: 0, code: 0, attempt: 0, status: 0 };

    pub(crate) fn status(self) -> Status {
        let kind = |number: u8| OutcomeKind::ALL.get(usize::from(number & 0x3F)).copied();
        let kind = kind(self.status).unwrap_or(OutcomeKind::Gone);
        match self.status & 0xC0 {
            ENDED => Status::Ended(kind),
            RETRY => Status::Retry(kind),
            _ => match self.status.checked_sub(1) {
                None => Status::Pending,
                Some(at) => IN_FLIGHT.get(usize::from(at)).copied().unwrap_or(Status::Pending),
            },
        }
    }

    pub(crate) fn set_status(&mut self, status: Status) {
        self.status = match status {
            Status::Pending => 0,
            Status::Retry(kind) => RETRY | kind as u8,
            Status::Ended(kind) => ENDED | kind as u8,
            // Six states, numbered from 1.
            status => 1 + IN_FLIGHT.iter().position(|&one| one == status).unwrap_or(0) as u8,
        };
    }

    /// How its last attempt ended, where one has.
    pub(crate) fn outcome(self) -> Option<Outcome> {
        match self.status() {
            Status::Retry(kind) | Status::Ended(kind) => Some(kind.with_code(self.code)),
            _ => None,
        }
    }

    pub(crate) fn to_parts(self) -> (u8, u8, u16, u32) {
        (self.status, self.attempt, self.code, self.due)
    }

    /// Takes parts back; `None` where the state's number is none.
    pub(crate) fn from_parts((status, attempt, code, due): (u8, u8, u16, u32)) -> Option<Self> {
        let member = Self { due, code, attempt, status };
        let mut again = member;
        again.set_status(member.status());
        (again == member).then_some(member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_comes_back_from_its_number() {
        assert_eq!(size_of::<Member>(), 8);
        for status in Status::all() {
            let mut member = Member::NEW;
            member.set_status(status);
            assert_eq!(member.status(), status);
            assert_eq!(Member::from_parts(member.to_parts()), Some(member));
        }
        assert_eq!(Member::from_parts((ENDED | 0x3F, 1, 0, 0)), None);
        assert_eq!(Member::from_parts((9, 1, 0, 0)), None);
    }
}
