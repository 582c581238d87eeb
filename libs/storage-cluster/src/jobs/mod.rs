//! Jobs and their ledgers over the servers of a cluster.

mod attempts;
mod owned;
mod row;
mod workers;

use std::sync::Arc;

use async_trait::async_trait;
use campaign::{CampaignId, Job, JobEvent};
use dm_protocol::DevId;
use storage::{Epoch, JobStore, Release, Revision, StoreError, TenantId, Versioned, trace::Traceparent};
use tokio_util::task::TaskTracker;

pub use self::{
    owned::EventsOwnership,
    workers::{EventsWorker, JobsWorker},
};
use crate::{
    history,
    job_rows::{AttemptKey, DeviceKey},
    ledger::{Guard, Handle, Ledgers, Shared},
    ledger_blocks::LedgerKey,
    ports::Ports,
    stored::{Entry, Source},
};

/// The [`JobStore`] of a cluster. Cheap to clone; all clones are one.
///
/// What it writes is seen once the workers of some process have carried it: [`JobsWorker`] and [`EventsWorker`].
#[derive(Clone)]
pub struct ClusterJobs(Arc<Core>);

struct Core {
    ports: Ports,
    ledgers: Ledgers,
    tasks: TaskTracker,
    /// Tasks that nobody waits for: notes of what was published, and events that could not be.
    background: Arc<tokio::sync::Semaphore>,
    owned: Arc<EventsOwnership>,
}

/// Tasks at once that nobody waits for; beyond it the caller does their work.
const BACKGROUND_MAX: usize = 1024;

impl std::fmt::Debug for ClusterJobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterJobs").finish_non_exhaustive()
    }
}

impl ClusterJobs {
    /// A job store over these servers.
    pub fn new(ports: Ports) -> Self {
        let tasks = TaskTracker::new();
        let ledgers = Ledgers::new(Shared { ports: ports.clone(), tasks: tasks.clone() });
        let owned = Arc::new(EventsOwnership::new(ports.topics.partitions(crate::topics::Topic::Events)));
        let background = Arc::new(tokio::sync::Semaphore::new(BACKGROUND_MAX));
        Self(Arc::new(Core { ports, ledgers, tasks, background, owned }))
    }

    /// Which campaigns are this process's to own: those whose partition of the events it has. None while no
    /// [`EventsWorker`] of this store runs.
    pub fn ownership(&self) -> Arc<EventsOwnership> {
        Arc::clone(&self.0.owned)
    }

    /// Gives up all claims, and waits until what was begun is ended: blocks written, jobs delivered as far as the
    /// servers answer. The caller puts a deadline around it: what is left then is found by the next who claims.
    pub async fn shutdown(&self) {
        self.0.ledgers.leave(|_, _| true);
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn ledger(&self, tenant: &TenantId, campaign: CampaignId) -> Arc<Handle> {
        self.0.ledgers.handle(&LedgerKey { tenant: tenant.clone(), campaign })
    }
}

fn device_key(tenant: &TenantId, device: &DevId) -> DeviceKey {
    DeviceKey { tenant: tenant.clone(), device: device.clone() }
}

#[async_trait]
impl JobStore for ClusterJobs {
    async fn claim(&self, tenant: &TenantId, campaign: CampaignId) -> Result<Epoch, StoreError> {
        self.ledger(tenant, campaign).claim().await
    }

    async fn release(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        epoch: Epoch,
        releases: &[Release],
    ) -> Result<usize, StoreError> {
        let groups = releases.iter().map(|release| vec![Entry::release(release)]).collect();
        self.ledger(tenant, campaign).append("release jobs", Guard::Epoch(epoch), groups).await
    }

    async fn may_have(&self, tenant: &TenantId, device: &DevId) -> Result<bool, StoreError> {
        match self.0.ports.marks.is_idle(tenant, device).await {
            Ok(idle) => Ok(!idle),
            Err(error) => {
                // The rows know, and they are asked then.
                tracing::debug!(error = &error as &dyn std::error::Error, "mark of a device cannot be read");
                Ok(true)
            }
        }
    }

    async fn pending(&self, tenant: &TenantId, device: &DevId) -> Result<Vec<Versioned<Job>>, StoreError> {
        self.pending_jobs(tenant, device).await
    }

    async fn cause(
        &self,
        tenant: &TenantId,
        device: &DevId,
        campaign: CampaignId,
        attempt: u16,
    ) -> Result<Option<Traceparent>, StoreError> {
        self.cause_of(tenant, device, AttemptKey { campaign, attempt }).await
    }

    async fn update(
        &self,
        tenant: &TenantId,
        device: &DevId,
        campaign: CampaignId,
        expected: Revision,
        job: Option<&Job>,
        events: &[JobEvent],
    ) -> Result<Option<Revision>, StoreError> {
        self.update_job(&device_key(tenant, device), campaign, expected, job, events).await
    }

    async fn end_missing(
        &self,
        tenant: &TenantId,
        device: &DevId,
        campaign: CampaignId,
        epoch: Epoch,
        attempt: u16,
        events: &[JobEvent],
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "end a missing job";
        let ledger = self.ledger(tenant, campaign);
        // Who does not hold the claim should not touch the row either.
        ledger.append(OPERATION, Guard::Epoch(epoch), Vec::new()).await?;
        self.close_missing(&device_key(tenant, device), campaign, attempt, events).await?;
        let entry = |event: &JobEvent| Entry { event: event.clone(), source: Source::Missing };
        let group = events.iter().map(entry).collect();
        ledger.append(OPERATION, Guard::Epoch(epoch), vec![group]).await.map(|_| ())
    }

    async fn append(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        epoch: Epoch,
        events: &[JobEvent],
    ) -> Result<(), StoreError> {
        let ledger = self.ledger(tenant, campaign);
        let entry = |event: &JobEvent| Entry { event: event.clone(), source: Source::Owner };
        let group: Vec<Entry> = events.iter().map(entry).collect();
        ledger.append("append events", Guard::Epoch(epoch), vec![group]).await?;
        if events.iter().any(|event| event.device.is_some()) {
            // So that the device's history shows them to who asks next.
            ledger.wait_delivered().await;
        }
        Ok(())
    }

    async fn events(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, JobEvent)>, StoreError> {
        self.ledger(tenant, campaign).events(from, limit).await
    }

    async fn device_events(
        &self,
        tenant: &TenantId,
        device: &DevId,
        limit: usize,
    ) -> Result<Vec<(CampaignId, JobEvent)>, StoreError> {
        let rows = self.0.ports.rows.history(&device_key(tenant, device), limit).await?;
        rows.iter().map(|row| history::read("read events of a device", row)).collect()
    }

    async fn wait_events(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        from: u64,
    ) -> Result<(), StoreError> {
        self.ledger(tenant, campaign).wait_events(from).await
    }
}
