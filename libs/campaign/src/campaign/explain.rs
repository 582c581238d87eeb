//! Why a device is where it is, in words.

use jiff::Timestamp;
use serde::Serialize;

use super::Campaign;
use crate::{Outcome, Run, Status};

/// Why a member is where it is, and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Its state.
    pub status: &'static str,
    /// Its wave, from 0.
    pub wave: u16,
    /// The attempt it is at; 0 before the first.
    pub attempt: u16,
    /// How the last attempt ended, where it did.
    pub outcome: Option<&'static str>,
    /// The device's result code or the refusing status.
    pub code: Option<u16>,
    /// What happens next by itself, or why nothing does: one sentence.
    pub reason: String,
    /// When that is, where it is a matter of time.
    pub until: Option<Timestamp>,
}

impl Campaign {
    /// Why a member is where it is; `None` for a device that is no member.
    pub fn explain(&self, ordinal: u32, now: Timestamp) -> Option<Explanation> {
        let member = self.members[self.slots.find(ordinal)?];
        let (status, wave) = (member.status(), self.waves.wave_of(ordinal));
        let (reason, until) = match status {
            Status::Pending => (self.why_pending(wave), None),
            Status::Retry(_) => self.why_retry(member.due, now),
            Status::Ended(_) => (format!("this is its last state: {}", status.name()), None),
            Status::Waiting | Status::Session => self.why_no_exec(status, member.due),
            _ => {
                let until = self.clock.time(member.due);
                (format!("the device works on it and is to report by {until}"), Some(until))
            }
        };
        let outcome = member.outcome();
        Some(Explanation {
            status: status.name(),
            wave,
            attempt: u16::from(member.attempt),
            outcome: outcome.map(Outcome::name),
            code: outcome.and_then(Outcome::code),
            reason,
            until,
        })
    }

    fn why_pending(&self, wave: u16) -> String {
        match &self.run {
            Run::Draft => "the campaign has not started".into(),
            Run::Paused(cause) => format!("the campaign is paused ({cause})"),
            _ if wave >= self.waves_open => {
                let open = self.waves_open.saturating_sub(1);
                format!("it is in wave {wave}, and wave {open} is under way")
            }
            _ => {
                let max = self.plan.definition.in_flight_max;
                format!(
                    "{} of {max} devices are in flight; it is released when one of them ends",
                    self.total.in_flight()
                )
            }
        }
    }

    fn why_retry(&self, due: u32, now: Timestamp) -> (String, Option<Timestamp>) {
        let at = self.clock.time(due);
        let reason = match &self.run {
            Run::Paused(cause) => format!("its next attempt waits: the campaign is paused ({cause})"),
            _ if at > now => format!("its next attempt is due at {at}"),
            _ => format!("its next attempt is due; {} devices are in flight", self.total.in_flight()),
        };
        (reason, Some(at).filter(|&at| at > now))
    }

    fn why_no_exec(&self, status: Status, due: u32) -> (String, Option<Timestamp>) {
        let until = self.clock.own_time(due);
        let what = if status == Status::Waiting {
            "its job waits for the device's next visit"
        } else {
            "the device came, and left before the operation was sent"
        };
        let reason = match (&self.run, until) {
            (Run::Paused(cause), _) => {
                format!("{what}; it gets no work while the campaign is paused ({cause})")
            }
            (_, Some(until)) => format!("{what}; the time for that ends at {until}"),
            (_, None) => what.into(),
        };
        (reason, until)
    }
}
