//! The operations on campaigns, and the owners of those that run.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use campaign::{
    Artifact, ArtifactRef, Campaign, CampaignId, Counts, Definition, Digest, EventKind, EventView, Outcome,
    PauseCause, Plan, Preview, Run, Selection, Start, StoredState, encode_members,
};
use dm_protocol::DevId;
use jiff::Timestamp;
use storage::{CampaignRecord, InventoryRow, TenantId, Versioned};
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Clock, DeviceReport, DeviceRow, DevicesPage, OutcomeRow, ServiceError, Status, Stores, Summary,
    Verification, WaveStatus,
    carry::is_in,
    owner::{Command, Live, Owner, restore},
    select,
};

/// Commands that may wait for an owner.
const COMMANDS_MAX: usize = 64;
/// Events read at once by reports.
const EVENTS: usize = 4096;
/// The most devices of one page.
const PAGE_MAX: usize = 1000;
/// Members looked at for one page, so that a rare state costs no long lock.
const SCAN_MAX: usize = 100_000;
/// Events of one device's report.
const DEVICE_EVENTS_MAX: usize = 1000;

/// Campaigns of one tenant: the operations on them, and the owners of those that run. Clones are one service.
#[derive(Clone)]
pub struct CampaignService(Arc<Inner>);

struct Inner {
    stores: Stores,
    tenant: TenantId,
    clock: Clock,
    owners: Mutex<HashMap<CampaignId, Handle>>,
    /// Starting chooses members among those no other campaign has, so one starts at a time.
    starting: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

#[derive(Clone)]
struct Handle {
    live: Arc<Live>,
    commands: mpsc::Sender<Command>,
}

impl std::fmt::Debug for CampaignService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CampaignService").field("tenant", &self.0.tenant).finish_non_exhaustive()
    }
}

impl CampaignService {
    /// A service over these stores. Campaigns run from [`CampaignService::run`] on.
    pub fn new(stores: Stores, tenant: TenantId, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            stores,
            tenant,
            clock,
            owners: Mutex::default(),
            starting: tokio::sync::Mutex::new(()),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        }))
    }

    /// Takes up the campaigns that were running, and runs them and those started later until `shutdown`; then writes
    /// their checkpoints and returns. A process that dies instead loses nothing: the next reads more of the ledger.
    ///
    /// # Errors
    ///
    /// [`ServiceError`] when the list of campaigns cannot be read. A single campaign that cannot is logged and left alone.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<(), ServiceError> {
        let stop = self.0.shutdown.clone();
        let _stop_owners = stop.clone().drop_guard();
        for record in self.0.stores.campaigns.list(&self.0.tenant).await? {
            let id = record.value.id;
            let stored = StoredState::decode(&record.value.state);
            let runs = stored.as_ref().is_ok_and(|stored| stored.start.is_some() && !stored.run.is_over());
            if runs && let Err(error) = self.own(id).await {
                tracing::error!(campaign = %id, error = &error as &dyn std::error::Error, "could not take up a campaign");
            }
        }
        shutdown.cancelled().await;
        stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
        Ok(())
    }

    /// Creates a campaign, as a draft. With a `key`, a second call answers the first one's id.
    ///
    /// # Errors
    ///
    /// [`ServiceError::NoArtifact`], or a store's.
    pub async fn create(
        &self,
        definition: Definition,
        key: Option<&str>,
    ) -> Result<CampaignId, ServiceError> {
        let plan = self.plan(definition).await?;
        let stored = StoredState { created: Some((self.0.clock)()), ..StoredState::default() };
        let Inner { stores, tenant, .. } = &*self.0;
        let id = stores.campaigns.create(tenant, key, &plan.encode(), &stored.encode()).await?;
        tracing::info!(campaign = %id, name = plan.definition.name, "campaign created");
        Ok(id)
    }

    /// What a definition would do, without creating anything.
    ///
    /// # Errors
    ///
    /// [`ServiceError::NoArtifact`], or a store's.
    pub async fn preview(&self, definition: Definition) -> Result<Preview, ServiceError> {
        let plan = self.plan(definition).await?;
        let selection = self.select(&plan, None).await?;
        Ok(selection.preview(&plan))
    }

    /// What a draft would do if it were started now.
    ///
    /// # Errors
    ///
    /// [`ServiceError::NotFound`], or a store's.
    pub async fn preview_of(&self, id: CampaignId) -> Result<Preview, ServiceError> {
        let plan = decode_plan(&self.load(id).await?.value)?;
        Ok(self.select(&plan, Some(id)).await?.preview(&plan))
    }

    /// Chooses the members and starts a draft. Starting one that was started is nothing.
    ///
    /// The members and the start are one write: a process that dies before it leaves a draft, one that dies after it a
    /// campaign that the next process takes up.
    ///
    /// # Errors
    ///
    /// [`ServiceError::NoMembers`], [`ServiceError::NotFound`], or a store's.
    pub async fn start(&self, id: CampaignId, by: &str) -> Result<(), ServiceError> {
        let _one_at_a_time = self.0.starting.lock().await;
        let Versioned { value: record, revision } = self.load(id).await?;
        let (plan, stored) = (decode_plan(&record)?, decode_state(&record)?);
        if stored.start.is_none() {
            let selection = self.select(&plan, Some(id)).await?;
            let members = selection.members();
            if members.is_empty() && !plan.definition.allow_zero_members {
                let devices = selection.preview(&plan).devices;
                return Err(ServiceError::NoMembers { devices });
            }
            let start = Start { at: (self.0.clock)(), by: by.into() };
            let count = u32::try_from(members.len()).unwrap_or(u32::MAX);
            let counts = Counts { pending: count, ..Counts::default() };
            let stored = StoredState { run: Run::Running, start: Some(start), counts, ..stored };
            let Inner { stores, tenant, .. } = &*self.0;
            let members = encode_members(members);
            stores.campaigns.put(tenant, id, revision, Some(&members), &stored.encode()).await?;
        } else if stored.run.is_over() {
            return Ok(());
        }
        self.own(id).await
    }

    /// Gives no more work until somebody resumes; what is in flight goes on.
    ///
    /// # Errors
    ///
    /// [`ServiceError::WrongState`], [`ServiceError::NotFound`], or a store's.
    pub async fn pause(&self, id: CampaignId, by: &str, reason: &str) -> Result<(), ServiceError> {
        let cause = PauseCause::Operator { by: by.into(), reason: reason.into() };
        self.command(id, EventKind::Paused { cause }).await
    }

    /// Goes on: after a pause, over the gate that held it, or with an approval that was asked for.
    ///
    /// # Errors
    ///
    /// [`ServiceError::WrongState`], [`ServiceError::NotFound`], or a store's.
    pub async fn resume(&self, id: CampaignId, by: &str) -> Result<(), ServiceError> {
        self.command(id, EventKind::Resumed { by: by.into() }).await
    }

    /// Resumes a campaign that awaits somebody's approval for its next wave, and no other.
    ///
    /// # Errors
    ///
    /// [`ServiceError::WrongState`] when none is awaited, [`ServiceError::NotFound`], or a store's.
    pub async fn approve(&self, id: CampaignId, by: &str) -> Result<(), ServiceError> {
        let run = self.with_campaign(id, |campaign, _| campaign.run().clone()).await?;
        if !matches!(run, Some(Run::Paused(PauseCause::Approval { .. }))) {
            let found = run.map_or("draft", |run| run.name());
            let expected = "paused for approval";
            return Err(ServiceError::WrongState { campaign: id, expected, found });
        }
        self.resume(id, by).await
    }

    /// Ends the campaign: devices that were not sent an Exec are left alone, and the others come to their own end; with
    /// `hard` their ledger entries end at once, as cancelled.
    ///
    /// # Errors
    ///
    /// [`ServiceError::WrongState`], [`ServiceError::NotFound`], or a store's.
    pub async fn stop(&self, id: CampaignId, by: &str, hard: bool) -> Result<(), ServiceError> {
        self.command(id, EventKind::Stopped { by: by.into(), hard }).await
    }

    /// All campaigns, oldest first.
    ///
    /// # Errors
    ///
    /// A store's, or [`ServiceError::Corrupt`].
    pub async fn list(&self) -> Result<Vec<Summary>, ServiceError> {
        let records = self.0.stores.campaigns.list(&self.0.tenant).await?;
        records.iter().map(|record| self.summary(&record.value)).collect()
    }

    /// One campaign, as it is now.
    ///
    /// # Errors
    ///
    /// [`ServiceError::NotFound`], [`ServiceError::Corrupt`], or a store's.
    pub async fn status(&self, id: CampaignId) -> Result<Status, ServiceError> {
        let record = self.load(id).await?;
        let summary = self.summary(&record.value)?;
        let plan = decode_plan(&record.value)?;
        let Some(live) = self.live(id, record).await? else {
            return Ok(draft_status(summary, plan));
        };
        let ends_per_second = live.ends_per_second();
        let state = live.read();
        let (campaign, offset) = &*state;
        Ok(status(summary, plan, campaign, *offset, ends_per_second, (self.0.clock)()))
    }

    /// Members from the ordinal `from` on, in the state `state`: one of [`campaign::Status::name`]'s, or `in-flight`,
    /// `ended`, `failed`, `timed-out`. A page may hold fewer than `limit` (at most 1000), and even none, and have a next one.
    ///
    /// # Errors
    ///
    /// [`ServiceError::NotFound`], [`ServiceError::Corrupt`], or a store's.
    pub async fn devices(
        &self,
        id: CampaignId,
        state: Option<&str>,
        from: u32,
        limit: usize,
    ) -> Result<DevicesPage, ServiceError> {
        let limit = limit.clamp(1, PAGE_MAX);
        let page = self.with_campaign(id, |campaign, _| page_of(campaign, state, from, limit)).await?;
        let Some(mut page) = page else { return Ok(DevicesPage { devices: Vec::new(), next: None }) };
        for row in &mut page.devices {
            let name = self.0.stores.devices.name(&self.0.tenant, row.ordinal).await?;
            row.device = name.map_or_else(String::new, |name| name.to_string());
        }
        Ok(page)
    }

    /// Why a device did or did not update: its state, what it waits for, and its history in this campaign.
    /// `None`: no such device.
    ///
    /// # Errors
    ///
    /// [`ServiceError::NotFound`], [`ServiceError::Corrupt`], or a store's.
    pub async fn explain(
        &self,
        id: CampaignId,
        device: &DevId,
    ) -> Result<Option<DeviceReport>, ServiceError> {
        let Inner { stores, tenant, clock, .. } = &*self.0;
        let plan = decode_plan(&self.load(id).await?.value)?;
        let Some(found) = stores.devices.load(tenant, device).await? else { return Ok(None) };
        let row = InventoryRow::from(found.value);
        let now = clock();
        let member =
            self.with_campaign(id, |campaign, _| campaign.explain(row.ordinal, now)).await?.flatten();
        let refusal =
            if member.is_some() { None } else { select::refusal(stores, tenant, &plan, &row).await? };
        let events = stores.jobs.device_events(tenant, device, DEVICE_EVENTS_MAX).await?;
        let own = events.iter().filter(|(campaign, _)| *campaign == id);
        let mut events: Vec<_> = own.map(|(_, event)| EventView::from(event)).collect();
        events.reverse();
        let refusal = refusal.map(campaign::Refusal::name);
        Ok(Some(DeviceReport { device: device.to_string(), member, refusal, events }))
    }

    /// The ledger from the offset `from` on: at most `limit` events, and the offset after them.
    ///
    /// # Errors
    ///
    /// A store's.
    pub async fn events(
        &self,
        id: CampaignId,
        from: u64,
        limit: usize,
    ) -> Result<(Vec<EventView>, u64), ServiceError> {
        let limit = limit.clamp(1, EVENTS);
        let events = self.0.stores.jobs.events(&self.0.tenant, id, from, limit).await?;
        let next = events.last().map_or(from, |(offset, _)| *offset);
        Ok((events.iter().map(|(_, event)| EventView::from(event)).collect(), next))
    }

    /// Recomputes every counter from the whole ledger and compares it with what the owner believes.
    ///
    /// # Errors
    ///
    /// [`ServiceError::NotFound`], [`ServiceError::WrongState`] for a draft, [`ServiceError::Corrupt`], or a store's.
    pub async fn verify(&self, id: CampaignId) -> Result<Verification, ServiceError> {
        let record = self.load(id).await?;
        let corrupt = |source| ServiceError::Corrupt { campaign: id, source };
        let (plan, stored) = (decode_plan(&record.value)?, decode_state(&record.value)?);
        let members = match &stored.start {
            Some(_) => campaign::decode_members(&record.value.members).map_err(corrupt)?,
            None => {
                return Err(ServiceError::WrongState { campaign: id, expected: "started", found: "draft" });
            }
        };
        let start = stored.start.clone().unwrap_or(Start { at: Timestamp::UNIX_EPOCH, by: String::new() });
        let Some(live) = self.live(id, record).await? else { return Err(ServiceError::NotFound(id)) };
        let (believed, until) = live.read().clone();
        let mut replayed = Campaign::new(plan, &members, &start);
        let events = self.replay(id, &mut replayed, until).await?;
        Ok(compare(&believed, &replayed, u32::try_from(members.len()).unwrap_or(u32::MAX), events))
    }
}

impl CampaignService {
    async fn load(&self, id: CampaignId) -> Result<Versioned<CampaignRecord>, ServiceError> {
        let found = self.0.stores.campaigns.load(&self.0.tenant, id).await?;
        found.ok_or(ServiceError::NotFound(id))
    }

    /// Fills in what a definition leaves open.
    async fn plan(&self, definition: Definition) -> Result<Plan, ServiceError> {
        let artifacts = self.0.stores.artifacts.list(&self.0.tenant).await?;
        let wanted: &ArtifactRef = &definition.artifact;
        // The newest comes first.
        let found = artifacts.into_iter().find(|artifact| match &wanted.digest {
            Some(digest) => digest.0 == artifact.digest,
            None => {
                wanted.name.as_ref() == Some(&artifact.name)
                    && wanted.version.as_ref().is_none_or(|version| *version == artifact.version)
            }
        });
        let found = found.ok_or_else(|| ServiceError::NoArtifact(wanted.to_string()))?;
        let artifact = Artifact {
            digest: Digest(found.digest),
            size: found.size,
            name: found.name,
            version: found.version,
        };
        Ok(Plan::new(definition, artifact, draw_seed()))
    }

    async fn select(&self, plan: &Plan, own: Option<CampaignId>) -> Result<Selection, ServiceError> {
        let others: Vec<Arc<Live>> = self
            .owners()
            .iter()
            .filter(|(id, _)| Some(**id) != own)
            .map(|(_, handle)| Arc::clone(&handle.live))
            .collect();
        let taken = move |ordinal| {
            others.iter().any(|live| live.read().0.status(ordinal).is_some_and(|status| !status.is_last()))
        };
        Ok(select::select(&self.0.stores, &self.0.tenant, plan, taken).await?)
    }

    fn owners(&self) -> std::sync::MutexGuard<'_, HashMap<CampaignId, Handle>> {
        self.0.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, id: CampaignId) -> Option<Handle> {
        self.owners().get(&id).cloned()
    }

    /// Makes sure that the campaign has its owner.
    async fn own(&self, id: CampaignId) -> Result<(), ServiceError> {
        if self.handle(id).is_some() || self.0.shutdown.is_cancelled() {
            return Ok(());
        }
        let record = self.load(id).await?;
        // Sorting a million hashes is no work for a thread that serves others.
        let loaded = tokio::task::spawn_blocking(move || restore(record)).await;
        let Some(loaded) = loaded.map_err(|_| ServiceError::Unavailable)?? else { return Ok(()) };
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let Inner { stores, tenant, clock, shutdown, .. } = &*self.0;
        // Before the ledger is read to its end: what is decided on it is then refused to all others.
        let epoch = stores.jobs.claim(tenant, id).await?;
        let means = (stores.clone(), tenant.clone(), Arc::clone(clock));
        let owner = Owner::new(means, (id, epoch), loaded, inbox, shutdown.child_token());
        {
            let mut owners = self.owners();
            if owners.contains_key(&id) {
                return Ok(());
            }
            owners.insert(id, Handle { live: owner.live(), commands });
        }
        let service = self.clone();
        self.0.tasks.spawn(async move {
            owner.run().await;
            service.owners().remove(&id);
        });
        Ok(())
    }

    async fn command(&self, id: CampaignId, kind: EventKind) -> Result<(), ServiceError> {
        let Some(handle) = self.handle(id) else {
            let found = decode_state(&self.load(id).await?.value)?.run;
            let stop_again = matches!((&kind, &found), (EventKind::Stopped { .. }, Run::Stopped));
            return match found {
                _ if stop_again => Ok(()),
                Run::Running | Run::Paused(_) | Run::Stopping { .. } => Err(ServiceError::Unavailable),
                found => Err(ServiceError::WrongState {
                    campaign: id,
                    expected: "running or paused",
                    found: found.name(),
                }),
            };
        };
        let (reply, answer) = oneshot::channel();
        let sent = handle.commands.send(Command { kind, reply }).await;
        sent.map_err(|_| ServiceError::Unavailable)?;
        answer.await.unwrap_or(Err(ServiceError::Unavailable))
    }

    /// What the campaign's owner sees; for one that has none, what it left, with the rest of the ledger. `None`: a draft.
    async fn live(
        &self,
        id: CampaignId,
        record: Versioned<CampaignRecord>,
    ) -> Result<Option<Arc<Live>>, ServiceError> {
        if let Some(handle) = self.handle(id) {
            return Ok(Some(handle.live));
        }
        let loaded = tokio::task::spawn_blocking(move || restore(record)).await;
        let Some(loaded) = loaded.map_err(|_| ServiceError::Unavailable)?? else { return Ok(None) };
        let (mut campaign, mut offset) = (loaded.campaign, loaded.stored.offset);
        loop {
            let events = self.0.stores.jobs.events(&self.0.tenant, id, offset, EVENTS).await?;
            let Some(&(last, _)) = events.last() else { break };
            events.iter().for_each(|(_, event)| campaign.fold(event));
            offset = last;
        }
        Ok(Some(Arc::new(Live::new(campaign, offset))))
    }

    async fn with_campaign<T>(
        &self,
        id: CampaignId,
        read: impl FnOnce(&Campaign, u64) -> T,
    ) -> Result<Option<T>, ServiceError> {
        let live = match self.handle(id) {
            Some(handle) => Some(handle.live),
            None => self.live(id, self.load(id).await?).await?,
        };
        Ok(live.map(|live| {
            let state = live.read();
            read(&state.0, state.1)
        }))
    }

    fn summary(&self, record: &CampaignRecord) -> Result<Summary, ServiceError> {
        let (plan, stored) = (decode_plan(record)?, decode_state(record)?);
        let (mut run, mut counts) = (stored.run.name(), stored.counts);
        if let Some(handle) = self.handle(record.id) {
            let state = handle.live.read();
            // Before the owner's first step its ledger is empty, and the campaign has started all the same.
            if *state.0.run() != Run::Draft {
                run = state.0.run().name();
            }
            counts = *state.0.counts();
        }
        let times = (stored.created, stored.start.map(|start| start.at));
        Ok(Summary::new(record.id, &plan.definition.name, run, times, counts))
    }

    /// Folds the ledger up to an offset.
    async fn replay(&self, id: CampaignId, campaign: &mut Campaign, until: u64) -> Result<u64, ServiceError> {
        let (mut offset, mut count) = (0, 0);
        while offset < until {
            let events = self.0.stores.jobs.events(&self.0.tenant, id, offset, EVENTS).await?;
            if events.is_empty() {
                break;
            }
            for (after, event) in events.iter().filter(|(after, _)| *after <= until) {
                campaign.fold(event);
                count += 1;
                offset = *after;
            }
            tokio::task::yield_now().await;
        }
        Ok(count)
    }
}

fn decode_plan(record: &CampaignRecord) -> Result<Plan, ServiceError> {
    Plan::decode(&record.definition).map_err(|source| ServiceError::Corrupt { campaign: record.id, source })
}

fn decode_state(record: &CampaignRecord) -> Result<StoredState, ServiceError> {
    StoredState::decode(&record.state).map_err(|source| ServiceError::Corrupt { campaign: record.id, source })
}

fn draw_seed() -> u64 {
    let mut seed = [0; 8];
    // Without entropy the waves are those of seed 0: unlucky, never wrong. What was drawn is stored and shown.
    let _ = getrandom::fill(&mut seed);
    // Definitions are written in TOML too, whose numbers have 63 bits.
    u64::from_le_bytes(seed) >> 1
}

fn draft_status(summary: Summary, plan: Plan) -> Status {
    Status {
        summary,
        cause: None,
        plan,
        members: 0,
        in_flight: 0,
        ended: 0,
        waves: Vec::new(),
        outcomes: Vec::new(),
        ended_per_minute: None,
        eta: None,
        ledger_offset: 0,
        ignored_events: 0,
    }
}

fn status(
    summary: Summary,
    plan: Plan,
    campaign: &Campaign,
    offset: u64,
    ends_per_second: Option<f64>,
    now: Timestamp,
) -> Status {
    let counts = campaign.counts();
    let waves = (0..).zip(campaign.wave_counts()).map(|(wave, counts)| WaveStatus {
        wave,
        open: wave < campaign.waves_open(),
        members: counts.members(),
        counts: *counts,
    });
    let mut outcomes: Vec<_> = campaign
        .outcomes()
        .iter()
        .map(|(outcome, &devices)| OutcomeRow { outcome: outcome.name(), code: outcome.code(), devices })
        .collect();
    outcomes.sort_by_key(|row| std::cmp::Reverse(row.devices));
    let ends_per_second = ends_per_second.filter(|_| !campaign.run().is_over());
    let left = f64::from(counts.members() - counts.ended());
    let eta =
        ends_per_second.filter(|rate| *rate > 0.0 && *campaign.run() == Run::Running).and_then(|rate| {
            let left = jiff::SignedDuration::try_from_secs_f64(left / rate).ok()?;
            now.checked_add(left).ok()
        });
    Status {
        cause: match campaign.run() {
            Run::Paused(cause) => Some(cause.clone()),
            _ => None,
        },
        summary: Summary { counts: *counts, ..summary },
        plan,
        members: counts.members(),
        in_flight: counts.in_flight(),
        ended: counts.ended(),
        waves: waves.collect(),
        outcomes,
        ended_per_minute: ends_per_second.map(|rate| rate * 60.0),
        eta,
        ledger_offset: offset,
        ignored_events: campaign.ignored(),
    }
}

fn page_of(campaign: &Campaign, state: Option<&str>, from: u32, limit: usize) -> DevicesPage {
    let mut page = DevicesPage { devices: Vec::new(), next: None };
    for (at, (ordinal, status)) in campaign.members_from(from).enumerate() {
        if page.devices.len() == limit || at == SCAN_MAX {
            page.next = Some(ordinal);
            break;
        }
        if state.is_none_or(|state| is_in(status, state)) {
            page.devices.push(DeviceRow {
                device: String::new(),
                ordinal,
                status: status.name(),
                wave: campaign.wave(ordinal).unwrap_or(0),
                attempt: campaign.attempt(ordinal).unwrap_or(0),
                code: campaign.outcome(ordinal).and_then(Outcome::code),
            });
        }
    }
    page
}

fn compare(believed: &Campaign, replayed: &Campaign, members: u32, events: u64) -> Verification {
    let mut differences = Vec::new();
    let counts = *replayed.counts();
    if counts.members() != members {
        differences.push(format!("{} devices are in a state, {members} are members", counts.members()));
    }
    let ended: u32 = replayed.outcomes().values().sum();
    if ended != counts.ended() {
        differences.push(format!("{ended} outcomes, {} devices ended", counts.ended()));
    }
    if believed.counts() != replayed.counts() {
        differences.push(format!("the owner counts {:?}, the ledger {counts:?}", believed.counts()));
    }
    let apart = believed.members_from(0).zip(replayed.members_from(0)).filter(|(one, other)| one != other);
    for ((ordinal, one), (_, other)) in apart.take(10) {
        differences.push(format!("device {ordinal}: the owner says {one}, the ledger {other}"));
    }
    if differences.is_empty() && believed != replayed {
        differences.push("the owner's timers or gates are not those of the ledger".into());
    }
    Verification { adds_up: differences.is_empty(), members, events, counts, differences }
}
