//! What a front-end needs of the stores, by their traits.

use std::sync::Arc;

use storage::{ArtifactStore, CampaignStore, DeviceStore, JobStore, SessionStore, SnapshotStore};

/// The stores of one deployment. One value may stand behind several of them.
#[derive(Clone)]
pub struct Stores {
    /// Sessions in flight.
    pub sessions: Arc<dyn SessionStore>,
    /// Devices, credentials and inventory.
    pub devices: Arc<dyn DeviceStore>,
    /// Trees.
    pub snapshots: Arc<dyn SnapshotStore>,
    /// Jobs and the ledger.
    pub jobs: Arc<dyn JobStore>,
    /// What jobs are about.
    pub campaigns: Arc<dyn CampaignStore>,
    /// Firmware.
    pub artifacts: Arc<dyn ArtifactStore>,
}

impl Stores {
    /// All stores of one backend.
    pub fn of<S>(backend: S) -> Self
    where
        S: SessionStore + DeviceStore + SnapshotStore + JobStore + CampaignStore + ArtifactStore + 'static,
    {
        let backend = Arc::new(backend);
        Self {
            sessions: backend.clone(),
            devices: backend.clone(),
            snapshots: backend.clone(),
            jobs: backend.clone(),
            campaigns: backend.clone(),
            artifacts: backend,
        }
    }
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}
