//! What one process asks of the process that owns a campaign.

use std::time::Duration;

use async_trait::async_trait;
use campaign::CampaignId;

use crate::{StoreError, TenantId};

/// How long a request and its answer are kept at least; a backend that lets them go by time does it after this.
pub const REQUEST_KEEP: Duration = Duration::from_secs(3600);

/// Names a request. Who asks draws it; the octets' order is the order of asking, as far as clocks agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub [u8; 16]);

/// A mailbox for each campaign. Requests and answers are opaque here and carry their own version.
#[async_trait]
pub trait RequestStore: Send + Sync {
    /// Asks, durably. Asking again under the same id is asking once: what was asked first stays.
    async fn ask(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        id: RequestId,
        request: &[u8],
    ) -> Result<(), StoreError>;

    /// What was asked and has no answer yet, in the order of the ids. Asked often, so it is one read and mostly empty.
    async fn asked(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
    ) -> Result<Vec<(RequestId, Vec<u8>)>, StoreError>;

    /// Answers, durably. The first answer stays; one to what was never asked, or was forgotten, is nothing.
    async fn answer(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        id: RequestId,
        answer: &[u8],
    ) -> Result<(), StoreError>;

    /// The answer, once there is one.
    async fn answered(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        id: RequestId,
    ) -> Result<Option<Vec<u8>>, StoreError>;

    /// Forgets a request and its answer, when nobody waits for it any more.
    async fn forget(&self, tenant: &TenantId, campaign: CampaignId, id: RequestId) -> Result<(), StoreError>;
}
