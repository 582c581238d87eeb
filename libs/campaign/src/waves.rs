//! Which wave a device is in: a function of its ordinal, the members and the seed, with no row stored for it.

use roaring::RoaringBitmap;

use crate::{CodecError, Plan, hash::mix};

/// The waves of a campaign's members.
///
/// Members stand in the order of a hash of ordinal and seed, and each wave takes the next of them: so sizes are exact
/// (rounded up, the first wave is never empty), and the same members and seed always give the same waves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waves {
    seed: u64,
    /// The last hash of each wave. Hashes differ, because the hash is a bijection.
    last: Vec<u64>,
}

impl Waves {
    /// The waves of these members.
    pub fn new(plan: &Plan, members: &RoaringBitmap) -> Self {
        let waves = &plan.definition.waves;
        let mut order: Vec<u64> = if waves.len() > 1 {
            members.iter().map(|ordinal| point(plan.seed, ordinal)).collect()
        } else {
            vec![]
        };
        order.sort_unstable();
        let count = order.len() as u32;
        let last = waves.iter().map(|wave| match wave.up_to.of(count) {
            reach if reach >= count => u64::MAX,
            reach => reach.checked_sub(1).and_then(|at| order.get(at as usize)).copied().unwrap_or(0),
        });
        Self { seed: plan.seed, last: last.collect() }
    }

    /// How many waves there are.
    pub fn count(&self) -> usize {
        self.last.len()
    }

    /// The wave of a member, from 0.
    pub fn wave_of(&self, ordinal: u32) -> u16 {
        let point = point(self.seed, ordinal);
        // A definition has at most a hundred waves, and the last one reaches every hash.
        self.last.partition_point(|&last| last < point).min(self.last.len().saturating_sub(1)) as u16
    }
}

/// Where a device stands in the order of a seed.
fn point(seed: u64, ordinal: u32) -> u64 {
    mix(mix(seed) ^ u64::from(ordinal))
}

/// The stored form of a campaign's members: a version, then the portable form of a roaring bitmap.
pub fn encode_members(members: &RoaringBitmap) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + members.serialized_size());
    bytes.push(1);
    // Writing to memory does not fail.
    let _ = members.serialize_into(&mut bytes);
    bytes
}

/// Reads the stored form of members.
///
/// # Errors
///
/// [`CodecError`] when it is of another version, or cut, or damaged.
pub fn decode_members(bytes: &[u8]) -> Result<RoaringBitmap, CodecError> {
    let what = "members";
    match bytes.split_first() {
        Some((1, rest)) => RoaringBitmap::deserialize_from(rest).map_err(|_| CodecError::Malformed { what }),
        first => Err(CodecError::Version { what, expected: 1, got: first.map(|(&got, _)| got) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan_of;

    fn sizes(file: &str, members: &RoaringBitmap) -> Vec<usize> {
        let plan = plan_of(file);
        let waves = Waves::new(&plan, members);
        let mut sizes = vec![0; waves.count()];
        members.iter().for_each(|ordinal| sizes[usize::from(waves.wave_of(ordinal))] += 1);
        sizes
    }

    const THREE: &str = "waves = [{percent = 1}, {up_to_percent = 25}, {}]";

    #[test]
    fn sizes_are_exact_and_the_first_wave_is_never_empty() {
        assert_eq!(sizes(THREE, &(0..10_000).collect()), [100, 2400, 7500]);
        assert_eq!(sizes(THREE, &(0..10).collect()), [1, 2, 7]);
        assert_eq!(sizes(THREE, &(5..6).collect()), [1, 0, 0]);
        assert_eq!(sizes(THREE, &RoaringBitmap::new()), [0, 0, 0]);
        assert_eq!(sizes("", &(0..10).collect()), [10]);
    }

    #[test]
    fn the_seed_decides_who_and_decides_it_the_same_every_time() {
        let members: RoaringBitmap = (0..1000).collect();
        let first = |seed: u64| -> RoaringBitmap {
            let waves = Waves::new(&plan_of(&format!("seed = {seed}\n{THREE}")), &members);
            members.iter().filter(|&ordinal| waves.wave_of(ordinal) == 0).collect()
        };
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
        // Fixed for ever: a running campaign would change its waves with the program otherwise.
        assert_eq!(first(1).iter().collect::<Vec<_>>(), [155, 178, 307, 320, 505, 765, 850, 901, 942, 966]);
    }

    #[test]
    fn members_come_back_from_their_stored_form() {
        let members: RoaringBitmap = (0..100_000).chain([4_000_000_000]).collect();
        assert_eq!(decode_members(&encode_members(&members)), Ok(members));
        for bytes in [&[][..], &[2, 0], &[1, 0, 1, 2]] {
            assert!(decode_members(bytes).is_err(), "{bytes:?}");
        }
    }
}
