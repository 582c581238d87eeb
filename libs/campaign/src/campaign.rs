//! The owner's state of one campaign: what the ledger says, folded.

mod checkpoint;
mod clock;
mod decide;
mod explain;
mod gate;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use roaring::RoaringBitmap;

use self::clock::Clock;
pub use self::{decide::Decision, explain::Explanation, gate::Tally};
use crate::{
    Counts, EventKind, JobEvent, Outcome, OutcomeKind, Phase, Plan, Run, Start, Status, Waves,
    member::Member, slots::Slots,
};

/// The state of a started campaign: a fold over its ledger, and what to do next.
///
/// ```text
/// campaign = Campaign::new(plan, &members, &start)         // or restore(..., checkpoint)
/// loop:  for every new event of the ledger:  campaign.fold(&event)
///        for decision in campaign.decide(now, limit):  write it; its event comes back by the ledger
///        wait for events, or until campaign.next_deadline(now)
/// ```
///
/// Only [`Campaign::fold`] changes anything, and it looks at nothing but the event: two campaigns that folded the same
/// events are equal, whenever and wherever they did. [`Campaign::decide`] may be called again at any time; what it
/// decided and was not written, it decides again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Campaign {
    plan: Plan,
    started_by: String,
    waves: Waves,
    slots: Slots,
    members: Vec<Member>,
    run: Run,
    /// Waves whose devices may be released.
    waves_open: u16,
    /// By wave: members that never had an attempt.
    pending: Vec<RoaringBitmap>,
    counts: Vec<Counts>,
    total: Counts,
    /// Devices by their last outcome, with its code.
    outcomes: BTreeMap<Outcome, u32>,
    clock: Clock,
    /// Timers that stand still in a pause, by the end on the campaign's own clock.
    pausable: BTreeSet<(u32, u32)>,
    /// Timers that do not.
    running: BTreeSet<(u32, u32)>,
    /// Next attempts, by the time they are due.
    retries: BTreeSet<(u32, u32)>,
    /// What the failure gate counts from.
    baseline: Tally,
    /// By wave: when enough of it had been tried for its gate.
    tried_at: Vec<Option<u32>>,
    /// By wave: somebody resumed over its gate.
    waived: Vec<bool>,
    /// Events that no longer meant anything when they were folded.
    ignored: u64,
}

impl Campaign {
    /// A campaign that starts: its ledger is empty.
    pub fn new(plan: Plan, members: &RoaringBitmap, start: &Start) -> Self {
        let slots = Slots::new(members);
        let states = vec![Member::NEW; slots.len() as usize];
        Self::with_members(plan, members, slots, states, start)
    }

    /// A campaign as a ledger left it.
    pub fn replay<'a>(
        plan: Plan,
        members: &RoaringBitmap,
        start: &Start,
        events: impl IntoIterator<Item = &'a JobEvent>,
    ) -> Self {
        let mut campaign = Self::new(plan, members, start);
        events.into_iter().for_each(|event| campaign.fold(event));
        campaign
    }

    /// Counters, timers and lists as the members' states say.
    fn with_members(
        plan: Plan,
        members: &RoaringBitmap,
        slots: Slots,
        states: Vec<Member>,
        start: &Start,
    ) -> Self {
        let waves = Waves::new(&plan, members);
        let count = waves.count();
        let mut campaign = Self {
            started_by: start.by.clone(),
            waves,
            slots,
            members: states,
            run: Run::Draft,
            waves_open: 0,
            pending: vec![RoaringBitmap::new(); count],
            counts: vec![Counts::default(); count],
            total: Counts::default(),
            outcomes: BTreeMap::new(),
            clock: Clock::new(start.at),
            pausable: BTreeSet::new(),
            running: BTreeSet::new(),
            retries: BTreeSet::new(),
            baseline: Tally::default(),
            tried_at: vec![None; count],
            waived: vec![false; count],
            ignored: 0,
            plan,
        };
        for (place, ordinal) in members.iter().enumerate() {
            campaign.enter(place, ordinal, campaign.waves.wave_of(ordinal));
        }
        campaign
    }

    /// Takes in the next event of the ledger.
    ///
    /// An event that does not fit (a second release of an attempt, anything after a last state) changes nothing: the
    /// ledger may say a thing twice, and a last state is final.
    pub fn fold(&mut self, event: &JobEvent) {
        let fits = match &event.kind {
            EventKind::Released { .. } => self.fold_released(event),
            EventKind::Moved { phase } => self.fold_moved(event, *phase),
            EventKind::Ended { outcome, retry_at, .. } => self.fold_ended(event, *outcome, *retry_at),
            about_campaign => self.fold_campaign(about_campaign, event.at),
        };
        self.ignored += u64::from(!fits);
    }

    fn fold_released(&mut self, event: &JobEvent) -> bool {
        let Some((place, mut member)) = self.member_of(event) else { return false };
        let is_next = event.attempt == u16::from(member.attempt) + 1;
        if !is_next || !matches!(member.status(), Status::Pending | Status::Retry(_)) {
            return false;
        }
        let Ok(attempt) = u8::try_from(event.attempt) else { return false };
        member.attempt = attempt;
        self.set_phase(place, event, member, Phase::Waiting);
        true
    }

    fn fold_moved(&mut self, event: &JobEvent, phase: Phase) -> bool {
        let Some((place, member)) = self.in_flight(event) else { return false };
        self.set_phase(place, event, member, phase);
        true
    }

    fn fold_ended(&mut self, event: &JobEvent, outcome: Outcome, retry_at: Option<Timestamp>) -> bool {
        // A device that is gone ends before it was ever released.
        let gone = outcome == Outcome::Gone && !self.run.is_over();
        let found = self
            .in_flight(event)
            .or_else(|| self.member_of(event).filter(|(_, member)| gone && !member.status().is_last()));
        let Some((place, mut member)) = found else { return false };
        let kind = outcome.kind();
        member.code = outcome.code().unwrap_or(0);
        let goes_on = !matches!(self.run, Run::Stopping { .. });
        match retry_at.filter(|_| goes_on) {
            Some(at) => {
                member.due = self.clock.tick_after(at);
                member.set_status(Status::Retry(kind));
            }
            None => {
                member.due = 0;
                member.set_status(Status::Ended(kind));
            }
        }
        self.replace(place, event.ordinal, member);
        self.note_tried(self.waves.wave_of(event.ordinal), event.at);
        true
    }

    fn fold_campaign(&mut self, kind: &EventKind, at: Timestamp) -> bool {
        match kind {
            EventKind::Started { .. } if self.run == Run::Draft => self.run = Run::Running,
            EventKind::WaveOpened { wave }
                if *wave == self.waves_open && usize::from(*wave) < self.waves.count() =>
            {
                self.waves_open += 1;
                self.note_tried(*wave, at);
            }
            EventKind::Paused { cause } if self.run == Run::Running => {
                self.run = Run::Paused(cause.clone());
                self.clock.pause(at);
            }
            EventKind::Resumed { .. } => {
                let Run::Paused(cause) = &self.run else { return false };
                if let Some(waived) = cause.wave().and_then(|wave| self.waived.get_mut(usize::from(wave))) {
                    *waived = true;
                }
                self.baseline = Tally::of(&self.total);
                self.run = Run::Running;
                self.clock.resume(at);
            }
            EventKind::Stopped { hard, .. } => return self.fold_stopped(*hard, at),
            EventKind::Finished if !self.run.is_over() && self.total.ended() == self.total.members() => {
                let stopped = matches!(self.run, Run::Stopping { .. });
                self.run = if stopped { Run::Stopped } else { Run::Finished };
            }
            _ => return false,
        }
        true
    }

    /// Ends all that is not in flight, by this one event: a stop writes no row a device.
    fn fold_stopped(&mut self, hard: bool, at: Timestamp) -> bool {
        match self.run {
            Run::Running | Run::Paused(_) | Run::Stopping { hard: false } => {}
            _ => return false,
        }
        self.clock.resume(at);
        self.run = Run::Stopping { hard };
        for wave in std::mem::take(&mut self.pending) {
            for ordinal in &wave {
                self.end_at_stop(ordinal, OutcomeKind::Cancelled);
            }
        }
        self.pending = vec![RoaringBitmap::new(); self.waves.count()];
        for (_, ordinal) in self.retries.clone() {
            // What it last ended as is what it stays.
            if let Some(kind) = self.outcome(ordinal).map(Outcome::kind) {
                self.end_at_stop(ordinal, kind);
            }
        }
        true
    }

    fn end_at_stop(&mut self, ordinal: u32, kind: OutcomeKind) {
        let Some(place) = self.slots.find(ordinal) else { return };
        let mut member = self.members[place];
        member.due = 0;
        member.set_status(Status::Ended(kind));
        self.replace(place, ordinal, member);
    }

    /// The member an event is about.
    fn member_of(&self, event: &JobEvent) -> Option<(usize, Member)> {
        let place = self.slots.find(event.ordinal)?;
        Some((place, self.members[place]))
    }

    /// The same, if this very attempt of it is in flight.
    fn in_flight(&self, event: &JobEvent) -> Option<(usize, Member)> {
        self.member_of(event).filter(|(_, member)| {
            member.status().is_in_flight() && u16::from(member.attempt) == event.attempt
        })
    }

    fn set_phase(&mut self, place: usize, event: &JobEvent, mut member: Member, phase: Phase) {
        let timer = self.plan.timer(phase);
        member.code = 0;
        member.set_status(Status::of(phase));
        member.due = if timer.pausable {
            self.clock.own_tick_after(event.at, timer.period)
        } else {
            self.clock.tick_after(timer.period.after(event.at))
        };
        self.replace(place, event.ordinal, member);
    }

    /// Puts a member's new state in place of the old one, wherever it is counted or listed.
    fn replace(&mut self, place: usize, ordinal: u32, member: Member) {
        let wave = self.waves.wave_of(ordinal);
        self.leave(place, ordinal, wave);
        self.members[place] = member;
        self.enter(place, ordinal, wave);
    }

    fn leave(&mut self, place: usize, ordinal: u32, wave: u16) {
        let member = self.members[place];
        let status = member.status();
        *self.total.slot(status) -= 1;
        *self.counts[usize::from(wave)].slot(status) -= 1;
        match status {
            Status::Pending => {
                if let Some(pending) = self.pending.get_mut(usize::from(wave)) {
                    pending.remove(ordinal);
                }
            }
            Status::Ended(_) => {}
            _ => {
                self.timers_of(status).remove(&(member.due, ordinal));
            }
        }
    }

    fn enter(&mut self, place: usize, ordinal: u32, wave: u16) {
        let member = self.members[place];
        let status = member.status();
        *self.total.slot(status) += 1;
        *self.counts[usize::from(wave)].slot(status) += 1;
        match status {
            Status::Pending => {
                self.pending[usize::from(wave)].insert(ordinal);
            }
            Status::Ended(_) => {
                if let Some(outcome) = member.outcome() {
                    *self.outcomes.entry(outcome).or_default() += 1;
                }
            }
            _ => {
                self.timers_of(status).insert((member.due, ordinal));
            }
        }
    }

    fn timers_of(&mut self, status: Status) -> &mut BTreeSet<(u32, u32)> {
        match status {
            Status::Waiting | Status::Session => &mut self.pausable,
            Status::Retry(_) => &mut self.retries,
            _ => &mut self.running,
        }
    }
}

impl Campaign {
    /// What the campaign is.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where it is as a whole.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// How many devices are in which state.
    pub fn counts(&self) -> &Counts {
        &self.total
    }

    /// The same by wave.
    pub fn wave_counts(&self) -> &[Counts] {
        &self.counts
    }

    /// How many waves have been opened.
    pub fn waves_open(&self) -> u16 {
        self.waves_open
    }

    /// Devices in a last state, by outcome with its code.
    pub fn outcomes(&self) -> &BTreeMap<Outcome, u32> {
        &self.outcomes
    }

    /// Events that changed nothing, because they said a thing again or came after a last state.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// The state of a member; `None` for a device that is none.
    pub fn status(&self, ordinal: u32) -> Option<Status> {
        self.slots.find(ordinal).map(|place| self.members[place].status())
    }

    /// The attempt a member is at, 0 before the first; `None` for a device that is none.
    pub fn attempt(&self, ordinal: u32) -> Option<u16> {
        self.slots.find(ordinal).map(|place| u16::from(self.members[place].attempt))
    }

    /// How a member's last attempt ended; `None` while one is in flight and before the first.
    pub fn outcome(&self, ordinal: u32) -> Option<Outcome> {
        self.members[self.slots.find(ordinal)?].outcome()
    }

    /// The wave of a member, from 0; `None` for a device that is none.
    pub fn wave(&self, ordinal: u32) -> Option<u16> {
        self.slots.find(ordinal).map(|_| self.waves.wave_of(ordinal))
    }

    /// The members from the ordinal `from` on, with their states, in the order of ordinals.
    pub fn members_from(&self, from: u32) -> impl Iterator<Item = (u32, Status)> {
        self.slots.ordinals_from(from).filter_map(|ordinal| Some((ordinal, self.status(ordinal)?)))
    }
}
