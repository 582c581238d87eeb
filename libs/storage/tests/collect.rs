//! The collection of garbage in a data directory, while trees change.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use dm_protocol::DevId;
use dm_tree::{Change, Format, Leaf, TreeDelta};
use jiff::{SignedDuration, Timestamp};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use storage::{
    Collected, Collection, Collector as _, Embedded, SnapshotStore as _, TenantId, embedded::Options,
};

fn put(uri: &str, value: &str) -> Change {
    let leaf = Leaf { format: Format::Chr, mime: None, value: value.as_bytes().into() };
    Change::Leaf { uri: uri.to_owned(), leaf }
}

/// Some pages deep: subtrees of more than a page, with large values in them, one of them with something of its own.
fn tree(own: &str) -> TreeDelta {
    let leaves = (0..240).map(|leaf| put(&format!("A/B{}/leaf{leaf}", leaf % 3), &"common ".repeat(8)));
    leaves.chain([put("A/B1/own", own), put("A/B0/large", &own.repeat(200))]).collect()
}

fn plan() -> Collection {
    let rows_per_s_max = 10_000_000;
    Collection { rows_per_s_max, marks_bytes_max: 1 << 20, history_age_max: None, ..Collection::default() }
}

async fn collect(store: &Embedded, plan: &Collection) -> Collected {
    store.collect(Timestamp::now(), plan, &|_| {}).await.unwrap().expect("nobody else collects")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_tree_names_goes_and_the_rest_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), &Options::default()).unwrap();
    let (tenant, other) = (TenantId::default(), TenantId("other".into()));
    let device = DevId::parse("IMEI:1").unwrap();
    let now = Timestamp::now();
    let mut roots = Vec::new();
    for version in 0..6 {
        let at = now - SignedDuration::from_hours(60 - 10 * version);
        let delta = tree(&format!("version {version}"));
        roots.push(store.apply(&tenant, &device, at, &delta).await.unwrap().root);
    }
    let foreign = store.apply(&other, &device, now, &tree("theirs")).await.unwrap();
    let all = collect(&store, &plan()).await;
    assert_eq!((all.trees, all.past_trees, all.past_trees_ended, all.pages_deleted), (2, 5, 0, 0), "{all:?}");

    let short = Collection { history_trees_max: 2, ..plan() };
    let dry = collect(&store, &Collection { dry_run: true, ..short.clone() }).await;
    assert_eq!((dry.past_trees_ended, dry.pages), (3, all.pages), "{dry:?}");
    assert!(dry.pages_deleted > 3 && dry.bytes_deleted > 0, "{dry:?}");
    assert_eq!(store.history(&tenant, &device, 9).await.unwrap().len(), 6, "a dry run takes nothing");
    let done = collect(&store, &short).await;
    assert!(done.pages_deleted > 3, "{done:?}");
    let again = collect(&store, &short).await;
    assert_eq!((again.past_trees_ended, again.pages_deleted), (0, 0), "{again:?}");
    assert_eq!(again.pages, all.pages - done.pages_deleted);
    // Of what is left one ended 10 hours ago, the other 20.
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
    let old = collect(&store, &Collection { history_age_max: hours(15), ..plan() }).await;
    assert_eq!((old.past_trees, old.past_trees_ended), (2, 1), "{old:?}");
    drop(store);

    let store = Embedded::open(dir.path(), &Options::default()).unwrap();
    let history = store.history(&tenant, &device, 9).await.unwrap();
    assert_eq!(history.iter().map(|past| past.root).collect::<Vec<_>>(), [roots[5], roots[4]]);
    for past in history {
        assert!(store.read(&tenant, past.root, ".").await.unwrap().len() > 240);
    }
    assert!(store.read(&tenant, roots[0], ".").await.is_err(), "what ended is gone");
    assert!(store.read(&other, foreign.root, ".").await.unwrap().len() > 240);
    let back = store.apply(&tenant, &device, now, &tree("version 0")).await.unwrap();
    assert_eq!(back.root, roots[0]);
    assert!(
        store.read(&tenant, back.root, ".").await.unwrap().len() > 240,
        "what was collected comes back whole"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_tree_loses_a_page_to_a_collection() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(dir.path(), &Options::default()).unwrap();
    let tenant = TenantId::default();
    let stop = Arc::new(AtomicBool::new(false));
    let appliers: Vec<_> = (0..4_u64)
        .map(|applier| {
            let (store, tenant, stop) = (store.clone(), tenant.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut random = StdRng::seed_from_u64(applier);
                let mut applied = 0;
                while !stop.load(Ordering::Relaxed) {
                    let device = DevId::parse(&format!("IMEI:{}", random.random_range(0..6))).unwrap();
                    let delta = tree(&format!("variant {}", random.random_range(0..40)));
                    store.apply(&tenant, &device, Timestamp::now(), &delta).await.unwrap();
                    applied += 1;
                }
                applied
            })
        })
        .collect();
    // Nothing of the past is kept, so that pages are garbage and are needed again all the time.
    let short = Collection { history_trees_max: 0, ..plan() };
    let began = Instant::now();
    let (mut deleted, mut runs) = (0, 0);
    while began.elapsed() < Duration::from_secs(4) {
        deleted += collect(&store, &short).await.pages_deleted;
        runs += 1;
    }
    stop.store(true, Ordering::Relaxed);
    let mut applied = 0;
    for applier in appliers {
        applied += applier.await.unwrap();
    }
    println!("{applied} changes, {runs} collections, {deleted} pages deleted");
    assert!(deleted > 0 && runs > 2 && applied > 20, "{applied} changes, {runs} runs, {deleted} deleted");
    drop(store);
    let store = Embedded::open(dir.path(), &Options::default()).unwrap();
    for number in 0..6 {
        let device = DevId::parse(&format!("IMEI:{number}")).unwrap();
        let head = store.current(&tenant, &device).await.unwrap().unwrap();
        assert!(store.read(&tenant, head.root, ".").await.unwrap().len() > 240, "every tree reads whole");
    }
    collect(&store, &short).await;
    assert_eq!(collect(&store, &short).await.pages_deleted, 0);
}
