//! Campaigns, in three parts that change at different times.

use std::ops::Bound;

use async_trait::async_trait;
use campaign::CampaignId;
use serde::{Deserialize, Serialize};

use super::{Embedded, Inner, commit::Batch, engine::Space, keys};
use crate::{
    CampaignRecord, CampaignStore, Revision, StoreError, TenantId, Versioned,
    records::{self, Number},
};

/// What changes on every checkpoint.
const STATE: u8 = 0;
/// What is written once.
const DEFINITION: u8 = 1;
/// What is written once, and large.
const MEMBERS: u8 = 2;

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct StateRecord {
    pub(super) revision: u64,
    pub(super) state: Vec<u8>,
}

/// A part's key. Parts come before ids, so that listing reads no members.
fn part_key(tenant: &[u8], part: u8, id: CampaignId) -> Vec<u8> {
    [tenant, &[part], &id.0.to_be_bytes()[..]].concat()
}

impl Inner {
    fn campaign_part(
        &self,
        operation: &'static str,
        tenant: &[u8],
        part: u8,
        id: CampaignId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let stored = self.engine.read(operation, Space::Campaigns, &part_key(tenant, part, id))?;
        Ok(stored.map(|stored| stored.to_vec()))
    }

    fn definition(
        &self,
        operation: &'static str,
        tenant: &[u8],
        id: CampaignId,
    ) -> Result<Vec<u8>, StoreError> {
        self.campaign_part(operation, tenant, DEFINITION, id)?
            .ok_or_else(|| StoreError::corrupt(operation, format!("campaign {id} has no definition")))
    }
}

#[async_trait]
impl CampaignStore for Embedded {
    async fn create(
        &self,
        tenant: &TenantId,
        key: Option<&str>,
        definition: &[u8],
        state: &[u8],
    ) -> Result<CampaignId, StoreError> {
        const OPERATION: &str = "create campaign";
        let tenant_key = keys::tenant(OPERATION, tenant)?;
        if let Some(key) = key
            && key.len() > keys::NAME_MAX
        {
            let reason = format!("expected a key of at most {} octets, got {}", keys::NAME_MAX, key.len());
            return Err(StoreError::too_large(OPERATION, reason));
        }
        let number = |key: &[u8]| -> Result<Option<u64>, StoreError> {
            let stored = self.0.engine.read(OPERATION, Space::Meta, key)?;
            stored.map(|stored| Ok(records::decode::<Number>(OPERATION, &stored)?.0)).transpose()
        };
        let count_key = keys::with(&tenant_key, b"/campaigns");
        let guard = self.0.tenant_locks.lock(&count_key).await;
        let known_as = key.map(|key| [&tenant_key, &b"/campaign-key/"[..], key.as_bytes()].concat());
        if let Some(known_as) = &known_as
            && let Some(id) = number(known_as)?
        {
            return Ok(CampaignId(id));
        }
        let id = CampaignId(number(&count_key)?.unwrap_or(0) + 1);
        let mut batch = Batch::default();
        let record = StateRecord { revision: 1, state: state.to_vec() };
        batch.put(Space::Campaigns, part_key(&tenant_key, STATE, id), records::encode(&record));
        batch.put(Space::Campaigns, part_key(&tenant_key, DEFINITION, id), definition.to_vec());
        batch.put(Space::Meta, count_key, records::encode(&Number(id.0)));
        if let Some(known_as) = known_as {
            batch.put(Space::Meta, known_as, records::encode(&Number(id.0)));
        }
        batch.hold([guard]);
        self.0.committer.commit(OPERATION, batch).await?;
        Ok(id)
    }

    async fn load(
        &self,
        tenant: &TenantId,
        id: CampaignId,
    ) -> Result<Option<Versioned<CampaignRecord>>, StoreError> {
        const OPERATION: &str = "load campaign";
        let mut head = self.load_head(tenant, id).await?;
        if let Some(head) = &mut head {
            let tenant_key = keys::tenant(OPERATION, tenant)?;
            let members = self.0.campaign_part(OPERATION, &tenant_key, MEMBERS, id)?;
            head.value.members = members.unwrap_or_default();
        }
        Ok(head)
    }

    async fn load_head(
        &self,
        tenant: &TenantId,
        id: CampaignId,
    ) -> Result<Option<Versioned<CampaignRecord>>, StoreError> {
        const OPERATION: &str = "load campaign";
        let tenant_key = keys::tenant(OPERATION, tenant)?;
        let Some(stored) = self.0.campaign_part(OPERATION, &tenant_key, STATE, id)? else {
            return Ok(None);
        };
        let StateRecord { revision, state } = records::decode(OPERATION, &stored)?;
        let definition = self.0.definition(OPERATION, &tenant_key, id)?;
        let value = CampaignRecord { id, definition, members: Vec::new(), state };
        Ok(Some(Versioned { value, revision: Revision(revision) }))
    }

    async fn list(&self, tenant: &TenantId) -> Result<Vec<Versioned<CampaignRecord>>, StoreError> {
        const OPERATION: &str = "list campaigns";
        let tenant_key = keys::tenant(OPERATION, tenant)?;
        let prefix = keys::with(&tenant_key, &[STATE]);
        let mut campaigns = Vec::new();
        for row in self.0.engine.scan(OPERATION, Space::Campaigns, &prefix, Bound::Included(&prefix)) {
            let (key, stored) = row?;
            let id = keys::last_u64(&key)
                .map(CampaignId)
                .ok_or_else(|| StoreError::corrupt(OPERATION, "key ends in no campaign"))?;
            let StateRecord { revision, state } = records::decode(OPERATION, &stored)?;
            let definition = self.0.definition(OPERATION, &tenant_key, id)?;
            let value = CampaignRecord { id, definition, members: Vec::new(), state };
            campaigns.push(Versioned { value, revision: Revision(revision) });
        }
        Ok(campaigns)
    }

    async fn put(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        expected: Revision,
        members: Option<&[u8]>,
        state: &[u8],
    ) -> Result<Revision, StoreError> {
        const OPERATION: &str = "put campaign";
        let tenant_key = keys::tenant(OPERATION, tenant)?;
        let state_key = part_key(&tenant_key, STATE, id);
        let guard = self.0.tenant_locks.lock(&state_key).await;
        let Some(stored) = self.0.engine.read(OPERATION, Space::Campaigns, &state_key)? else {
            return Err(StoreError::conflict(OPERATION));
        };
        let known: StateRecord = records::decode(OPERATION, &stored)?;
        if known.revision != expected.0 {
            return Err(StoreError::conflict(OPERATION));
        }
        let revision = known.revision + 1;
        let mut batch = Batch::default();
        let record = StateRecord { revision, state: state.to_vec() };
        batch.put(Space::Campaigns, state_key, records::encode(&record));
        if let Some(members) = members {
            batch.put(Space::Campaigns, part_key(&tenant_key, MEMBERS, id), members.to_vec());
        }
        batch.hold([guard]);
        self.0.committer.commit(OPERATION, batch).await?;
        Ok(Revision(revision))
    }
}
