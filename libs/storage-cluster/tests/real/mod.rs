//! A cluster on real servers, with a keyspace, topics and keys of its own.

// Each of those who use it uses its part.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::missing_panics_doc)]

use std::sync::Arc;

use service_kit::{Metrics, Settings};
use storage::{KeyRing, seal::KeyId};
use storage_cluster::{
    ClusterJobs, ClusterTriggers, EventsWorker, JobsWorker, Ports, draw_from_system, topics::Topic,
};
use storage_kafka::Kafka;
use storage_redis::{Redis, RedisSettings};
use storage_scylla::{
    JobKeep, Replication, Scylla, ScyllaBlocks, ScyllaDevices, ScyllaRows, ScyllaSettings, schema,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The servers, and what of them is this run's.
pub struct Servers {
    kafka: Kafka,
    scylla: ScyllaSettings,
    connection: Scylla,
    ports: Ports,
}

/// A process: its store and its workers.
pub struct Process {
    pub store: ClusterJobs,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
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
        let store = ClusterJobs::new(self.ports.clone());
        let shutdown = CancellationToken::new();
        let consumer = |topic, group| Box::new(self.kafka.consumer(topic, group).unwrap()) as Box<_>;
        let jobs = JobsWorker::new(store.clone(), consumer(Topic::Jobs, "jobs"));
        let events = EventsWorker::new(store.clone(), consumer(Topic::Events, "events"));
        let tasks =
            vec![tokio::spawn(jobs.run(shutdown.clone())), tokio::spawn(events.run(shutdown.clone()))];
        Process { store, shutdown, tasks }
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

impl Process {
    /// As by kill -9: nothing is ended, and what was begun goes nowhere.
    pub fn kill(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
        self.store.shutdown().await;
    }
}
