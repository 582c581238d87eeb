//! The laws of jobs with rows and ledgers on a real cluster, and the topics and marks in memory.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use storage::laws::job_store_laws;
use storage_cluster::{
    ClusterJobs, EventsWorker, JobsWorker, Ports, draw_from_system,
    testing::{MemoryMarks, MemoryTopics},
    topics::Topic,
};
use storage_scylla::{JobKeep, Scylla, ScyllaBlocks, ScyllaRows};
use support::Keyspace;
use tokio_util::sync::CancellationToken;

async fn laws(scylla: Scylla) {
    let topics = MemoryTopics::new(4);
    let store = ClusterJobs::new(Ports {
        rows: Arc::new(ScyllaRows::new(scylla.clone(), &JobKeep::default()).unwrap()),
        blocks: Arc::new(ScyllaBlocks::new(scylla)),
        topics: Arc::new(topics.clone()),
        marks: Arc::new(MemoryMarks::default()),
        draw: draw_from_system(),
    });
    let shutdown = CancellationToken::new();
    let jobs = JobsWorker::new(store.clone(), Box::new(topics.consumer(Topic::Jobs, "jobs")));
    let events = EventsWorker::new(store.clone(), Box::new(topics.consumer(Topic::Events, "events")));
    let workers = [tokio::spawn(jobs.run(shutdown.clone())), tokio::spawn(events.run(shutdown.clone()))];
    job_store_laws(&store).await;
    shutdown.cancel();
    for worker in workers {
        worker.await.unwrap();
    }
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs() {
    Keyspace::with("jobs", laws).await;
}
