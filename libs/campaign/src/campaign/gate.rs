//! Gates: when a campaign pauses by itself, and when its next wave opens.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Campaign;
use crate::{Counts, EventKind, Gate, PauseCause};

/// What gates count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Devices that were tried: in a last state that counts, or waiting for another attempt.
    pub tried: u32,
    /// Of them, those that failed.
    pub failing: u32,
    /// Of them, those that a timer ended.
    pub unheard: u32,
    /// Of those that failed, those that blame the package.
    pub package_fault: u32,
}

impl Tally {
    /// The tally of these counts.
    pub fn of(counts: &Counts) -> Self {
        Self {
            tried: counts.tried(),
            failing: counts.failing(),
            unheard: counts.unheard(),
            package_fault: counts.failed_package_fault,
        }
    }

    /// What came to it since `before`.
    fn since(self, before: &Self) -> Self {
        Self {
            tried: self.tried.saturating_sub(before.tried),
            failing: self.failing.saturating_sub(before.failing),
            unheard: self.unheard.saturating_sub(before.unheard),
            package_fault: self.package_fault.saturating_sub(before.package_fault),
        }
    }
}

impl Campaign {
    /// The next event that a gate asks for in a running campaign.
    pub(super) fn poll_gates(&self, now: Timestamp) -> Option<EventKind> {
        if let Some(reason) = self.failure_gate_breach() {
            return Some(EventKind::Paused { cause: PauseCause::FailureGate { reason } });
        }
        let Some(wave) = self.waves_open.checked_sub(1) else {
            return Some(EventKind::WaveOpened { wave: 0 });
        };
        let is_last = usize::from(self.waves_open) >= self.waves.count();
        if is_last { None } else { self.poll_wave_gate(wave, now) }
    }

    /// The gate between `wave` and the next.
    fn poll_wave_gate(&self, wave: u16, now: Timestamp) -> Option<EventKind> {
        let open_next = EventKind::WaveOpened { wave: wave + 1 };
        let at = usize::from(wave);
        let (gate, counts) = (&self.plan.definition.waves[at].gate, &self.counts[at]);
        if counts.members() == 0 {
            return Some(open_next);
        }
        let is_waived = self.waived[at];
        if !is_waived && let Some(reason) = wave_gate_breach(gate, counts) {
            return Some(EventKind::Paused { cause: PauseCause::WaveGate { wave, reason } });
        }
        let tried_at = self.tried_at[at]?;
        if is_waived {
            return Some(open_next);
        }
        let soaked = now >= gate.soak.after(self.clock.time(tried_at));
        if !soaked || !is_open(gate, counts) {
            return None;
        }
        let approval = EventKind::Paused { cause: PauseCause::Approval { wave } };
        Some(if gate.approval { approval } else { open_next })
    }

    /// When the soak of the present wave ends, where that is what the next wave waits for.
    pub(super) fn soak_end(&self) -> Option<Timestamp> {
        let at = usize::from(self.waves_open.checked_sub(1)?);
        let gate = &self.plan.definition.waves.get(at)?.gate;
        let tried_at = self.tried_at[at].filter(|_| at + 1 < self.waves.count())?;
        Some(gate.soak.after(self.clock.time(tried_at)))
    }

    /// Remembers when enough of a wave had been tried: its soak counts from there.
    pub(super) fn note_tried(&mut self, wave: u16, at: Timestamp) {
        let index = usize::from(wave);
        let counts = &self.counts[index];
        if self.tried_at[index].is_none() && is_tried(&self.plan.definition.waves[index].gate, counts) {
            self.tried_at[index] = Some(self.clock.tick(at));
        }
    }

    fn failure_gate_breach(&self) -> Option<String> {
        let gate = &self.plan.definition.failure_gate;
        let tally = Tally::of(&self.total).since(&self.baseline);
        let Tally { tried, failing, unheard, package_fault } = tally;
        if gate.package_fault_max_count.is_some_and(|max| package_fault > max.get()) {
            return Some(format!("{package_fault} devices blame the package"));
        }
        if gate.failure_max_count.is_some_and(|max| failing > max.get()) {
            return Some(format!("{failing} devices failed"));
        }
        if tried < gate.sample_min {
            return None;
        }
        if gate.failure_max.is_below(failing, tried) {
            return Some(format!("{failing} of {tried} tried failed, more than {}", gate.failure_max));
        }
        gate.silence_max.is_below(unheard, tried).then(|| {
            format!("{unheard} of {tried} tried were not heard of in time, more than {}", gate.silence_max)
        })
    }
}

fn is_tried(gate: &Gate, counts: &Counts) -> bool {
    // What was called off was never tried, and must not hold the next wave for ever.
    let triable = counts.members() - counts.cancelled - counts.gone;
    counts.tried() >= gate.tried_min.of(triable)
}

fn is_open(gate: &Gate, counts: &Counts) -> bool {
    is_tried(gate, counts) && !gate.success_min.is_above(counts.succeeding(), counts.tried())
}

/// What closes a wave's gate for good, unless somebody resumes over it.
fn wave_gate_breach(gate: &Gate, counts: &Counts) -> Option<String> {
    let (tried, failing, unheard) = (counts.tried(), counts.failing(), counts.unheard());
    let has_sample = tried >= gate.sample_min.min(counts.members());
    if has_sample && gate.failure_max.is_below(failing, tried) {
        return Some(format!("{failing} of {tried} tried failed, more than {}", gate.failure_max));
    }
    if has_sample && gate.silence_max.is_below(unheard, tried) {
        let max = gate.silence_max;
        return Some(format!("{unheard} of {tried} tried were not heard of in time, more than {max}"));
    }
    let all_ended = counts.ended() == counts.members();
    (all_ended && gate.success_min.is_above(counts.succeeding(), tried)).then(|| {
        format!("{} of {tried} tried succeeded, fewer than {}", counts.succeeding(), gate.success_min)
    })
}
