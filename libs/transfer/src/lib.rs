#![doc = include_str!("../README.md")]

mod export;
mod import;
mod line;
mod octets;
mod pieces;
mod restored;
mod resume;
mod tree;

use storage::{StoreError, Stores, TenantId, seal::KeyRing};

pub use export::{Export, export};
pub use import::import;
pub use line::{Counts, FORMAT};
pub use restored::{Settled, settle};
pub use resume::Resume;

/// One side: whose things are moved, where they are, and what seals credentials on their way.
///
/// Credentials are sealed with the newest key of the side that they leave, bound to tenant and device; the side that they
/// come to needs that key in its ring, and seals them for itself as it always does.
#[derive(Clone, Debug)]
pub struct Side {
    /// Whose things are moved.
    pub tenant: TenantId,
    /// Where they are.
    pub stores: Stores,
    /// Its keys.
    pub keys: KeyRing,
}

/// Why a transfer did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The file could not be read or written.
    #[error("could not {0} the file")]
    File(&'static str, #[source] std::io::Error),
    /// A line is not what it should be.
    #[error("line {line}: {problem}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What was expected and what came.
        problem: String,
    },
    /// The store has something else than the file.
    #[error("line {line}: the store holds something else already: {problem}")]
    Differs {
        /// The line's number, from 1.
        line: u64,
        /// What was expected and what is there.
        problem: String,
    },
    /// Credentials could not be sealed.
    #[error("credentials of {device} could not be sealed: {problem}")]
    Seal {
        /// Whose.
        device: String,
        /// Why.
        problem: String,
    },
    /// A store failed. The same command goes on where this one stopped.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What credentials are bound to.
fn bound_to(tenant: &TenantId, device: &str) -> Vec<u8> {
    [tenant.0.as_bytes(), &[0], device.as_bytes()].concat()
}
