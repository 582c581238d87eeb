//! The order of starts and the mailboxes of campaigns keep their laws.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use storage::laws;
use support::Keyspace;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_laws_of_starts_and_requests() {
    Keyspace::with("starts", |scylla| async move {
        laws::start_store_laws(&scylla).await;
        laws::request_store_laws(&scylla).await;
    })
    .await;
}
