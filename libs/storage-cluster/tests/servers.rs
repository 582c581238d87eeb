//! Jobs and triggers on real servers: Redis, Kafka and Cassandra or Scylla together.

#![allow(clippy::unwrap_used)]

mod common;

use std::{collections::BTreeMap, panic::resume_unwind, time::Duration};

use campaign::{EventKind, Job, JobEvent, Outcome, Phase, history::History};
use common::{CAMPAIGN, Process, device, event_at, real::Servers, release_at, tenant};
use dm_objects::agenda::FirmwareStage;
use dm_protocol::DevId;
use futures_util::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use storage::{
    Epoch, ErrorKind, JobStore as _, Ownership as _, Release,
    laws::{job_store_laws, released_trigger_laws, trigger_store_laws},
};
use storage_cluster::ClusterJobs;

#[tokio::test(flavor = "multi_thread")]
async fn the_laws_of_jobs_and_triggers_hold_on_real_servers() {
    let Some(servers) = Servers::fresh("laws").await else { return };
    let process = servers.process();
    let (jobs, triggers, devices) = (process.store.clone(), servers.triggers(), servers.devices());
    let laws = tokio::spawn(async move {
        job_store_laws(&jobs).await;
        trigger_store_laws(&triggers).await;
        released_trigger_laws(&triggers, &jobs, &devices).await;
    });
    let laws = laws.await;
    process.stop().await;
    servers.drop_all().await;
    if let Err(failed) = laws {
        resume_unwind(failed.into_panic());
    }
}

const DEVICES: u32 = 60;
const ATTEMPTS: u16 = 2;
const IN_FLIGHT_MAX: u32 = 25;
/// Where an attempt goes, before its end.
const STAGES: [Phase; 2] = [Phase::Session(FirmwareStage::ExecSent), Phase::Running(FirmwareStage::Updating)];
/// Visits at once.
const VISITS: usize = 16;
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_leave_come_back_and_die_in_the_middle_lose_nothing_and_do_nothing_twice() {
    let Some(servers) = Servers::fresh("rebalance").await else { return };
    let (run, cluster) = tokio::spawn(async move {
        let mut cluster = Cluster::new(&servers);
        // Its servers are still there when the campaign was not as it should be.
        let run = tokio::time::timeout(PATIENCE, cluster.run(&servers)).await;
        (run, (cluster, servers))
    })
    .await
    .unwrap();
    let (cluster, servers) = cluster;
    let found = cluster.findings().await;
    cluster.stop().await;
    servers.drop_all().await;
    run.expect("the campaign comes to its end");
    let (findings, histories_differ) = found;
    assert_eq!(findings.told, [""; 0]);
    assert_eq!(findings.wrong, 0);
    assert_eq!(findings.repeated, 0, "nothing is told twice");
    let of_attempt = 2 + u64::try_from(STAGES.len()).unwrap();
    assert_eq!(findings.events, u64::from(DEVICES) * u64::from(ATTEMPTS) * of_attempt);
    assert_eq!(histories_differ, Vec::<DevId>::new(), "histories are as the ledger");
}

/// Two places for processes, one of which may be empty.
struct Cluster {
    places: [Option<Process>; 2],
    owners: [Owner; 2],
    /// How often a process claimed the campaign.
    claims: u32,
}

/// What an owner keeps between its steps.
#[derive(Default)]
struct Owner {
    epoch: Option<Epoch>,
}

impl Cluster {
    fn new(servers: &Servers) -> Self {
        let places = [Some(servers.process()), Some(servers.process())];
        Self { places, owners: Default::default(), claims: 0 }
    }

    /// The campaign from its first release to its last end.
    async fn run(&mut self, servers: &Servers) {
        let all = u64::from(DEVICES) * u64::from(ATTEMPTS);
        let mut ended = 0;
        // One leaves in good order, comes back, and then the owner of that moment dies.
        ended = self.until(all / 4, ended).await;
        let owner = self.owner().await;
        let (left, stores) = (self.take(owner), self.stores());
        tokio::join!(left.stop(), visit_all(&stores));
        ended = self.until(all / 2, ended).await;
        self.places[owner] = Some(servers.process());
        ended = self.until(all / 4 * 3, ended).await;
        let owner = self.owner().await;
        let (died, stores) = (self.take(owner), self.stores());
        tokio::join!(async { died.kill() }, visit_all(&stores));
        ended = self.until(all - 1, ended).await;
        self.places[owner] = Some(servers.process());
        self.until(all, ended).await;
        assert!(self.claims >= 3, "the campaign had {} owners, one after the other", self.claims);
    }

    /// Owns and visits until so many attempts have ended.
    async fn until(&mut self, want: u64, mut ended: u64) -> u64 {
        while ended < want {
            for at in 0..2 {
                ended = ended.max(self.own(at).await.unwrap_or(0));
            }
            visit_all(&self.stores()).await;
        }
        ended
    }

    fn stores(&self) -> Vec<ClusterJobs> {
        self.places.iter().flatten().map(|process| process.store.clone()).collect()
    }

    fn take(&mut self, at: usize) -> Process {
        self.owners[at] = Owner::default();
        self.places[at].take().unwrap()
    }

    /// Who holds a claim as far as it knows; for moments nobody may.
    async fn owner(&mut self) -> usize {
        loop {
            if let Some(owner) =
                (0..2).find(|&at| self.owners[at].epoch.is_some() && self.places[at].is_some())
            {
                return owner;
            }
            for at in 0..2 {
                self.own(at).await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// One step of a process that should own the campaign: answers how many attempts have ended by the ledger.
    async fn own(&mut self, at: usize) -> Option<u64> {
        let store = self.places[at].as_ref()?.store.clone();
        let owner = &mut self.owners[at];
        if !store.ownership().owns(&tenant(), CAMPAIGN) {
            owner.epoch = None;
            return None;
        }
        let epoch = match owner.epoch {
            Some(epoch) => epoch,
            None => {
                let epoch = store.claim(&tenant(), CAMPAIGN).await.ok()?;
                self.claims += 1;
                *owner.epoch.insert(epoch)
            }
        };
        let events = store.events(&tenant(), CAMPAIGN, 0, 100_000).await.ok()?;
        let (next, ended) = next(events.iter().map(|(_, event)| event));
        match store.release(&tenant(), CAMPAIGN, epoch, &next).await {
            Err(error) if error.kind == ErrorKind::Conflict => owner.epoch = None,
            // What was released of it is in the ledger, which is read again.
            Ok(_) | Err(_) => {}
        }
        Some(ended)
    }

    /// What is wrong with the ledger, and the devices whose history is another.
    async fn findings(&self) -> (campaign::history::Findings, Vec<DevId>) {
        let store = self.stores().pop().unwrap();
        let _ = store.wait_events(&tenant(), CAMPAIGN, u64::MAX).await;
        let events = store.events(&tenant(), CAMPAIGN, 0, 100_000).await.unwrap();
        let mut history = History::new(IN_FLIGHT_MAX);
        let mut devices: BTreeMap<u32, Vec<JobEvent>> = BTreeMap::new();
        for (_, event) in events {
            history.take_event(&event);
            devices.entry(event.ordinal).or_default().push(event);
        }
        let mut differ = Vec::new();
        for (ordinal, mut events) in devices {
            let told = store.device_events(&tenant(), &device(ordinal), 1000).await.unwrap();
            let mut told: Vec<JobEvent> = told.into_iter().map(|(_, event)| event).collect();
            for order in [&mut told, &mut events] {
                order.sort_by_key(|event| (event.at, event.attempt, event.kind.name()));
            }
            if told != events {
                differ.push(device(ordinal));
            }
        }
        (history.finish(DEVICES), differ)
    }

    async fn stop(self) {
        for process in self.places.into_iter().flatten() {
            process.stop().await;
        }
    }
}

/// What is to be released by the ledger so far, within the budget, and how many attempts have ended.
fn next<'a>(events: impl Iterator<Item = &'a JobEvent>) -> (Vec<Release>, u64) {
    let (mut released, mut ended) = (BTreeMap::<u32, u16>::new(), BTreeMap::<u32, u16>::new());
    for event in events {
        match event.kind {
            EventKind::Released { .. } => *released.entry(event.ordinal).or_default() += 1,
            EventKind::Ended { .. } => *ended.entry(event.ordinal).or_default() += 1,
            _ => {}
        }
    }
    let count = |of: &BTreeMap<u32, u16>, ordinal| of.get(&ordinal).copied().unwrap_or(0);
    let in_flight = (0..DEVICES).filter(|&it| count(&released, it) > count(&ended, it)).count();
    let room = usize::try_from(IN_FLIGHT_MAX).unwrap() - in_flight;
    let free = (0..DEVICES).filter(|&it| count(&released, it) == count(&ended, it));
    let next = free.filter(|&it| count(&released, it) < ATTEMPTS).take(room);
    let next = next.map(|it| release_at(it, count(&released, it) + 1, Timestamp::now())).collect();
    (next, ended.values().map(|&count| u64::from(count)).sum())
}

/// A visit of every device, each at one of the processes.
async fn visit_all(stores: &[ClusterJobs]) {
    let visits = (0..DEVICES).map(|ordinal| {
        let at = usize::try_from(ordinal).unwrap() % stores.len();
        visit(stores[at].clone(), ordinal)
    });
    stream::iter(visits).buffer_unordered(VISITS).collect::<Vec<()>>().await;
}

/// Takes a device's job one step on. Whatever is heard of it, the next visit looks again.
async fn visit(store: ClusterJobs, ordinal: u32) {
    let Ok(true) = store.may_have(&tenant(), &device(ordinal)).await else { return };
    let Ok(jobs) = store.pending(&tenant(), &device(ordinal)).await else { return };
    let Some(job) = jobs.first() else { return };
    let attempt = job.value.attempt;
    let reached = STAGES.iter().position(|&phase| phase == job.value.phase);
    let (after, kind) = match STAGES.get(reached.map_or(0, |at| at + 1)) {
        Some(&phase) => {
            let after = Job { phase, since: Timestamp::now(), ..job.value.clone() };
            (Some(after), EventKind::Moved { phase })
        }
        None => (None, ended(attempt)),
    };
    let events = [event_at(ordinal, attempt, Timestamp::now(), kind)];
    let _ = store.update(&tenant(), &device(ordinal), CAMPAIGN, job.revision, after.as_ref(), &events).await;
}

fn ended(attempt: u16) -> EventKind {
    let is_last = attempt == ATTEMPTS;
    let outcome = if is_last { Outcome::Succeeded } else { Outcome::WrongVersion };
    let retry_at = (!is_last).then(|| Timestamp::now() - SignedDuration::from_secs(1));
    EventKind::Ended { outcome, version: None, detail: None, retry_at }
}
