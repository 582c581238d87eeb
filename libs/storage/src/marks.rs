//! Which pages are in use, in bounded memory.

use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Keys that are in use, as a Bloom filter: it never takes a key that was inserted for an unused one, and sometimes
/// an unused one for used. Another seed errs about other keys, so what one collection overlooks the next finds.
#[derive(Debug)]
pub struct Marks {
    words: Vec<AtomicU64>,
    seed: u64,
}

/// Bits a key sets. At eight bits of memory a key one unused key in 40 is overlooked, at sixteen one in 400.
const BITS: u64 = 4;

impl Marks {
    /// None yet.
    pub fn new(bytes_max: usize, seed: u64) -> Self {
        let mut words = Vec::new();
        words.resize_with((bytes_max / 8).max(1024), AtomicU64::default);
        Self { words, seed }
    }

    /// Marks a key; answers whether that changed anything.
    pub fn insert(&self, key: &[u8]) -> bool {
        let mut changed = false;
        for (word, bit) in self.bits(key) {
            let before = self.words.get(word).map_or(bit, |word| word.fetch_or(bit, Ordering::AcqRel));
            changed |= before & bit == 0;
        }
        changed
    }

    /// Whether a key may be marked.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.bits(key).all(|(word, bit)| {
            self.words.get(word).is_none_or(|word| word.load(Ordering::Acquire) & bit != 0)
        })
    }

    /// How much of the memory is used, 0 to 1. Past a half much garbage is overlooked.
    pub fn fill(&self) -> f64 {
        let set: u64 =
            self.words.iter().map(|word| u64::from(word.load(Ordering::Relaxed).count_ones())).sum();
        set as f64 / (self.words.len() as f64 * 64.0)
    }

    fn bits(&self, key: &[u8]) -> impl Iterator<Item = (usize, u64)> + use<> {
        let hash = xxh3_128_with_seed(key, self.seed);
        let (start, step) = (hash as u64, (hash >> 64) as u64 | 1);
        let bits = self.words.len() as u64 * 64;
        (0..BITS).map(move |number| {
            let at = start.wrapping_add(step.wrapping_mul(number));
            // The upper half of a product spreads evenly over any number of bits.
            let at = ((u128::from(at) * u128::from(bits)) >> 64) as u64;
            ((at / 64) as usize, 1 << (at % 64))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_marked_is_found_and_little_else() {
        let marks = Marks::new(16 << 10, 7);
        let key = |number: u64| number.to_le_bytes();
        for number in 0..10_000 {
            marks.insert(&key(number));
            assert!(!marks.insert(&key(number)), "a second time changes nothing");
        }
        assert!((0..10_000).all(|number| marks.contains(&key(number))));
        let overlooked: Vec<u64> = (10_000..20_000).filter(|number| marks.contains(&key(*number))).collect();
        assert!(overlooked.len() < 500, "at 13 bits a key {} of 10,000 are overlooked", overlooked.len());
        assert!((0.2..0.35).contains(&marks.fill()), "{}", marks.fill());
        let other = Marks::new(16 << 10, 8);
        for number in 0..10_000 {
            other.insert(&key(number));
        }
        let again = overlooked.iter().filter(|number| other.contains(&key(**number))).count();
        assert!(again * 5 < overlooked.len(), "of {} overlooked {again} are again", overlooked.len());
    }
}
