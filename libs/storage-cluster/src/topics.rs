//! What the cluster asks of a log of partitioned topics. `storage-kafka` is one; simulations have another.

use std::time::Duration;

use async_trait::async_trait;
use storage::StoreError;

/// The topics, without the prefix that the settings put before their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// `dm.jobs`: jobs on their way to devices, keyed and partitioned by device.
    Jobs,
    /// `dm.triggers`: devices to be asked to come, keyed and partitioned by device.
    Triggers,
    /// `dm.events`: what sessions did to jobs, keyed by device, in the partition of the campaign.
    Events,
    /// `dm.dead`: messages that could not be taken in, with the reason.
    Dead,
}

/// A message to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// What orders it among others: messages of one key keep their order.
    pub key: Vec<u8>,
    /// Its partition; `None`: the key's.
    pub partition: Option<u32>,
    /// Its octets.
    pub payload: Vec<u8>,
    /// W3C `traceparent` of what caused it.
    pub traceparent: Option<String>,
}

/// A message read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Where it stands.
    pub partition: u32,
    /// Its place in the partition.
    pub offset: u64,
    /// Its key.
    pub key: Vec<u8>,
    /// Its octets.
    pub payload: Vec<u8>,
    /// W3C `traceparent` of what caused it.
    pub traceparent: Option<String>,
}

/// Publishes.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// Publishes messages in their order; when it returns, all are durable. An error may leave some published.
    async fn publish(&self, topic: Topic, messages: Vec<Outgoing>) -> Result<(), StoreError>;

    /// How many partitions a topic has: fixed while the cluster lives.
    fn partitions(&self, topic: Topic) -> u32;
}

/// What a member of a group gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    /// These partitions are this member's from now on. Reading begins at the committed offset, or the beginning.
    Assigned(Vec<u32>),
    /// These are not any more: what is not committed is read by another. Commits of them fail from now on.
    Revoked(Vec<u32>),
    /// Messages, in their order within each partition.
    Messages(Vec<Incoming>),
    /// Nothing came in time.
    Idle,
}

/// One member of a group of consumers of one topic. Partitions are balanced cooperatively: a member keeps what it
/// has while others come and go.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for messages, at most `max` of them, or a change of what is assigned, no longer than `wait`.
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Polled, StoreError>;

    /// Reads on from `offset` in an assigned partition.
    async fn seek(&mut self, partition: u32, offset: u64) -> Result<(), StoreError>;

    /// Durably notes that everything before `next` has had its effect.
    ///
    /// # Errors
    ///
    /// [`storage::ErrorKind::Conflict`] when the partition is another member's by now.
    async fn commit(&mut self, partition: u32, next: u64) -> Result<(), StoreError>;

    /// Puts a message that cannot be taken in aside, into [`Topic::Dead`] with its origin and the reason, durably. The
    /// caller then commits past it.
    async fn put_aside(&mut self, message: &Incoming, reason: &str) -> Result<(), StoreError>;
}
