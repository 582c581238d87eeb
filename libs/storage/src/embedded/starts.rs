//! The order of starts: a counter and a record a start.

use async_trait::async_trait;
use campaign::CampaignId;
use serde::{Deserialize, Serialize};

use super::{Embedded, commit::Batch, engine::Space, keys};
use crate::{
    StartStore, Started, StoreError, TenantId,
    records::{self, Number},
};

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct StartRecord {
    pub(super) campaign: u64,
    pub(super) members: Vec<u8>,
    pub(super) state: Vec<u8>,
}

fn last_key(tenant: &[u8]) -> Vec<u8> {
    keys::with(tenant, b"/starts")
}

fn start_key(tenant: &[u8], number: u64) -> Vec<u8> {
    [tenant, b"/start/", &number.to_be_bytes()[..]].concat()
}

impl Embedded {
    fn read_last_start(&self, operation: &'static str, tenant: &[u8]) -> Result<u64, StoreError> {
        let stored = self.0.engine.read(operation, Space::Meta, &last_key(tenant))?;
        stored.map_or(Ok(0), |stored| Ok(records::decode::<Number>(operation, &stored)?.0))
    }
}

#[async_trait]
impl StartStore for Embedded {
    async fn last_start(&self, tenant: &TenantId) -> Result<u64, StoreError> {
        const OPERATION: &str = "find last start";
        self.read_last_start(OPERATION, &keys::tenant(OPERATION, tenant)?)
    }

    async fn start(&self, tenant: &TenantId, number: u64) -> Result<Option<Started>, StoreError> {
        const OPERATION: &str = "load start";
        let key = start_key(&keys::tenant(OPERATION, tenant)?, number);
        let Some(stored) = self.0.engine.read(OPERATION, Space::Meta, &key)? else { return Ok(None) };
        let StartRecord { campaign, members, state } = records::decode(OPERATION, &stored)?;
        Ok(Some(Started { campaign: CampaignId(campaign), members, state }))
    }

    async fn append_start(&self, tenant: &TenantId, number: u64, start: &Started) -> Result<(), StoreError> {
        const OPERATION: &str = "append start";
        let tenant_key = keys::tenant(OPERATION, tenant)?;
        let guard = self.0.tenant_locks.lock(&last_key(&tenant_key)).await;
        if self.read_last_start(OPERATION, &tenant_key)?.checked_add(1) != Some(number) {
            return Err(StoreError::conflict(OPERATION));
        }
        let Started { campaign, members, state } = start.clone();
        let record = StartRecord { campaign: campaign.0, members, state };
        let mut batch = Batch::default();
        batch.put(Space::Meta, start_key(&tenant_key, number), records::encode(&record));
        batch.put(Space::Meta, last_key(&tenant_key), records::encode(&Number(number)));
        batch.hold([guard]);
        self.0.committer.commit(OPERATION, batch).await
    }
}
