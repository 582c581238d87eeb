//! What operators ask about campaigns, whichever process owns them.

use campaign::{Campaign, CampaignId, EventView, Outcome, Plan, Run, Start};
use dm_protocol::DevId;
use jiff::Timestamp;
use storage::{CampaignRecord, InventoryRow};

use crate::{
    CampaignService, DeviceReport, DeviceRow, DevicesPage, OutcomeRow, Process, ServiceError, Status,
    Summary, Verification, WaveStatus,
    carry::is_in,
    live::Live,
    select,
    service::{Inner, decode_plan, decode_state},
};

/// Events read at once by reports.
const EVENTS: usize = 4096;
/// The most devices of one page.
const PAGE_MAX: usize = 1000;
/// Members looked at for one page, so that a rare state costs no long lock.
const SCAN_MAX: usize = 100_000;
/// Events of one device's report.
const DEVICE_EVENTS_MAX: usize = 1000;

impl CampaignService {
    /// All campaigns, oldest first.
    ///
    /// # Errors
    ///
    /// A store's, or [`ServiceError::Corrupt`].
    pub async fn list(&self) -> Result<Vec<Summary>, ServiceError> {
        let mut summaries = Vec::new();
        for record in self.0.stores.campaigns.list(&self.0.tenant).await? {
            let stored = decode_state(&record.value)?;
            // Of one that is over its checkpoint says all.
            let runs = stored.start.is_some() && !stored.run.is_over();
            let live = if runs { self.view(record.value.id).await? } else { None };
            summaries.push(summary(&record.value, live.as_deref())?);
        }
        Ok(summaries)
    }

    /// One campaign, as it is now.
    ///
    /// # Errors
    ///
    /// [`ServiceError::NotFound`], [`ServiceError::Corrupt`], or a store's.
    pub async fn status(&self, id: CampaignId) -> Result<Status, ServiceError> {
        let record = self.load_light(id).await?.value;
        let plan = decode_plan(&record)?;
        let live = self.view(id).await?;
        let summary = summary(&record, live.as_deref())?;
        let Some(live) = live else {
            return Ok(draft_status(summary, plan));
        };
        let ends_per_second = live.ends_per_second();
        let state = live.read();
        let (campaign, offset) = &*state;
        Ok(status(summary, plan, campaign, *offset, ends_per_second, (self.0.process.clock)()))
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
        let Inner { stores, tenant, process: Process { clock, .. }, .. } = &*self.0;
        let plan = decode_plan(&self.load_light(id).await?.value)?;
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
        let Some(live) = self.view(id).await? else { return Err(ServiceError::NotFound(id)) };
        let (believed, until) = live.read().clone();
        let mut replayed = Campaign::new(plan, &members, &start);
        let events = self.replay(id, &mut replayed, until).await?;
        Ok(compare(&believed, &replayed, u32::try_from(members.len()).unwrap_or(u32::MAX), events))
    }
}

impl CampaignService {
    async fn with_campaign<T>(
        &self,
        id: CampaignId,
        read: impl FnOnce(&Campaign, u64) -> T,
    ) -> Result<Option<T>, ServiceError> {
        Ok(self.view(id).await?.map(|live| {
            let state = live.read();
            read(&state.0, state.1)
        }))
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

fn summary(record: &CampaignRecord, live: Option<&Live>) -> Result<Summary, ServiceError> {
    let (plan, stored) = (decode_plan(record)?, decode_state(record)?);
    let (mut run, mut counts) = (stored.run.name(), stored.counts);
    if let Some(live) = live {
        let state = live.read();
        // Before the owner's first step its ledger is empty, and the campaign has started all the same.
        if *state.0.run() != Run::Draft {
            run = state.0.run().name();
        }
        counts = *state.0.counts();
    }
    let times = (stored.created, stored.start.map(|start| start.at));
    Ok(Summary::new(record.id, &plan.definition.name, run, times, counts))
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
