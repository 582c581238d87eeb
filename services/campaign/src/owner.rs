//! The one task that owns a running campaign: it reads the ledger, decides, and writes.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use campaign::{Campaign, CampaignId, EventKind, JobEvent, Run, Start, StoredState, decode_members};
use jiff::Timestamp;
use storage::{CampaignRecord, Epoch, Revision, StoreError, TenantId, Versioned};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{Clock, ServiceError, Stores, carry::Carrier};

/// Events read at once.
const EVENTS: usize = 4096;
/// Decisions written at once.
const DECISIONS: usize = 2048;
/// How often a checkpoint is written while there is something new.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);
/// The shortest sleeps, with nothing decided and with nothing of it written: the store is never asked in a tight loop.
const SLEEP_MIN: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));
/// The longest sleep: a store whose `wait_events` misses one is asked again.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// Pauses between tries while a store fails.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// How far back the rate looks.
const RATE_SPAN: Duration = Duration::from_secs(60);

/// Something for the owner to record in its campaign's ledger, and who waits for it.
pub(crate) struct Command {
    pub(crate) kind: EventKind,
    pub(crate) reply: oneshot::Sender<Result<(), ServiceError>>,
}

/// What others may see of a campaign while its owner works on it.
pub(crate) struct Live {
    state: RwLock<(Campaign, u64)>,
    rate: RwLock<VecDeque<(Timestamp, u32)>>,
}

impl Live {
    pub(crate) fn new(campaign: Campaign, offset: u64) -> Self {
        Self { state: RwLock::new((campaign, offset)), rate: RwLock::default() }
    }

    /// The campaign as of now, and the ledger's offset it has read to. Hold it shortly: the owner waits for it.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, (Campaign, u64)> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Devices that came to their end, a second, lately.
    pub(crate) fn ends_per_second(&self) -> Option<f64> {
        let rate = self.rate.read().unwrap_or_else(PoisonError::into_inner);
        let ((from, before), (to, after)) = (*rate.front()?, *rate.back()?);
        let secs = to.duration_since(from).as_secs_f64();
        (secs >= 1.0).then(|| f64::from(after.saturating_sub(before)) / secs)
    }

    fn fold(&self, events: &[(u64, JobEvent)], last: u64) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for (_, event) in events {
            log(event);
            state.0.fold(event);
        }
        state.1 = last;
    }

    fn note_rate(&self, now: Timestamp, ended: u32) {
        let mut rate = self.rate.write().unwrap_or_else(PoisonError::into_inner);
        let recent = rate.back().is_some_and(|(at, _)| now.duration_since(*at).as_millis() < 500);
        if !recent {
            rate.push_back((now, ended));
        }
        let span = jiff::SignedDuration::try_from(RATE_SPAN).unwrap_or(jiff::SignedDuration::MAX);
        while rate.front().is_some_and(|(at, _)| now.duration_since(*at) > span) && rate.len() > 2 {
            rate.pop_front();
        }
    }
}

/// A stored campaign, read.
pub(crate) struct Loaded {
    pub(crate) campaign: Campaign,
    pub(crate) stored: StoredState,
    pub(crate) revision: Revision,
}

/// Reads a started campaign from its record: its checkpoint where that can be read, else nothing of the ledger yet.
pub(crate) fn restore(record: Versioned<CampaignRecord>) -> Result<Option<Loaded>, ServiceError> {
    let Versioned { value: record, revision } = record;
    let corrupt = |source| ServiceError::Corrupt { campaign: record.id, source };
    let plan = campaign::Plan::decode(&record.definition).map_err(corrupt)?;
    let mut stored = StoredState::decode(&record.state).map_err(corrupt)?;
    let Some(start) = &stored.start else { return Ok(None) };
    let members = decode_members(&record.members).map_err(corrupt)?;
    let restored = (!stored.checkpoint.is_empty())
        .then(|| Campaign::restore(plan.clone(), &members, start, &stored.checkpoint));
    let campaign = match restored {
        Some(Ok(campaign)) => campaign,
        other => {
            if let Some(Err(error)) = other {
                tracing::warn!(campaign = %record.id, %error, "reading the whole ledger");
            }
            stored.offset = 0;
            Campaign::new(plan, &members, start)
        }
    };
    Ok(Some(Loaded { campaign, stored, revision }))
}

pub(crate) struct Owner {
    id: CampaignId,
    live: Arc<Live>,
    carrier: Carrier,
    clock: Clock,
    created: Option<Timestamp>,
    start: Option<Start>,
    revision: Revision,
    /// What the stored state says.
    written: (Run, u64),
    written_at: Instant,
    commands: mpsc::Receiver<Command>,
    shutdown: CancellationToken,
}

impl Owner {
    pub(crate) fn new(
        (stores, tenant, clock): (Stores, TenantId, Clock),
        (id, epoch): (CampaignId, Epoch),
        loaded: Loaded,
        commands: mpsc::Receiver<Command>,
        shutdown: CancellationToken,
    ) -> Self {
        let Loaded { campaign, stored, revision } = loaded;
        let plan = campaign.plan().clone();
        Self {
            id,
            live: Arc::new(Live::new(campaign, stored.offset)),
            carrier: Carrier::new(stores, tenant, id, epoch, plan),
            clock,
            created: stored.created,
            start: stored.start,
            revision,
            written: (stored.run, stored.offset),
            written_at: Instant::now(),
            commands,
            shutdown,
        }
    }

    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// Runs until the campaign is over, or shutdown, or someone else has taken the campaign.
    #[tracing::instrument(name = "campaign", skip_all, fields(campaign = %self.id))]
    pub(crate) async fn run(mut self) {
        let mut pause = BACKOFF.0;
        loop {
            match self.step().await {
                Ok(Step::Again) => pause = BACKOFF.0,
                Ok(Step::Over) => return,
                Err(error) if error.kind == storage::ErrorKind::Conflict => {
                    tracing::error!("another owner has written this campaign; this one stops");
                    return;
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "store failed, trying again");
                    tokio::select! {
                        biased;
                        () = self.shutdown.cancelled() => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(BACKOFF.1);
                }
            }
        }
    }

    /// Reads, decides, writes; waits where there is nothing to write.
    async fn step(&mut self) -> Result<Step, StoreError> {
        self.read_ledger().await?;
        let (run, offset) = self.position();
        // Until its start stands in the ledger a campaign is only a record that says so, and takes no command.
        let has_begun = run != Run::Draft;
        if has_begun && (run != self.written.0 || run.is_over()) {
            // Sessions ask the stored state whether they may hand out work.
            self.write_state().await?;
        }
        if run.is_over() {
            tracing::info!(run = run.name(), "campaign is over");
            self.refuse_commands();
            return Ok(Step::Over);
        }
        if self.shutdown.is_cancelled() {
            if has_begun {
                self.write_state().await?;
            }
            return Ok(Step::Over);
        }
        if has_begun && let Ok(command) = self.commands.try_recv() {
            self.handle_command(command).await?;
            return Ok(Step::Again);
        }
        let now = (self.clock)();
        let decisions = self.live.read().0.decide(now, DECISIONS);
        if decisions.is_empty() {
            return self.wait(now, offset, SLEEP_MIN.0).await;
        }
        if self.carrier.carry_out(decisions, now).await? == 0 {
            // Sessions were faster with all of it: their events are about to come.
            return self.wait(now, offset, SLEEP_MIN.1).await;
        }
        Ok(Step::Again)
    }

    /// Folds what the ledger has that was not read yet.
    async fn read_ledger(&mut self) -> Result<(), StoreError> {
        loop {
            let from = self.live.read().1;
            let carrier = &self.carrier;
            let events = carrier.stores.jobs.events(&carrier.tenant, self.id, from, EVENTS).await?;
            let Some(&(last, _)) = events.last() else { break };
            self.live.fold(&events, last);
            if events.len() == EVENTS {
                // A restart reads a long ledger; others on this thread come in between.
                tokio::task::yield_now().await;
            }
        }
        let ended = self.live.read().0.counts().ended();
        self.live.note_rate((self.clock)(), ended);
        Ok(())
    }

    fn position(&self) -> (Run, u64) {
        let state = self.live.read();
        (state.0.run().clone(), state.1)
    }

    async fn write_state(&mut self) -> Result<(), StoreError> {
        let (stored, position) = {
            let state = self.live.read();
            let (campaign, offset) = &*state;
            let stored = StoredState {
                run: campaign.run().clone(),
                created: self.created,
                start: self.start.clone(),
                counts: *campaign.counts(),
                offset: *offset,
                checkpoint: campaign.checkpoint(),
            };
            (stored, (campaign.run().clone(), *offset))
        };
        let Carrier { stores, tenant, .. } = &self.carrier;
        let state = stored.encode();
        self.revision = stores.campaigns.put(tenant, self.id, self.revision, None, &state).await?;
        self.written = position;
        self.written_at = Instant::now();
        Ok(())
    }

    /// Records what somebody asked for. All that was written before has been folded, so what is asked for still fits.
    async fn handle_command(&mut self, command: Command) -> Result<(), StoreError> {
        let Command { kind, reply } = command;
        let (run, _) = self.position();
        if let Err(refused) = permit(self.id, &run, &kind) {
            let _ = reply.send(refused.map_or(Ok(()), Err));
            return Ok(());
        }
        let now = (self.clock)();
        let done = async {
            self.carrier.record(kind, now).await?;
            self.read_ledger().await?;
            self.write_state().await
        };
        match done.await {
            Ok(()) => {
                let _ = reply.send(Ok(()));
                Ok(())
            }
            Err(error) => {
                // Whoever asked learns that it may not have been done; the loop goes on from the ledger.
                let again = StoreError { kind: error.kind, operation: error.operation, source: None };
                let _ = reply.send(Err(error.into()));
                Err(again)
            }
        }
    }

    fn refuse_commands(&mut self) {
        self.commands.close();
        let (run, _) = self.position();
        while let Ok(Command { kind, reply }) = self.commands.try_recv() {
            let refused = permit(self.id, &run, &kind).err().flatten();
            let _ = reply.send(refused.map_or(Ok(()), Err));
        }
    }

    async fn wait(&mut self, now: Timestamp, offset: u64, at_least: Duration) -> Result<Step, StoreError> {
        let next = self.live.read().0.next_deadline(now);
        let until_due = next.map_or(SLEEP_MAX, |next| {
            Duration::try_from(next.duration_since(now)).unwrap_or_default().min(SLEEP_MAX)
        });
        let until_due = until_due.max(at_least);
        let is_new = offset != self.written.1;
        let until_checkpoint =
            if is_new { CHECKPOINT_EVERY.saturating_sub(self.written_at.elapsed()) } else { SLEEP_MAX };
        if until_checkpoint.is_zero() {
            self.write_state().await?;
            return Ok(Step::Again);
        }
        let carrier = &self.carrier;
        let command = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => None,
            command = self.commands.recv() => command,
            waited = carrier.stores.jobs.wait_events(&carrier.tenant, self.id, offset) => {
                waited?;
                None
            }
            () = tokio::time::sleep(until_due.min(until_checkpoint)) => None,
        };
        if let Some(command) = command {
            // Something may have come while we waited.
            self.read_ledger().await?;
            self.handle_command(command).await?;
        }
        Ok(Step::Again)
    }
}

enum Step {
    Again,
    Over,
}

/// Whether a campaign in this state takes the command: `Err(None)` where it is done already.
fn permit(campaign: CampaignId, run: &Run, kind: &EventKind) -> Result<(), Option<ServiceError>> {
    let expected = match (kind, run) {
        (EventKind::Paused { .. }, Run::Running)
        | (EventKind::Resumed { .. }, Run::Paused(_))
        | (EventKind::Stopped { .. }, Run::Running | Run::Paused(_))
        | (EventKind::Stopped { hard: true, .. }, Run::Stopping { hard: false }) => return Ok(()),
        (EventKind::Paused { .. }, Run::Paused(_))
        | (EventKind::Resumed { .. }, Run::Running)
        | (EventKind::Stopped { .. }, Run::Stopping { .. } | Run::Stopped) => return Err(None),
        (EventKind::Paused { .. }, _) => "running",
        (EventKind::Resumed { .. }, _) => "paused",
        _ => "running or paused",
    };
    Err(Some(ServiceError::WrongState { campaign, expected, found: run.name() }))
}

fn log(event: &JobEvent) {
    match &event.kind {
        EventKind::Paused { cause } => tracing::warn!(%cause, "campaign is paused"),
        EventKind::Started { by, members } => tracing::info!(%by, members, "campaign started"),
        EventKind::WaveOpened { wave } => tracing::info!(wave, "wave is open"),
        EventKind::Resumed { by } => tracing::info!(%by, "campaign goes on"),
        EventKind::Stopped { by, hard } => tracing::info!(%by, hard, "campaign is stopped"),
        _ => {}
    }
}
