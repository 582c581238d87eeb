//! How pages are stored: whole, or as what they add to a page much like them (its *base*).
//!
//! A million phones of a model have pages of the same nodes with a few other values. The base serves as the
//! dictionary of LZ4: what is equal costs a few octets. A base is always stored whole, so a page
//! takes at most two reads.
//!
//! ```text
//! whole:   1 | octets
//! delta:   2 | base id (20) | length u32 | LZ4 block
//! ```

use crate::SnapshotId;

use super::MerkleError;

const WHOLE: u8 = 1;
const DELTA: u8 = 2;
/// Octets below which a page is not worth a base.
const SMALL: usize = 160;
/// Octets of a page at most: a whole tree.
const PAGE_MAX: usize = 16 << 20;

/// A page as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// What it adds to its base.
    Delta {
        /// The base.
        base: SnapshotId,
        /// Give it to [`unpack`] with the base's octets.
        packed: &'a [u8],
    },
}

/// Whether a page is worth storing by a base, and being one.
pub fn is_worth_a_base(octets: &[u8]) -> bool {
    octets.len() > SMALL
}

/// A page stored whole.
pub fn whole(octets: &[u8]) -> Vec<u8> {
    [&[WHOLE], octets].concat()
}

/// A page stored by a base; `None` when that saves less than half.
pub fn delta(octets: &[u8], base: SnapshotId, base_octets: &[u8]) -> Option<Vec<u8>> {
    let packed = lz4_flex::block::compress_with_dict(octets, base_octets);
    if packed.len() * 2 > octets.len() {
        return None;
    }
    let length = u32::try_from(octets.len()).ok()?;
    Some([&[DELTA], &base.0[..], &length.to_le_bytes(), &packed].concat())
}

/// Tells how a page is stored.
///
/// # Errors
///
/// [`MerkleError::Broken`]
pub fn parse(stored: &[u8]) -> Result<Stored<'_>, MerkleError> {
    let broken = |expected| MerkleError::Broken { at: 0, expected };
    match stored.split_first() {
        Some((&WHOLE, octets)) => Ok(Stored::Whole(octets)),
        Some((&DELTA, rest)) => {
            let (base, packed) = rest.split_first_chunk().ok_or_else(|| broken("the id of a base"))?;
            Ok(Stored::Delta { base: SnapshotId(*base), packed })
        }
        _ => Err(broken("a page whole or by a base")),
    }
}

/// A page from what it adds to its base.
///
/// # Errors
///
/// [`MerkleError::Broken`]
pub fn unpack(packed: &[u8], base_octets: &[u8]) -> Result<Vec<u8>, MerkleError> {
    let broken = |expected| MerkleError::Broken { at: 21, expected };
    let (length, block) = packed.split_first_chunk().ok_or_else(|| broken("a length"))?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > PAGE_MAX {
        return Err(broken("a page of at most 16 MiB"));
    }
    lz4_flex::block::decompress_with_dict(block, length, base_octets).map_err(|_| broken("an LZ4 block"))
}
