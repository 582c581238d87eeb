use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use dm_protocol::DevId;
use dm_tree::{Change, Format, Leaf};
use jiff::{SignedDuration, Timestamp};
use service_kit::{Metrics, Shutdown, settings::SnapshotSettings};
use storage::{
    Collected, Collection, Collector, Embedded, Progress, SnapshotStore as _, StoreError, TenantId,
    embedded::Options,
};

use crate::{collect, plan, run, schedule::until_due};

#[test]
fn a_collection_is_due_a_period_after_the_last() {
    let now = Timestamp::from_second(1_790_000_000).unwrap();
    let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(24 * 3600));
    for (last_hours_ago, want) in
        [(None, Duration::ZERO), (Some(30), Duration::ZERO), (Some(23), hour), (Some(-5), day)]
    {
        let last = last_hours_ago.map(|hours| now - SignedDuration::from_hours(hours));
        assert_eq!(until_due(last, now, day), want, "last {last_hours_ago:?} hours ago");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_ends_by_the_settings_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), &Options::default()).unwrap();
    let (tenant, device) = (TenantId::default(), DevId::parse("IMEI:1").unwrap());
    for days in [300, 200, 50, 1] {
        let at = Timestamp::now() - SignedDuration::from_hours(24 * days);
        let leaf = Leaf { format: Format::Chr, mime: None, value: days.to_string().as_bytes().into() };
        let delta = vec![Change::Leaf { uri: "A/days".to_owned(), leaf }];
        store.apply(&tenant, &device, at, &delta).await.unwrap();
    }
    let metrics = Metrics::new("test");
    let settings = SnapshotSettings::default();
    let dry = collect(&store, &plan(&settings, true), &metrics).await.unwrap().unwrap();
    // The first ended 200 days ago, the second 50, the third yesterday.
    assert_eq!((dry.trees, dry.past_trees, dry.past_trees_ended, dry.pages_deleted), (1, 3, 1, 1));
    assert_eq!(store.history(&tenant, &device, 9).await.unwrap().len(), 4);
    collect(&store, &plan(&settings, false), &metrics).await.unwrap().unwrap();
    assert_eq!(store.history(&tenant, &device, 9).await.unwrap().len(), 3);
    let text = metrics.expose();
    for line in [
        "dm_snapshot_collections_total{result=\"done\"} 2",
        "dm_snapshot_past_trees_ended_total 1",
        "dm_snapshot_deleted_pages_total 1",
        "dm_snapshot_trees 1",
        "dm_snapshot_past_trees 2",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}

/// Fails once, and then does it.
struct Flaky {
    calls: AtomicU64,
    done: AtomicU64,
}

#[async_trait]
impl Collector for Flaky {
    async fn collect(
        &self,
        _: Timestamp,
        _: &Collection,
        progress: &Progress<'_>,
    ) -> Result<Option<Collected>, StoreError> {
        progress(&Collected { pages: 7, ..Collected::default() });
        if self.calls.fetch_add(1, Ordering::Relaxed) == 0 {
            return Err(StoreError::unavailable("collect", "away"));
        }
        self.done.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Collected { pages: 10, ..Collected::default() }))
    }

    async fn last_collected(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok((self.done.load(Ordering::Relaxed) > 0).then(Timestamp::now))
    }
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_done_again_and_what_is_done_is_left_until_it_is_due() {
    let flaky = Arc::new(Flaky { calls: AtomicU64::new(0), done: AtomicU64::new(0) });
    let (metrics, shutdown) = (Metrics::new("test"), Shutdown::new());
    let running = tokio::spawn({
        let (flaky, metrics, shutdown) = (flaky.clone(), metrics.clone(), shutdown.clone());
        async move { run(&SnapshotSettings::default(), flaky, &metrics, shutdown).await }
    });
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(flaky.calls.load(Ordering::Relaxed), 2, "once failed, once done, and then nothing is due");
    let text = metrics.expose();
    assert!(text.contains("dm_snapshot_collections_total{result=\"failed\"} 1"), "{text}");
    assert!(text.contains("dm_snapshot_scanned_pages_total 17"), "what failed is counted too: {text}");
    shutdown.begin();
    running.await.unwrap();
}
