//! The schema on a real cluster, and a cluster that asks who we are.

#![allow(clippy::unwrap_used)]

#[path = "support/secured.rs"]
mod secured;
mod support;

use storage_scylla::{Scylla, ScyllaError, schema};
use support::Keyspace;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_apply_at_once_apply_each_migration_once() {
    let Some(settings) = support::settings("schema") else { return };
    let missing = Scylla::connect(&settings).await;
    assert!(matches!(missing, Err(ScyllaError::NoKeyspace(_))), "{missing:?}");
    let (one, other) = tokio::join!(schema::apply(&settings), schema::apply(&settings));
    let ((one, by_one), (other, by_other)) = (one.unwrap(), other.unwrap());
    assert_eq!(by_one.len() + by_other.len(), schema::MIGRATIONS.len(), "each is applied once");
    assert_eq!(one.applied, other.applied, "both find all of it");
    assert!(one.pending.is_empty());
    let (again, applied) = schema::apply(&settings).await.unwrap();
    assert!(applied.is_empty(), "a second time there is nothing to do");
    assert_eq!(again.applied, one.applied);
    let scylla = Scylla::connect(&settings).await.unwrap();
    Keyspace { settings, scylla }.end().await;
}
