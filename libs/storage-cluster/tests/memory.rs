//! The laws over servers in memory, all well and with faults.

#![allow(clippy::unwrap_used)]

mod common;

use common::memory::Servers;
use storage::{faults::FaultPlan, laws::job_store_laws};

#[tokio::test]
async fn the_laws_of_jobs_hold_over_one_process() {
    let servers = Servers::new(FaultPlan::quiet());
    let process = servers.process();
    job_store_laws(&process.store).await;
    process.stop().await;
}

#[tokio::test]
async fn the_laws_of_jobs_hold_beside_front_ends() {
    let servers = Servers::new(FaultPlan::quiet());
    let others = [servers.front_end(), servers.front_end()];
    let process = servers.process();
    job_store_laws(&process.store).await;
    process.stop().await;
    for other in others {
        other.stop().await;
    }
}

#[tokio::test]
async fn the_laws_of_topics_hold_in_memory() {
    let topics = storage_cluster::testing::MemoryTopics::new(4);
    let join = |topic, group: &str| Box::new(topics.consumer(topic, group)) as Box<_>;
    storage_cluster::laws::topics_laws(&topics, &join, "memory").await;
}
