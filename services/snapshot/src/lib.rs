#![doc = include_str!("../README.md")]

mod metrics;
mod schedule;
#[cfg(test)]
mod tests;

use std::{sync::Mutex, sync::PoisonError};

use jiff::Timestamp;
pub use metrics::describe;
use metrics::{CollectionMetrics, Outcome};
pub use schedule::run;
use service_kit::{Metrics, settings::SnapshotSettings};
use storage::{Collected, Collection, Collector, StoreError};

/// What the settings let a collection do.
pub fn plan(settings: &SnapshotSettings, dry_run: bool) -> Collection {
    let count = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Collection {
        history_age_max: Some(settings.history_age_max.value()),
        history_trees_max: count(settings.history_trees_max.value()),
        grace: settings.collect_grace.value(),
        rows_per_s_max: count(settings.collect_rows_per_second.value()),
        marks_bytes_max: settings.collect_memory.as_usize(),
        dry_run,
    }
}

/// Collects once. `None`: another process is at it.
///
/// # Errors
///
/// When the store cannot be reached for long; what was done until then is whole.
pub async fn collect(
    collector: &dyn Collector,
    plan: &Collection,
    metrics: &Metrics,
) -> Result<Option<Collected>, StoreError> {
    collect_counted(collector, plan, &CollectionMetrics::of(metrics)).await
}

async fn collect_counted(
    collector: &dyn Collector,
    plan: &Collection,
    metrics: &CollectionMetrics,
) -> Result<Option<Collected>, StoreError> {
    let now = Timestamp::now();
    let began = std::time::Instant::now();
    let counted = Mutex::new(Collected::default());
    let progress = |so_far: &Collected| {
        let mut counted = counted.lock().unwrap_or_else(PoisonError::into_inner);
        metrics.count(&counted, so_far, plan.dry_run);
        *counted = *so_far;
    };
    let outcome = collector.collect(now, plan, &progress).await;
    match &outcome {
        Ok(Some(collected)) => {
            progress(collected);
            metrics.done(now, began.elapsed(), collected);
            tracing::info!(
                trees = collected.trees,
                past_trees = collected.past_trees,
                past_trees_ended = collected.past_trees_ended,
                pages = collected.pages,
                pages_deleted = collected.pages_deleted,
                bytes_deleted = collected.bytes_deleted,
                dry_run = plan.dry_run,
                "trees collected"
            );
        }
        Ok(None) => metrics.ended(Outcome::Elsewhere),
        Err(_) => metrics.ended(Outcome::Failed),
    }
    outcome
}
