//! What is counted of collections.

use std::time::Duration;

use jiff::Timestamp;
use service_kit::{
    Metrics,
    metrics::{Counter, Gauge, Histogram},
};
use storage::Collected;

/// What became of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Failed,
    Elsewhere,
    Cut,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Done, Self::Failed, Self::Elsewhere, Self::Cut];

    fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Elsewhere => "elsewhere",
            Self::Cut => "cut",
        }
    }
}

/// Makes all series of this service, for the reference of metrics.
pub fn describe(metrics: &Metrics) {
    CollectionMetrics::of(metrics);
}

pub(crate) struct CollectionMetrics {
    outcomes: [Counter; 4],
    pages_scanned: Counter,
    pages_deleted: Counter,
    bytes_deleted: Counter,
    past_trees_ended: Counter,
    trees: Gauge,
    past_trees: Gauge,
    period: Gauge,
    last_success: Gauge,
    took: Histogram,
}

impl CollectionMetrics {
    pub(crate) fn of(metrics: &Metrics) -> Self {
        let counter = |name, help| metrics.counter(name, help, &[]);
        let gauge = |name, help| metrics.gauge(name, help, &[]);
        Self {
            outcomes: Outcome::ALL.map(|outcome| {
                let labels = [("result", outcome.label())];
                metrics.counter("dm_snapshot_collections_total", "Collections of trees.", &labels)
            }),
            pages_scanned: counter("dm_snapshot_scanned_pages_total", "Pages looked at by collections."),
            pages_deleted: counter("dm_snapshot_deleted_pages_total", "Pages that no tree named."),
            bytes_deleted: counter("dm_snapshot_deleted_bytes_total", "Octets of pages that no tree named."),
            past_trees_ended: counter("dm_snapshot_past_trees_ended_total", "Past trees that were too old."),
            trees: gauge("dm_snapshot_trees", "Devices with a tree, at the last collection."),
            past_trees: gauge("dm_snapshot_past_trees", "Past trees kept, at the last collection."),
            period: gauge(
                "dm_snapshot_collection_period_seconds",
                "How often stored trees are to be collected, as the settings say.",
            ),
            last_success: gauge(
                "dm_snapshot_last_success_timestamp_seconds",
                "When the last collection that came to its end began, in whichever process; 0 where there was none.",
            ),
            took: metrics.histogram(
                "dm_snapshot_collection_duration_seconds",
                "How long collections took.",
                &[],
                &[0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 6.0 * 3600.0],
            ),
        }
    }

    /// How often to collect, and when that was last done, by whichever process.
    pub(crate) fn schedule(&self, period: Duration, last: Option<Timestamp>) {
        self.period.set(i64::try_from(period.as_secs()).unwrap_or(i64::MAX));
        self.last_success.set(last.map_or(0, Timestamp::as_second));
    }

    /// Counts what came since `before`.
    pub(crate) fn count(&self, before: &Collected, now: &Collected, dry_run: bool) {
        self.pages_scanned.add(now.pages.saturating_sub(before.pages));
        if !dry_run {
            self.pages_deleted.add(now.pages_deleted.saturating_sub(before.pages_deleted));
            self.bytes_deleted.add(now.bytes_deleted.saturating_sub(before.bytes_deleted));
            self.past_trees_ended.add(now.past_trees_ended.saturating_sub(before.past_trees_ended));
        }
    }

    pub(crate) fn ended(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].increment();
    }

    pub(crate) fn done(&self, began: Timestamp, took: Duration, collected: &Collected) {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.ended(Outcome::Done);
        self.trees.set(gauge(collected.trees));
        self.past_trees.set(gauge(collected.past_trees.saturating_sub(collected.past_trees_ended)));
        self.last_success.set(began.as_second());
        self.took.observe(took);
    }
}
