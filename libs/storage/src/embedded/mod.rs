//! The embedded backend: all stores on one data directory of one process.

mod artifacts;
mod backup;
mod campaigns;
mod causes;
mod claims;
mod collect;
mod commit;
mod devices;
mod engine;
#[cfg(test)]
mod golden;
mod jobs;
mod keys;
mod ledgers;
mod open;
mod requests;
mod sessions;
mod snapshots;
mod starts;
mod stripes;
mod triggers;

use std::{fs::File, path::PathBuf, sync::Arc};

pub use backup::Restored;
use claims::Claims;
use commit::Committer;
use engine::Engine;
use ledgers::Ledgers;
pub use open::OpenError;
use sessions::Sessions;
use stripes::Stripes;

use crate::{KeyRing, StoreError, merkle::PageCache};

/// What can be set about the embedded backend.
#[derive(Clone, Debug)]
pub struct Options {
    /// Octets of memory for what is read again and again.
    pub cache_bytes: u64,
    /// Octets of memory for pages of trees that others are stored by.
    pub page_cache_bytes: usize,
    /// A key file, as [`KeyRing::from_file`] reads it. Its last key seals secrets, in place of the key that the data
    /// directory made for itself, which still opens what it sealed.
    pub key_file: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, page_cache_bytes: 16 << 20, key_file: None }
    }
}

/// All stores on one data directory. Clones share it; the last one dropped closes it.
///
/// A write is answered when it is on the disk, except those of sessions, which are answered when the
/// operating system has them: they outlive the process, not the machine.
#[derive(Clone)]
pub struct Embedded(Arc<Inner>);

struct Inner {
    // In the order of their end: the writing thread first, then the engine below it, the lock last.
    committer: Committer,
    engine: Arc<Engine>,
    ledgers: Arc<Ledgers>,
    causes: causes::Causes,
    claims: Claims,
    sessions: Sessions,
    keys: KeyRing,
    artifact_dir: PathBuf,
    pages: PageCache,
    gate: collect::Gate,
    device_locks: Stripes,
    job_locks: Stripes,
    snapshot_locks: Stripes,
    triggers: Arc<triggers::Queue>,
    /// Rare writes: adding devices, creating and changing campaigns, adding artifacts.
    tenant_locks: Stripes,
    _lock: File,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").finish_non_exhaustive()
    }
}

impl Embedded {
    /// The keys that secrets are sealed with.
    pub fn keys(&self) -> &KeyRing {
        &self.0.keys
    }

    /// Runs what reads or computes for long on a thread where that is allowed.
    async fn blocking<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.0);
        match tokio::task::spawn_blocking(move || work(&inner)).await {
            Ok(done) => done,
            Err(error) => Err(StoreError::unavailable(operation, error)),
        }
    }
}
