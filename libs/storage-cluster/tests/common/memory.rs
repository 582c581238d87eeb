//! A cluster in memory: servers that outlive processes.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use storage::faults::FaultPlan;
use storage_cluster::{
    ClusterJobs, Ports,
    testing::{Faulty, MemoryBlocks, MemoryMarks, MemoryRows, MemoryTopics},
    topics::{Consumer, Topic},
};

use super::Process;

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

    /// The same servers with other topics.
    pub fn with_topics(&self, topics: MemoryTopics) -> Self {
        Self { topics, ..self.clone() }
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
        self.front_end().with_events(self.consumer(Topic::Events))
    }

    /// A process that owns no campaign.
    pub fn front_end(&self) -> Process {
        Process::new(self.store(), self.consumer(Topic::Jobs))
    }
}
