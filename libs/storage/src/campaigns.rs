//! Campaigns: what they are, who is in them, and how far their owner has read the ledger.

use async_trait::async_trait;
use campaign::CampaignId;

use crate::{Revision, StoreError, TenantId, Versioned};

/// A campaign as stored: three parts that change at different times. Each part is encoded by `libs/campaign`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignRecord {
    /// Its id.
    pub id: CampaignId,
    /// What it is: written once.
    pub definition: Vec<u8>,
    /// Who is in it, a compressed bitmap of ordinals: written once, when it is first started.
    pub members: Vec<u8>,
    /// Its state (draft, running, paused, ...) and the owner's checkpoint over the ledger.
    pub state: Vec<u8>,
}

/// Campaigns by id.
#[async_trait]
pub trait CampaignStore: Send + Sync {
    /// Adds a campaign and gives it its id (from 1, within the tenant), durably. `key` makes it idempotent: a second
    /// call with the same key answers the first one's id.
    async fn create(
        &self,
        tenant: &TenantId,
        key: Option<&str>,
        definition: &[u8],
        state: &[u8],
    ) -> Result<CampaignId, StoreError>;

    /// One campaign, with its members.
    async fn load(
        &self,
        tenant: &TenantId,
        id: CampaignId,
    ) -> Result<Option<Versioned<CampaignRecord>>, StoreError>;

    /// One campaign as sessions ask for it, many times a second: without its members, and of a large state perhaps
    /// only the first 64 KiB, which is enough for [`campaign::View::decode`].
    async fn load_head(
        &self,
        tenant: &TenantId,
        id: CampaignId,
    ) -> Result<Option<Versioned<CampaignRecord>>, StoreError> {
        let mut record = self.load(tenant, id).await?;
        if let Some(record) = &mut record {
            record.value.members = Vec::new();
        }
        Ok(record)
    }

    /// All campaigns of a tenant, without members, in the order of their ids.
    async fn list(&self, tenant: &TenantId) -> Result<Vec<Versioned<CampaignRecord>>, StoreError>;

    /// Writes the members and the state, durably, if nobody has written since `expected`.
    /// `None` leaves the members as they are.
    async fn put(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        expected: Revision,
        members: Option<&[u8]>,
        state: &[u8],
    ) -> Result<Revision, StoreError>;
}
