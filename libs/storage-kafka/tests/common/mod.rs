//! Settings and topics of one test's own.
#![allow(dead_code)] // Each test file uses a part.

use std::sync::atomic::{AtomicU64, Ordering};

use service_kit::{Metrics, Settings};
use storage_kafka::{Kafka, KafkaSettings};

/// The brokers to test with, or `None`, said aloud, where there are none.
pub(crate) fn brokers() -> Option<String> {
    storage::laws::test_server("FLOTILLA_TEST_KAFKA")
}

/// A prefix that no other test and no other run has.
pub(crate) fn fresh(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("test-{name}-{:x}-{number}-", jiff::Timestamp::now().as_microsecond())
}

/// Settings as a file would give them: small topics on one broker.
pub(crate) fn settings(bootstrap: &str, prefix: &str, more: &[(&str, &str)]) -> KafkaSettings {
    let base = [
        ("bootstrap", bootstrap),
        ("prefix", prefix),
        ("jobs_partitions", "3"),
        ("triggers_partitions", "4"),
        ("events_partitions", "3"),
        ("replication", "1"),
        ("min_insync_replicas", "1"),
        ("session_timeout", "6s"),
    ];
    let pairs = base.iter().chain(more).map(|(key, value)| (format!("kafka.{key}"), (*value).to_owned()));
    Settings::load(None, [], pairs).unwrap().kafka
}

/// Topics of a test's own, which go with it.
pub(crate) struct Topics(pub(crate) Kafka);

impl Topics {
    pub(crate) async fn make(settings: &KafkaSettings) -> Self {
        Self::make_with(settings, &Metrics::new("test")).await
    }

    pub(crate) async fn make_with(settings: &KafkaSettings, metrics: &Metrics) -> Self {
        let kafka = Kafka::new(settings, metrics).unwrap();
        kafka.apply_topics().await.unwrap();
        Self(Kafka::connect(settings, metrics).await.unwrap())
    }

    pub(crate) async fn delete(self) {
        self.0.delete_topics().await.unwrap();
    }
}
