//! Several services over one store, as several processes are: each owns what it is told to, and any answers operators.

mod support;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use campaign::CampaignId;
use campaign_service::{CampaignMetrics, CampaignService, Process, ServiceError, Stores, system_clock};
use service_kit::Metrics;
use storage::{Ownership, OwnsNone, TenantId};
use support::{Act, Fleet, Place, definition, most_in_flight, released_and_in_flight, spawn, tenant, until};
use tokio::sync::Notify;

/// Campaigns belong to the process of this number; [`Assigned::BOTH`] is a moment in which two believe it.
#[derive(Default)]
struct Assigned {
    to: AtomicUsize,
    changed: Notify,
}

impl Assigned {
    const BOTH: usize = 9;

    fn assign(&self, process: usize) {
        self.to.store(process, Ordering::SeqCst);
        self.changed.notify_waiters();
    }
}

struct Share(Arc<Assigned>, usize);

#[async_trait]
impl Ownership for Share {
    fn owns(&self, _: &TenantId, _: CampaignId) -> bool {
        [self.1, Assigned::BOTH].contains(&self.0.to.load(Ordering::SeqCst))
    }

    async fn changed(&self) {
        self.0.changed.notified().await;
    }
}

fn process(place: &Place, ownership: impl Ownership + 'static) -> CampaignService {
    let metrics = CampaignMetrics::new(&Metrics::new("test"));
    let process = Process { clock: place.clock(), ..Process::of_many(Arc::new(ownership), metrics) };
    CampaignService::in_process(place.stores.clone(), tenant(), process)
}

/// Two workers, and a third process that only answers operators.
fn cluster(place: &Place) -> (Arc<Assigned>, [CampaignService; 2], CampaignService) {
    let assigned = Arc::new(Assigned::default());
    let workers = [0, 1].map(|number| process(place, Share(Arc::clone(&assigned), number)));
    (assigned, workers, process(place, OwnsNone))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_are_answered_by_a_process_that_owns_nothing() {
    let place = Place::with_devices(60).await;
    let (assigned, workers, admin) = cluster(&place);
    let _running = [&workers[0], &workers[1], &admin].map(|service| spawn(service).drop_guard());
    let id =
        admin.create(definition("in_flight_max = 10\nwaves = [{percent = 50}, {}]"), None).await.unwrap();
    let draft = admin.resume(id, "ann").await;
    assert!(matches!(draft, Err(ServiceError::WrongState { found: "draft", .. })), "{draft:?}");
    admin.start(id, "ann").await.unwrap();
    admin.pause(id, "ann", "to look").await.unwrap();
    let status = admin.status(id).await.unwrap();
    assert_eq!(
        (status.summary.run, status.cause.unwrap().to_string().as_str()),
        ("paused", "paused by ann: to look")
    );
    assert_eq!(admin.list().await.unwrap()[0].run, "paused");
    let refused = admin.approve(id, "ann").await;
    let same_as_local = workers[0].approve(id, "ann").await;
    assert_eq!(refused.unwrap_err().to_string(), same_as_local.unwrap_err().to_string());

    assigned.assign(1);
    admin.resume(id, "ann").await.unwrap();
    let fleet = Fleet::new(place.clock());
    let devices = {
        let (fleet, stores) = (fleet.clone(), place.stores.clone());
        tokio::spawn(async move { fleet.run(stores, 0..60, |_| Act::Succeed).await })
    };
    until(&admin, id, "finished").await;
    devices.abort();
    let status = admin.status(id).await.unwrap();
    assert_eq!((status.ended, status.summary.counts.succeeded), (60, 60));
    assert!(admin.verify(id).await.unwrap().adds_up);
    assert!(most_in_flight(&place.ledger(id).await) <= 10);
    let over = admin.pause(id, "ann", "").await;
    assert!(matches!(over, Err(ServiceError::WrongState { found: "finished", .. })), "{over:?}");
}

fn stays_away(ordinal: u32) -> bool {
    ordinal.is_multiple_of(20)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_moves_between_processes_and_keeps_its_budget() {
    const BUDGET: usize = 7;
    let place = Place::with_devices(200).await;
    let (assigned, workers, admin) = cluster(&place);
    let _running = [&workers[0], &workers[1]].map(|service| spawn(service).drop_guard());
    let text = format!(
        "in_flight_max = {BUDGET}\n[timers]\nwait = '60s'\n[failure_gate]\nsilence_max_percent = 100"
    );
    let id = admin.create(definition(&text), None).await.unwrap();
    admin.start(id, "ann").await.unwrap();
    let fleet = Fleet::new(place.clock());
    let devices = {
        let (fleet, stores) = (fleet.clone(), place.stores.clone());
        let act = |at| if stays_away(at) { Act::StayAway } else { Act::Succeed };
        tokio::spawn(async move { fleet.run(stores, 0..200, act).await })
    };
    for round in 0.. {
        assigned.assign([0, 1, Assigned::BOTH, 0, Assigned::BOTH][round % 5]);
        tokio::time::sleep(Duration::from_millis(150)).await;
        if admin.status(id).await.unwrap().summary.run == "finished" {
            break;
        }
        // Only those who never come are waited for, and nobody can be released beside them.
        let (released, in_flight) = released_and_in_flight(&place.ledger(id).await);
        if in_flight.iter().copied().all(stays_away) && (in_flight.len() == BUDGET || released == 200) {
            place.put_clock_forward(61);
        }
        assert!(round < 1000, "{:#?}", admin.status(id).await);
    }
    devices.abort();
    let verification = admin.verify(id).await.unwrap();
    assert!(verification.adds_up, "{:?}", verification.differences);
    assert_eq!((verification.counts.succeeded, verification.counts.silent), (190, 10));
    assert!(most_in_flight(&place.ledger(id).await) <= BUDGET);
    assert!(fleet.execs.lock().unwrap().values().all(|&execs| execs == 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn campaigns_started_at_once_by_many_processes_share_no_device() {
    let place = Place::with_devices(120).await;
    let processes: Vec<CampaignService> = (0..6).map(|_| process(&place, OwnsNone)).collect();
    let mut ids = Vec::new();
    for _ in &processes {
        ids.push(processes[0].create(definition("[target]\nmodel = 'M1'"), None).await.unwrap());
    }
    ids.push(processes[0].create(definition("in_flight_max = 3"), None).await.unwrap());
    let starts = ids.iter().enumerate().map(|(at, &id)| {
        let service = processes[at % processes.len()].clone();
        tokio::spawn(async move { service.start(id, "ann").await })
    });
    let mut refused = 0;
    for start in starts.collect::<Vec<_>>() {
        match start.await.unwrap() {
            Ok(()) => {}
            Err(ServiceError::NoMembers { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    let mut members = BTreeSet::new();
    for &id in &ids {
        let record = place.stores.campaigns.load(&tenant(), id).await.unwrap().unwrap();
        if record.value.members.is_empty() {
            continue;
        }
        for ordinal in campaign::decode_members(&record.value.members).unwrap() {
            assert!(members.insert(ordinal), "device {ordinal} is in two campaigns");
        }
    }
    assert_eq!(members.len(), 120, "every device is in one");
    assert!(refused >= 5, "one of six took all of M1: {refused} refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_whose_process_dies_is_carried_through_by_another() {
    let place = Place::with_devices(10).await;
    let (_, workers, admin) = cluster(&place);
    let _running = spawn(&workers[0]).drop_guard();
    let id = admin.create(definition("in_flight_max = 3"), None).await.unwrap();
    // As far as the store can tell, the starter died right after its start was durable.
    let faulty = {
        let plan = Arc::new(storage::faults::FaultPlan::quiet());
        plan.fail_next("put campaign", storage::faults::Fault::Refused);
        plan.fail_next("append start", storage::faults::Fault::AnswerLost);
        let campaigns = storage::faults::Faulty::new(Arc::clone(&place.stores.campaigns), Arc::clone(&plan));
        let starts = storage::faults::Faulty::new(Arc::clone(&place.stores.starts), plan);
        Stores { campaigns: Arc::new(campaigns), starts: Arc::new(starts), ..place.stores.clone() }
    };
    let process = Process { ownership: Arc::new(OwnsNone), ..Process::default() };
    let dying = CampaignService::in_process(faulty, tenant(), process);
    let started = dying.start(id, "ann").await;
    assert!(matches!(started, Err(ServiceError::Store(_))), "{started:?}");
    until(&admin, id, "running").await;
    let wait = async {
        while admin.status(id).await.unwrap().in_flight != 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_asks_while_nobody_owns_is_told_that_it_is_not_known() {
    let place = Place::with_devices(10).await;
    let admin = process(&place, OwnsNone);
    let id = admin.create(definition("in_flight_max = 3"), None).await.unwrap();
    admin.start(id, "ann").await.unwrap();
    let unheard = admin.stop(id, "ann", true).await;
    assert!(matches!(unheard, Err(ServiceError::NoAnswer { waited_s: 10, .. })), "{unheard:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_lost_does_nothing_twice() {
    let place = Place::with_devices(10).await;
    let plan = Arc::new(storage::faults::FaultPlan::quiet());
    let faulty: Arc<dyn storage::RequestStore> =
        Arc::new(storage::faults::Faulty::new(Arc::clone(&place.stores.requests), Arc::clone(&plan)));
    let stores = Stores { requests: faulty, ..place.stores.clone() };
    let owner = CampaignService::new(stores, tenant(), system_clock());
    let _running = spawn(&owner).drop_guard();
    let admin = process(&place, OwnsNone);
    let id = admin.create(definition("in_flight_max = 3"), None).await.unwrap();
    admin.start(id, "ann").await.unwrap();
    for _ in 0..3 {
        plan.fail_next("answer request", storage::faults::Fault::Refused);
    }
    admin.pause(id, "ann", "").await.unwrap();
    admin.resume(id, "ann").await.unwrap();
    assert_eq!(admin.status(id).await.unwrap().summary.run, "running");
    let ledger = place.ledger(id).await;
    let named = |name| ledger.iter().filter(|event| event.kind.name() == name).count();
    assert_eq!((named("paused"), named("resumed")), (1, 1));
}
