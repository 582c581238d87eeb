//! A cluster on real servers, with a keyspace, topics and keys of its own.

use std::sync::Arc;

use service_kit::{Metrics, Settings};
use storage::{KeyRing, seal::KeyId};
use storage_cluster::{ClusterJobs, ClusterTriggers, Ports, draw_from_system, topics::Topic};
use storage_kafka::Kafka;
use storage_redis::{Redis, RedisSettings};
use storage_scylla::{
    JobKeep, Replication, Scylla, ScyllaBlocks, ScyllaDevices, ScyllaRows, ScyllaSettings, schema,
};

use super::Process;

/// The servers, and what of them is this run's.
pub struct Servers {
    kafka: Kafka,
    scylla: ScyllaSettings,
    connection: Scylla,
    ports: Ports,
}

impl Servers {
    /// `None`, said aloud, where the addresses are not set.
    pub async fn fresh(name: &str) -> Option<Self> {
        let [redis, brokers, contact_point] =
            ["FLOTILLA_TEST_REDIS", "FLOTILLA_TEST_KAFKA", "FLOTILLA_TEST_CASSANDRA"]
                .map(storage::laws::test_server);
        let (redis, brokers, contact_point) = (redis?, brokers?, contact_point?);
        let run = format!("{name}_{:x}", jiff::Timestamp::now().as_microsecond());
        let scylla = ScyllaSettings {
            contact_points: vec![contact_point],
            keyspace: format!("t_{run}"),
            replication: Replication::Everywhere(1),
            ..ScyllaSettings::default()
        };
        schema::apply(&scylla).await.unwrap();
        let connection = Scylla::connect(&scylla).await.unwrap();
        let redis = RedisSettings {
            nodes: vec![if redis.contains("://") { redis } else { format!("redis://{redis}") }],
            key_prefix: format!("{run}:"),
            ..RedisSettings::default()
        };
        let kafka = topics(&brokers, &run).await;
        let ports = Ports {
            rows: Arc::new(ScyllaRows::new(connection.clone(), &JobKeep::default()).unwrap()),
            blocks: Arc::new(ScyllaBlocks::new(connection.clone())),
            topics: Arc::new(kafka.clone()),
            marks: Arc::new(Redis::connect(&redis).await.unwrap()),
            draw: draw_from_system(),
        };
        Some(Self { kafka, scylla, connection, ports })
    }

    pub fn process(&self) -> Process {
        let consumer = |topic, group| Box::new(self.kafka.consumer(topic, group).unwrap());
        let store = ClusterJobs::new(self.ports.clone());
        Process::new(store, consumer(Topic::Jobs, "jobs")).with_events(consumer(Topic::Events, "events"))
    }

    /// The queue of triggers that released jobs ask for.
    pub fn triggers(&self) -> ClusterTriggers {
        let kafka = self.kafka.clone();
        let join = move || Ok(Box::new(kafka.consumer(Topic::Triggers, "triggers")?) as Box<_>);
        ClusterTriggers::new(Arc::new(self.kafka.clone()), Arc::new(join))
    }

    pub fn devices(&self) -> ScyllaDevices {
        let keys = KeyRing::from_keys(&[(KeyId(1), [7; 32])]).unwrap();
        ScyllaDevices::new(self.connection.clone(), keys)
    }

    /// Leaves nothing of this run on the servers but keys that end by themselves.
    pub async fn drop_all(self) {
        self.kafka.delete_topics().await.unwrap();
        schema::drop_keyspace(&self.scylla).await.unwrap();
    }
}

async fn topics(brokers: &str, run: &str) -> Kafka {
    let prefix = format!("{run}-");
    let pairs = [
        ("bootstrap", brokers),
        ("prefix", &prefix),
        ("jobs_partitions", "4"),
        ("triggers_partitions", "4"),
        ("events_partitions", "4"),
        ("replication", "1"),
        ("min_insync_replicas", "1"),
        ("session_timeout", "6s"),
    ];
    let pairs = pairs.map(|(key, value)| (format!("kafka.{key}"), value.to_owned()));
    let settings = Settings::load(None, [], pairs).unwrap().kafka;
    let kafka = Kafka::new(&settings, &Metrics::new("test")).unwrap();
    kafka.apply_topics().await.unwrap();
    kafka
}
