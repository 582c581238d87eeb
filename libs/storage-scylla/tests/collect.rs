//! The collection of garbage on a real cluster, while trees change.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dm_protocol::DevId;
use dm_tree::{Change, Format, Leaf, TreeDelta};
use jiff::Timestamp;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use storage::{Collected, Collection, Collector as _, SnapshotStore as _, TenantId};
use storage_scylla::{Scylla, SnapshotOptions, Snapshots};
use support::Keyspace;

fn put(uri: &str, value: &str) -> Change {
    let leaf = Leaf { format: Format::Chr, mime: None, value: value.as_bytes().into() };
    Change::Leaf { uri: uri.to_owned(), leaf }
}

/// Some pages deep: subtrees of more than a page, with large values in them.
fn tree(own: &str) -> TreeDelta {
    let leaves = (0..240).map(|leaf| put(&format!("A/B{}/leaf{leaf}", leaf % 3), &"common ".repeat(8)));
    leaves.chain([put("DevInfo/own", own), put("A/B0/large", &own.repeat(200))]).collect()
}

fn plan(grace: Duration) -> Collection {
    Collection {
        grace,
        rows_per_s_max: 1_000_000,
        marks_bytes_max: 1 << 20,
        history_age_max: None,
        ..Collection::default()
    }
}

async fn collect(store: &Snapshots, plan: &Collection) -> Collected {
    store.collect(Timestamp::now(), plan, &|_| {}).await.unwrap().expect("nobody else collects")
}

/// One keyspace for all, one after the other: a collection counts all that is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_on_a_cluster() {
    Keyspace::with("collect", |scylla| async move {
        what_no_tree_names_goes_and_the_rest_stays(scylla.clone()).await;
        history_that_is_too_old_ends(scylla.clone()).await;
        one_process_collects_at_a_time(scylla.clone()).await;
        no_current_tree_loses_a_page_to_a_collection(scylla).await;
    })
    .await;
}

async fn what_no_tree_names_goes_and_the_rest_stays(scylla: Scylla) {
    let options = SnapshotOptions { history_age_max: None, scan_ranges: 8, ..SnapshotOptions::default() };
    let store = Snapshots::new(scylla.clone(), options.clone());
    let (tenant, other) = (TenantId::default(), TenantId("other".into()));
    let device = DevId::parse("IMEI:1").unwrap();
    let mut roots = Vec::new();
    for version in 0..6 {
        let delta = tree(&format!("version {version}"));
        roots.push(store.apply(&tenant, &device, Timestamp::now(), &delta).await.unwrap().root);
    }
    let foreign = store.apply(&other, &device, Timestamp::now(), &tree("theirs")).await.unwrap();
    let all = collect(&store, &plan(Duration::ZERO)).await;
    assert_eq!((all.trees, all.past_trees, all.past_trees_ended, all.pages_deleted), (2, 5, 0, 0), "{all:?}");
    assert!(all.pages > 12, "{all:?}");

    let short = Collection { history_trees_max: 2, ..plan(Duration::ZERO) };
    let dry = collect(&store, &Collection { dry_run: true, ..short.clone() }).await;
    assert_eq!((dry.past_trees_ended, dry.pages), (3, all.pages), "{dry:?}");
    assert!(dry.pages_deleted > 3 && dry.bytes_deleted > 0, "{dry:?}");
    assert_eq!(store.history(&tenant, &device, 9).await.unwrap().len(), 6, "a dry run takes nothing");
    let young = collect(&store, &Collection { grace: Duration::from_secs(3600), ..short.clone() }).await;
    assert_eq!(young.pages_deleted, 0, "what was written within the grace stays");
    let done = collect(&store, &short).await;
    assert_eq!(done.pages_deleted, dry.pages_deleted);
    let again = collect(&store, &short).await;
    assert_eq!((again.past_trees_ended, again.pages_deleted), (0, 0), "{again:?}");
    assert_eq!(again.pages, all.pages - done.pages_deleted);

    // Another process has nothing of it in memory.
    let store = Snapshots::new(scylla, options);
    let history = store.history(&tenant, &device, 9).await.unwrap();
    assert_eq!(history.iter().map(|past| past.root).collect::<Vec<_>>(), [roots[5], roots[4], roots[3]]);
    for past in history {
        assert!(store.read(&tenant, past.root, ".").await.unwrap().len() > 240);
    }
    assert!(store.read(&tenant, roots[0], ".").await.is_err(), "what ended is gone");
    assert!(store.read(&other, foreign.root, ".").await.unwrap().len() > 240);
    // A tree that was collected comes back whole.
    let back = store.apply(&tenant, &device, Timestamp::now(), &tree("version 0")).await.unwrap();
    assert_eq!(back.root, roots[0]);
    assert!(store.read(&tenant, back.root, ".").await.unwrap().len() > 240);
}

async fn history_that_is_too_old_ends(scylla: Scylla) {
    let options = SnapshotOptions { history_age_max: None, scan_ranges: 8, ..SnapshotOptions::default() };
    let store = Snapshots::new(scylla, options);
    let (tenant, device) = (TenantId("old".into()), DevId::parse("IMEI:1").unwrap());
    let now = Timestamp::now();
    for hours in [50, 40, 30] {
        let at = now - jiff::SignedDuration::from_hours(hours);
        store.apply(&tenant, &device, at, &tree(&hours.to_string())).await.unwrap();
    }
    // The first ended 40 hours ago, the second 30, and the third is the tree of now.
    let day = Duration::from_secs(35 * 3600);
    let done = collect(&store, &Collection { history_age_max: Some(day), ..plan(Duration::ZERO) }).await;
    assert_eq!(done.past_trees_ended, 1);
    assert_eq!(store.history(&tenant, &device, 9).await.unwrap().len(), 2);
    let all = Collection { history_age_max: Some(Duration::from_secs(20 * 3600)), ..plan(Duration::ZERO) };
    assert_eq!(collect(&store, &all).await.past_trees_ended, 1);
    let [head] = store.history(&tenant, &device, 9).await.unwrap()[..] else { panic!("one tree is left") };
    assert!(store.read(&tenant, head.root, ".").await.unwrap().len() > 240, "the tree of now is always kept");
}

async fn one_process_collects_at_a_time(scylla: Scylla) {
    let store = Snapshots::new(scylla, SnapshotOptions::default());
    let (plan, now) = (plan(Duration::ZERO), Timestamp::now());
    let quiet = |_: &Collected| {};
    let (one, other) = tokio::join!(store.collect(now, &plan, &quiet), store.collect(now, &plan, &quiet));
    assert!(one.unwrap().is_some() != other.unwrap().is_some(), "one of two collects");
    assert!(store.collect(now, &plan, &|_| {}).await.unwrap().is_some(), "and then another may");
}

/// Devices whose trees go forth and back between some, so that pages become garbage and are needed again all the time,
/// and a collection with a grace as short as the window that runs again and again.
async fn no_current_tree_loses_a_page_to_a_collection(scylla: Scylla) {
    const WINDOW: Duration = Duration::from_millis(1500);
    let options = SnapshotOptions {
        history_age_max: Some(Duration::from_secs(1)),
        write_window: WINDOW,
        scan_ranges: 8,
        ..SnapshotOptions::default()
    };
    let tenant = TenantId("race".into());
    let stop = Arc::new(AtomicBool::new(false));
    let mut appliers = Vec::new();
    for applier in 0..4_u64 {
        // Each is a front-end of its own.
        let store = Snapshots::new(scylla.clone(), options.clone());
        let (tenant, stop) = (tenant.clone(), Arc::clone(&stop));
        appliers.push(tokio::spawn(async move {
            let mut random = StdRng::seed_from_u64(applier);
            let mut applied = 0;
            while !stop.load(Ordering::Relaxed) {
                let device = DevId::parse(&format!("IMEI:{}", random.random_range(0..8))).unwrap();
                let delta = tree(&format!("variant {}", random.random_range(0..150)));
                let head = store.apply(&tenant, &device, Timestamp::now(), &delta).await;
                applied += usize::from(head.is_ok());
                if let Err(error) = head {
                    panic!("a change was refused: {error:?}");
                }
            }
            applied
        }));
    }
    let collector = Snapshots::new(scylla.clone(), options.clone());
    let short = Collection { history_age_max: Some(Duration::from_secs(1)), ..plan(WINDOW) };
    let began = std::time::Instant::now();
    let (mut deleted, mut ended, mut runs) = (0, 0, 0);
    while began.elapsed() < Duration::from_secs(8)
        || (deleted == 0 || runs < 4) && began.elapsed() < Duration::from_secs(60)
    {
        let done = collect(&collector, &short).await;
        (deleted, ended, runs) = (deleted + done.pages_deleted, ended + done.past_trees_ended, runs + 1);
        // Who reads with an empty memory finds every tree of now whole. Its root may become one of the past meanwhile.
        let reader = Snapshots::new(scylla.clone(), options.clone());
        for number in 0..8 {
            let device = DevId::parse(&format!("IMEI:{number}")).unwrap();
            let Some(head) = reader.current(&tenant, &device).await.unwrap() else { continue };
            let read = reader.read(&tenant, head.root, ".").await;
            if let Err(error) = read {
                let now = reader.current(&tenant, &device).await.unwrap().unwrap();
                assert_ne!(now.since, head.since, "a tree of now has a hole: {error:?}");
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut applied = 0;
    for applier in appliers {
        applied += applier.await.unwrap();
    }
    println!("{applied} changes, {runs} collections, {deleted} pages deleted, {ended} past trees ended");
    assert!(deleted > 0 && runs > 2 && applied > 50, "{applied} changes, {runs} runs, {deleted} deleted");
    let reader = Snapshots::new(scylla.clone(), options);
    for number in 0..8 {
        let device = DevId::parse(&format!("IMEI:{number}")).unwrap();
        let head = reader.current(&tenant, &device).await.unwrap().unwrap();
        let whole = reader.read(&tenant, head.root, ".").await.unwrap();
        assert!(whole.len() > 240, "every tree reads whole at the end");
    }
}
