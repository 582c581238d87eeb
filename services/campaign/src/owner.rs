//! The one task that owns a running campaign: it reads the ledger, decides, and writes.

use std::{sync::Arc, time::Duration};

use campaign::{CampaignId, EventKind, Run, Start, StoredState};
use jiff::Timestamp;
use storage::{
    Epoch, ErrorKind, Revision, StoreError, TenantId,
    trace::{self, Traceparent},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    CampaignMetrics, Clock, ServiceError, Stores,
    ask::Ask,
    carry::Carrier,
    live::{Live, Loaded},
};

/// Events read at once in search of one.
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

/// Something for the owner to record in its campaign's ledger, and who waits for it.
pub(crate) struct Command {
    pub(crate) ask: Ask,
    /// What had been read of the ledger when it was asked. `None`: everything, as of the first try.
    pub(crate) after: Option<u64>,
    pub(crate) reply: oneshot::Sender<Result<(), ServiceError>>,
}

/// Commands for whoever owns the campaign in this process, now or after another claim.
pub(crate) struct Inbox {
    commands: mpsc::Receiver<Command>,
    /// Taken out, and yet to be done by who claims next.
    unfinished: Option<Command>,
}

impl Inbox {
    pub(crate) fn new(commands: mpsc::Receiver<Command>) -> Self {
        Self { commands, unfinished: None }
    }

    fn try_next(&mut self) -> Option<Command> {
        self.unfinished.take().or_else(|| self.commands.try_recv().ok())
    }

    /// Nobody answers any more: who waits asks elsewhere.
    pub(crate) fn close(&mut self) {
        self.commands.close();
        while self.try_next().is_some() {}
    }
}

/// How an owner came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The campaign is over.
    Over,
    /// It was told to end.
    LetGo,
    /// Someone else has written: what this one knows is not enough to go on.
    Lost,
}

/// What an owner works with, beside its campaign.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) stores: Stores,
    pub(crate) tenant: TenantId,
    pub(crate) clock: Clock,
    pub(crate) metrics: CampaignMetrics,
}

pub(crate) struct Owner<'i> {
    id: CampaignId,
    live: Arc<Live>,
    carrier: Carrier,
    clock: Clock,
    metrics: CampaignMetrics,
    created: Option<Timestamp>,
    start: Option<Start>,
    revision: Revision,
    /// What the stored state says.
    written: (Run, u64),
    written_at: Instant,
    inbox: &'i mut Inbox,
    stop: CancellationToken,
}

impl<'i> Owner<'i> {
    pub(crate) fn new(
        means: Means,
        (id, epoch): (CampaignId, Epoch),
        loaded: Loaded,
        inbox: &'i mut Inbox,
        stop: CancellationToken,
    ) -> Self {
        let Loaded { campaign, stored, revision } = loaded;
        let plan = campaign.plan().clone();
        let Means { stores, tenant, clock, metrics } = means;
        Self {
            id,
            live: Arc::new(Live::new(campaign, stored.offset)),
            carrier: Carrier::new(stores, tenant, id, epoch, plan, metrics.released.clone()),
            clock,
            metrics,
            created: stored.created,
            start: stored.start,
            revision,
            written: (stored.run, stored.offset),
            written_at: Instant::now(),
            inbox,
            stop,
        }
    }

    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// Runs until the campaign is over, or it is told to stop, or someone else has taken the campaign.
    pub(crate) async fn run(mut self) -> End {
        let mut pause = BACKOFF.0;
        loop {
            // The jobs that one step releases belong together.
            match trace::within(Traceparent::draw(), self.step()).await {
                Ok(None) => pause = BACKOFF.0,
                Ok(Some(end)) => return end,
                Err(error) if error.kind == ErrorKind::Conflict => return End::Lost,
                Err(error) => {
                    self.metrics.step_failures.increment();
                    tracing::warn!(error = &error as &dyn std::error::Error, "store failed, trying again");
                    tokio::select! {
                        biased;
                        () = self.stop.cancelled() => return End::LetGo,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(BACKOFF.1);
                }
            }
        }
    }

    /// Reads, decides, writes; waits where there is nothing to write.
    async fn step(&mut self) -> Result<Option<End>, StoreError> {
        self.read_ledger().await?;
        let (run, offset) = self.position();
        // Until its start stands in the ledger a campaign is only a record that says so, and takes no command.
        let has_begun = run != Run::Draft;
        if has_begun && (run != self.written.0 || (run.is_over() && offset != self.written.1)) {
            // Sessions ask the stored state whether they may hand out work.
            self.write_state().await?;
        }
        if run.is_over() {
            tracing::info!(run = run.name(), "campaign is over");
            self.answer_the_rest(&run);
            return Ok(Some(End::Over));
        }
        if self.stop.is_cancelled() {
            if has_begun && offset != self.written.1 {
                self.write_state().await?;
            }
            return Ok(Some(End::LetGo));
        }
        if has_begun && let Some(command) = self.inbox.try_next() {
            self.handle_command(command).await?;
            return Ok(None);
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
        Ok(None)
    }

    /// Folds what the ledger has that was not read yet.
    async fn read_ledger(&mut self) -> Result<(), StoreError> {
        let Carrier { stores, tenant, .. } = &self.carrier;
        self.live.follow(&*stores.jobs, tenant, self.id, (self.clock)()).await
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
    async fn handle_command(&mut self, mut command: Command) -> Result<(), StoreError> {
        let (run, offset) = self.position();
        let after = *command.after.get_or_insert(offset);
        match self.record(&command.ask, &run, after).await {
            Ok(answer) => {
                let _ = command.reply.send(answer);
                Ok(())
            }
            Err(error) if error.kind == ErrorKind::Conflict => {
                self.inbox.unfinished = Some(command);
                Err(error)
            }
            Err(error) => {
                // Whoever asked learns that it may not have been done; the loop goes on from the ledger.
                let again = StoreError { kind: error.kind, operation: error.operation, source: None };
                let _ = command.reply.send(Err(error.into()));
                Err(again)
            }
        }
    }

    async fn record(
        &mut self,
        ask: &Ask,
        run: &Run,
        after: u64,
    ) -> Result<Result<(), ServiceError>, StoreError> {
        let event = ask.event();
        if self.stands_behind(&event, after).await? {
            // It was done, and whoever did it could not say so. What came after it, came after it.
            self.write_state().await?;
            return Ok(Ok(()));
        }
        if let Some(answer) = ask.settled(self.id, run) {
            return Ok(answer);
        }
        self.carrier.record(event, (self.clock)()).await?;
        self.read_ledger().await?;
        self.write_state().await?;
        Ok(Ok(()))
    }

    /// Whether the ledger has this event of the campaign behind an offset.
    async fn stands_behind(&self, event: &EventKind, after: u64) -> Result<bool, StoreError> {
        let (_, end) = self.position();
        let Carrier { stores, tenant, .. } = &self.carrier;
        let mut from = after;
        while from < end {
            let events = stores.jobs.events(tenant, self.id, from, EVENTS).await?;
            let Some(&(last, _)) = events.last() else { break };
            if events.iter().any(|(_, found)| found.kind == *event) {
                return Ok(true);
            }
            from = last;
        }
        Ok(false)
    }

    fn answer_the_rest(&mut self, run: &Run) {
        self.inbox.commands.close();
        while let Some(Command { ask, reply, .. }) = self.inbox.try_next() {
            let _ = reply.send(ask.settled(self.id, run).unwrap_or(Err(ServiceError::Unavailable)));
        }
    }

    async fn wait(
        &mut self,
        now: Timestamp,
        offset: u64,
        at_least: Duration,
    ) -> Result<Option<End>, StoreError> {
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
            return Ok(None);
        }
        let carrier = &self.carrier;
        let command = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            command = self.inbox.commands.recv(), if self.inbox.unfinished.is_none() => command,
            waited = carrier.stores.jobs.wait_events(&carrier.tenant, self.id, offset) => {
                waited?;
                None
            }
            () = tokio::time::sleep(until_due.min(until_checkpoint)) => None,
        };
        // Something may have come while we waited, so it is done when that has been read.
        if command.is_some() {
            self.inbox.unfinished = command;
        }
        Ok(None)
    }
}
