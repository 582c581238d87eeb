//! What operators ask of a running campaign, and the form in which it travels to the process that owns it.

use campaign::{CampaignId, EventKind, PauseCause, Run};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use storage::records;

use crate::ServiceError;

const VERSION: u8 = 1;

/// Something to record in a campaign's ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    Pause {
        by: String,
        reason: String,
    },
    Resume {
        by: String,
    },
    /// Resume, where an approval is awaited.
    Approve {
        by: String,
    },
    Stop {
        by: String,
        hard: bool,
    },
}

/// The states that something is asked for in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Expected {
    Running,
    Paused,
    PausedForApproval,
    RunningOrPaused,
}

impl Expected {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::PausedForApproval => "paused for approval",
            Self::RunningOrPaused => "running or paused",
        }
    }

    /// The one of this text.
    pub(crate) fn of_text(text: &str) -> Self {
        let all = [Self::Running, Self::Paused, Self::PausedForApproval];
        all.into_iter().find(|expected| expected.text() == text).unwrap_or(Self::RunningOrPaused)
    }
}

impl Ask {
    /// The event that records it.
    pub(crate) fn event(&self) -> EventKind {
        match self {
            Self::Pause { by, reason } => {
                let cause = PauseCause::Operator { by: by.clone(), reason: reason.clone() };
                EventKind::Paused { cause }
            }
            Self::Resume { by } | Self::Approve { by } => EventKind::Resumed { by: by.clone() },
            Self::Stop { by, hard } => EventKind::Stopped { by: by.clone(), hard: *hard },
        }
    }

    /// Whether a campaign in this state takes it: `Err(None)` where it is done already.
    pub(crate) fn permit(&self, run: &Run) -> Result<(), Option<Expected>> {
        let expected = match (self, run) {
            (Self::Pause { .. }, Run::Running)
            | (Self::Resume { .. }, Run::Paused(_))
            | (Self::Approve { .. }, Run::Paused(PauseCause::Approval { .. }))
            | (Self::Stop { .. }, Run::Running | Run::Paused(_))
            | (Self::Stop { hard: true, .. }, Run::Stopping { hard: false }) => return Ok(()),
            (Self::Pause { .. }, Run::Paused(_))
            | (Self::Resume { .. }, Run::Running)
            | (Self::Stop { .. }, Run::Stopping { .. } | Run::Stopped) => return Err(None),
            (Self::Pause { .. }, _) => Expected::Running,
            (Self::Resume { .. }, _) => Expected::Paused,
            (Self::Approve { .. }, _) => Expected::PausedForApproval,
            (Self::Stop { .. }, _) => Expected::RunningOrPaused,
        };
        Err(Some(expected))
    }

    /// The answer that needs no owner: the campaign does not run, or it is done already.
    pub(crate) fn settled(&self, campaign: CampaignId, run: &Run) -> Option<Result<(), ServiceError>> {
        match self.permit(run) {
            Ok(()) => None,
            Err(None) => Some(Ok(())),
            Err(Some(expected)) => {
                let expected = expected.text();
                Some(Err(ServiceError::WrongState { campaign, expected, found: run.name() }))
            }
        }
    }
}

/// A request in a campaign's mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) ask: Ask,
    /// What had been read of the ledger when it was asked: if the ledger says behind it that it was done, it was.
    pub(crate) after: u64,
    /// Nobody wants it any more from then on.
    pub(crate) until_ms: i64,
}

/// What the owner answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    WrongState {
        expected: Expected,
        found: String,
    },
    /// It came to the owner too late, and was not done.
    TooLate,
}

impl Answer {
    pub(crate) fn into_result(self, campaign: CampaignId) -> Result<(), ServiceError> {
        match self {
            Self::Done => Ok(()),
            Self::WrongState { expected, found } => {
                let found = run_name(&found);
                Err(ServiceError::WrongState { campaign, expected: expected.text(), found })
            }
            Self::TooLate => Err(ServiceError::Unavailable),
        }
    }
}

/// A state's name as [`Run::name`] has it.
fn run_name(name: &str) -> &'static str {
    const NAMES: [&str; 6] = ["draft", "running", "paused", "stopping", "finished", "stopped"];
    NAMES.into_iter().find(|known| *known == name).unwrap_or("in a state that this version does not know")
}

impl Request {
    pub(crate) fn is_late(&self, now: Timestamp) -> bool {
        now.as_millisecond() > self.until_ms
    }
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    records::encode_as(VERSION, value)
}

pub(crate) fn decode<T: for<'de> Deserialize<'de>>(octets: &[u8]) -> Option<T> {
    records::decode_as("read request", VERSION, octets).ok()
}

#[cfg(test)]
mod tests {
    use storage::laws::golden;

    use super::*;

    #[test]
    fn requests_and_answers_are_read_as_they_were_written() {
        let request = Request {
            ask: Ask::Pause { by: "ann".into(), reason: "to look".into() },
            after: 300,
            until_ms: 1_790_000_000_000,
        };
        check("request", &request);
        let answer = Answer::WrongState { expected: Expected::PausedForApproval, found: "running".into() };
        check("answer", &answer);
        for damaged in [&[][..], &[2, 0], &[1], &[1, 9]] {
            assert_eq!(decode::<Request>(damaged), None, "{damaged:?}");
        }
    }

    fn check<T: Serialize + for<'de> Deserialize<'de> + PartialEq + std::fmt::Debug>(name: &str, value: &T) {
        let path = format!("{}/tests/golden/{name}-v1.hex", env!("CARGO_MANIFEST_DIR"));
        golden::check_form(path, value, &encode(value), |octets| decode(octets).ok_or("damaged"));
    }
}
