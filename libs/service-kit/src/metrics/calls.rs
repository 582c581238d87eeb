//! Calls to servers: how long they take, and how they fail.

use std::time::Instant;

use super::{Counter, Histogram, Metrics};

/// Which server is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallStore {
    /// Sessions, hot records, marks.
    Redis,
    /// Topics: one call publishes a batch.
    Kafka,
    /// Everything that lasts.
    Scylla,
}

impl CallStore {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Redis, Self::Kafka, Self::Scylla];

    /// As the label's value.
    pub fn label(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Kafka => "kafka",
            Self::Scylla => "scylla",
        }
    }
}

/// Kinds of failures, as a store's errors are called. The last takes what has no name here.
const KINDS: [&str; 4] = ["unavailable", "timed-out", "corrupt", "other"];

/// Upper ends of the buckets: from 100 microseconds, half a round trip within a rack, to 10 seconds.
const CALL_SECONDS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// The calls of one process to one server.
#[derive(Clone, Debug)]
pub struct CallMetrics {
    seconds: Histogram,
    failures: [Counter; KINDS.len()],
}

impl CallMetrics {
    /// Makes all series.
    pub fn new(metrics: &Metrics, store: CallStore) -> Self {
        let store = ("store", store.label());
        let failure = |kind| {
            let help = "Calls to a server that failed. A lost compare-and-set is no failure.";
            metrics.counter("dm_store_call_failures_total", help, &[store, ("kind", kind)])
        };
        let help = "Time of a call to a server, until its answer or its failure.";
        Self {
            seconds: metrics.histogram("dm_store_call_duration_seconds", help, &[store], &CALL_SECONDS),
            failures: KINDS.map(failure),
        }
    }

    /// A call that was begun then has ended; `failure` is the kind of its error.
    pub fn done(&self, begun: Instant, failure: Option<&str>) {
        self.seconds.observe(begun.elapsed());
        if let Some(kind) = failure {
            let kind = KINDS.iter().position(|known| *known == kind).unwrap_or(KINDS.len() - 1);
            self.failures[kind].increment();
        }
    }
}
