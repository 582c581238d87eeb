//! What the owner of a campaign should do now.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Campaign;
use crate::{EventKind, Outcome, Phase, Run, Status, TimedPhase};

/// One thing for the owner to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Append this event about the campaign as a whole.
    Record(EventKind),
    /// Give the device an attempt.
    Release {
        /// The device.
        ordinal: u32,
        /// The attempt, from 1.
        attempt: u16,
        /// The wave it belongs to.
        wave: u16,
        /// How the attempt before ended; `None` for the first.
        after: Option<Outcome>,
    },
    /// End the device's attempt, if it is still where the owner believes it to be.
    End {
        /// The device.
        ordinal: u32,
        /// The attempt.
        attempt: u16,
        /// Where the owner believes it to be.
        status: Status,
        /// As what it ends: timed out, or cancelled.
        outcome: Outcome,
    },
}

impl Campaign {
    /// What to do now: at most `limit` decisions, in the order they should be written.
    ///
    /// The budget is kept by counting only what the ledger says, so all events that the owner itself wrote must have
    /// been folded before the next call. Costs what it decides, not what the campaign has.
    pub fn decide(&self, now: Timestamp, limit: usize) -> Vec<Decision> {
        if self.run.is_over() || limit == 0 {
            return Vec::new();
        }
        if self.run == Run::Draft {
            let kind = EventKind::Started { by: self.started_by.clone(), members: self.total.members() };
            return vec![Decision::Record(kind)];
        }
        if self.total.ended() == self.total.members() {
            return vec![Decision::Record(EventKind::Finished)];
        }
        let mut decisions = Vec::new();
        self.decide_ends(now, limit, &mut decisions);
        if self.run == Run::Running && decisions.len() < limit {
            match self.poll_gates(now) {
                // Gates come before releases: what a pause should hold must not slip out with it.
                Some(kind) => decisions.push(Decision::Record(kind)),
                None => self.decide_releases(now, limit, &mut decisions),
            }
        }
        decisions
    }

    /// When [`Campaign::decide`] will have something to say, if no event comes before; `None`: never.
    pub fn next_deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let first = |timers: &BTreeSet<(u32, u32)>| timers.first().map(|&(tick, _)| tick);
        let running = first(&self.running).map(|tick| self.clock.time(tick));
        let pausable = first(&self.pausable).and_then(|tick| self.clock.own_time(tick));
        let (mut retry, mut soak) = (None, None);
        if self.run == Run::Running {
            let has_room = self.room() > 0;
            retry = first(&self.retries).filter(|_| has_room).map(|tick| self.clock.time(tick));
            soak = self.soak_end().filter(|&end| end > now);
        }
        [running, pausable, retry, soak].into_iter().flatten().min()
    }

    /// How many more devices may be in flight.
    fn room(&self) -> u32 {
        self.plan.definition.in_flight_max.get().saturating_sub(self.total.in_flight())
    }

    fn decide_ends(&self, now: Timestamp, limit: usize, decisions: &mut Vec<Decision>) {
        let everything = (u32::MAX, u32::MAX);
        let (until, own_until) = match self.run {
            Run::Stopping { hard: true } => (everything, everything),
            // Those on the campaign's own clock are just those that no Exec was sent to.
            Run::Stopping { hard: false } => ((self.clock.tick(now), u32::MAX), everything),
            _ => ((self.clock.tick(now), u32::MAX), (self.clock.own_tick(now), u32::MAX)),
        };
        let due = self.pausable.range(..=own_until).chain(self.running.range(..=until));
        let ends = due.take(limit).filter_map(|&(_, ordinal)| self.decide_end(ordinal));
        decisions.extend(ends);
    }

    fn decide_end(&self, ordinal: u32) -> Option<Decision> {
        let member = self.members[self.slots.find(ordinal)?];
        let status = member.status();
        let cancelled = match self.run {
            Run::Stopping { hard } => hard || matches!(status, Status::Waiting | Status::Session),
            _ => false,
        };
        let outcome =
            if cancelled { Outcome::Cancelled } else { Outcome::TimedOut { phase: timed_phase(status)? } };
        Some(Decision::End { ordinal, attempt: u16::from(member.attempt), status, outcome })
    }

    fn decide_releases(&self, now: Timestamp, limit: usize, decisions: &mut Vec<Decision>) {
        let room = (self.room() as usize).min(limit.saturating_sub(decisions.len()));
        let due = self.retries.range(..=(self.clock.tick(now), u32::MAX)).map(|&(_, ordinal)| ordinal);
        let open = self.pending.iter().take(usize::from(self.waves_open));
        // Devices that failed come first, so that a wave comes to its end.
        let next = due.chain(open.flat_map(|wave| wave.iter())).take(room);
        decisions.extend(next.filter_map(|ordinal| {
            let member = self.members[self.slots.find(ordinal)?];
            Some(Decision::Release {
                ordinal,
                attempt: u16::from(member.attempt) + 1,
                wave: self.waves.wave_of(ordinal),
                after: member.outcome(),
            })
        }));
    }
}

/// What a state is called when its timer ends.
fn timed_phase(status: Status) -> Option<TimedPhase> {
    match status {
        Status::Waiting => Some(TimedPhase::Wait),
        Status::Session => Some(TimedPhase::Session),
        Status::Downloading => Some(TimedPhase::Download),
        Status::Downloaded | Status::Updating => Some(TimedPhase::Install),
        Status::Reported => Some(TimedPhase::Report),
        Status::Pending | Status::Retry(_) | Status::Ended(_) => None,
    }
}

impl Decision {
    /// The decision may be carried out on a job that the store has in this phase. Where a session moved the job in
    /// the meantime, its event is on its way, and the owner decides again when it has folded it.
    pub fn still_fits(&self, phase: Phase) -> bool {
        match self {
            Self::End { status, .. } => Status::of(phase) == *status,
            Self::Record(_) | Self::Release { .. } => true,
        }
    }
}
