//! Everything that outlives a process, and the promises, checked whenever something of it changes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use campaign::{Campaign, CampaignId, JobEvent, StoredState, decode_members, history::History};
use jiff::Timestamp;
use storage::{
    ArtifactMeta, CampaignRecord, Device, JobStore as _, RequestId, Revision, SnapshotId, SnapshotRef,
    Started, TenantId, Versioned,
};
use storage_cluster::{
    ClusterJobs, Ports,
    testing::{MemoryBlocks, MemoryHotDevices, MemoryMarks, MemoryRows, MemoryTopics},
    topics::Topic,
};
use tokio::time::Instant;

use crate::{
    gate::{Shared, lock},
    late::Late,
};

/// What the servers of the cluster hold whose ports have a form in memory.
pub struct Servers {
    pub rows: Arc<MemoryRows>,
    pub blocks: Arc<MemoryBlocks>,
    pub topics: MemoryTopics,
    pub marks: Arc<MemoryMarks>,
    pub hot: MemoryHotDevices,
    /// Conditional writes on their way, after their callers were told that nobody knows.
    pub late: Mutex<BTreeMap<u64, Late>>,
    /// The job store of somebody whom no fault reaches.
    pub observer: ClusterJobs,
}

impl Servers {
    pub fn new(partitions: u32) -> Arc<Self> {
        let (rows, blocks, marks) = (Arc::<MemoryRows>::default(), Arc::default(), Arc::default());
        let topics = MemoryTopics::new(partitions);
        let observer = ClusterJobs::new(Ports {
            rows: rows.clone(),
            blocks: Arc::clone(&blocks) as Arc<_>,
            topics: Arc::new(topics.clone()),
            marks: Arc::clone(&marks) as Arc<_>,
            draw: Arc::new(|| 0),
        });
        Arc::new(Self {
            rows,
            blocks,
            topics,
            marks,
            hot: MemoryHotDevices::default(),
            late: Mutex::default(),
            observer,
        })
    }

    /// Takes in what is new in a ledger, and judges it.
    pub async fn judge(&self, world: &Shared, campaign: CampaignId) {
        let known = lock(world).ledgers.entry(campaign.0).or_default().told.len() as u64;
        match self.observer.events(&TenantId::default(), campaign, known, usize::MAX).await {
            Ok(events) => {
                let mut world = lock(world);
                events.iter().for_each(|(_, event)| world.append(campaign, event));
            }
            Err(error) => lock(world).breach(format!("{campaign}: its ledger cannot be read: {error}")),
        }
    }

    /// Redis comes back with nothing in it.
    pub fn lose_redis(&self, world: &mut World) {
        world.note("redis is emptied");
        world.sessions.clear();
        world.session_losses += 1;
        self.marks.clear();
        self.hot.clear();
    }
}

#[derive(Default)]
pub struct Ledger {
    /// What was judged.
    pub told: Vec<JobEvent>,
    pub checks: Option<(History, Campaign)>,
}

/// A digest that was accepted: in which session, and how it was answered.
type Accepted = (String, Vec<u8>);

/// What was asked of a campaign's owner, and the answer once there is one.
type Asked = (Vec<u8>, Option<Vec<u8>>);

pub struct World {
    pub begun: Instant,
    pub sessions: BTreeMap<(String, String), (Revision, Vec<u8>, Instant)>,
    /// Revisions of sessions are never used twice, whatever was lost.
    pub session_revision: u64,
    /// How often all sessions were lost.
    pub session_losses: u64,
    pub devices: Vec<Versioned<Device>>,
    pub ordinals: BTreeMap<String, u32>,
    /// By device and digest.
    pub accepted: BTreeMap<(String, String), Accepted>,
    pub pages: BTreeMap<SnapshotId, Vec<u8>>,
    pub heads: BTreeMap<String, Vec<SnapshotRef>>,
    pub ledgers: BTreeMap<u64, Ledger>,
    pub campaigns: Vec<Versioned<CampaignRecord>>,
    pub campaign_keys: BTreeMap<String, CampaignId>,
    pub starts: Vec<Started>,
    pub requests: BTreeMap<(u64, RequestId), Asked>,
    /// By topic and partition: before what offset all was committed once, and judged.
    pub committed: BTreeMap<(Topic, u32), u64>,
    pub artifact: (ArtifactMeta, Vec<u8>),
    pub history: Vec<String>,
    pub broken: Vec<String>,
}

impl World {
    pub fn now(&self) -> Timestamp {
        now(self.begun)
    }

    pub fn note(&mut self, what: &str) {
        let line = format!("{:>9} ms {what}", self.begun.elapsed().as_millis());
        self.history.push(line);
    }

    /// A promise is broken.
    pub fn breach(&mut self, what: String) {
        self.note(&format!("BROKEN: {what}"));
        self.broken.push(what);
    }

    /// The next event of a ledger, and the promises about it.
    fn append(&mut self, campaign: CampaignId, event: &JobEvent) {
        self.note(&format!("{campaign} #{}/{}: {:?}", event.ordinal, event.attempt, event.kind));
        let ledger = self.ledgers.entry(campaign.0).or_default();
        let mut wrong = Vec::new();
        if let Some((history, fold)) = &mut ledger.checks {
            let told = history.violations().len();
            history.take_event(event);
            wrong.extend(history.violations()[told..].iter().map(|wrong| format!("{campaign}: {wrong}")));
            let over = fold.members_from(0).filter(|(_, status)| status.is_last()).map(|(it, _)| it);
            let over: Vec<u32> = over.collect();
            let members = fold.counts().members();
            fold.fold(event);
            if fold.counts().members() != members {
                wrong
                    .push(format!("{campaign}: states add up to {}, not {members}", fold.counts().members()));
            }
            if fold.counts().in_flight() > fold.plan().definition.in_flight_max.get() {
                wrong.push(format!("{campaign}: {} in flight", fold.counts().in_flight()));
            }
            let back = over.iter().filter(|&&it| !fold.status(it).is_some_and(campaign::Status::is_last));
            wrong.extend(back.map(|it| format!("{campaign}: #{it} left its last state")));
        }
        ledger.told.push(event.clone());
        for wrong in wrong {
            self.breach(wrong);
        }
    }

    /// A campaign has started: from now on its ledger is checked, and its members are in no other.
    pub fn begin(&mut self, started: &Started) {
        let id = started.campaign;
        let found = self.campaigns.iter().find(|campaign| campaign.value.id == id);
        let Some(found) = found else { return self.breach(format!("{id} has started and is not there")) };
        let plan = campaign::Plan::decode(&found.value.definition).unwrap();
        let stored = StoredState::decode(&started.state).unwrap();
        let members = decode_members(&started.members).unwrap();
        let mut shared = Vec::new();
        for (other, ledger) in &self.ledgers {
            let Some((_, fold)) = &ledger.checks else { continue };
            let busy = |ordinal: &u32| fold.status(*ordinal).is_some_and(|status| !status.is_last());
            shared.extend(members.iter().filter(busy).map(|it| format!("#{it} is in c{other} and {id}")));
        }
        shared.into_iter().for_each(|wrong| self.breach(wrong));
        let history = History::new(plan.definition.in_flight_max.get());
        let fold = Campaign::new(plan, &members, &stored.start.unwrap());
        let ledger = self.ledgers.entry(id.0).or_default();
        if ledger.checks.is_some() {
            self.breach(format!("{id} has started twice"));
            return;
        }
        ledger.checks = Some((history, fold));
    }

    /// A digest was accepted: it never is again, but in the same answer to the same message.
    pub fn accept(&mut self, device: &str, digest: &str, session: &str, answer: &[u8]) {
        let key = (device.to_owned(), digest.to_owned());
        let now = (session.to_owned(), answer.to_vec());
        match self.accepted.get(&key) {
            None => drop(self.accepted.insert(key, now)),
            Some(before) if *before == now => {}
            Some((before, _)) => {
                let wrong = format!("{device}: a digest of session {before} was accepted again in {session}");
                self.breach(wrong);
            }
        }
    }
}

/// The simulation's clock.
pub fn now(begun: Instant) -> Timestamp {
    let elapsed = jiff::SignedDuration::try_from(begun.elapsed()).unwrap();
    Timestamp::from_second(1_790_000_000).unwrap() + elapsed
}
