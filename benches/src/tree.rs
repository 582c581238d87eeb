//! The trees of a fleet whose devices are nearly the same.

use dm_tree::{Change, Format, Leaf, TreeDelta};

/// A tree of 300 nodes: 50 interior nodes and 250 leaves, of which 13 (5 %) are the device's own.
pub fn tree(device: u64) -> TreeDelta {
    let mut delta = TreeDelta::new();
    for interior in 0..50_u64 {
        let parent = if interior < 10 {
            format!("Branch{interior}")
        } else {
            format!("Branch{}/Node{}", interior % 10, interior / 10)
        };
        for leaf in 0..5_u64 {
            let number = interior * 5 + leaf;
            let value = if number % 20 == 3 {
                // A value that nobody else has and that does not compress.
                let own = (device + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                    ^ number.wrapping_mul(0xbf58_476d_1ce4_e5b9);
                format!("{own:016x}")
            } else {
                format!("common value {number}")
            };
            let leaf_value = Leaf { format: Format::Chr, mime: None, value: value.into_bytes().into() };
            delta.push(Change::Leaf { uri: format!("{parent}/Property{leaf}"), leaf: leaf_value });
        }
    }
    delta
}
