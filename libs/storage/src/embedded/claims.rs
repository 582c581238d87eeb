//! Who may write each campaign's ledger. A data directory belongs to one process, so what this process knows is enough.

use std::collections::HashMap;

use campaign::CampaignId;
use tokio::sync::{RwLock, RwLockReadGuard};

use crate::{Epoch, StoreError, TenantId};

type Last = HashMap<(TenantId, CampaignId), Epoch>;

/// The last claim of each ledger.
#[derive(Default)]
pub(super) struct Claims(RwLock<Last>);

/// Nobody claims a ledger while one of these is held.
pub(super) struct Claimed<'a>(RwLockReadGuard<'a, Last>);

impl Claims {
    /// Waits for the writes of earlier claims to end, so that who claims and then reads sees all of them.
    pub(super) async fn claim(&self, tenant: &TenantId, campaign: CampaignId) -> Epoch {
        let mut last = self.0.write().await;
        let epoch = last.entry((tenant.clone(), campaign)).or_insert(Epoch(0));
        epoch.0 += 1;
        *epoch
    }

    /// Refuses who does not hold the last claim; who does keeps it until the guard is dropped.
    pub(super) async fn hold(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        campaign: CampaignId,
        epoch: Epoch,
    ) -> Result<Claimed<'_>, StoreError> {
        let held = Claimed(self.0.read().await);
        let is_last = held.0.get(&(tenant.clone(), campaign)) == Some(&epoch);
        if is_last { Ok(held) } else { Err(StoreError::conflict(operation)) }
    }
}
