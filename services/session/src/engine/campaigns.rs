//! What campaigns are and whether they run, as sessions need to know it.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use campaign::{CampaignId, View};
use storage::{CampaignStore, StoreError, TenantId};
use tokio::time::Instant;

/// How old an answer may be. A pause reaches devices this much later at most; in between, a campaign is
/// read a few times a second and not once a device.
const FRESH: Duration = Duration::from_millis(100);
/// Campaigns remembered at once; beyond, the stale ones are forgotten.
const REMEMBERED_MAX: usize = 256;

/// Reads campaigns, and remembers them for a moment.
pub(super) struct Campaigns {
    store: Arc<dyn CampaignStore>,
    seen: RwLock<HashMap<CampaignId, (Instant, Arc<View>)>>,
}

impl Campaigns {
    pub(super) fn new(store: Arc<dyn CampaignStore>) -> Self {
        Self { store, seen: RwLock::default() }
    }

    /// The campaign; `None` when there is none of that id.
    pub(super) async fn view(
        &self,
        tenant: &TenantId,
        id: CampaignId,
    ) -> Result<Option<Arc<View>>, StoreError> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        if let Some((_, view)) = seen.filter(|(at, _)| at.elapsed() < FRESH) {
            return Ok(Some(view));
        }
        let asked = Instant::now();
        let Some(record) = self.store.load_head(tenant, id).await? else { return Ok(None) };
        let view = View::decode(&record.value.definition, &record.value.state)
            .map_err(|error| StoreError::corrupt("read campaign", error))?;
        let view = Arc::new(view);
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED_MAX {
            seen.retain(|_, (at, _)| at.elapsed() < FRESH);
        }
        // As old as the question, not as the answer.
        seen.insert(id, (asked, Arc::clone(&view)));
        Ok(Some(view))
    }
}
