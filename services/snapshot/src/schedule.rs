//! When to collect.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use service_kit::{Metrics, Shutdown, settings::SnapshotSettings};
use storage::Collector;

use crate::{
    collect_counted,
    metrics::{CollectionMetrics, Outcome},
    plan,
};

/// How long after a failure, or where another process is at it, to look again.
const AGAIN: Duration = Duration::from_secs(600);

/// Runs the role until the end is asked for: collects when the last collection, by whichever process, is long enough ago.
///
/// A collection under way is cut off then. What it did until then is whole, and the next one does the rest.
pub async fn run(
    settings: &SnapshotSettings,
    collector: Arc<dyn Collector>,
    metrics: &Metrics,
    shutdown: Shutdown,
) {
    let metrics = CollectionMetrics::of(metrics);
    let plan = plan(settings, false);
    let mut wait = spread(settings.collect_after_start.value());
    loop {
        tokio::select! {
            biased;
            () = shutdown.draining() => return,
            () = tokio::time::sleep(wait) => {}
        }
        let every = settings.collect_every.value();
        wait = match collector.last_collected().await {
            Ok(last) => {
                metrics.schedule(every, last);
                until_due(last, Timestamp::now(), every)
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot tell whether trees are to be collected"
                );
                spread(AGAIN)
            }
        };
        if !wait.is_zero() {
            // Others may collect meanwhile, and clocks may be set.
            wait = wait.min(AGAIN);
            continue;
        }
        tokio::select! {
            biased;
            () = shutdown.draining() => {
                metrics.ended(Outcome::Cut);
                return;
            }
            done = collect_counted(&*collector, &plan, &metrics) => {
                if let Err(error) = done {
                    tracing::warn!(error = &error as &dyn std::error::Error, "trees were not collected to the end");
                }
                wait = spread(AGAIN);
            }
        }
    }
}

/// How long until the next collection.
pub(crate) fn until_due(last: Option<Timestamp>, now: Timestamp, every: Duration) -> Duration {
    let Some(last) = last else { return Duration::ZERO };
    // A clock that was set back does not put it off for longer than a period.
    let since = Duration::try_from(now.duration_since(last)).unwrap_or_default();
    every.saturating_sub(since)
}

/// Half of it to all of it, so that processes that start together do not go on together.
fn spread(wait: Duration) -> Duration {
    let random = f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX);
    wait.mul_f64(0.5 + random / 2.0)
}
