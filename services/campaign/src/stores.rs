//! What campaigns need of the stores, by their traits, and the time.

use std::sync::Arc;

use jiff::Timestamp;
use storage::{ArtifactStore, CampaignStore, DeviceStore, JobStore, SnapshotStore};

/// The stores of one deployment. One value may stand behind several of them.
#[derive(Clone)]
pub struct Stores {
    /// Jobs and the ledger.
    pub jobs: Arc<dyn JobStore>,
    /// What campaigns are.
    pub campaigns: Arc<dyn CampaignStore>,
    /// Devices and inventory.
    pub devices: Arc<dyn DeviceStore>,
    /// Firmware.
    pub artifacts: Arc<dyn ArtifactStore>,
    /// Trees, for targets by stored values.
    pub snapshots: Arc<dyn SnapshotStore>,
}

impl Stores {
    /// All stores of one backend.
    pub fn of<S>(backend: S) -> Self
    where
        S: DeviceStore + SnapshotStore + JobStore + CampaignStore + ArtifactStore + 'static,
    {
        let backend = Arc::new(backend);
        Self {
            jobs: backend.clone(),
            campaigns: backend.clone(),
            devices: backend.clone(),
            artifacts: backend.clone(),
            snapshots: backend,
        }
    }
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The machine's clock.
pub fn system_clock() -> Clock {
    Arc::new(Timestamp::now)
}
