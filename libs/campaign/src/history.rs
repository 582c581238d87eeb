//! What every ledger keeps, whatever was lost, repeated, killed or taken over while it was written.
//!
//! Simulations and load tests give a campaign's ledger to [`History`] event by event, in its order, and ask at the end
//! what is wrong with it. It trusts nothing of [`crate::Campaign`]: the two count apart from each other.

use std::collections::{BTreeMap, HashMap};

use crate::{EventKind, JobEvent, Phase};

/// Violations that are told in words; the rest are counted.
const TOLD_MAX: usize = 20;

/// What an event says, as far as it can break a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An attempt was given.
    Released,
    /// It moved.
    Moved(Phase),
    /// It ended.
    Ended {
        /// The device may have another.
        may_retry: bool,
    },
}

/// Where a device is.
#[derive(Clone, Copy, Debug, Default)]
struct Device {
    attempt: u16,
    phase: Option<Phase>,
    /// Its attempt ended, and there may be another or not.
    ended: Option<bool>,
}

/// A ledger's promises, checked event by event.
#[derive(Clone, Debug)]
pub struct History {
    in_flight_max: u32,
    devices: HashMap<Box<str>, Device>,
    in_flight: u32,
    in_flight_most: u32,
    events: u64,
    repeated: u64,
    wrong: u64,
    told: Vec<String>,
}

impl History {
    /// A ledger of a campaign with this budget of devices in flight.
    pub fn new(in_flight_max: u32) -> Self {
        Self {
            in_flight_max,
            devices: HashMap::new(),
            in_flight: 0,
            in_flight_most: 0,
            events: 0,
            repeated: 0,
            wrong: 0,
            told: Vec::new(),
        }
    }

    /// The next event of the ledger. What is not about a device breaks nothing here.
    pub fn take_event(&mut self, event: &JobEvent) {
        let Some(device) = &event.device else { return };
        let entry = match &event.kind {
            EventKind::Released { .. } => Entry::Released,
            EventKind::Moved { phase } => Entry::Moved(*phase),
            EventKind::Ended { retry_at, .. } => Entry::Ended { may_retry: retry_at.is_some() },
            _ => return,
        };
        self.take(device.as_str(), event.attempt, entry);
    }

    /// The next event about a device.
    pub fn take(&mut self, name: &str, attempt: u16, entry: Entry) {
        self.events += 1;
        let device = self.devices.get(name).copied().unwrap_or_default();
        let after = match entry {
            Entry::Released => self.released(name, device, attempt),
            Entry::Moved(phase) => self.moved(name, device, attempt, phase),
            Entry::Ended { may_retry } => self.ended(name, device, attempt, may_retry),
        };
        self.devices.insert(name.into(), after);
    }

    fn released(&mut self, name: &str, device: Device, attempt: u16) -> Device {
        let expected = device.attempt + 1;
        if attempt != expected {
            self.tell(format!("{name}: attempt {attempt} was released, expected {expected}"));
        }
        match device.ended {
            Some(false) => self.tell(format!("{name}: attempt {attempt} was released after its last state")),
            None if device.attempt > 0 => {
                self.tell(format!(
                    "{name}: attempt {attempt} was released while {} had not ended",
                    device.attempt
                ));
            }
            _ => self.in_flight += 1,
        }
        self.in_flight_most = self.in_flight_most.max(self.in_flight);
        if self.in_flight > self.in_flight_max {
            let (got, max) = (self.in_flight, self.in_flight_max);
            self.tell(format!("{name}: expected at most {max} devices in flight, got {got}"));
        }
        Device { attempt, phase: Some(Phase::Waiting), ended: None }
    }

    fn moved(&mut self, name: &str, device: Device, attempt: u16, phase: Phase) -> Device {
        if attempt != device.attempt {
            self.tell(format!("{name}: attempt {attempt} moved, {} is the last released", device.attempt));
            return device;
        }
        if device.ended.is_some() {
            self.tell(format!("{name}: attempt {attempt} moved to {phase:?} after its end"));
            return device;
        }
        let before = device.phase.unwrap_or(Phase::Waiting);
        if phase == before {
            self.repeated += 1;
        } else if phase.stage() < before.stage() {
            self.tell(format!("{name}: attempt {attempt} moved back from {before:?} to {phase:?}"));
        }
        Device { phase: Some(phase), ..device }
    }

    fn ended(&mut self, name: &str, device: Device, attempt: u16, may_retry: bool) -> Device {
        // A device that is gone ends without an attempt.
        if attempt == 0 && device.attempt == 0 {
            return Device { ended: Some(false), ..device };
        }
        if attempt != device.attempt {
            self.tell(format!("{name}: attempt {attempt} ended, {} is the last released", device.attempt));
            return device;
        }
        if device.ended.is_some() {
            self.tell(format!("{name}: attempt {attempt} ended again"));
            return device;
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        Device { ended: Some(may_retry), ..device }
    }

    fn tell(&mut self, wrong: String) {
        self.wrong += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(wrong);
        }
    }

    /// What was wrong so far, in words; at most twenty of it.
    pub fn violations(&self) -> &[String] {
        &self.told
    }

    /// What is wrong with the ledger as a whole, once the campaign is over: what was wrong on the way, and devices that came
    /// to no last state. `members` is how many devices are in the campaign.
    pub fn finish(mut self, members: u32) -> Findings {
        let mut open: BTreeMap<&str, &Device> = BTreeMap::new();
        let mut over = 0_u32;
        for (name, device) in &self.devices {
            if device.ended == Some(false) {
                over += 1;
            } else {
                open.insert(name, device);
            }
        }
        let told: Vec<String> = open
            .iter()
            .map(|(name, device)| {
                format!(
                    "{name}: attempt {} is at {:?}, ended: {:?}",
                    device.attempt, device.phase, device.ended
                )
            })
            .collect();
        told.into_iter().for_each(|wrong| self.tell(wrong));
        if over != members {
            self.tell(format!("{over} devices came to their last state, {members} are members"));
        }
        Findings {
            wrong: self.wrong,
            told: self.told,
            events: self.events,
            repeated: self.repeated,
            in_flight_most: self.in_flight_most,
        }
    }
}

/// What a whole ledger showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// How many things are wrong with it; 0 when it keeps its promises.
    pub wrong: u64,
    /// Some of them, in words.
    pub told: Vec<String>,
    /// Events about devices.
    pub events: u64,
    /// Moves to where the attempt was already: harmless, and rare.
    pub repeated: u64,
    /// The most devices that were in flight at a time.
    pub in_flight_most: u32,
}

#[cfg(test)]
mod tests {
    use dm_objects::agenda::FirmwareStage;

    use super::*;

    const SENT: Entry = Entry::Moved(Phase::Session(FirmwareStage::ExecSent));
    const LAST: Entry = Entry::Ended { may_retry: false };
    const RETRY: Entry = Entry::Ended { may_retry: true };

    fn findings(in_flight_max: u32, members: u32, entries: &[(&str, u16, Entry)]) -> Findings {
        let mut history = History::new(in_flight_max);
        entries.iter().for_each(|(name, attempt, entry)| history.take(name, *attempt, *entry));
        history.finish(members)
    }

    #[test]
    fn a_ledger_that_keeps_its_promises_has_nothing_wrong() {
        let entries = [
            ("a", 1, Entry::Released),
            ("a", 1, SENT),
            ("a", 1, SENT),
            ("a", 1, RETRY),
            ("b", 1, Entry::Released),
            ("b", 1, LAST),
            ("a", 2, Entry::Released),
            ("a", 2, LAST),
            ("gone", 0, LAST),
        ];
        let found = findings(1, 3, &entries);
        assert_eq!((found.wrong, found.told), (0, Vec::new()));
        assert_eq!((found.events, found.repeated, found.in_flight_most), (9, 1, 1));
    }

    #[test]
    fn every_broken_promise_is_told() {
        use Entry::Released;
        for (claim, members, entries) in [
            (
                "expected at most 1",
                2,
                &[("a", 1, Released), ("b", 1, Released), ("a", 1, LAST), ("b", 1, LAST)][..],
            ),
            (
                "released after its last state",
                1,
                &[("a", 1, Released), ("a", 1, LAST), ("a", 2, Released), ("a", 2, LAST)],
            ),
            ("while 1 had not ended", 1, &[("a", 1, Released), ("a", 2, Released), ("a", 2, LAST)]),
            ("expected 1", 1, &[("a", 3, Released), ("a", 3, LAST)]),
            ("after its end", 1, &[("a", 1, Released), ("a", 1, LAST), ("a", 1, SENT)]),
            ("ended again", 1, &[("a", 1, Released), ("a", 1, LAST), ("a", 1, LAST)]),
            (
                "moved back",
                1,
                &[("a", 1, Released), ("a", 1, SENT), ("a", 1, Entry::Moved(Phase::Waiting)), ("a", 1, LAST)],
            ),
            ("is the last released", 1, &[("a", 1, SENT), ("a", 1, Released), ("a", 1, LAST)]),
            ("is at Some", 1, &[("a", 1, Released)]),
            ("2 are members", 2, &[("a", 1, Released), ("a", 1, LAST)]),
        ] {
            let found = findings(1, members, entries);
            assert!(found.told.iter().any(|wrong| wrong.contains(claim)), "{claim}: {:?}", found.told);
        }
    }
}
