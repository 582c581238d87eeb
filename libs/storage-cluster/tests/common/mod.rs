//! Clusters, in memory and on real servers, and the processes in them.

// Each test binary uses its part.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::missing_panics_doc)]

pub mod memory;
pub mod real;

use std::time::Duration;

use campaign::{CampaignId, EventKind, Job, JobEvent, Phase};
use dm_objects::agenda::FirmwareStage;
use dm_protocol::DevId;
use jiff::Timestamp;
use storage::{JobStore, Release, TenantId, Versioned};
use storage_cluster::{ClusterJobs, EventsWorker, JobsWorker, topics::Consumer};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const CAMPAIGN: CampaignId = CampaignId(1);

/// A process: its store and its workers.
pub struct Process {
    pub store: ClusterJobs,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Process {
    /// One that owns no campaign: it writes the rows of released jobs.
    pub fn new(store: ClusterJobs, jobs: Box<dyn Consumer>) -> Self {
        let shutdown = CancellationToken::new();
        let jobs = JobsWorker::new(store.clone(), jobs);
        let tasks = vec![tokio::spawn(jobs.run(shutdown.child_token()))];
        Self { store, shutdown, tasks }
    }

    /// The same with the worker of events, which makes it own campaigns.
    pub fn with_events(mut self, events: Box<dyn Consumer>) -> Self {
        let events = EventsWorker::new(self.store.clone(), events);
        self.tasks.push(tokio::spawn(events.run(self.shutdown.child_token())));
        self
    }

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

pub fn tenant() -> TenantId {
    TenantId::default()
}

pub fn device(number: u32) -> DevId {
    DevId::parse(&format!("IMEI:{number}")).unwrap()
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::new(1_790_000_000 + second, 0).unwrap()
}

pub fn event_at(number: u32, attempt: u16, at: Timestamp, kind: EventKind) -> JobEvent {
    JobEvent { device: Some(device(number)), ordinal: number, attempt, at, kind }
}

pub fn event(number: u32, attempt: u16, second: i64, kind: EventKind) -> JobEvent {
    event_at(number, attempt, at(second), kind)
}

pub fn moved(number: u32, attempt: u16, second: i64) -> JobEvent {
    event(number, attempt, second, EventKind::Moved { phase: Phase::Running(FirmwareStage::Updating) })
}

pub fn release_at(number: u32, attempt: u16, since: Timestamp) -> Release {
    let job = Job { campaign: CAMPAIGN, ordinal: number, attempt, phase: Phase::Waiting, since };
    let event = event_at(number, attempt, since, EventKind::Released { wave: 0, after: None });
    Release { device: device(number), job, event, trigger_until: None }
}

pub fn release(number: u32, attempt: u16) -> Release {
    release_at(number, attempt, at(attempt.into()))
}

/// Looks until what is asked for is there.
pub async fn soon<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    for _ in 0..2000 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never came: {what}");
}

/// The job of a device, once it has one of this attempt.
pub async fn job(store: &ClusterJobs, number: u32, attempt: u16) -> Versioned<Job> {
    soon("a job", || async move {
        let jobs = store.pending(&tenant(), &device(number)).await.ok()?;
        jobs.into_iter().find(|job| job.value.attempt == attempt)
    })
    .await
}

/// The ledger, once it has so many events; fails where it has more.
pub async fn ledger(store: &ClusterJobs, count: usize) -> Vec<JobEvent> {
    let events = soon("events of the ledger", || async move {
        let events = store.events(&tenant(), CAMPAIGN, 0, 10_000).await.ok()?;
        // What it does not know of may be there.
        let _ = store.wait_events(&tenant(), CAMPAIGN, events.len() as u64).await;
        let events = store.events(&tenant(), CAMPAIGN, 0, 10_000).await.ok()?;
        (events.len() >= count).then_some(events)
    })
    .await;
    assert_eq!(events.len(), count, "{events:#?}");
    events.into_iter().map(|(_, event)| event).collect()
}
