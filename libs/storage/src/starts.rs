//! The order in which campaigns were started.

use async_trait::async_trait;
use campaign::CampaignId;

use crate::{StoreError, TenantId};

/// A campaign's start: everything that must be known to carry it through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The campaign.
    pub campaign: CampaignId,
    /// Who is in it: what [`crate::CampaignRecord::members`] will hold.
    pub members: Vec<u8>,
    /// What [`crate::CampaignRecord::state`] will hold first.
    pub state: Vec<u8>,
}

/// The starts of a tenant's campaigns, numbered from 1 without gaps.
///
/// Members are chosen among the devices that no other campaign has. Who chooses reads the last number first and
/// appends under the next: an append behind another's fails, so no two campaigns can choose the same device, whichever
/// processes start them. The start is this record; the campaign's own record follows it, and before a start is appended,
/// the campaign of the one before it has followed. So only the last may be left to be carried through.
#[async_trait]
pub trait StartStore: Send + Sync {
    /// The number of the last start; 0 when there is none.
    async fn last_start(&self, tenant: &TenantId) -> Result<u64, StoreError>;

    /// The start of a number.
    async fn start(&self, tenant: &TenantId, number: u64) -> Result<Option<Started>, StoreError>;

    /// Appends a start, durably, if the last one's number is `number - 1`.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::Conflict`] when it is not; nothing was written then.
    async fn append_start(&self, tenant: &TenantId, number: u64, start: &Started) -> Result<(), StoreError>;
}
