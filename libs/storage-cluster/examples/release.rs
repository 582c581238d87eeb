//! Jobs released a second, on real servers: durable in their ledger, in their topic, and seen by their devices.
//!
//! ```text
//! cargo run --release -p storage-cluster --example release -- 100000
//! ```

#![allow(clippy::unwrap_used)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use campaign::{CampaignId, EventKind, Job, JobEvent, Phase};
use common::real::Servers;
use dm_protocol::DevId;
use jiff::Timestamp;
use storage::{JobStore, Release, TenantId};

/// Jobs of one call, as a campaign's owner releases them.
const BATCH: usize = 2048;
/// Calls at once: they share blocks.
const AT_ONCE: usize = 4;

fn release(campaign: CampaignId, ordinal: u32, at: Timestamp) -> Release {
    let device = DevId::parse(&format!("IMEI:{:015}", 490_154_200_000_000 + u64::from(ordinal))).unwrap();
    let kind = EventKind::Released { wave: 0, after: None };
    let event = JobEvent { device: Some(device.clone()), ordinal, attempt: 1, at, kind };
    let job = Job { campaign, ordinal, attempt: 1, phase: Phase::Waiting, since: at };
    Release { device, job, event, trigger_until: None }
}

fn say(what: &str, jobs: usize, took: Duration) {
    let rate = jobs as f64 / took.as_secs_f64();
    println!("{what:<44} {jobs:>8} jobs {:>8.2} s {rate:>10.0} jobs/s", took.as_secs_f64());
}

#[tokio::main]
async fn main() {
    let jobs: usize = std::env::args().nth(1).map_or(100_000, |it| it.parse().expect("a number of jobs"));
    let Some(servers) = Servers::fresh("release").await else { return };
    let (tenant, campaign) = (TenantId::default(), CampaignId(1));
    let process = servers.process();
    let store = &process.store;
    let at = Timestamp::now();
    let all: Vec<Release> = (0..u32::try_from(jobs).unwrap()).map(|it| release(campaign, it, at)).collect();
    let epoch = store.claim(&tenant, campaign).await.unwrap();

    let begun = Instant::now();
    for calls in all.chunks(BATCH * AT_ONCE) {
        let calls = calls.chunks(BATCH).map(|batch| store.release(&tenant, campaign, epoch, batch));
        for new in futures_util::future::join_all(calls).await {
            new.unwrap();
        }
    }
    say("durable in the ledger", jobs, begun.elapsed());

    // Its partition of the topic ends with one of the last jobs, so all are seen when a sample of the last is.
    for last in all.iter().rev().take(64) {
        while store.pending(&tenant, &last.device).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    say("in the devices' rows, marked, seen", jobs, begun.elapsed());

    let begun = Instant::now();
    let other = servers.process();
    other.store.claim(&tenant, campaign).await.unwrap();
    say("ledger claimed by another process", jobs, begun.elapsed());
    other.stop().await;
    process.stop().await;
    servers.drop_all().await;
}
