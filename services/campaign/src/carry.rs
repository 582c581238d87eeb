//! Carrying out what a campaign decided.

use std::{collections::BTreeMap, sync::Arc};

use campaign::{CampaignId, Decision, EventKind, Job, JobEvent, Outcome, Phase, Plan, Status, Transition};
use dm_protocol::DevId;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use service_kit::metrics::Counter;
use storage::{
    Epoch, ErrorKind, Release, StoreError, TenantId,
    trace::{Kind, Span},
};

use crate::Stores;

/// Time-outs written at once: the store makes one durable step of what comes together.
const ENDS_AT_ONCE: usize = 64;
/// How long the ledger may owe the end of an attempt that has no job.
const MISSING_MAX: SignedDuration = SignedDuration::from_secs(5);
/// A campaign's clock ticks this coarsely, so a timer may seem to end this much early.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_millis(300);

/// Writes the decisions of one campaign.
pub(crate) struct Carrier {
    pub(crate) stores: Stores,
    pub(crate) tenant: TenantId,
    pub(crate) id: CampaignId,
    /// The claim that what is written stands on.
    epoch: Epoch,
    plan: Arc<Plan>,
    released: Counter,
    /// Attempts that the ledger has in flight and that have no job, with the time that was first seen.
    missing: BTreeMap<(u32, u16), Timestamp>,
}

impl Carrier {
    pub(crate) fn new(
        stores: Stores,
        tenant: TenantId,
        id: CampaignId,
        epoch: Epoch,
        plan: Plan,
        released: Counter,
    ) -> Self {
        Self { stores, tenant, id, epoch, plan: Arc::new(plan), released, missing: BTreeMap::new() }
    }

    /// Appends events about the campaign as a whole.
    pub(crate) async fn record(&self, kind: EventKind, now: Timestamp) -> Result<(), StoreError> {
        self.stores.jobs.append(&self.tenant, self.id, self.epoch, &[JobEvent::campaign(now, kind)]).await
    }

    /// Writes decisions in their order, and answers how many there was something to write for: what a session was
    /// faster with comes by the ledger. An error leaves some written and some not; the owner reads the ledger and
    /// decides again.
    pub(crate) async fn carry_out(
        &mut self,
        decisions: Vec<Decision>,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let (mut records, mut ends, mut releases) = (Vec::new(), Vec::new(), Vec::new());
        for decision in decisions {
            match decision {
                Decision::Record(kind) => records.push(JobEvent::campaign(now, kind)),
                Decision::End { .. } => ends.push(decision),
                Decision::Release { .. } => releases.push(decision),
            }
        }
        let mut written = records.len() + releases.len();
        written += self.end(ends, now).await?;
        if !records.is_empty() {
            self.stores.jobs.append(&self.tenant, self.id, self.epoch, &records).await?;
        }
        self.release(releases, now).await?;
        Ok(written)
    }

    async fn release(&self, decisions: Vec<Decision>, now: Timestamp) -> Result<(), StoreError> {
        let mut releases = Vec::with_capacity(decisions.len());
        let mut gone = Vec::new();
        let ordinals: Vec<u32> = decisions.iter().filter_map(released_ordinal).collect();
        let names = self.stores.devices.names(&self.tenant, &ordinals).await?;
        for (decision, name) in decisions.into_iter().zip(names) {
            let Decision::Release { ordinal, attempt, wave, after } = decision else { continue };
            let Some(device) = name else {
                gone.push(gone_event(ordinal, now));
                continue;
            };
            let kind = EventKind::Released { wave, after };
            let event = JobEvent { device: Some(device.clone()), ordinal, attempt, at: now, kind };
            let job = Job { campaign: self.id, ordinal, attempt, phase: Phase::Waiting, since: now };
            let trigger_until = self.trigger_until(now);
            releases.push(Release { device, job, event, trigger_until });
        }
        if !gone.is_empty() {
            self.stores.jobs.append(&self.tenant, self.id, self.epoch, &gone).await?;
        }
        if !releases.is_empty() {
            let mut span = Span::root("release jobs", Kind::Internal);
            span.set("dm.campaign.id", || self.id.to_string());
            span.set("dm.jobs", || releases.len());
            let release = self.stores.jobs.release(&self.tenant, self.id, self.epoch, &releases);
            span.attempt(release).await?;
            self.released.add(releases.len() as u64);
        }
        Ok(())
    }

    /// Until when devices that are released now are to be asked to come: as long as their job waits for them.
    fn trigger_until(&self, now: Timestamp) -> Option<Timestamp> {
        let definition = &self.plan.definition;
        definition.trigger.then(|| definition.timers.wait.after(now))
    }

    async fn end(&mut self, ends: Vec<Decision>, now: Timestamp) -> Result<usize, StoreError> {
        if ends.is_empty() {
            return Ok(0);
        }
        let this: &Self = self;
        let results: Vec<Ending> = stream::iter(ends)
            .map(|end| async move { this.end_one(&end, now).await })
            .buffer_unordered(ENDS_AT_ONCE)
            .try_collect()
            .await?;
        let mut missing = BTreeMap::new();
        for ending in &results {
            if let Ending::Missing(ordinal, attempt) = *ending {
                let first = self.missing.get(&(ordinal, attempt)).copied().unwrap_or(now);
                missing.insert((ordinal, attempt), first);
            }
        }
        self.missing = missing;
        Ok(results.iter().filter(|ending| matches!(ending, Ending::Written)).count())
    }

    /// Ends one attempt, if it is where the owner believes it to be.
    async fn end_one(&self, decision: &Decision, now: Timestamp) -> Result<Ending, StoreError> {
        let &Decision::End { ordinal, attempt, status, outcome } = decision else { return Ok(Ending::Moved) };
        let Some(device) = self.stores.devices.name(&self.tenant, ordinal).await? else {
            self.stores.jobs.append(&self.tenant, self.id, self.epoch, &[gone_event(ordinal, now)]).await?;
            return Ok(Ending::Written);
        };
        let jobs = self.stores.jobs.pending(&self.tenant, &device).await?;
        let found =
            jobs.into_iter().find(|job| job.value.campaign == self.id && job.value.attempt == attempt);
        let Some(job) = found else {
            return self.end_missing(&device, (ordinal, attempt), outcome, now).await;
        };
        if !decision.still_fits(job.value.phase) || !is_due(&job.value, outcome, &self.plan, now) {
            tracing::debug!(ordinal, attempt, %status, "a session moved the job first");
            return Ok(Ending::Moved);
        }
        let Transition { job: ended, events } = job.value.end(&device, outcome, None, None, &self.plan, now);
        let update =
            self.stores.jobs.update(&self.tenant, &device, self.id, job.revision, ended.as_ref(), &events);
        match update.await {
            Ok(_) => Ok(Ending::Written),
            Err(error) if error.kind == ErrorKind::Conflict => Ok(Ending::Moved),
            Err(error) => Err(error),
        }
    }

    /// An attempt that has no job ended between our reading and now, and the ledger will say so. If it does not for long,
    /// it never will: then the ledger alone is set right, so that the campaign comes to its end.
    async fn end_missing(
        &self,
        device: &DevId,
        (ordinal, attempt): (u32, u16),
        outcome: Outcome,
        now: Timestamp,
    ) -> Result<Ending, StoreError> {
        let first = self.missing.get(&(ordinal, attempt)).copied().unwrap_or(now);
        if now.duration_since(first) < MISSING_MAX {
            return Ok(Ending::Missing(ordinal, attempt));
        }
        tracing::warn!(ordinal, attempt, "attempt in flight has no job");
        let job = Job { campaign: self.id, ordinal, attempt, phase: Phase::Waiting, since: now };
        let events = job.end(device, outcome, None, Some("its job was lost"), &self.plan, now).events;
        let ended =
            self.stores.jobs.end_missing(&self.tenant, device, self.id, self.epoch, attempt, &events).await;
        match ended {
            Ok(()) => Ok(Ending::Written),
            // Its job came after all, or another owner did: the next step finds out which.
            Err(error) if error.kind == ErrorKind::Conflict => Ok(Ending::Moved),
            Err(error) => Err(error),
        }
    }
}

/// What became of the end of an attempt.
enum Ending {
    /// It is in the ledger.
    Written,
    /// A session was faster, and its event is on its way to us.
    Moved,
    /// There is no job of this device and attempt.
    Missing(u32, u16),
}

/// The job's own timer has ended too: a session may have moved it within the same state, and its event not be read yet.
fn is_due(job: &Job, outcome: Outcome, plan: &Plan, now: Timestamp) -> bool {
    let end = plan.timer(job.phase).period.after(job.since);
    matches!(outcome, Outcome::Cancelled) || end.duration_since(now) <= CLOCK_TOLERANCE
}

fn released_ordinal(decision: &Decision) -> Option<u32> {
    if let Decision::Release { ordinal, .. } = decision { Some(*ordinal) } else { None }
}

fn gone_event(ordinal: u32, at: Timestamp) -> JobEvent {
    let kind = EventKind::Ended {
        outcome: Outcome::Gone,
        version: None,
        detail: Some("the device is no longer known".into()),
        retry_at: None,
    };
    JobEvent { device: None, ordinal, attempt: 0, at, kind }
}

/// Where a device is, for filters that name a state.
pub(crate) fn is_in(status: Status, name: &str) -> bool {
    match name {
        "in-flight" => status.is_in_flight(),
        "ended" => status.is_last(),
        "failed" => status.name().starts_with("failed-"),
        "timed-out" => status.name().starts_with("timed-out-"),
        name => status.name() == name,
    }
}
