//! Jobs in flight, by device, and the ledger of their events, by campaign.

use async_trait::async_trait;
use campaign::{CampaignId, Job, JobEvent};
use dm_protocol::DevId;

use crate::{Revision, StoreError, TenantId, Versioned};

/// A job to give to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The device.
    pub device: DevId,
    /// The job; its attempt is new.
    pub job: Job,
    /// The event that records it.
    pub event: JobEvent,
}

/// Jobs and events. A job and the events of its change are written together or not at all.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Gives jobs to devices and appends their events to the campaign's ledger, durably, in one step a call.
    /// A release whose campaign, device and attempt the store has seen before is left out: giving twice is
    /// giving once. Attempts of one device in one campaign grow: one that is not above the last counts as seen.
    /// Answers how many were new.
    async fn release(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        releases: &[Release],
    ) -> Result<usize, StoreError>;

    /// The jobs that wait for or run on a device, oldest first. Empty for most devices, and cheap then.
    async fn pending(&self, tenant: &TenantId, device: &DevId) -> Result<Vec<Versioned<Job>>, StoreError>;

    /// Writes a job if nobody has since `expected` (`None` for `job`: it has ended), and appends `events` to its
    /// campaign's ledger, durably, in one step.
    async fn update(
        &self,
        tenant: &TenantId,
        device: &DevId,
        campaign: CampaignId,
        expected: Revision,
        job: Option<&Job>,
        events: &[JobEvent],
    ) -> Result<Option<Revision>, StoreError>;

    /// Appends events that belong to no job in flight (a retry is due, a device was skipped), durably.
    async fn append(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        events: &[JobEvent],
    ) -> Result<(), StoreError>;

    /// Up to `limit` events of a campaign's ledger from the offset `from` on, with the offset after each.
    async fn events(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, JobEvent)>, StoreError>;

    /// Up to `limit` events of one device over all campaigns, newest first.
    async fn device_events(
        &self,
        tenant: &TenantId,
        device: &DevId,
        limit: usize,
    ) -> Result<Vec<(CampaignId, JobEvent)>, StoreError>;

    /// Waits until the campaign's ledger has events from the offset `from` on, or a while has passed.
    async fn wait_events(&self, tenant: &TenantId, campaign: CampaignId, from: u64)
    -> Result<(), StoreError>;
}
