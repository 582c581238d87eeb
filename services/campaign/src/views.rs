//! Campaigns that another process owns, as far as this one has followed their ledgers: each look reads only what is new.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use campaign::CampaignId;

use crate::{
    CampaignService, Process, ServiceError,
    live::{Live, restore},
    service::Inner,
};

/// Campaigns followed at once; one more, and the one not looked at for longest is read from its checkpoint next time.
const FOLLOWED_MAX: usize = 16;

/// The campaign, once read. Locked while it is brought up to date, so that the ledger is folded once.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<Live>>>>;

#[derive(Default)]
pub(crate) struct Views(Mutex<Slots>);

#[derive(Default)]
struct Slots {
    looks: u64,
    /// With the look that each was last wanted by.
    slots: BTreeMap<CampaignId, (u64, Slot)>,
}

impl Views {
    fn slot(&self, id: CampaignId) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.looks += 1;
        let look = slots.looks;
        let (last, slot) = slots.slots.entry(id).or_default();
        *last = look;
        let slot = Arc::clone(slot);
        if slots.slots.len() > FOLLOWED_MAX
            && let Some(oldest) = slots.slots.iter().min_by_key(|(_, (last, _))| *last).map(|(id, _)| *id)
        {
            slots.slots.remove(&oldest);
        }
        slot
    }
}

impl CampaignService {
    /// What the campaign's owner sees; where that is another process, what its ledger says by now. `None`: a draft.
    pub(crate) async fn view(&self, id: CampaignId) -> Result<Option<Arc<Live>>, ServiceError> {
        if let Some(live) = self.owned(id) {
            return Ok(Some(live));
        }
        let Inner { stores, tenant, process: Process { clock, .. }, views, .. } = &*self.0;
        let slot = views.slot(id);
        let mut followed = slot.lock().await;
        let live = match &*followed {
            Some(live) => Arc::clone(live),
            None => {
                let Some(loaded) = restore(self.load(id).await?).await? else { return Ok(None) };
                Arc::new(Live::new(loaded.campaign, loaded.stored.offset))
            }
        };
        live.follow(&*stores.jobs, tenant, id, clock()).await?;
        *followed = Some(Arc::clone(&live));
        Ok(Some(live))
    }
}
