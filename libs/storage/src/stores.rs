//! All stores of one deployment, by their traits.

use std::{fmt, sync::Arc};

use crate::{
    ArtifactStore, CampaignStore, DeviceStore, JobStore, LimitStore, MemoryLimits, RequestStore,
    SessionStore, SnapshotStore, StartStore, TriggerStore,
};

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
    /// What campaigns are.
    pub campaigns: Arc<dyn CampaignStore>,
    /// The order in which campaigns were started.
    pub starts: Arc<dyn StartStore>,
    /// What is asked of the owners of campaigns.
    pub requests: Arc<dyn RequestStore>,
    /// Firmware.
    pub artifacts: Arc<dyn ArtifactStore>,
    /// Devices to be asked to come.
    pub triggers: Arc<dyn TriggerStore>,
    /// What is counted to limit it.
    pub limits: Arc<dyn LimitStore>,
}

impl Stores {
    /// All stores of one backend, which one process has: it counts limits in its memory.
    pub fn of<S>(backend: S) -> Self
    where
        S: SessionStore
            + DeviceStore
            + SnapshotStore
            + JobStore
            + CampaignStore
            + StartStore
            + RequestStore
            + ArtifactStore
            + TriggerStore
            + 'static,
    {
        let backend = Arc::new(backend);
        Self {
            sessions: backend.clone(),
            devices: backend.clone(),
            snapshots: backend.clone(),
            jobs: backend.clone(),
            campaigns: backend.clone(),
            starts: backend.clone(),
            requests: backend.clone(),
            artifacts: backend.clone(),
            triggers: backend,
            limits: Arc::new(MemoryLimits::new()),
        }
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").finish_non_exhaustive()
    }
}
