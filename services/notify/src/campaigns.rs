//! Whether campaigns want their devices now.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use campaign::{CampaignId, Run, View};
use storage::{CampaignStore, StoreError, TenantId};

/// How old an answer may be: a device that is asked this long after a pause finds no work, and that is all.
const FRESH: Duration = Duration::from_secs(1);
/// Campaigns remembered at once.
const REMEMBERED_MAX: usize = 256;

/// Where a campaign is, as far as triggers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Devices are to come.
    Now,
    /// Not before it goes on.
    Later,
    /// Never again.
    Never,
}

type Key = (TenantId, CampaignId);

/// Reads campaigns, and remembers them for a moment.
pub(crate) struct Campaigns {
    store: Arc<dyn CampaignStore>,
    seen: Mutex<HashMap<Key, (Instant, Wish)>>,
}

impl Campaigns {
    pub(crate) fn new(store: Arc<dyn CampaignStore>) -> Self {
        Self { store, seen: Mutex::default() }
    }

    pub(crate) async fn wish(&self, tenant: &TenantId, id: CampaignId) -> Result<Wish, StoreError> {
        let key = (tenant.clone(), id);
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if let Some((_, wish)) = seen.filter(|(at, _)| at.elapsed() < FRESH) {
            return Ok(wish);
        }
        let wish = match self.store.load(tenant, id).await? {
            None => Wish::Never,
            Some(record) => {
                let view = View::decode(&record.value.definition, &record.value.state)
                    .map_err(|error| StoreError::corrupt("read campaign", error))?;
                wish(&view.run)
            }
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED_MAX {
            seen.retain(|_, (at, _)| at.elapsed() < FRESH);
        }
        seen.insert(key, (Instant::now(), wish));
        Ok(wish)
    }
}

/// A campaign that stops softly still waits for those in flight, so they are still asked to come.
fn wish(run: &Run) -> Wish {
    match run {
        Run::Running | Run::Stopping { hard: false } => Wish::Now,
        // The owner says that it runs a moment after the ledger does.
        Run::Draft | Run::Paused(_) => Wish::Later,
        Run::Stopping { hard: true } | Run::Finished | Run::Stopped => Wish::Never,
    }
}
