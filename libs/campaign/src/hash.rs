//! The hash that spreads devices: fixed for ever, because waves are recomputed from it and not stored.

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): a bijection, so two inputs never share an output.
pub(crate) fn mix(input: u64) -> u64 {
    let mut hash = input.wrapping_add(0x9E37_79B9_7F4A_7C15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}
