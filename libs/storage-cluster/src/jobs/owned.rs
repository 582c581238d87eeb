//! Which campaigns are this process's to own.

use std::collections::BTreeSet;

use async_trait::async_trait;
use campaign::CampaignId;
use storage::{Ownership, TenantId};
use tokio::sync::watch;

/// Campaigns by the partitions of the events that this process has. A campaign is in the partition of its number, whichever
/// tenant's it is.
#[derive(Debug)]
pub struct EventsOwnership {
    partitions: u32,
    held: watch::Sender<BTreeSet<u32>>,
}

impl EventsOwnership {
    pub(super) fn new(partitions: u32) -> Self {
        Self { partitions: partitions.max(1), held: watch::Sender::new(BTreeSet::new()) }
    }

    /// The partition of a campaign.
    pub fn partition(&self, campaign: CampaignId) -> u32 {
        u32::try_from(campaign.0 % u64::from(self.partitions)).unwrap_or(0)
    }

    pub(super) fn add(&self, partitions: &[u32]) {
        self.held.send_modify(|held| held.extend(partitions));
    }

    pub(super) fn remove(&self, partitions: &[u32]) {
        self.held.send_modify(|held| held.retain(|partition| !partitions.contains(partition)));
    }

    pub(super) fn clear(&self) {
        self.held.send_modify(BTreeSet::clear);
    }
}

#[async_trait]
impl Ownership for EventsOwnership {
    fn owns(&self, _: &TenantId, campaign: CampaignId) -> bool {
        self.held.borrow().contains(&self.partition(campaign))
    }

    async fn changed(&self) {
        // The sender is ours, so the wait ends by a change only.
        let _ = self.held.subscribe().changed().await;
    }
}
