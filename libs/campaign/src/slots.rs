//! From a device's ordinal to its place among the members, in constant time and two bits a device.

use roaring::RoaringBitmap;

/// Places of ordinals, by words of 64 with a running count before each. The store numbers devices densely, so the words
/// from the first member to the last are about as many as the tenant's devices divided by 64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slots {
    /// The number of the first word.
    first: u32,
    words: Vec<Word>,
    len: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Word {
    members: u64,
    before: u32,
}

impl Slots {
    pub(crate) fn new(members: &RoaringBitmap) -> Self {
        let first = members.min().unwrap_or(0) >> 6;
        let last = members.max().unwrap_or(0) >> 6;
        let mut words = vec![Word::default(); (last - first) as usize + 1];
        for ordinal in members {
            words[((ordinal >> 6) - first) as usize].members |= 1 << (ordinal & 63);
        }
        let mut len = 0;
        for word in &mut words {
            word.before = len;
            len += word.members.count_ones();
        }
        Self { first, words, len }
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The place of an ordinal among the members.
    pub(crate) fn find(&self, ordinal: u32) -> Option<usize> {
        let word = self.words.get((ordinal >> 6).checked_sub(self.first)? as usize)?;
        let bit = 1 << (ordinal & 63);
        (word.members & bit != 0).then(|| (word.before + (word.members & (bit - 1)).count_ones()) as usize)
    }

    /// The ordinals from `from` on, in order.
    pub(crate) fn ordinals_from(&self, from: u32) -> impl Iterator<Item = u32> {
        let skip = (from >> 6).saturating_sub(self.first) as usize;
        self.words.iter().enumerate().skip(skip).flat_map(move |(at, word)| {
            let base = (self.first + at as u32) << 6;
            Bits(word.members).map(move |bit| base + bit).filter(move |&ordinal| ordinal >= from)
        })
    }
}

struct Bits(u64);

impl Iterator for Bits {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        (self.0 != 0).then(|| {
            let bit = self.0.trailing_zeros();
            self.0 &= self.0 - 1;
            bit
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_dense_and_in_order() {
        for ordinals in [vec![], vec![0], vec![63, 64, 127, 1_000_000], (500..900).step_by(3).collect()] {
            let slots = Slots::new(&ordinals.iter().copied().collect());
            assert_eq!(slots.len() as usize, ordinals.len());
            for (place, &ordinal) in ordinals.iter().enumerate() {
                assert_eq!(slots.find(ordinal), Some(place));
            }
            assert_eq!(slots.ordinals_from(0).collect::<Vec<_>>(), ordinals);
            assert_eq!(slots.ordinals_from(64).min(), ordinals.iter().copied().find(|&one| one >= 64));
            for absent in [1, 65, 499, 501, u32::MAX] {
                assert_eq!(slots.find(absent).is_some(), ordinals.contains(&absent), "{absent}");
            }
        }
    }
}
