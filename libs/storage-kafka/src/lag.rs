//! How far a consumer is behind, from the statistics that the library gives every few seconds.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use rdkafka::statistics::{Partition, Statistics};
use service_kit::metrics::{Gauge, Metrics};

/// The gauges of one consumer's partitions.
pub(crate) struct Lag {
    metrics: Metrics,
    /// On the brokers.
    name: String,
    /// In the metric, without the prefix.
    label: &'static str,
    partitions: u32,
    gauges: Mutex<BTreeMap<u32, Gauge>>,
}

impl Lag {
    pub(crate) fn new(metrics: &Metrics, name: &str, label: &'static str, partitions: u32) -> Self {
        Self { metrics: metrics.clone(), name: name.to_owned(), label, partitions, gauges: Mutex::default() }
    }

    /// Shows the lag of the partitions that are `owned`.
    pub(crate) fn observe(&self, statistics: &Statistics, owned: impl Fn(u32) -> bool) {
        let Some(topic) = statistics.topics.get(&self.name) else { return };
        for (&number, partition) in &topic.partitions {
            let Ok(number) = u32::try_from(number) else { continue };
            if number < self.partitions
                && owned(number)
                && let Some(lag) = lag_of(partition)
            {
                self.gauge(number).set(lag);
            }
        }
    }

    /// Another member shows it from now on; two that show the same partition would be added up.
    pub(crate) fn forget(&self, partition: u32) {
        self.gauge(partition).set(0);
    }

    fn gauge(&self, partition: u32) -> Gauge {
        let mut gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.entry(partition).or_insert_with(|| lag_gauge(&self.metrics, self.label, partition)).clone()
    }
}

pub(crate) fn lag_gauge(metrics: &Metrics, topic: &str, partition: u32) -> Gauge {
    let help = "Messages that are published and not committed, of the partitions this process reads.";
    let labels = [("topic", topic), ("partition", &*partition.to_string())];
    metrics.gauge("dm_kafka_consumer_lag_messages", help, &labels)
}

/// Offsets below zero stand for "not known yet" or "none".
fn lag_of(partition: &Partition) -> Option<i64> {
    let end = partition.hi_offset;
    if end < 0 {
        return None;
    }
    let begin =
        if partition.committed_offset >= 0 { partition.committed_offset } else { partition.lo_offset.max(0) };
    Some((end - begin).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_counts_from_what_is_committed_or_from_the_beginning() {
        for (hi_offset, committed_offset, lo_offset, want) in [
            (10, 7, 0, Some(3)),
            (10, 10, 0, Some(0)),
            (10, -1001, 4, Some(6)),
            (10, -1001, -1001, Some(10)),
            (-1001, 3, 0, None),
            // The end is asked for less often than the commit is made.
            (5, 6, 0, Some(0)),
        ] {
            let partition = Partition { hi_offset, committed_offset, lo_offset, ..Partition::default() };
            assert_eq!(lag_of(&partition), want, "{hi_offset} {committed_offset} {lo_offset}");
        }
    }

    #[test]
    fn only_owned_partitions_of_the_topic_make_series() {
        let metrics = Metrics::new("1");
        let lag = Lag::new(&metrics, "x-dm.jobs", "dm.jobs", 2);
        let text = |topic: &str, partition: i32| {
            let of = Partition { hi_offset: 9, committed_offset: 4, ..Partition::default() };
            let topic_statistics = rdkafka::statistics::Topic {
                partitions: [(partition, of)].into_iter().collect(),
                ..Default::default()
            };
            let topics = [(topic.to_owned(), topic_statistics)].into_iter().collect();
            lag.observe(&Statistics { topics, ..Default::default() }, |partition| partition != 0);
            metrics.expose()
        };
        assert!(!text("other", 1).contains("consumer_lag"));
        assert!(!text("x-dm.jobs", 0).contains("consumer_lag"));
        assert!(!text("x-dm.jobs", 7).contains("consumer_lag"));
        let shown = text("x-dm.jobs", 1);
        assert!(
            shown.contains("dm_kafka_consumer_lag_messages{partition=\"1\",topic=\"dm.jobs\"} 5"),
            "{shown}"
        );
        lag.forget(1);
        assert!(metrics.expose().contains("{partition=\"1\",topic=\"dm.jobs\"} 0"));
    }
}
