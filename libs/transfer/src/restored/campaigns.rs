//! Campaigns of the past.

use std::collections::BTreeMap;

use campaign::{
    Campaign, CampaignId, EventKind, Job, JobEvent, Outcome, PauseCause, Phase, Plan, Run, StoredState,
    Transition, decode_members,
};
use dm_protocol::DevId;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use storage::{Epoch, ErrorKind, StoreError, Versioned};

use super::{AT_ONCE, Settled};
use crate::{Side, TransferError};

/// Events read at once.
const EVENTS: usize = 4096;
/// Who pauses campaigns.
const BY: &str = "restore";

/// What a ledger says of a device's last attempt.
#[derive(Clone, Copy)]
struct Known {
    ordinal: u32,
    attempt: u16,
    phase: Phase,
    /// How often it moved.
    moves: u32,
    has_ended: bool,
}

/// What was done for one device.
#[derive(Clone, Copy)]
enum Done {
    Nothing,
    /// Its attempt sends no Exec any more.
    Held,
    /// Its attempt has ended, as nobody knows what became of it.
    Lost,
}

/// A campaign that was started, with its ledger read to the end.
pub(super) struct Started<'a> {
    side: &'a Side,
    id: CampaignId,
    plan: Plan,
    campaign: Campaign,
    devices: BTreeMap<DevId, Known>,
    /// The ledger's offset behind the last event.
    offset: u64,
}

impl<'a> Started<'a> {
    /// `None` for a draft. The checkpoint of the record is passed over, and made anew.
    pub(super) async fn read(side: &'a Side, id: CampaignId) -> Result<Option<Self>, TransferError> {
        const OPERATION: &str = "read campaign";
        let Side { tenant, stores, .. } = side;
        let corrupt = |error| StoreError::corrupt(OPERATION, error);
        let record =
            stores.campaigns.load(tenant, id).await?.ok_or_else(|| StoreError::missing(OPERATION))?;
        let stored = StoredState::decode(&record.value.state).map_err(corrupt)?;
        let Some(start) = &stored.start else { return Ok(None) };
        let plan = Plan::decode(&record.value.definition).map_err(corrupt)?;
        let members = decode_members(&record.value.members).map_err(corrupt)?;
        let campaign = Campaign::new(plan.clone(), &members, start);
        let mut this = Self { side, id, plan, campaign, devices: BTreeMap::new(), offset: 0 };
        this.read_ledger().await?;
        let renewed = StoredState {
            run: this.campaign.run().clone(),
            counts: *this.campaign.counts(),
            offset: this.offset,
            checkpoint: this.campaign.checkpoint(),
            ..stored
        };
        stores.campaigns.put(tenant, id, record.revision, None, &renewed.encode()).await?;
        Ok(Some(this))
    }

    async fn read_ledger(&mut self) -> Result<(), TransferError> {
        let Side { tenant, stores, .. } = self.side;
        loop {
            let events = stores.jobs.events(tenant, self.id, self.offset, EVENTS).await?;
            let Some(&(last, _)) = events.last() else { return Ok(()) };
            for (_, event) in &events {
                self.campaign.fold(event);
                if let Some(device) = &event.device {
                    self.note(device, event);
                }
            }
            self.offset = last;
        }
    }

    fn note(&mut self, device: &DevId, event: &JobEvent) {
        let &JobEvent { ordinal, attempt, ref kind, .. } = event;
        if let EventKind::Released { .. } = kind {
            let phase = Phase::Waiting;
            self.devices
                .insert(device.clone(), Known { ordinal, attempt, phase, moves: 0, has_ended: false });
            return;
        }
        let Some(known) = self.devices.get_mut(device).filter(|known| known.attempt == attempt) else {
            return;
        };
        match kind {
            EventKind::Moved { phase } => {
                known.phase = *phase;
                known.moves += 1;
            }
            EventKind::Ended { .. } => known.has_ended = true,
            _ => {}
        }
    }

    pub(super) async fn settle(
        &self,
        settled: &mut Settled,
        taken: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), TransferError> {
        if self.campaign.run().is_over() {
            // No session works on a job of it.
            return Ok(());
        }
        let Side { tenant, stores, .. } = self.side;
        let epoch = stores.jobs.claim(tenant, self.id).await?;
        let mut done = stream::iter(&self.devices)
            .map(|(device, known)| self.settle_device(device, *known, epoch, now))
            .buffer_unordered(AT_ONCE);
        while let Some(done) = done.try_next().await? {
            match done {
                Done::Nothing => {}
                Done::Held => settled.attempts += 1,
                Done::Lost => settled.lost += 1,
            }
        }
        if *self.campaign.run() == Run::Running {
            let of = taken.map(|taken| format!(" of {taken}")).unwrap_or_default();
            let reason = format!("restored from a backup{of}: look what happened since, then resume or stop");
            let cause = PauseCause::Operator { by: BY.to_owned(), reason };
            let event = JobEvent::campaign(now, EventKind::Paused { cause });
            stores.jobs.append(tenant, self.id, epoch, &[event]).await?;
            settled.campaigns += 1;
        }
        Ok(())
    }

    /// Brings the device's job and the ledger to say the same.
    async fn settle_device(
        &self,
        device: &DevId,
        known: Known,
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<Done, TransferError> {
        let Side { tenant, stores, .. } = self.side;
        let pending = stores.jobs.pending(tenant, device).await?;
        let job = pending.into_iter().find(|job| job.value.campaign == self.id);
        if let Some(job) = job {
            let attempt = job.value.attempt;
            if attempt > known.attempt || (attempt == known.attempt && !known.has_ended) {
                return self.hold(device, known, &job, now).await;
            }
            // The ledger has gone on since: what it says is over is not begun again.
            stores.jobs.update(tenant, device, self.id, job.revision, None, &[]).await?;
        }
        if known.has_ended { Ok(Done::Nothing) } else { self.end_lost(device, known, epoch, now).await }
    }

    /// Moves an attempt to where no Exec is sent any more, as a visit does after an Exec, and tells the ledger where it is.
    async fn hold(
        &self,
        device: &DevId,
        known: Known,
        job: &Versioned<Job>,
        now: Timestamp,
    ) -> Result<Done, TransferError> {
        let Side { tenant, stores, .. } = self.side;
        let (mut revision, job) = (job.revision, &job.value);
        let Transition { job: moved, mut events } = job.assume_exec_left(device, now);
        let is_behind = job.attempt == known.attempt && job.phase.stage() < known.phase.stage();
        if events.is_empty() {
            let phase = job.phase;
            if job.attempt == known.attempt && phase == known.phase {
                return Ok(Done::Nothing);
            }
            let &Job { ordinal, attempt, .. } = job;
            let kind = EventKind::Moved { phase };
            events = vec![JobEvent { device: Some(device.clone()), ordinal, attempt, at: now, kind }];
        }
        // A ledger leaves out what it has had, by the revision of the job, and knows revisions that this job is still to
        // have: one for each of its moves, at most.
        let passed_over = if is_behind { known.moves } else { 0 };
        for _ in 0..passed_over {
            let passed = stores.jobs.update(tenant, device, self.id, revision, Some(job), &[]).await?;
            revision = passed.unwrap_or(revision);
        }
        stores.jobs.update(tenant, device, self.id, revision, moved.as_ref(), &events).await?;
        Ok(Done::Held)
    }

    /// Ends an attempt of which there is no job: nobody knows whether its Exec has left, and none of it will.
    async fn end_lost(
        &self,
        device: &DevId,
        Known { ordinal, attempt, .. }: Known,
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<Done, TransferError> {
        let job = Job { campaign: self.id, ordinal, attempt, phase: Phase::Waiting, since: now };
        let ended = job.end(device, Outcome::ExecLost, None, Some("lost in a restore"), &self.plan, now);
        let Side { tenant, stores, .. } = self.side;
        match stores.jobs.end_missing(tenant, device, self.id, epoch, attempt, &ended.events).await {
            Ok(()) => Ok(Done::Lost),
            // It ended before the copy, and the ledger is told so once more.
            Err(error) if error.kind == ErrorKind::Conflict => Ok(Done::Nothing),
            Err(error) => Err(error.into()),
        }
    }
}
