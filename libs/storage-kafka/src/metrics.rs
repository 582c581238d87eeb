//! What is counted of topics, beside the lag.

use std::time::Instant;

use service_kit::metrics::{CallMetrics, CallStore, Counter, Metrics};
use storage::StoreError;
use storage_cluster::topics::Topic;

use crate::lag::lag_gauge;

/// The counters of one process.
#[derive(Debug)]
pub(crate) struct TopicMetrics {
    publish: CallMetrics,
    published: [Counter; Topic::ALL.len()],
    consumed: [Counter; Topic::ALL.len()],
    dead: [Counter; Topic::ALL.len()],
}

impl TopicMetrics {
    /// Makes all series, so that the first message that is put aside is an increase.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let of_topics = |name: &str, help: &str| {
            Topic::ALL.map(|topic| metrics.counter(name, help, &[("topic", topic.name())]))
        };
        Self {
            publish: CallMetrics::new(metrics, CallStore::Kafka),
            published: of_topics(
                "dm_kafka_published_messages_total",
                "Messages that were made durable in a topic.",
            ),
            consumed: of_topics("dm_kafka_consumed_messages_total", "Messages read from a topic."),
            dead: of_topics(
                "dm_kafka_dead_messages_total",
                "Messages that could not be taken in and were put aside into dm.dead.",
            ),
        }
    }

    /// A batch was published, or was not.
    pub(crate) fn published(
        &self,
        topic: Topic,
        count: usize,
        begun: Instant,
        done: &Result<(), StoreError>,
    ) {
        self.publish.done(begun, done.as_ref().err().map(|error| error.kind.name()));
        if done.is_ok() {
            self.published[topic as usize].add(count as u64);
        }
    }

    pub(crate) fn consumed(&self, topic: Topic, count: usize) {
        self.consumed[topic as usize].add(count as u64);
    }

    pub(crate) fn put_aside(&self, topic: Topic) {
        self.dead[topic as usize].increment();
    }
}

/// Makes all series of this client, for the reference of metrics; those of a partition for its first.
pub fn describe(metrics: &Metrics) {
    TopicMetrics::new(metrics);
    for topic in [Topic::Jobs, Topic::Triggers, Topic::Events] {
        lag_gauge(metrics, topic.name(), 0);
    }
}
