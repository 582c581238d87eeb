//! Jobs in flight, by device, and the ledger of their events, by campaign.

use async_trait::async_trait;
use campaign::{CampaignId, Job, JobEvent};
use dm_protocol::DevId;
use jiff::Timestamp;

use crate::{Revision, StoreError, TenantId, Trigger, Versioned, trace::Traceparent};

/// Who may write a campaign's ledger: each claim is above all before it, and those before it write no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// A job to give to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The device.
    pub device: DevId,
    /// The job; its attempt is new.
    pub job: Job,
    /// The event that records it.
    pub event: JobEvent,
    /// The device is to be asked to come, until then: a [`crate::Trigger`] is asked for, in the same step or as surely as
    /// the job is delivered. A store may leave it out for a device that it knows has no address.
    pub trigger_until: Option<Timestamp>,
}

impl Release {
    /// The trigger that goes with it, if one does.
    pub fn trigger(&self, tenant: &TenantId) -> Option<Trigger> {
        let asked = self.job.since;
        self.trigger_until.map(|deadline| Trigger {
            tenant: tenant.clone(),
            device: self.device.clone(),
            campaign: self.job.campaign,
            attempt: self.job.attempt,
            asked,
            deadline,
            due: asked,
            sent: 0,
        })
    }
}

/// Jobs and events. A job and the events of its change are written together or not at all.
///
/// What is written is durable when the call returns. It is *seen* soon: a released job among the device's jobs, and the
/// events of an update in the ledger, may take the moment that another process needs to carry them there.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Takes the campaign's ledger: from now on, only who holds the epoch answered may release and append.
    ///
    /// A caller that decides by what it has read claims first and then reads the ledger to its end; what it
    /// writes is then never decided on less than the whole ledger.
    async fn claim(&self, tenant: &TenantId, campaign: CampaignId) -> Result<Epoch, StoreError>;

    /// Gives jobs to devices and appends their events to the campaign's ledger, durably, in one step a call.
    /// The triggers that
    /// go with them are asked for as [`Release::trigger_until`] says. A release whose campaign, device and attempt the store has seen before is left out: giving twice is
    /// giving once. Attempts of one device in one campaign grow: one that is not above the last counts as seen.
    /// Answers how many were new.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::Conflict`] when someone has claimed the ledger since `epoch`; nothing was written then.
    async fn release(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        epoch: Epoch,
        releases: &[Release],
    ) -> Result<usize, StoreError>;

    /// Whether the device may have a job: false only where [`JobStore::pending`] would answer none, or none but jobs that
    /// are just being released, which count from the device's next session on. Asked beside the other loads of a session's
    /// first message, so that a device with nothing to do costs no further read.
    async fn may_have(&self, tenant: &TenantId, device: &DevId) -> Result<bool, StoreError> {
        let _ = (tenant, device);
        Ok(true)
    }

    /// The jobs that wait for or run on a device, oldest first. Empty for most devices, and cheap then.
    async fn pending(&self, tenant: &TenantId, device: &DevId) -> Result<Vec<Versioned<Job>>, StoreError>;

    /// The trace that a job was released in, for whoever works on it; `None`: it is in none that is kept, or it is not
    /// known any more. Asked for sessions that are traced alone.
    async fn cause(
        &self,
        tenant: &TenantId,
        device: &DevId,
        campaign: CampaignId,
        attempt: u16,
    ) -> Result<Option<Traceparent>, StoreError> {
        let _ = (tenant, device, campaign, attempt);
        Ok(None)
    }

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

    /// Ends an attempt that was released and of which the device has no job: appends `events` to the ledger, durably, and
    /// no job of this attempt is ever seen after it.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::Conflict`] when there is such a job after all, or when someone has claimed the ledger since
    /// `epoch`; nothing was written then.
    #[allow(clippy::too_many_arguments)] // What it is about, who says so, and what is said.
    async fn end_missing(
        &self,
        tenant: &TenantId,
        device: &DevId,
        campaign: CampaignId,
        epoch: Epoch,
        attempt: u16,
        events: &[JobEvent],
    ) -> Result<(), StoreError>;

    /// Appends events that belong to no job in flight (a retry is due, a device was skipped), durably.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::Conflict`] when someone has claimed the ledger since `epoch`; nothing was written then.
    async fn append(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        epoch: Epoch,
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
