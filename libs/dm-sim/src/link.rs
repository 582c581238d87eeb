//! The way between a device and its server, with what goes wrong on it, by seed.

use crate::Chance;

/// What goes wrong on a link: each the probability for one message sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkFaults {
    /// It never arrives.
    pub request_lost: f64,
    /// It arrives, and its answer does not.
    pub reply_lost: f64,
    /// It arrives twice; which of the two answers gets back is left to chance.
    pub repeated: f64,
    /// One of the messages of before arrives once more, ahead of it.
    pub late: f64,
}

/// A message that arrives at the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its octets.
    pub body: Vec<u8>,
    /// The device hears the answer.
    pub is_heard: bool,
}

/// A link that loses, repeats and reorders messages. The same seed and the same messages give the same run.
#[derive(Clone, Debug)]
pub struct Link {
    chance: Chance,
    faults: LinkFaults,
    past: Vec<Vec<u8>>,
}

/// Messages of before that may come late.
const PAST_MAX: usize = 16;

impl Link {
    /// A link for one device of a run.
    pub fn new(seed: u64, number: u64, faults: LinkFaults) -> Self {
        Self { chance: Chance::new(seed, number, "link"), faults, past: Vec::new() }
    }

    /// From now on nothing goes wrong.
    pub fn heal(&mut self) {
        self.faults = LinkFaults::default();
    }

    /// Sends a message: what arrives at the server, in order. At most one delivery is heard; where none is, the device
    /// waits in vain and sends again.
    pub fn send(&mut self, body: &[u8]) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        let late = self.chance.hits(self.faults.late);
        let which = self.chance.below(u64::try_from(self.past.len()).unwrap_or(u64::MAX));
        if late && let Some(body) = usize::try_from(which).ok().and_then(|which| self.past.get(which)) {
            deliveries.push(Delivery { body: body.clone(), is_heard: false });
        }
        let request_lost = self.chance.hits(self.faults.request_lost);
        let reply_lost = self.chance.hits(self.faults.reply_lost);
        let repeated = self.chance.hits(self.faults.repeated);
        let first_is_heard = self.chance.hits(0.5);
        if !request_lost {
            let mut arrives = |is_heard| deliveries.push(Delivery { body: body.to_vec(), is_heard });
            arrives(!reply_lost && (!repeated || first_is_heard));
            if repeated {
                arrives(!reply_lost && !first_is_heard);
            }
        }
        if self.past.last().is_none_or(|last| last != body) {
            self.past.push(body.to_vec());
        }
        if self.past.len() > PAST_MAX {
            self.past.remove(0);
        }
        deliveries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUGH: LinkFaults = LinkFaults { request_lost: 0.1, reply_lost: 0.1, repeated: 0.1, late: 0.1 };

    fn run(seed: u64, faults: LinkFaults) -> Vec<Vec<Delivery>> {
        let mut link = Link::new(seed, 0, faults);
        (0..2000_u32).map(|number| link.send(&number.to_le_bytes())).collect()
    }

    #[test]
    fn a_seed_runs_the_same_twice_and_another_does_not() {
        assert_eq!(run(7, ROUGH), run(7, ROUGH));
        assert_ne!(run(7, ROUGH), run(8, ROUGH));
    }

    #[test]
    fn every_fault_happens_and_at_most_one_answer_is_heard() {
        let sent = run(1, ROUGH);
        assert!(sent.iter().all(|deliveries| deliveries.iter().filter(|one| one.is_heard).count() <= 1));
        let count = |what: &dyn Fn(u32, &[Delivery]) -> bool| {
            (0..).zip(&sent).filter(|(number, deliveries)| what(*number, deliveries)).count()
        };
        let own = |number: u32, deliveries: &[Delivery]| {
            deliveries.iter().filter(|one| one.body == number.to_le_bytes()).count()
        };
        for (name, hits) in [
            ("request lost", count(&|number, deliveries| own(number, deliveries) == 0)),
            (
                "reply lost",
                count(&|number, deliveries| {
                    own(number, deliveries) > 0 && !deliveries.iter().any(|one| one.is_heard)
                }),
            ),
            ("repeated", count(&|number, deliveries| own(number, deliveries) == 2)),
            ("late", count(&|number, deliveries| deliveries.len() > own(number, deliveries))),
        ] {
            assert!((100..300).contains(&hits), "{name}: {hits} of 2000");
        }
    }

    #[test]
    fn a_link_without_faults_carries_everything_once() {
        for (number, deliveries) in (0_u32..).zip(run(1, LinkFaults::default())) {
            assert_eq!(deliveries, [Delivery { body: number.to_le_bytes().to_vec(), is_heard: true }]);
        }
    }
}
