//! The laws on real servers.

#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use storage::{Embedded, KeyRing, embedded::Options, laws, seal::KeyId};
use storage_cluster::devices::CachedDevices;
use storage_redis::{Redis, RedisSettings};

/// The servers whose addresses are set.
async fn servers() -> Vec<Redis> {
    let mut servers = Vec::new();
    for (name, cluster) in [("FLOTILLA_TEST_REDIS", false), ("FLOTILLA_TEST_REDIS_CLUSTER", true)] {
        let Some(addresses) = laws::test_server(name) else { continue };
        let nodes = addresses
            .split(',')
            .map(|node| if node.contains("://") { node.to_owned() } else { format!("redis://{node}") })
            .collect();
        let settings =
            RedisSettings { nodes, cluster, key_prefix: "laws:".into(), ..RedisSettings::default() };
        servers.push(Redis::connect(&settings).await.unwrap());
    }
    servers
}

#[tokio::test]
async fn sessions() {
    for redis in servers().await {
        laws::session_store_laws(&redis).await;
    }
}

#[tokio::test]
async fn limits() {
    for redis in servers().await {
        laws::limit_store_laws(&redis).await;
    }
}

#[tokio::test]
async fn work_marks() {
    for redis in servers().await {
        storage_cluster::laws::work_marks_laws(&redis).await;
    }
}

#[tokio::test]
async fn hot_devices() {
    for redis in servers().await {
        storage_cluster::laws::hot_devices_laws(&redis).await;
    }
}

#[tokio::test]
async fn devices_with_hot_records() {
    for redis in servers().await {
        let dir = tempfile::tempdir().unwrap();
        let durable = Arc::new(Embedded::open(dir.path(), &Options::default()).unwrap());
        let keys = KeyRing::from_keys(&[(KeyId(1), [7; 32])]).unwrap();
        let grain = Duration::from_secs(3600);
        laws::device_store_laws(&CachedDevices::new(durable, Arc::new(redis), keys, grain)).await;
    }
}
