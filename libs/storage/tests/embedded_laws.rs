//! The embedded backend keeps the laws.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::time::Duration;

use campaign::CampaignId;
use dm_protocol::DevId;
use jiff::Timestamp;
use storage::{Embedded, TenantId, Trigger, TriggerStore, embedded::Options, laws};

fn store() -> (tempfile::TempDir, Embedded) {
    let dir = tempfile::tempdir().expect("a folder for the test");
    let store = Embedded::open(dir.path(), &Options::default()).expect("a new store opens");
    (dir, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_laws_of_sessions() {
    let (_dir, store) = store();
    laws::session_store_laws(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_laws_of_devices() {
    let (_dir, store) = store();
    laws::device_store_laws(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_laws_of_jobs() {
    let (_dir, store) = store();
    laws::job_store_laws(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_laws_of_triggers() {
    let (_dir, store) = store();
    laws::trigger_store_laws(&store).await;
    laws::released_trigger_laws(&store, &store, &store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_consumers_never_have_the_same_trigger() {
    let (_dir, store) = store();
    let asked: Vec<Trigger> = (0..500).map(trigger).collect();
    store.ask(&asked).await.unwrap();
    let mut taken = Vec::new();
    let (mut one, mut other) = (store.consume().await.unwrap(), store.consume().await.unwrap());
    loop {
        let both = tokio::join!(
            one.take(7, Timestamp::MAX, Duration::ZERO),
            other.take(7, Timestamp::MAX, Duration::ZERO)
        );
        let (mut some, others) = (both.0.unwrap(), both.1.unwrap());
        some.extend(others);
        if some.is_empty() {
            break;
        }
        taken.extend(some.into_iter().map(|taken| taken.trigger));
    }
    taken.sort_by_key(|trigger| trigger.attempt);
    assert_eq!(taken, asked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_that_is_due_before_all_that_were_settled_is_found() {
    let (_dir, store) = store();
    let mut consumer = store.consume().await.unwrap();
    for attempt in (1..50).rev() {
        store.ask(&[trigger(attempt)]).await.unwrap();
        let taken = consumer.take(10, Timestamp::MAX, Duration::ZERO).await.unwrap();
        assert_eq!(taken.len(), 1, "attempt {attempt}");
        assert_eq!(taken[0].trigger, trigger(attempt));
        consumer.settle(&[taken[0].receipt.clone()], &[]).await.unwrap();
    }
}

/// Of one device, due in the order of attempts.
fn trigger(attempt: u16) -> Trigger {
    let at = Timestamp::from_second(1_790_000_000 + i64::from(attempt)).unwrap();
    Trigger {
        tenant: TenantId::default(),
        device: DevId::parse("IMEI:1").unwrap(),
        campaign: CampaignId(1),
        attempt,
        asked: at,
        deadline: Timestamp::MAX,
        due: at,
        sent: 0,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_laws_of_campaigns() {
    let (_dir, store) = store();
    laws::campaign_store_laws(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_laws_of_starts() {
    let (_dir, store) = store();
    laws::start_store_laws(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_laws_of_requests() {
    let (_dir, store) = store();
    laws::request_store_laws(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_laws_of_snapshots() {
    let (_dir, store) = store();
    laws::snapshot_store_laws(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_laws_of_artifacts() {
    let (_dir, store) = store();
    laws::artifact_store_laws(&store).await;
}
