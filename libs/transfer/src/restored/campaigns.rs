//! Campaigns of the past.

use std::collections::BTreeMap;

use campaign::{
    Campaign, CampaignId, EventKind, Job, JobEvent, Outcome, PauseCause, Phase, Plan, Run, StoredState,
    Transition, decode_members,
};
use dm_protocol::DevId;
use jiff::Timestamp;
use storage::{Epoch, ErrorKind, StoreError, Versioned};

use super::Settled;
use crate::{Side, TransferError};

/// Events read at once.
const EVENTS: usize = 4096;
/// Who pauses campaigns.
const BY: &str = "restore";

/// What a ledger says of an attempt in flight.
#[derive(Clone, Copy)]
struct InFlight {
    ordinal: u32,
    attempt: u16,
    phase: Phase,
}

/// A campaign that was started, with its ledger read to the end.
pub(super) struct Started<'a> {
    side: &'a Side,
    id: CampaignId,
    plan: Plan,
    campaign: Campaign,
    /// Attempts in flight, by device.
    in_flight: BTreeMap<DevId, InFlight>,
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
        let mut this = Self { side, id, plan, campaign, in_flight: BTreeMap::new(), offset: 0 };
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
        loop {
            let events =
                self.side.stores.jobs.events(&self.side.tenant, self.id, self.offset, EVENTS).await?;
            let Some(&(last, _)) = events.last() else { return Ok(()) };
            for (_, event) in &events {
                self.campaign.fold(event);
                let Some(device) = &event.device else { continue };
                let &JobEvent { ordinal, attempt, .. } = event;
                match event.kind {
                    EventKind::Released { .. } => {
                        let released = InFlight { ordinal, attempt, phase: Phase::Waiting };
                        self.in_flight.insert(device.clone(), released);
                    }
                    EventKind::Moved { phase } => {
                        self.in_flight.entry(device.clone()).and_modify(|known| known.phase = phase);
                    }
                    EventKind::Ended { .. } => {
                        self.in_flight.remove(device);
                    }
                    _ => {}
                }
            }
            self.offset = last;
        }
    }

    pub(super) async fn settle(
        &self,
        settled: &mut Settled,
        taken: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), TransferError> {
        let runs = *self.campaign.run() == Run::Running;
        if self.in_flight.is_empty() && !runs {
            return Ok(());
        }
        let Side { tenant, stores, .. } = self.side;
        let epoch = stores.jobs.claim(tenant, self.id).await?;
        for (device, known) in &self.in_flight {
            let pending = stores.jobs.pending(tenant, device).await?;
            match pending.into_iter().find(|job| job.value.campaign == self.id) {
                Some(job) => settled.attempts += self.hold(device, *known, &job, now).await?,
                None => settled.lost += self.end_lost(device, *known, epoch, now).await?,
            }
        }
        if runs {
            let of = taken.map(|taken| format!(" of {taken}")).unwrap_or_default();
            let reason = format!("restored from a backup{of}: look what happened since, then resume or stop");
            let cause = PauseCause::Operator { by: BY.to_owned(), reason };
            let event = JobEvent::campaign(now, EventKind::Paused { cause });
            stores.jobs.append(tenant, self.id, epoch, &[event]).await?;
            settled.campaigns += 1;
        }
        Ok(())
    }

    /// Moves an attempt to where no Exec is sent any more, as a visit does after an Exec, and tells the ledger where it is.
    async fn hold(
        &self,
        device: &DevId,
        known: InFlight,
        job: &Versioned<Job>,
        now: Timestamp,
    ) -> Result<u64, TransferError> {
        let Transition { job: moved, mut events } = job.value.assume_exec_left(device, now);
        if events.is_empty() {
            let phase = job.value.phase;
            if phase == known.phase {
                return Ok(0);
            }
            let Job { ordinal, attempt, .. } = job.value;
            let kind = EventKind::Moved { phase };
            events = vec![JobEvent { device: Some(device.clone()), ordinal, attempt, at: now, kind }];
        }
        let Side { tenant, stores, .. } = self.side;
        stores.jobs.update(tenant, device, self.id, job.revision, moved.as_ref(), &events).await?;
        Ok(1)
    }

    /// Ends an attempt of which there is no job: nobody knows whether its Exec has left, and none of it will.
    async fn end_lost(
        &self,
        device: &DevId,
        InFlight { ordinal, attempt, .. }: InFlight,
        epoch: Epoch,
        now: Timestamp,
    ) -> Result<u64, TransferError> {
        let job = Job { campaign: self.id, ordinal, attempt, phase: Phase::Waiting, since: now };
        let ended = job.end(device, Outcome::ExecLost, None, Some("lost in a restore"), &self.plan, now);
        let Side { tenant, stores, .. } = self.side;
        match stores.jobs.end_missing(tenant, device, self.id, epoch, attempt, &ended.events).await {
            Ok(()) => Ok(1),
            // It ended before the copy, and the ledger is told so once more.
            Err(error) if error.kind == ErrorKind::Conflict => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}
