//! What the cluster asks of a log of partitioned topics. `storage-kafka` is one; simulations have another.

use std::time::Duration;

use async_trait::async_trait;
use storage::{
    StoreError,
    trace::{Span, Traceparent},
};

/// No message may stand in [`Topic::Jobs`] for so long: the end of a job is kept so much longer than its release, and a
/// release that is told again after that would be a new one.
pub const JOBS_STAY_MAX: Duration = Duration::from_hours(30 * 24);

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

impl Topic {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Jobs, Self::Triggers, Self::Events, Self::Dead];

    /// Its name, without the prefix.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jobs => "dm.jobs",
            Self::Triggers => "dm.triggers",
            Self::Events => "dm.events",
            Self::Dead => "dm.dead",
        }
    }

    /// Nothing may stand in the topic for so long. `None`: it may stand for ever.
    pub fn stay_max(self) -> Option<Duration> {
        match self {
            Self::Jobs => Some(JOBS_STAY_MAX),
            Self::Triggers | Self::Events | Self::Dead => None,
        }
    }

    /// The topic of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.name() == name)
    }
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

impl Incoming {
    /// The trace of what caused it; `None`: it names none, or none that can be read.
    pub fn trace(&self) -> Option<Traceparent> {
        self.traceparent.as_deref()?.parse().ok()
    }
}

/// States of a span what it does with messages, by OpenTelemetry's conventions.
pub(crate) fn tell_messaging(span: &mut Span, operation: &'static str, topic: &'static str, messages: usize) {
    span.set("messaging.system", || "kafka");
    span.set("messaging.operation.type", || operation);
    span.set("messaging.operation.name", || operation);
    span.set("messaging.destination.name", || topic);
    span.set("messaging.batch.message_count", || messages);
}

/// Publishes.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// Publishes messages in their order; when it returns, all are durable. An error may leave some published, also some
    /// that come after one that was not: who publishes all of them again says some twice, and none too little.
    ///
    /// # Errors
    ///
    /// [`storage::ErrorKind::Unavailable`]: the log is away, or too much waits to be published.
    /// [`storage::ErrorKind::TimedOut`]: it is not known whether they were. [`storage::ErrorKind::TooLarge`]: no message
    /// may be so large. [`storage::ErrorKind::Missing`]: the topic has no such partition.
    async fn publish(&self, topic: Topic, messages: Vec<Outgoing>) -> Result<(), StoreError>;

    /// How many partitions a topic has: fixed while the cluster lives.
    fn partitions(&self, topic: Topic) -> u32;
}

/// What a member of a group gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    /// These partitions are this member's from now on. Reading begins at the committed offset, or the beginning.
    Assigned(Vec<u32>),
    /// These are not any more: what is not committed is read by another. Commits of them fail from now on. Unless this
    /// member was thought dead, nobody else gets them before it polls again: what must end first, ends before that.
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
    /// Waits for messages, at most `max` of them, or a change of what is assigned, no longer than `wait`. A call that is
    /// dropped before it answers loses nothing.
    ///
    /// A member that does not poll for long is taken for dead, and its partitions are given to others.
    ///
    /// # Errors
    ///
    /// [`storage::ErrorKind::Unavailable`]: the log is away; polling again goes on once it is back.
    /// [`storage::ErrorKind::Conflict`]: another process has this member's name; this one is out for good.
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Polled, StoreError>;

    /// Reads on from `offset` in an assigned partition; what was read and not yet answered of it is forgotten.
    ///
    /// # Errors
    ///
    /// [`storage::ErrorKind::Conflict`] when the partition is not this member's.
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

    /// Leaves the group and waits until it is told, so that others need not find out. Dropping a member leaves too, but
    /// does not wait.
    async fn leave(self: Box<Self>) {}
}
