//! Devices that are to be asked to come, on their way to whoever sends Package #0.

use std::time::Duration;

use async_trait::async_trait;
use campaign::CampaignId;
use dm_protocol::DevId;
use jiff::Timestamp;

use crate::{StoreError, TenantId};

/// One device is to be asked to come, for one attempt of a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Whose device.
    pub tenant: TenantId,
    /// The device.
    pub device: DevId,
    /// For whose job.
    pub campaign: CampaignId,
    /// For which attempt of it.
    pub attempt: u16,
    /// When it was asked for: the job's release.
    pub asked: Timestamp,
    /// When it is worthless: the end of the job's wait for the device.
    pub deadline: Timestamp,
    /// Not to be sent before. At first [`Trigger::asked`]; a repeat is due later.
    pub due: Timestamp,
    /// How often it has been sent.
    pub sent: u16,
}

/// Which place in the queue a trigger was taken from. Opaque to callers, and of use to its consumer alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Receipt(pub Box<[u8]>);

/// A trigger taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What is to be sent.
    pub trigger: Trigger,
    /// What says later that it was.
    pub receipt: Receipt,
}

/// The durable queue of triggers: a table of the embedded store, the topic `dm.triggers` of a cluster.
///
/// A trigger is delivered at least once. Sending one twice is harmless (it carries the same session id), losing one means
/// that its device comes by itself, as late as it likes; so the queue never loses one and does not mind repeating one.
/// It holds at most one trigger for each attempt in flight, and a few doubles: campaigns' budgets bound it.
///
/// Most triggers are asked for by [`crate::JobStore::release`], together with the job.
#[async_trait]
pub trait TriggerStore: Send + Sync {
    /// Asks for triggers. They are durable when the call returns, and taken soon after.
    async fn ask(&self, triggers: &[Trigger]) -> Result<(), StoreError>;

    /// Becomes a consumer, one among others where a backend has several processes.
    async fn consume(&self) -> Result<Box<dyn TriggerConsumer>, StoreError>;
}

/// One of those who share the queue. What it took and did not settle is given again, to it or another, once it is dropped
/// or its process has ended.
#[async_trait]
pub trait TriggerConsumer: Send {
    /// Up to `max` triggers that are due at `now` and that nobody has, those due first before others as far as the backend
    /// orders them; waits no longer than `wait` for the first one. Empty where none came.
    ///
    /// A trigger past its deadline is given too, so that it is counted where it ends.
    async fn take(&mut self, max: usize, now: Timestamp, wait: Duration) -> Result<Vec<Taken>, StoreError>;

    /// Durably notes that these need nothing more, and asks for `again` (repeats, due later) in the same step or before it.
    ///
    /// # Errors
    ///
    /// Any of a store's. What was to be settled may be given again; calling again with the same is right.
    async fn settle(&mut self, settled: &[Receipt], again: &[Trigger]) -> Result<(), StoreError>;
}
