//! Faults are as they say: refused calls did nothing, lost answers were done.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::{sync::Arc, time::Duration};

use dm_protocol::DevId;
use storage::{
    Embedded, ErrorKind, SessionKey, SessionStore, TenantId,
    embedded::Options,
    faults::{Fault, FaultPlan, Faulty},
    laws,
};

const KEEP: Duration = Duration::from_secs(60);

fn store(dir: &tempfile::TempDir) -> Arc<Embedded> {
    Arc::new(Embedded::open(dir.path(), &Options::default()).unwrap())
}

fn key(session: &str) -> SessionKey {
    let device = DevId::parse("IMEI:1").unwrap();
    SessionKey { tenant: TenantId::default(), device, session: session.into() }
}

#[tokio::test]
async fn a_quiet_plan_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Arc::new(FaultPlan::quiet());
    let store = Faulty::new(store(&dir), Arc::clone(&plan));
    laws::campaign_store_laws(&store).await;
    laws::device_store_laws(&store).await;
    assert_eq!(plan.happened(), 0);
}

#[tokio::test]
async fn a_refused_write_did_nothing_and_a_lost_answer_was_done() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Arc::new(FaultPlan::quiet());
    let inner: Arc<dyn SessionStore> = store(&dir);
    let store = Faulty::new(Arc::clone(&inner), Arc::clone(&plan));
    for (session, fault, kind, there) in [
        ("1", Fault::Refused, ErrorKind::Unavailable, false),
        ("2", Fault::AnswerLost, ErrorKind::TimedOut, true),
    ] {
        plan.fail_next("put session", fault);
        let error = store.put(&key(session), None, b"record", KEEP).await.unwrap_err();
        assert_eq!(error.kind, kind);
        assert_eq!(inner.load(&key(session)).await.unwrap().is_some(), there, "{fault:?}");
    }
    plan.fail_next("load session", Fault::AnswerLost);
    assert_eq!(store.load(&key("2")).await.unwrap_err().kind, ErrorKind::Unavailable);
    assert!(store.load(&key("2")).await.unwrap().is_some(), "a named fault happens once");
    assert_eq!(plan.happened(), 3);
}

#[tokio::test]
async fn a_seed_gives_the_same_faults_again_and_they_stop_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let inner = store(&dir);
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let plan = Arc::new(FaultPlan::new(seed, 100, 100));
        let store = Faulty::new(Arc::clone(&inner), Arc::clone(&plan));
        let mut results = Vec::new();
        for _ in 0..500 {
            results.push(SessionStore::load(&store, &key("x")).await.is_ok());
        }
        let failed = results.iter().filter(|ok| !**ok).count();
        assert!((50..150).contains(&failed), "about a fifth of the calls fail, got {failed} of 500");
        assert_eq!(plan.happened(), failed as u64);
        plan.stop();
        for _ in 0..100 {
            SessionStore::load(&store, &key("x")).await.unwrap();
        }
        runs.push(results);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}
