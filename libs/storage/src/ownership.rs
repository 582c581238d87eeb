//! Which of many processes works on a campaign.

use async_trait::async_trait;
use campaign::CampaignId;

use crate::TenantId;

/// Says which campaigns are this process's to own. It is advice: two processes may be told of one campaign for a
/// while, and [`crate::JobStore::claim`] alone decides whose writes count.
#[async_trait]
pub trait Ownership: Send + Sync {
    /// Whether this process should own the campaign now.
    fn owns(&self, tenant: &TenantId, campaign: CampaignId) -> bool;

    /// Waits until [`Ownership::owns`] may answer otherwise than when this was called.
    async fn changed(&self);
}

/// Every campaign is this process's: there is no other.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnsAll;

#[async_trait]
impl Ownership for OwnsAll {
    fn owns(&self, _: &TenantId, _: CampaignId) -> bool {
        true
    }

    async fn changed(&self) {
        std::future::pending::<()>().await;
    }
}

/// No campaign is this process's: it answers operators, and others do the work.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnsNone;

#[async_trait]
impl Ownership for OwnsNone {
    fn owns(&self, _: &TenantId, _: CampaignId) -> bool {
        false
    }

    async fn changed(&self) {
        std::future::pending::<()>().await;
    }
}
