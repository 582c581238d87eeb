#![doc = include_str!("../README.md")]

mod export;
mod import;
mod line;
mod octets;
mod pieces;
mod tree;

use std::sync::Arc;

use storage::{ArtifactStore, CampaignStore, DeviceStore, JobStore, SnapshotStore, StoreError, TenantId};

pub use export::export;
pub use import::import;
pub use line::{Counts, FORMAT};

/// The stores of one side.
#[derive(Clone)]
pub struct Side {
    /// Whose things are moved.
    pub tenant: TenantId,
    /// Devices.
    pub devices: Arc<dyn DeviceStore>,
    /// Their trees.
    pub snapshots: Arc<dyn SnapshotStore>,
    /// Jobs and ledgers.
    pub jobs: Arc<dyn JobStore>,
    /// Campaigns.
    pub campaigns: Arc<dyn CampaignStore>,
    /// Files.
    pub artifacts: Arc<dyn ArtifactStore>,
}

impl std::fmt::Debug for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Side").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// Seals credentials on their way, and opens them. What they are bound to is the tenant and the device.
pub trait Seal: Sync {
    /// Seals.
    ///
    /// # Errors
    ///
    /// In words: no entropy, no key.
    fn seal(&self, plain: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, String>;

    /// Opens what [`Seal::seal`] sealed.
    ///
    /// # Errors
    ///
    /// In words: another key, or bound to something else.
    fn open(&self, sealed: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, String>;
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
