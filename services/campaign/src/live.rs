//! A campaign as one process sees it: what it has folded of the ledger.

use std::{
    collections::VecDeque,
    sync::{
        PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use campaign::{Campaign, CampaignId, EventKind, JobEvent, StoredState, decode_members};
use jiff::Timestamp;
use storage::{CampaignRecord, JobStore, Revision, StoreError, TenantId, Versioned};

use crate::ServiceError;

/// Events read at once.
const EVENTS: usize = 4096;
/// How far back the rate looks.
const RATE_SPAN: Duration = Duration::from_secs(60);
/// Members in octets, from which on sorting their hashes is no work for a thread that serves others.
const LARGE: usize = 16 << 10;

/// What others may see of a campaign while its owner works on it.
pub(crate) struct Live {
    state: RwLock<(Campaign, u64)>,
    rate: RwLock<VecDeque<(Timestamp, u32)>>,
    /// When the ledger last had something new, in seconds since 1970.
    moved: AtomicI64,
}

impl Live {
    pub(crate) fn new(campaign: Campaign, offset: u64) -> Self {
        Self {
            state: RwLock::new((campaign, offset)),
            rate: RwLock::default(),
            moved: AtomicI64::new(i64::MAX),
        }
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

    /// How long nothing has happened, as far as was looked.
    pub(crate) fn idle_seconds(&self, now: Timestamp) -> i64 {
        now.as_second().saturating_sub(self.moved.load(Ordering::Relaxed)).max(0)
    }

    /// Folds what the ledger has that was not read yet. Only one at a time may.
    pub(crate) async fn follow(
        &self,
        jobs: &dyn JobStore,
        tenant: &TenantId,
        id: CampaignId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let begin = self.read().1;
        loop {
            let from = self.read().1;
            let events = jobs.events(tenant, id, from, EVENTS).await?;
            let Some(&(last, _)) = events.last() else { break };
            self.fold(&events, last);
            if events.len() == EVENTS {
                // A restart reads a long ledger; others on this thread come in between.
                tokio::task::yield_now().await;
            }
        }
        // Who has just taken a campaign up has not seen it stand still.
        if self.read().1 > begin || self.moved.load(Ordering::Relaxed) == i64::MAX {
            self.moved.store(now.as_second(), Ordering::Relaxed);
        }
        let ended = self.read().0.counts().ended();
        self.note_rate(now, ended);
        Ok(())
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
pub(crate) async fn restore(record: Versioned<CampaignRecord>) -> Result<Option<Loaded>, ServiceError> {
    if record.value.members.len() < LARGE {
        return restore_now(record);
    }
    let loaded = tokio::task::spawn_blocking(move || restore_now(record)).await;
    loaded.map_err(|_| ServiceError::Unavailable)?
}

fn restore_now(record: Versioned<CampaignRecord>) -> Result<Option<Loaded>, ServiceError> {
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
