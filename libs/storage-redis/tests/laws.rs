//! The laws on real servers.

#![allow(clippy::unwrap_used)]

use storage::laws;
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
