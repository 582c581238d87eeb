//! The embedded backend keeps the laws.

use storage::{Embedded, embedded::Options, laws};

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
