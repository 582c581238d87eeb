//! Admission: past a bound the answer is "come again later", cheaply.
//!
//! A slot is taken before anything is read and freed when it is dropped. There is no queue: a device that
//! waits in a queue holds a connection and times out at the far end of it, one that is told a time does neither.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// A bounded number of slots.
#[derive(Clone, Debug)]
pub struct Admission {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    in_use: AtomicUsize,
    all: usize,
    for_new: usize,
    retry_after: Duration,
    refused: AtomicU32,
}

/// Who asks for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Begins something: may use three quarters of the slots.
    New,
    /// Continues what was admitted before: may use all.
    Admitted,
}

impl Admission {
    /// `slots` (at least one is made), and the middle of the time that who finds none is told to wait.
    pub fn new(slots: usize, retry_after: Duration) -> Self {
        let all = slots.max(1);
        let for_new = all - all / 4;
        let (in_use, refused) = (AtomicUsize::new(0), AtomicU32::new(0));
        Self { shared: Arc::new(Shared { in_use, all, for_new, retry_after, refused }) }
    }

    /// Takes a slot.
    ///
    /// # Errors
    ///
    /// [`Refused`] when none is free for this caller.
    pub fn try_enter(&self, caller: Caller) -> Result<Slot, Refused> {
        let bound = match caller {
            Caller::New => self.shared.for_new,
            Caller::Admitted => self.shared.all,
        };
        let take = |in_use: usize| (in_use < bound).then_some(in_use + 1);
        match self.shared.in_use.fetch_update(Ordering::AcqRel, Ordering::Acquire, take) {
            Ok(_) => Ok(Slot { shared: Arc::clone(&self.shared) }),
            Err(_) => Err(Refused { retry_after_seconds: self.retry_after_seconds() }),
        }
    }

    /// Slots taken now.
    pub fn in_use(&self) -> usize {
        self.shared.in_use.load(Ordering::Acquire)
    }

    /// A time to come again: from half to one and a half of the settings', each caller another.
    ///
    /// Spread by the golden ratio over a counter: even, without randomness.
    pub fn retry_after_seconds(&self) -> u64 {
        let turn = self.shared.refused.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9);
        let fraction = f64::from(turn) / f64::from(u32::MAX);
        let seconds = self.shared.retry_after.mul_f64(0.5 + fraction).as_secs_f64();
        // Whole seconds are all that Retry-After can say (RFC 9110, section 10.2.3).
        Duration::from_secs_f64(seconds.round().max(1.0)).as_secs()
    }
}

/// A place that was admitted; free again when dropped.
#[derive(Debug)]
pub struct Slot {
    shared: Arc<Shared>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.shared.in_use.fetch_sub(1, Ordering::AcqRel);
    }
}

/// No slot is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("every slot is taken, come again in {retry_after_seconds} s")]
pub struct Refused {
    /// What Retry-After says.
    pub retry_after_seconds: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_callers_leave_a_quarter_to_those_admitted() {
        let admission = Admission::new(8, Duration::from_secs(30));
        let mut slots: Vec<Slot> = (0..6).map(|_| admission.try_enter(Caller::New).unwrap()).collect();
        assert!(admission.try_enter(Caller::New).is_err());
        slots.push(admission.try_enter(Caller::Admitted).unwrap());
        slots.push(admission.try_enter(Caller::Admitted).unwrap());
        assert!(admission.try_enter(Caller::Admitted).is_err());
        assert_eq!(admission.in_use(), 8);
        slots.clear();
        assert_eq!(admission.in_use(), 0);
        assert!(admission.try_enter(Caller::New).is_ok());
    }

    #[test]
    fn one_slot_serves_new_callers() {
        let admission = Admission::new(1, Duration::from_secs(1));
        let slot = admission.try_enter(Caller::New).unwrap();
        assert!(admission.try_enter(Caller::Admitted).is_err());
        drop(slot);
        assert!(admission.try_enter(Caller::New).is_ok());
    }

    #[test]
    fn waits_are_spread_over_half_to_one_and_a_half() {
        let admission = Admission::new(1, Duration::from_secs(60));
        let mut waits: Vec<u64> = (0..1000).map(|_| admission.retry_after_seconds()).collect();
        waits.sort_unstable();
        assert!(waits[0] >= 30 && waits[999] <= 90, "from {} to {}", waits[0], waits[999]);
        for quarter in waits.chunks(250) {
            let width = quarter[249] - quarter[0];
            assert!((13..=16).contains(&width), "a quarter of the waits spans {width} s, expected about 15");
        }
    }
}
