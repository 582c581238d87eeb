//! What the handlers work on.

use std::sync::Arc;

use campaign_service::CampaignService;
use service_kit::{Health, Metrics, Shutdown};
use storage::{
    ArtifactStore, DeviceStore, JobStore, KeyRing, LimitStore, SnapshotStore, TenantId, backup::BackUp,
};

/// The stores behind the API, by their traits: only `main` names a backend.
#[derive(Clone)]
pub struct Services {
    /// Whose devices and campaigns these are.
    pub tenant: TenantId,
    /// Devices.
    pub devices: Arc<dyn DeviceStore>,
    /// Their trees.
    pub snapshots: Arc<dyn SnapshotStore>,
    /// Their jobs and the ledgers.
    pub jobs: Arc<dyn JobStore>,
    /// Firmware and software files.
    pub artifacts: Arc<dyn ArtifactStore>,
    /// What is counted to limit it.
    pub limits: Arc<dyn LimitStore>,
    /// Campaigns.
    pub campaigns: CampaignService,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// What `/health/readyz` says.
    pub health: Health,
    /// The keys that secrets are sealed with.
    pub keys: KeyRing,
    /// The store as one that can be copied whole; `None` where it is a cluster's.
    pub backup: Option<Arc<dyn BackUp>>,
}

/// Everything a handler may ask for.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) services: Services,
    pub(crate) artifact_size_max: u64,
    pub(crate) shutdown: Shutdown,
}
