//! Which campaigns this process works on: it takes up those that are its own, and lets go of those that are not any more.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use campaign::CampaignId;
use storage::ErrorKind;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    CampaignService, Process, ServiceError,
    live::restore,
    owner::{End, Inbox, Means, Owner},
    service::{Handle, Inner, decode_state},
};

/// Commands that may wait for an owner.
const COMMANDS_MAX: usize = 64;
/// How often campaigns are looked for that others have started: one small read each time.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often all campaigns are listed, for those that came by another way than a start.
const LIST_EVERY: Duration = Duration::from_secs(60);
/// Pauses between claims of a campaign that another process claims too, or whose stores fail.
const CLAIM_PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// An owner that came so far was not in anybody's way: the next pause is short again.
const CLAIM_HELD: Duration = Duration::from_secs(10);

/// What the look-out has seen.
#[derive(Default)]
struct Seen {
    /// The last start that stands in its campaign's record, and that all before it were looked at.
    start: u64,
    listed: Option<Instant>,
}

impl CampaignService {
    /// Takes up the campaigns that are this process's and running, and runs them and those started later, here or in
    /// another process, until `shutdown`; then writes their checkpoints and returns. A process that dies instead loses
    /// nothing: who claims its campaigns next reads more of the ledger. A store that cannot be reached is asked again.
    ///
    /// # Errors
    ///
    /// [`ServiceError`] when the list of campaigns can be reached and not be read. A single campaign that cannot is logged and
    /// left alone.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<(), ServiceError> {
        let Inner { process, tasks, wake, is_running, .. } = &*self.0;
        let stop = self.0.shutdown.clone();
        let _stop_owners = stop.clone().drop_guard();
        is_running.store(true, Ordering::Relaxed);
        let service = self.clone();
        tasks.spawn(async move { service.serve_mailboxes().await });
        let mut seen = Seen::default();
        while !shutdown.is_cancelled() {
            match self.look(&mut seen).await {
                Err(ServiceError::Store(error)) if error.kind == ErrorKind::Corrupt => {
                    return Err(error.into());
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "could not look for campaigns");
                }
                Ok(()) => {}
            }
            self.reconcile();
            self.show();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = process.ownership.changed() => {}
                () = wake.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        is_running.store(false, Ordering::Relaxed);
        stop.cancel();
        tasks.close();
        tasks.wait().await;
        // Who has them from now on shows them.
        self.show();
        Ok(())
    }

    /// Shows what this process's owners see.
    fn show(&self) {
        let owned: Vec<_> = self.owners().values().filter_map(Handle::live).collect();
        let Process { clock, metrics, .. } = &self.0.process;
        metrics.observe(&owned, self.known().len(), clock());
    }

    /// Finds campaigns that were started and are not known yet.
    async fn look(&self, seen: &mut Seen) -> Result<(), ServiceError> {
        let Inner { stores, tenant, .. } = &*self.0;
        let last = stores.starts.last_start(tenant).await?;
        if last > seen.start {
            self.carry_through(last).await?;
            if seen.listed.is_some() {
                for number in seen.start + 1..=last {
                    let start = stores.starts.start(tenant, number).await?;
                    self.known().extend(start.map(|start| start.campaign));
                }
            }
            seen.start = last;
        }
        if seen.listed.is_none_or(|at| at.elapsed() >= LIST_EVERY) {
            for record in stores.campaigns.list(tenant).await? {
                match decode_state(&record.value) {
                    Ok(stored) if stored.start.is_some() && !stored.run.is_over() => {
                        self.known().insert(record.value.id);
                    }
                    // Its owner, wherever it was, is through with it.
                    Ok(stored) if stored.run.is_over() && self.handle(record.value.id).is_none() => {
                        self.known().remove(&record.value.id);
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::error!(error = &error as &dyn std::error::Error, "campaign is left alone");
                    }
                }
            }
            seen.listed = Some(Instant::now());
        }
        Ok(())
    }

    /// Gives each campaign that is this process's an owner, and takes it from each that is not.
    fn reconcile(&self) {
        let Inner { process, tenant, .. } = &*self.0;
        let known: Vec<CampaignId> = self.known().iter().copied().collect();
        for id in known {
            if process.ownership.owns(tenant, id) {
                self.own(id);
            } else if let Some(handle) = self.handle(id) {
                handle.stop.cancel();
            }
        }
    }

    /// A campaign has started: makes it known, and gives it its owner if that is here.
    pub(crate) fn note_started(&self, id: CampaignId) {
        let Inner { process, tenant, is_running, wake, .. } = &*self.0;
        self.known().insert(id);
        if is_running.load(Ordering::Relaxed) && process.ownership.owns(tenant, id) {
            self.own(id);
        }
        wake.notify_one();
    }

    /// Makes sure that the campaign has its owner.
    fn own(&self, id: CampaignId) {
        let mut owners = self.owners();
        if owners.contains_key(&id) || self.0.shutdown.is_cancelled() {
            return;
        }
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let handle = Handle { live: Arc::default(), commands, stop: self.0.shutdown.child_token() };
        owners.insert(id, handle.clone());
        drop(owners);
        let service = self.clone();
        self.0.tasks.spawn(async move {
            let is_over = service.keep(id, &handle, &mut Inbox::new(inbox)).await;
            if is_over {
                service.known().remove(&id);
            }
            service.owners().remove(&id);
        });
    }

    /// Owns a campaign until it is over (then true) or not this process's any more. Who loses it to another claim while
    /// it should have it claims it again.
    #[tracing::instrument(name = "campaign", skip_all, fields(campaign = %id))]
    async fn keep(&self, id: CampaignId, handle: &Handle, inbox: &mut Inbox) -> bool {
        let mut pause = CLAIM_PAUSES.0;
        let is_over = loop {
            let began = Instant::now();
            match self.own_once(id, handle, inbox).await {
                Ok(End::Over) => break true,
                Ok(End::LetGo) => break false,
                Ok(End::Lost) => tracing::info!("another process has written this campaign"),
                Err(error @ (ServiceError::Corrupt { .. } | ServiceError::NotFound(_))) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "campaign is left alone");
                    break true;
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "could not take up a campaign, trying again");
                }
            }
            if began.elapsed() >= CLAIM_HELD {
                pause = CLAIM_PAUSES.0;
            }
            tokio::select! {
                biased;
                () = handle.stop.cancelled() => break false,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(CLAIM_PAUSES.1);
        };
        inbox.close();
        is_over
    }

    async fn own_once(
        &self,
        id: CampaignId,
        handle: &Handle,
        inbox: &mut Inbox,
    ) -> Result<End, ServiceError> {
        let Inner { stores, tenant, process: Process { clock, metrics, .. }, .. } = &*self.0;
        let stored = decode_state(&self.load_light(id).await?.value)?;
        if stored.start.is_none() || stored.run.is_over() {
            return Ok(End::Over);
        }
        // Before the ledger is read to its end: what is decided on it is then refused to all others. And before the record
        // is, so that the last owner's write is seen.
        let epoch = stores.jobs.claim(tenant, id).await?;
        let Some(loaded) = restore(self.load(id).await?).await? else { return Ok(End::Over) };
        let (stores, tenant) = (stores.clone(), tenant.clone());
        let means = Means { stores, tenant, clock: Arc::clone(clock), metrics: metrics.clone() };
        let owner = Owner::new(means, (id, epoch), loaded, inbox, handle.stop.clone());
        *handle.live.lock().unwrap_or_else(PoisonError::into_inner) = Some(owner.live());
        Ok(owner.run().await)
    }
}
