//! Jobs and their ledger. All jobs of a device stand in one record: asking a device that has none costs
//! one point read that the engine's filters answer.

use std::{collections::HashMap, ops::Bound, time::Duration};

use async_trait::async_trait;
use campaign::{CampaignId, EventKind, Job, JobEvent, Phase};
use dm_protocol::DevId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Embedded, Inner,
    commit::Batch,
    engine::{Space, engine_error},
    keys,
};
use crate::{
    Epoch, JobStore, Release, Revision, StoreError, TenantId, Versioned,
    records::{self, Number, instant},
    trace::{self, Traceparent},
};

/// How long one wait for events lasts at most.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Releases above which a call leaves the runtime's thread.
const RELEASE_IN_PLACE_MAX: usize = 16;
/// Events above which a read leaves the runtime's thread.
const READ_IN_PLACE_MAX: usize = 512;

#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct JobRecord {
    pub(super) campaign: u64,
    pub(super) revision: u64,
    pub(super) ordinal: u32,
    pub(super) attempt: u16,
    pub(super) phase: Phase,
    #[serde(with = "instant")]
    pub(super) since: Timestamp,
}

impl JobRecord {
    fn of(job: &Job, revision: u64) -> Self {
        Self {
            campaign: job.campaign.0,
            revision,
            ordinal: job.ordinal,
            attempt: job.attempt,
            phase: job.phase,
            since: job.since,
        }
    }
}

impl From<JobRecord> for Versioned<Job> {
    fn from(record: JobRecord) -> Self {
        let value = Job {
            campaign: CampaignId(record.campaign),
            ordinal: record.ordinal,
            attempt: record.attempt,
            phase: record.phase,
            since: record.since,
        };
        Self { value, revision: Revision(record.revision) }
    }
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct EventRecord {
    pub(super) device: Option<DevId>,
    pub(super) ordinal: u32,
    pub(super) attempt: u16,
    #[serde(with = "instant")]
    pub(super) at: Timestamp,
    pub(super) kind: EventKind,
}

impl EventRecord {
    fn of(event: &JobEvent) -> Self {
        Self {
            device: event.device.clone(),
            ordinal: event.ordinal,
            attempt: event.attempt,
            at: event.at,
            kind: event.kind.clone(),
        }
    }
}

impl From<EventRecord> for JobEvent {
    fn from(record: EventRecord) -> Self {
        Self {
            device: record.device,
            ordinal: record.ordinal,
            attempt: record.attempt,
            at: record.at,
            kind: record.kind,
        }
    }
}

/// Revisions of an attempt begin above all of the attempts before it, so that a write that expects a
/// revision of an earlier attempt can never pass.
fn first_revision(attempt: u16) -> u64 {
    u64::from(attempt) << 32
}

impl Inner {
    /// The jobs of a device, oldest first.
    fn jobs(&self, operation: &'static str, key: &[u8]) -> Result<Vec<JobRecord>, StoreError> {
        let stored = self.engine.read(operation, Space::Jobs, key)?;
        stored.map_or_else(|| Ok(Vec::new()), |stored| records::decode(operation, &stored))
    }

    fn append_events(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        campaign: CampaignId,
        events: &[JobEvent],
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        for event in events {
            let index = match &event.device {
                Some(device) => Some(keys::device_end(operation, tenant, device)?),
                None => None,
            };
            let ledger = keys::campaign(operation, tenant, campaign)?;
            batch.append(ledger, index, records::encode(&EventRecord::of(event)));
        }
        Ok(())
    }

    /// What a release writes. The locks of all its devices are held.
    fn release_jobs(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        campaign: CampaignId,
        releases: &[Release],
    ) -> Result<(Batch, usize), StoreError> {
        let mut batch = Batch::default();
        let mut released: HashMap<&DevId, (u16, Vec<JobRecord>)> = HashMap::new();
        let ledger = keys::campaign(operation, tenant, campaign)?;
        let mut triggers = Vec::new();
        let mut new = 0;
        for release in releases {
            let key = keys::device(operation, tenant, &release.device)?;
            let attempt_key = keys::with(&ledger, release.device.as_str().as_bytes());
            let (last_attempt, mut jobs) = match released.remove(&release.device) {
                Some(earlier) => earlier,
                None => (self.last_attempt(operation, &attempt_key)?, self.jobs(operation, &key)?),
            };
            if release.job.attempt <= last_attempt {
                released.insert(&release.device, (last_attempt, jobs));
                continue;
            }
            let attempt = release.job.attempt;
            jobs.retain(|job| job.campaign != campaign.0);
            jobs.push(JobRecord {
                campaign: campaign.0,
                ..JobRecord::of(&release.job, first_revision(attempt))
            });
            batch.put(Space::Jobs, key, records::encode(&jobs));
            batch.put(Space::Attempts, attempt_key, records::encode(&Number(attempt.into())));
            self.append_events(
                operation,
                tenant,
                campaign,
                std::slice::from_ref(&release.event),
                &mut batch,
            )?;
            if let Some(trigger) = release.trigger(tenant)
                && self.may_be_reached(operation, tenant, release.job.ordinal)?
            {
                triggers.push(trigger);
            }
            released.insert(&release.device, (attempt, jobs));
            new += 1;
        }
        self.ask_for(operation, &triggers, &mut batch)?;
        Ok((batch, new))
    }

    fn last_attempt(&self, operation: &'static str, key: &[u8]) -> Result<u16, StoreError> {
        let Some(stored) = self.engine.read(operation, Space::Attempts, key)? else {
            return Ok(0);
        };
        let Number(attempt) = records::decode(operation, &stored)?;
        u16::try_from(attempt).map_err(|error| StoreError::corrupt(operation, error))
    }

    fn read_events(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        campaign: CampaignId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, JobEvent)>, StoreError> {
        let prefix = keys::campaign(operation, tenant, campaign)?;
        let from = keys::with(&prefix, &from.to_be_bytes());
        let rows = self.engine.scan(operation, Space::Ledger, &prefix, Bound::Included(&from));
        rows.take(limit)
            .map(|row| {
                let (key, stored) = row?;
                let offset = keys::last_u64(&key)
                    .ok_or_else(|| StoreError::corrupt(operation, "key ends in no offset"))?;
                let event: EventRecord = records::decode(operation, &stored)?;
                Ok((offset + 1, event.into()))
            })
            .collect()
    }
}

#[async_trait]
impl JobStore for Embedded {
    async fn claim(&self, tenant: &TenantId, campaign: CampaignId) -> Result<Epoch, StoreError> {
        Ok(self.0.claims.claim(tenant, campaign).await)
    }

    async fn release(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        epoch: Epoch,
        releases: &[Release],
    ) -> Result<usize, StoreError> {
        const OPERATION: &str = "release jobs";
        let _claimed = self.0.claims.hold(OPERATION, tenant, campaign, epoch).await?;
        let mut device_keys = Vec::with_capacity(releases.len());
        for release in releases {
            device_keys.push(keys::device(OPERATION, tenant, &release.device)?);
        }
        let guards = self.0.job_locks.lock_all(device_keys.iter()).await;
        let (mut batch, new) = if releases.len() <= RELEASE_IN_PLACE_MAX {
            self.0.release_jobs(OPERATION, tenant, campaign, releases)?
        } else {
            let (tenant, releases) = (tenant.clone(), releases.to_vec());
            let release = move |inner: &Inner| inner.release_jobs(OPERATION, &tenant, campaign, &releases);
            self.blocking(OPERATION, release).await?
        };
        batch.hold(guards);
        // Before anybody can see the jobs.
        if let Some(trace) = trace::current().filter(|trace| trace.is_sampled) {
            self.0.causes.note(releases, trace);
        }
        self.0.committer.commit(OPERATION, batch).await?;
        Ok(new)
    }

    async fn pending(&self, tenant: &TenantId, device: &DevId) -> Result<Vec<Versioned<Job>>, StoreError> {
        const OPERATION: &str = "load pending jobs";
        let key = keys::device(OPERATION, tenant, device)?;
        Ok(self.0.jobs(OPERATION, &key)?.into_iter().map(Versioned::from).collect())
    }

    async fn cause(
        &self,
        tenant: &TenantId,
        device: &DevId,
        campaign: CampaignId,
        attempt: u16,
    ) -> Result<Option<Traceparent>, StoreError> {
        let jobs = self.pending(tenant, device).await?;
        let job = jobs.iter().find(|job| (job.value.campaign, job.value.attempt) == (campaign, attempt));
        Ok(job.and_then(|job| self.0.causes.of(&job.value)))
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
        const OPERATION: &str = "update job";
        let key = keys::device(OPERATION, tenant, device)?;
        let guard = self.0.job_locks.lock(&key).await;
        let mut jobs = self.0.jobs(OPERATION, &key)?;
        let known = jobs
            .iter()
            .position(|known| known.campaign == campaign.0 && known.revision == expected.0)
            .ok_or_else(|| StoreError::conflict(OPERATION))?;
        let mut batch = Batch::default();
        let revision = expected.0 + 1;
        match job {
            Some(job) => {
                jobs[known] = JobRecord { campaign: campaign.0, ..JobRecord::of(job, revision) };
            }
            None => drop(jobs.remove(known)),
        }
        if jobs.is_empty() {
            batch.remove(Space::Jobs, key);
        } else {
            batch.put(Space::Jobs, key, records::encode(&jobs));
        }
        self.0.append_events(OPERATION, tenant, campaign, events, &mut batch)?;
        batch.hold([guard]);
        self.0.committer.commit(OPERATION, batch).await?;
        Ok(job.map(|_| Revision(revision)))
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
        let _claimed = self.0.claims.hold(OPERATION, tenant, campaign, epoch).await?;
        let key = keys::device(OPERATION, tenant, device)?;
        let guard = self.0.job_locks.lock(&key).await;
        let is_there = |job: &JobRecord| job.campaign == campaign.0 && job.attempt == attempt;
        if self.0.jobs(OPERATION, &key)?.iter().any(is_there) {
            return Err(StoreError::conflict(OPERATION));
        }
        let attempt_key =
            keys::with(&keys::campaign(OPERATION, tenant, campaign)?, device.as_str().as_bytes());
        let last = self.0.last_attempt(OPERATION, &attempt_key)?.max(attempt);
        let mut batch = Batch::default();
        batch.put(Space::Attempts, attempt_key, records::encode(&Number(last.into())));
        self.0.append_events(OPERATION, tenant, campaign, events, &mut batch)?;
        batch.hold([guard]);
        self.0.committer.commit(OPERATION, batch).await
    }

    async fn append(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        epoch: Epoch,
        events: &[JobEvent],
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "append events";
        let _claimed = self.0.claims.hold(OPERATION, tenant, campaign, epoch).await?;
        let mut batch = Batch::default();
        self.0.append_events(OPERATION, tenant, campaign, events, &mut batch)?;
        self.0.committer.commit(OPERATION, batch).await
    }

    async fn events(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<(u64, JobEvent)>, StoreError> {
        const OPERATION: &str = "read events";
        if limit <= READ_IN_PLACE_MAX {
            return self.0.read_events(OPERATION, tenant, campaign, from, limit);
        }
        let tenant = tenant.clone();
        let read = move |inner: &Inner| inner.read_events(OPERATION, &tenant, campaign, from, limit);
        self.blocking(OPERATION, read).await
    }

    async fn device_events(
        &self,
        tenant: &TenantId,
        device: &DevId,
        limit: usize,
    ) -> Result<Vec<(CampaignId, JobEvent)>, StoreError> {
        const OPERATION: &str = "read events of a device";
        let prefix = keys::device_end(OPERATION, tenant, device)?;
        let broken = |what: &'static str| StoreError::corrupt(OPERATION, what);
        let rows = self.0.engine.scan(OPERATION, Space::DeviceEvents, &prefix, Bound::Included(&prefix));
        let mut events = Vec::new();
        for row in rows.take(limit) {
            let (_, ledger_key) = row?;
            let offset_at = ledger_key.len().checked_sub(8).ok_or_else(|| broken("index names no offset"))?;
            let campaign =
                keys::last_u64(&ledger_key[..offset_at]).ok_or_else(|| broken("index names no campaign"))?;
            let stored = self
                .0
                .engine
                .read(OPERATION, Space::Ledger, &ledger_key)?
                .ok_or_else(|| broken("index names an event that is not there"))?;
            let event: EventRecord = records::decode(OPERATION, &stored)?;
            events.push((CampaignId(campaign), event.into()));
        }
        Ok(events)
    }

    async fn wait_events(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        from: u64,
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "wait for events";
        let ledger = keys::campaign(OPERATION, tenant, campaign)?;
        let watched = self.0.ledgers.watch(&self.0.engine, &ledger);
        let mut watched = watched.map_err(|error| engine_error(OPERATION, error))?;
        // Both the end of the wait and the end of the store mean: look again.
        let _ = tokio::time::timeout(WAIT_MAX, watched.wait_for(|&next| next > from)).await;
        Ok(())
    }
}
