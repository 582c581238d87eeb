//! Management trees, content-addressed: equal subtrees are stored once, whoever has them.
//!
//! A tree is cut into *pages*. A page holds an interior node and all below it, except the subtrees whose own
//! encoding is larger than [`PAGE_BYTES`] and the values larger than [`INLINE_BYTES`]: those stand in it by
//! their hash. Where the cuts are follows from the content alone, so equal trees have equal pages, and a
//! page's id, the hash of its octets, names the whole tree below it.
//!
//! Why pages and not one blob a node: a phone's tree has hundreds of nodes of twenty octets; a hash and a key
//! for each would be larger than the tree. Equal phones still differ in a few leaves, so a page that is new
//! is stored as what it adds to one much like it ([`pack`]).
//!
//! Nothing here does I/O by itself: pages come through [`Pages`] and new ones are handed back, so every backend
//! uses the same tree. Where pages come over a network, [`ahead`] fetches them first.

pub mod ahead;
mod apply;
mod cache;
mod codec;
mod diff;
mod node;
pub mod pack;
mod read;
#[cfg(test)]
mod tests;

pub use apply::{Applied, NewPage, apply};
pub use cache::PageCache;
pub use codec::refs;
pub use diff::diff;
pub use read::{leaf, read};

use crate::{SnapshotId, StoreError};

/// A subtree whose encoding is larger than this is a page of its own.
pub const PAGE_BYTES: usize = 4096;
/// A value larger than this is a page of its own.
pub const INLINE_BYTES: usize = 512;

/// Where pages are.
pub trait Pages {
    /// The octets of a page; `None` where there is none of this id.
    ///
    /// # Errors
    ///
    /// Whatever the store beneath says.
    fn load(&self, id: SnapshotId) -> Result<Option<Vec<u8>>, StoreError>;
}

/// What one device's tree may have at most. A device says what it likes; these hold all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Names in an address.
    pub depth_max: usize,
    /// Octets of a name, a type or a media type.
    pub name_bytes_max: usize,
    /// Children of one interior node.
    pub children_max: usize,
    /// Octets of a value.
    pub value_bytes_max: usize,
    /// Nodes of the tree.
    pub nodes_max: u32,
    /// Octets of the tree.
    pub tree_bytes_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth_max: 32,
            name_bytes_max: 255,
            children_max: 4096,
            value_bytes_max: 1 << 20,
            nodes_max: 50_000,
            tree_bytes_max: 8 << 20,
        }
    }
}

/// Why a tree could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum MerkleError {
    /// A page that another names is not there.
    #[error("page {} is not there", hex(.0))]
    Missing(SnapshotId),
    /// A page does not read.
    #[error("page is broken at byte {at}: expected {expected}")]
    Broken {
        /// Where.
        at: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// One of [`Limits`].
    #[error("expected at most {max} {what}, got {got}")]
    Limit {
        /// Which.
        what: &'static str,
        /// The limit.
        max: usize,
        /// What came.
        got: usize,
    },
    /// An address with an empty name in it.
    #[error("expected an address without empty names, got {0:?}")]
    Address(String),
    /// The store beneath.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl MerkleError {
    /// The error of a store whose `operation` this ended.
    pub fn into_store_error(self, operation: &'static str) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Missing(_) | Self::Broken { .. } => StoreError::corrupt(operation, self),
            Self::Limit { .. } | Self::Address(_) => StoreError::too_large(operation, self),
        }
    }
}

fn hex(id: &SnapshotId) -> String {
    use std::fmt::Write;
    id.0.iter().fold(String::new(), |mut text, octet| {
        // Writing to a string does not fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// The id of a page.
fn id_of(octets: &[u8]) -> SnapshotId {
    let hash = blake3::hash(octets);
    let mut id = [0; 20];
    id.copy_from_slice(&hash.as_bytes()[..20]);
    SnapshotId(id)
}

/// The names of an address: none for the root.
fn names(uri: &str) -> Result<Vec<&str>, MerkleError> {
    let uri = uri.strip_prefix("./").unwrap_or(uri);
    if uri.is_empty() || uri == "." {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = uri.split('/').collect();
    if names.iter().any(|name| name.is_empty()) {
        return Err(MerkleError::Address(uri.chars().take(100).collect()));
    }
    Ok(names)
}

/// The address of a child.
fn child_uri(parent: &str, name: &str) -> String {
    if parent == "." { name.to_owned() } else { format!("{parent}/{name}") }
}
