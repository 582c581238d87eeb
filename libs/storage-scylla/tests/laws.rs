//! The stores keep the laws on a real cluster.

mod support;

use storage::{KeyRing, laws, seal::KeyId};
use storage_scylla::ScyllaDevices;
use support::Keyspace;

fn keys() -> KeyRing {
    KeyRing::from_keys(&[(KeyId(1), [7; 32])]).expect("a ring of one key")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_laws() {
    Keyspace::with("laws", |scylla| async move {
        let devices = ScyllaDevices::new(scylla.clone(), keys());
        tokio::join!(
            laws::device_store_laws(&devices),
            laws::campaign_store_laws(&scylla),
            laws::artifact_store_laws(&scylla),
        );
    })
    .await;
}
