//! A cluster in memory: servers that outlive processes, and processes.

// Each test binary uses its part.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::missing_panics_doc)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use campaign::{CampaignId, EventKind, Job, JobEvent, Phase};
use dm_objects::agenda::FirmwareStage;
use dm_protocol::DevId;
use jiff::Timestamp;
use storage::{JobStore, Release, TenantId, Versioned, faults::FaultPlan};
use storage_cluster::{
    ClusterJobs, EventsWorker, JobsWorker, Ports,
    testing::{Faulty, MemoryBlocks, MemoryMarks, MemoryRows, MemoryTopics},
    topics::{Consumer, Topic},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const CAMPAIGN: CampaignId = CampaignId(1);
const PARTITIONS: u32 = 4;

/// The servers.
#[derive(Clone)]
pub struct Servers {
    pub rows: Arc<MemoryRows>,
    pub blocks: Arc<MemoryBlocks>,
    pub marks: Arc<MemoryMarks>,
    pub topics: MemoryTopics,
    pub plan: Arc<FaultPlan>,
    drawn: Arc<AtomicU64>,
}

impl Servers {
    pub fn new(plan: FaultPlan) -> Self {
        Self {
            rows: Arc::default(),
            blocks: Arc::default(),
            marks: Arc::default(),
            topics: MemoryTopics::new(PARTITIONS),
            plan: Arc::new(plan),
            drawn: Arc::default(),
        }
    }

    /// The same servers, reached over links of another quality.
    pub fn over(&self, plan: FaultPlan) -> Self {
        Self { plan: Arc::new(plan), ..self.clone() }
    }

    pub fn ports(&self) -> Ports {
        let drawn = Arc::clone(&self.drawn);
        let plan = &self.plan;
        Ports {
            rows: Arc::new(Faulty::new(Arc::clone(&self.rows), Arc::clone(plan))),
            blocks: Arc::new(Faulty::new(Arc::clone(&self.blocks), Arc::clone(plan))),
            topics: Arc::new(Faulty::new(self.topics.clone(), Arc::clone(plan))),
            marks: Arc::new(Faulty::new(Arc::clone(&self.marks), Arc::clone(plan))),
            draw: Arc::new(move || drawn.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// A store without workers: nothing it writes is carried anywhere but by others.
    pub fn store(&self) -> ClusterJobs {
        ClusterJobs::new(self.ports())
    }

    fn consumer(&self, topic: Topic) -> Box<dyn Consumer> {
        Box::new(Faulty::new(self.topics.consumer(topic, "workers"), Arc::clone(&self.plan)))
    }

    /// A process with a store and both workers.
    pub fn process(&self) -> Process {
        let process = self.front_end();
        let events = EventsWorker::new(process.store.clone(), self.consumer(Topic::Events));
        let task = tokio::spawn(events.run(process.shutdown.child_token()));
        Process { tasks: process.tasks.into_iter().chain([task]).collect(), ..process }
    }

    /// A process that owns no campaign.
    pub fn front_end(&self) -> Process {
        let store = self.store();
        let shutdown = CancellationToken::new();
        let jobs = JobsWorker::new(store.clone(), self.consumer(Topic::Jobs));
        let tasks = vec![tokio::spawn(jobs.run(shutdown.child_token()))];
        Process { store, shutdown, tasks }
    }
}

/// One process.
pub struct Process {
    pub store: ClusterJobs,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Process {
    /// As by kill -9: nothing is ended.
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

pub fn event(number: u32, attempt: u16, second: i64, kind: EventKind) -> JobEvent {
    JobEvent { device: Some(device(number)), ordinal: number, attempt, at: at(second), kind }
}

pub fn moved(number: u32, attempt: u16, second: i64) -> JobEvent {
    event(number, attempt, second, EventKind::Moved { phase: Phase::Running(FirmwareStage::Updating) })
}

pub fn release(number: u32, attempt: u16) -> Release {
    let since = at(attempt.into());
    let job = Job { campaign: CAMPAIGN, ordinal: number, attempt, phase: Phase::Waiting, since };
    let event = event(number, attempt, attempt.into(), EventKind::Released { wave: 0, after: None });
    Release { device: device(number), job, event, trigger_until: None }
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
