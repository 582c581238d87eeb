//! Stores in a temporary directory, a service over them, and a fleet that takes its jobs straight from the store.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses its part, in tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use campaign::{CampaignId, Definition, EventKind, JobEvent, View};
use campaign_service::{CampaignService, Clock, Stores, system_clock};
use dm_objects::agenda::{FirmwareFact, FirmwareStage};
use dm_protocol::{Account, ClientAuth, DevId, Nonces};
use jiff::{SignedDuration, Timestamp};
use storage::{ArtifactStore, Device, Embedded, ErrorKind, Inventory, TenantId, embedded::Options};
use tokio_util::sync::CancellationToken;

pub fn tenant() -> TenantId {
    TenantId::default()
}

pub fn dev_id(at: u32) -> DevId {
    DevId::parse(&format!("IMEI:{at}")).unwrap()
}

/// A data directory with an artifact `fw 2.0`.
pub struct Place {
    _dir: tempfile::TempDir,
    pub stores: Stores,
    /// By how many seconds the clock of its services is put forward: what they wait for is then over, however slow the
    /// machine is, and nothing is over before.
    ahead_s: Arc<AtomicI64>,
}

impl Place {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let backend = Embedded::open(dir.path(), &Options::default()).unwrap();
        let mut content: &[u8] = b"firmware";
        backend.add_artifact(&mut content).await;
        Self { _dir: dir, stores: Stores::of(backend), ahead_s: Arc::default() }
    }

    pub async fn with_devices(count: u32) -> Self {
        let place = Self::new().await;
        place.add_devices(count, |_| {}).await;
        place
    }

    pub async fn add_devices(&self, count: u32, change: impl Fn(&mut Device)) {
        let devices: Vec<_> = (0..count)
            .map(|at| {
                let mut device = device(at);
                change(&mut device);
                device
            })
            .collect();
        for block in devices.chunks(5000) {
            self.stores.devices.add(&tenant(), block).await.unwrap();
        }
    }

    pub fn service(&self) -> CampaignService {
        CampaignService::new(self.stores.clone(), tenant(), self.clock())
    }

    pub fn clock(&self) -> Clock {
        let ahead_s = Arc::clone(&self.ahead_s);
        Arc::new(move || Timestamp::now() + SignedDuration::from_secs(ahead_s.load(Ordering::SeqCst)))
    }

    pub fn put_clock_forward(&self, seconds: i64) {
        self.ahead_s.fetch_add(seconds, Ordering::SeqCst);
    }

    pub async fn ledger(&self, id: CampaignId) -> Vec<JobEvent> {
        let mut events = Vec::new();
        let mut from = 0;
        loop {
            let block = self.stores.jobs.events(&tenant(), id, from, 1000).await.unwrap();
            let Some((last, _)) = block.last() else { return events };
            from = *last;
            events.extend(block.into_iter().map(|(_, event)| event));
        }
    }
}

trait AddArtifact {
    async fn add_artifact(&self, content: &mut &[u8]);
}

impl AddArtifact for Embedded {
    async fn add_artifact(&self, content: &mut &[u8]) {
        ArtifactStore::add(self, &tenant(), "fw", "2.0", "application/octet-stream", 1 << 20, content)
            .await
            .unwrap();
    }
}

fn device(at: u32) -> Device {
    Device {
        id: dev_id(at),
        ordinal: 0,
        account: Account { client: ClientAuth::None, server: None, nonces: Nonces::default() },
        tags: BTreeSet::new(),
        added: Timestamp::UNIX_EPOCH,
        last_seen: None,
        inventory: Inventory {
            maker: "Acme".into(),
            model: if at.is_multiple_of(2) { "M1" } else { "M2" }.into(),
            firmware: "1.0".into(),
            ..Inventory::default()
        },
        fumo_root: None,
        dev_detail_read: None,
        notify_address: None,
    }
}

pub fn definition(text: &str) -> Definition {
    let head = "name = 'test'\nartifact = { name = 'fw' }\n";
    Definition::parse_toml(&format!("{head}{text}")).unwrap()
}

/// Runs a service in the background until the guard is dropped or cancelled.
pub fn spawn(service: &CampaignService) -> CancellationToken {
    let shutdown = CancellationToken::new();
    let (service, token) = (service.clone(), shutdown.clone());
    tokio::spawn(async move { service.run(token).await.unwrap() });
    shutdown
}

/// Waits until the campaign is in this state.
pub async fn until(service: &CampaignService, id: CampaignId, run: &str) {
    let wait = async {
        while service.status(id).await.unwrap().summary.run != run {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(30), wait).await.is_err() {
        panic!("not {run}: {:#?}", service.status(id).await);
    }
}

/// What each device does when it comes.
pub type Behaviour = fn(u32) -> Act;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Succeed,
    Fail(u16),
    StayAway,
}

/// Devices that take their jobs straight from the store, as sessions do, and count their Execs.
#[derive(Clone)]
pub struct Fleet {
    pub execs: Arc<Mutex<BTreeMap<(u32, u16), u32>>>,
    /// That of the services: a phase that began by another would be over too early.
    clock: Clock,
}

impl Default for Fleet {
    fn default() -> Self {
        Self::new(system_clock())
    }
}

impl Fleet {
    pub fn new(clock: Clock) -> Self {
        Self { execs: Arc::default(), clock }
    }

    /// Every device comes again and again until the task is dropped.
    pub async fn run(&self, stores: Stores, devices: std::ops::Range<u32>, behaviour: Behaviour) {
        loop {
            for at in devices.clone().filter(|&at| behaviour(at) != Act::StayAway) {
                self.visit(&stores, at, behaviour(at)).await;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn visit(&self, stores: &Stores, at: u32, act: Act) {
        let (device, tenant) = (dev_id(at), tenant());
        let jobs = stores.jobs.pending(&tenant, &device).await.unwrap();
        let Some(job) = jobs.into_iter().next() else { return };
        let record = stores.campaigns.load(&tenant, job.value.campaign).await.unwrap().unwrap();
        let view = View::decode(&record.value.definition, &record.value.state).unwrap();
        if !view.may_work_on(&job.value) {
            return;
        }
        let fact = match job.value.phase.stage() {
            FirmwareStage::Pending => FirmwareFact::Stage(FirmwareStage::ExecSent),
            FirmwareStage::ExecSent => FirmwareFact::Stage(FirmwareStage::Updating),
            _ => match act {
                Act::Fail(code) => FirmwareFact::Failed { code },
                _ => FirmwareFact::Done { code: 200, version: "2.0".into() },
            },
        };
        let next = job.value.apply(&device, &fact, &view.plan, (self.clock)());
        let update = stores.jobs.update(
            &tenant,
            &device,
            job.value.campaign,
            job.revision,
            next.job.as_ref(),
            &next.events,
        );
        match update.await {
            Ok(_) if fact == FirmwareFact::Stage(FirmwareStage::ExecSent) => {
                *self.execs.lock().unwrap().entry((at, job.value.attempt)).or_default() += 1;
            }
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind, ErrorKind::Conflict, "{error}"),
        }
    }
}

/// The most devices in flight at any event of a ledger, counted without the library.
/// How many attempts were released, and who has one in flight.
pub fn released_and_in_flight(ledger: &[JobEvent]) -> (usize, BTreeSet<u32>) {
    let (mut released, mut in_flight) = (0, BTreeSet::new());
    for event in ledger {
        match event.kind {
            EventKind::Released { .. } => {
                released += 1;
                in_flight.insert(event.ordinal);
            }
            EventKind::Ended { .. } => {
                in_flight.remove(&event.ordinal);
            }
            _ => {}
        }
    }
    (released, in_flight)
}

pub fn most_in_flight(ledger: &[JobEvent]) -> usize {
    let mut in_flight = BTreeSet::new();
    let mut most = 0;
    for event in ledger {
        match &event.kind {
            EventKind::Released { .. } => {
                assert!(in_flight.insert(event.ordinal), "released while in flight: {event:?}");
            }
            EventKind::Ended { .. } => {
                assert!(in_flight.remove(&event.ordinal), "ended while not in flight: {event:?}");
            }
            _ => {}
        }
        most = most.max(in_flight.len());
    }
    most
}
