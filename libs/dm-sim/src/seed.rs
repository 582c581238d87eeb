//! Chance by seed: the same seed and the same calls give the same run.

/// A small generator (SplitMix64): eight octets of state, so that a fleet can hold one a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chance(u64);

impl Chance {
    /// A generator of its own for each triple; what one draws never moves another.
    pub fn new(seed: u64, number: u64, purpose: &str) -> Self {
        // FNV-1a over the purpose, so that "roster" and "faults" of one device have nothing in common.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for octet in purpose.bytes() {
            hash = (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
        }
        let mut chance = Self(seed ^ hash);
        chance.0 = chance.draw() ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        chance.draw();
        chance
    }

    /// 64 random bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to below 1.
    pub fn fraction(&mut self) -> f64 {
        // 53 bits are what a double can hold.
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with this probability.
    pub fn hits(&mut self, probability: f64) -> bool {
        // A draw is made in any case, so that a probability of 0 does not shift what follows.
        self.fraction() < probability
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// One of the weighted choices, by its index; 0 where all weights are 0.
    pub fn pick(&mut self, weights: impl Iterator<Item = f64> + Clone) -> usize {
        let mut left = self.fraction() * weights.clone().sum::<f64>();
        for (index, weight) in weights.clone().enumerate() {
            if left < weight {
                return index;
            }
            left -= weight;
        }
        weights.count().saturating_sub(1)
    }

    /// A time from `range`, in milliseconds.
    pub fn millis(&mut self, range: &std::ops::RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end().saturating_sub(*range.start()).saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_triple_draws_the_same_and_another_does_not() {
        let run = |seed, number, purpose| {
            let mut chance = Chance::new(seed, number, purpose);
            [chance.draw(), chance.draw(), chance.draw()]
        };
        assert_eq!(run(1, 2, "x"), run(1, 2, "x"));
        for other in [run(2, 2, "x"), run(1, 3, "x"), run(1, 2, "y")] {
            assert_ne!(run(1, 2, "x"), other);
        }
    }

    #[test]
    fn probabilities_come_out_about_right() {
        let mut chance = Chance::new(7, 0, "test");
        let hits = (0..100_000).filter(|_| chance.hits(0.05)).count();
        assert!((4_700..5_300).contains(&hits), "{hits} of 100,000 at 5 %");
        assert!((0..1_000).all(|_| !chance.hits(0.0) && chance.hits(1.0)));
        let mut picks = [0; 3];
        (0..30_000).for_each(|_| picks[chance.pick([1.0, 0.0, 2.0].into_iter())] += 1);
        assert!((9_500..10_500).contains(&picks[0]) && picks[1] == 0, "{picks:?}");
        assert!((0..1_000).all(|_| (5..=7).contains(&chance.millis(&(5..=7)))));
    }
}
