//! Trees on a real cluster.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use dm_protocol::DevId;
use dm_tree::{Change, Format, Leaf, TreeDelta};
use jiff::Timestamp;
use storage::{SnapshotStore as _, TenantId, laws};
use storage_scylla::{Scylla, SnapshotOptions, Snapshots};
use support::Keyspace;

fn put(uri: &str, value: &str) -> Change {
    let leaf = Leaf { format: Format::Chr, mime: None, value: value.as_bytes().into() };
    Change::Leaf { uri: uri.to_owned(), leaf }
}

fn at(second: i64) -> Timestamp {
    Timestamp::new(1_790_000_000 + second, 0).unwrap()
}

/// One keyspace for all: to make one takes longer than to use it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trees_on_a_cluster() {
    Keyspace::with("trees", |scylla| async move {
        keeps_the_laws_of_snapshots(scylla.clone()).await;
        two_front_ends_lose_no_change_and_count_every_tree(scylla.clone()).await;
        a_tree_seen_lately_is_not_written_again_and_a_past_one_ends(scylla.clone()).await;
        trees_much_alike_are_stored_by_what_they_add(scylla.clone()).await;
        a_tree_without_its_pages_begins_anew_and_keeps_nobody_out(scylla).await;
    })
    .await;
}

async fn keeps_the_laws_of_snapshots(scylla: Scylla) {
    laws::snapshot_store_laws(&Snapshots::new(scylla, SnapshotOptions::default())).await;
}

async fn two_front_ends_lose_no_change_and_count_every_tree(scylla: Scylla) {
    let stores = [(); 2].map(|()| Snapshots::new(scylla.clone(), SnapshotOptions::default()));
    let (tenant, device) = (TenantId("race".into()), DevId::parse("IMEI:1").unwrap());
    let changes: Vec<TreeDelta> =
        (0..12).map(|number| vec![put(&format!("A/leaf{number}"), "here")]).collect();
    let applied = changes
        .iter()
        .enumerate()
        .map(|(number, delta)| stores[number % 2].apply(&tenant, &device, at(0), delta));
    for head in futures_util::future::join_all(applied).await {
        head.unwrap();
    }
    let head = stores[0].current(&tenant, &device).await.unwrap().unwrap();
    let tree = stores[1].read(&tenant, head.root, "A").await.unwrap();
    assert_eq!(tree.len(), 1 + changes.len(), "no change is lost");
    let history = stores[0].history(&tenant, &device, 100).await.unwrap();
    assert_eq!(history.len(), changes.len(), "every tree on the way is told");
    assert!(history.windows(2).all(|pair| pair[0].since > pair[1].since));
}

async fn a_tree_seen_lately_is_not_written_again_and_a_past_one_ends(scylla: Scylla) {
    let options = SnapshotOptions {
        seen_every: Duration::from_secs(60),
        history_age_max: Some(Duration::from_secs(2)),
        ..SnapshotOptions::default()
    };
    let store = Snapshots::new(scylla, options);
    let (tenant, device) = (TenantId("seen".into()), DevId::parse("IMEI:1").unwrap());
    let tree = vec![put("A/b", "1")];
    store.apply(&tenant, &device, at(0), &tree).await.unwrap();
    for (second, stored) in [(59, 0), (60, 60), (119, 60), (120, 120)] {
        let seen = store.apply(&tenant, &device, at(second), &tree).await.unwrap();
        assert_eq!(seen.seen, at(second), "the caller hears that it was seen");
        let current = store.current(&tenant, &device).await.unwrap().unwrap();
        assert_eq!(current.seen, at(stored), "what is stored after second {second}");
    }
    let before = store.current(&tenant, &device).await.unwrap().unwrap();
    let after = store.apply(&tenant, &device, at(200), &vec![put("A/b", "2")]).await.unwrap();
    assert_eq!(store.history(&tenant, &device, 9).await.unwrap(), [after, before]);
    tokio::time::sleep(Duration::from_millis(3100)).await;
    assert_eq!(
        store.history(&tenant, &device, 9).await.unwrap(),
        [after],
        "the past ends, the present does not"
    );
}

/// As after a restore of tables that were copied one after the other.
async fn a_tree_without_its_pages_begins_anew_and_keeps_nobody_out(scylla: Scylla) {
    let (tenant, device) = (TenantId("torn".into()), DevId::parse("IMEI:1").unwrap());
    let fresh = || Snapshots::new(scylla.clone(), SnapshotOptions::default());
    let before =
        fresh().apply(&tenant, &device, at(0), &vec![put("A/b", "1"), put("C/d", "1")]).await.unwrap();
    let (session, keyspace) = (support::session().await, scylla.keyspace());
    let delete = format!("DELETE FROM {keyspace}.pages WHERE tenant = 'torn' AND id = ?");
    session.query_unpaged(delete, (before.root.0.to_vec(),)).await.unwrap();

    let store = fresh();
    let after = store.apply(&tenant, &device, at(9), &vec![put("A/b", "2")]).await.unwrap();
    let leaf =
        async |uri| store.leaf(&tenant, after.root, uri).await.unwrap().map(|leaf| leaf.value.to_vec());
    assert_eq!((leaf("A/b").await, leaf("C/d").await), (Some(b"2".to_vec()), None));
    let history = store.history(&tenant, &device, 9).await.unwrap();
    assert_eq!(history, [after, before], "that there was another stays known");
    store.apply(&tenant, &device, at(12), &vec![put("C/d", "1")]).await.unwrap();
}

async fn trees_much_alike_are_stored_by_what_they_add(scylla: Scylla) {
    let store = Snapshots::new(scylla.clone(), SnapshotOptions::default());
    let tenant = TenantId("alike".into());
    let phone = |number: usize| -> TreeDelta {
        let common = (0..300).map(|leaf| put(&format!("A/B{}/leaf{leaf}", leaf % 6), "what all have"));
        common.chain([put("A/B1/serial", &format!("IMEI:{number}"))]).collect()
    };
    for number in 0..5 {
        let device = DevId::parse(&format!("IMEI:{number}")).unwrap();
        let head = store.apply(&tenant, &device, at(0), &phone(number)).await.unwrap();
        // Another process has nothing of it in memory.
        let other = Snapshots::new(scylla.clone(), SnapshotOptions::default());
        let read = other.leaf(&tenant, head.root, "A/B1/serial").await.unwrap().unwrap();
        assert_eq!(*read.value, *format!("IMEI:{number}").as_bytes());
        assert_eq!(other.read(&tenant, head.root, "A").await.unwrap().len(), 301 + 7);
    }
    let session = support::session().await;
    let keyspace = scylla.keyspace();
    let rows = session
        .query_unpaged(
            format!("SELECT base, stored FROM {keyspace}.pages WHERE tenant = 'alike' ALLOW FILTERING"),
            (),
        )
        .await
        .unwrap()
        .into_rows_result()
        .unwrap();
    let stored: Vec<(Vec<u8>, Vec<u8>)> = rows.rows().unwrap().map(Result::unwrap).collect();
    let by_base = stored.iter().filter(|(base, octets)| !base.is_empty() && octets.len() < 150).count();
    assert!(by_base >= 4, "of {} pages {by_base} are stored by a base", stored.len());
}
