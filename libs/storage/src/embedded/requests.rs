//! The mailboxes of campaigns: a record a request, with its answer.

use std::ops::Bound;

use async_trait::async_trait;
use campaign::CampaignId;
use serde::{Deserialize, Serialize};

use super::{Embedded, commit::Batch, engine::Space, keys};
use crate::{RequestId, RequestStore, StoreError, TenantId, records};

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct RequestRecord {
    pub(super) request: Vec<u8>,
    pub(super) answer: Option<Vec<u8>>,
}

fn mailbox_key(
    operation: &'static str,
    tenant: &TenantId,
    campaign: CampaignId,
) -> Result<Vec<u8>, StoreError> {
    Ok([&*keys::tenant(operation, tenant)?, b"/request/", &campaign.0.to_be_bytes()[..]].concat())
}

impl Embedded {
    fn request(&self, operation: &'static str, key: &[u8]) -> Result<Option<RequestRecord>, StoreError> {
        let stored = self.0.engine.read(operation, Space::Meta, key)?;
        stored.map(|stored| records::decode(operation, &stored)).transpose()
    }

    /// Changes one request under its lock: `change` answers what to write, if anything.
    async fn change_request(
        &self,
        operation: &'static str,
        key: Vec<u8>,
        change: impl FnOnce(Option<RequestRecord>) -> Option<RequestRecord> + Send,
    ) -> Result<(), StoreError> {
        let guard = self.0.tenant_locks.lock(&key).await;
        let Some(record) = change(self.request(operation, &key)?) else { return Ok(()) };
        let mut batch = Batch::default();
        batch.put(Space::Meta, key, records::encode(&record));
        batch.hold([guard]);
        self.0.committer.commit(operation, batch).await
    }
}

#[async_trait]
impl RequestStore for Embedded {
    async fn ask(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        id: RequestId,
        request: &[u8],
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "ask owner";
        let key = keys::with(&mailbox_key(OPERATION, tenant, campaign)?, &id.0);
        let record = RequestRecord { request: request.to_vec(), answer: None };
        self.change_request(OPERATION, key, |known| known.is_none().then_some(record)).await
    }

    async fn asked(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
    ) -> Result<Vec<(RequestId, Vec<u8>)>, StoreError> {
        const OPERATION: &str = "read requests";
        let prefix = mailbox_key(OPERATION, tenant, campaign)?;
        let mut asked = Vec::new();
        for row in self.0.engine.scan(OPERATION, Space::Meta, &prefix, Bound::Included(&prefix)) {
            let (key, stored) = row?;
            let id = key.last_chunk().copied().map(RequestId);
            let id = id.ok_or_else(|| StoreError::corrupt(OPERATION, "key ends in no request"))?;
            let RequestRecord { request, answer } = records::decode(OPERATION, &stored)?;
            if answer.is_none() {
                asked.push((id, request));
            }
        }
        Ok(asked)
    }

    async fn answer(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        id: RequestId,
        answer: &[u8],
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "answer request";
        let key = keys::with(&mailbox_key(OPERATION, tenant, campaign)?, &id.0);
        let change = |known: Option<RequestRecord>| {
            let known = known.filter(|known| known.answer.is_none())?;
            Some(RequestRecord { answer: Some(answer.to_vec()), ..known })
        };
        self.change_request(OPERATION, key, change).await
    }

    async fn answered(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        id: RequestId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        const OPERATION: &str = "read answer";
        let key = keys::with(&mailbox_key(OPERATION, tenant, campaign)?, &id.0);
        Ok(self.request(OPERATION, &key)?.and_then(|known| known.answer))
    }

    async fn forget(&self, tenant: &TenantId, campaign: CampaignId, id: RequestId) -> Result<(), StoreError> {
        const OPERATION: &str = "forget request";
        let key = keys::with(&mailbox_key(OPERATION, tenant, campaign)?, &id.0);
        let guard = self.0.tenant_locks.lock(&key).await;
        let mut batch = Batch::default();
        batch.remove(Space::Meta, key);
        batch.hold([guard]);
        self.0.committer.commit(OPERATION, batch).await
    }
}
