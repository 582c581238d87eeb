//! The processes: they start, die, come back, and are told what they own.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use campaign::Definition;
use campaign_service::{CampaignMetrics, CampaignService, Process};
use dm_sim::Chance;
use service_kit::{Metrics, Settings, metrics::SessionMetrics};
use session_service::{Engine, EngineSettings};
use storage::{Ownership, OwnsNone, StoreError, Stores, TenantId};
use storage_cluster::{
    ClusterJobs, ClusterTriggers, EventsWorker, JobsWorker, Ports, devices::CachedDevices, topics::Topic,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Sim,
    fleet::Front,
    gate::{Gate, lock},
    ports::{Gated, GatedConsumer},
    stores::View,
    world::now,
};

/// The group of each topic's consumers.
const GROUP: &str = "workers";

fn gate(sim: &Sim, name: &str, life: u64) -> Arc<Gate> {
    let chance = Chance::new(sim.seed, life, name);
    Gate::new(format!("{name}.{life}"), &sim.world, chance, sim.rates, &sim.is_fair)
}

/// The job store of one process.
fn jobs(sim: &Sim, gate: &Arc<Gate>) -> ClusterJobs {
    let ports = Arc::new(Gated { gate: Arc::clone(gate), servers: Arc::clone(&sim.servers) });
    let draw = Arc::clone(gate);
    ClusterJobs::new(Ports {
        rows: ports.clone(),
        blocks: ports.clone(),
        topics: ports.clone(),
        marks: ports,
        draw: Arc::new(move || draw.number()),
    })
}

/// The stores of one process, composed as the binary does.
fn stores(sim: &Sim, gate: &Arc<Gate>, jobs: &ClusterJobs) -> Stores {
    let view = Arc::new(View(Arc::clone(gate)));
    let ports = Arc::new(Gated { gate: Arc::clone(gate), servers: Arc::clone(&sim.servers) });
    // The row says when a device was seen to within this, so it is written now and then.
    let seen_grain = Duration::from_secs(120);
    let nobody = Arc::new(|| Err(StoreError::unavailable("join", "nobody sends triggers here")));
    Stores {
        sessions: view.clone(),
        devices: Arc::new(CachedDevices::new(view.clone(), ports.clone(), sim.keys.clone(), seen_grain)),
        snapshots: view.clone(),
        jobs: Arc::new(jobs.clone()),
        campaigns: view.clone(),
        starts: view.clone(),
        requests: view.clone(),
        artifacts: view,
        triggers: Arc::new(ClusterTriggers::new(ports, nobody)),
        limits: Arc::new(storage::MemoryLimits::new()),
    }
}

fn service(
    sim: &Sim,
    gate: &Arc<Gate>,
    jobs: &ClusterJobs,
    ownership: Arc<dyn Ownership>,
) -> CampaignService {
    let begun = sim.begun;
    let entropy = Arc::clone(gate);
    let process = Process {
        ownership,
        clock: Arc::new(move || now(begun)),
        entropy: Arc::new(move |octets| entropy.fill(octets)),
        metrics: CampaignMetrics::new(&Metrics::new("sim")),
    };
    CampaignService::in_process(stores(sim, gate, jobs), TenantId::default(), process)
}

/// A service that owns nothing and answers operators.
pub fn admin(sim: &Sim, name: &str) -> CampaignService {
    service_of_admin(sim, &gate(sim, name, 0))
}

fn service_of_admin(sim: &Sim, gate: &Arc<Gate>) -> CampaignService {
    service(sim, gate, &jobs(sim, gate), Arc::new(OwnsNone))
}

async fn rest(sim: &Sim, chance: &mut Chance, name: &str) {
    let pause = Duration::from_millis(chance.below(8000));
    tokio::time::sleep(pause).await;
    lock(&sim.world).note(&format!("{name} is back"));
}

/// A front-end: dies and comes back.
pub async fn front(sim: Arc<Sim>, number: usize) {
    let name = format!("front{number}");
    let mut chance = Chance::new(sim.seed, number as u64, "front");
    let settings = Settings::load(None, [], []).unwrap();
    for life in 0.. {
        let gate = gate(&sim, &name, life);
        let metrics = SessionMetrics::new(&Metrics::new("sim"));
        let entropy = Arc::clone(&gate);
        let engine = Engine::with_entropy(
            &EngineSettings::new(&settings, "http://sim"),
            stores(&sim, &gate, &jobs(&sim, &gate)),
            metrics,
            Arc::new(move |octets| {
                entropy.fill(octets);
                Ok(())
            }),
        );
        let front = Front { engine, gate: Arc::clone(&gate) };
        sim.fronts.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(front);
        gate.death().await;
        sim.fronts.lock().unwrap_or_else(PoisonError::into_inner)[number] = None;
        rest(&sim, &mut chance, &name).await;
    }
}

/// A process that works on campaigns and carries jobs and events: dies and comes back.
pub async fn worker(sim: Arc<Sim>, number: usize) {
    let name = format!("worker{number}");
    let mut chance = Chance::new(sim.seed, number as u64, "worker");
    for life in 0.. {
        let gate = gate(&sim, &name, life);
        let jobs = jobs(&sim, &gate);
        let service = service(&sim, &gate, &jobs, jobs.ownership());
        let consumer = |topic| {
            let inner = sim.servers.topics.consumer(topic, GROUP);
            let servers = Arc::clone(&sim.servers);
            Box::new(GatedConsumer { gate: Arc::clone(&gate), servers, topic, inner })
        };
        let events = EventsWorker::new(jobs.clone(), consumer(Topic::Events));
        let carrier = JobsWorker::new(jobs.clone(), consumer(Topic::Jobs));
        sim.workers.lock().unwrap_or_else(PoisonError::into_inner).insert(number, service.clone());
        let never = CancellationToken::new;
        tokio::select! {
            biased;
            () = gate.death() => {}
            ended = service.run(never()) => ended.unwrap(),
            () = events.run(never()) => {}
            () = carrier.run(never()) => {}
        }
        sim.workers.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        rest(&sim, &mut chance, &name).await;
    }
}

/// What happens to a cluster from outside: Redis is emptied, groups are balanced anew, processes are killed.
pub async fn trouble(sim: Arc<Sim>) {
    let mut chance = Chance::new(sim.seed, 0, "trouble");
    while !sim.is_fair.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(500 + chance.below(12_000))).await;
        let topic = [Topic::Events, Topic::Jobs][chance.below(2) as usize];
        match chance.below(8) {
            0 => sim.servers.lose_redis(&mut lock(&sim.world)),
            1 | 2 => {
                let fronts = sim.fronts.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(front) = &fronts[chance.below(2) as usize] {
                    front.gate.die();
                }
            }
            3..=5 => {
                lock(&sim.world).note(&format!("all are put out of the group of {}", topic.name()));
                sim.servers.topics.expel_all(topic, GROUP);
            }
            6 => {
                lock(&sim.world).note(&format!("what was committed of {} is forgotten", topic.name()));
                sim.servers.topics.forget_committed(topic, GROUP);
                sim.servers.topics.expel_all(topic, GROUP);
            }
            _ => {}
        }
    }
}

/// An operator creates a campaign, starts it and interferes, at whichever process answers.
pub async fn operate(sim: Arc<Sim>, number: usize, definition: Definition) {
    let mut chance = Chance::new(sim.seed, number as u64, "operator");
    let mut life = 0;
    let key = format!("operator{number}");
    let mut any = |chance: &mut Chance| {
        let workers = sim.workers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        life += 1;
        match workers.get(&(chance.below(3) as usize)) {
            Some(worker) => worker.clone(),
            None => service_of_admin(&sim, &gate(&sim, &format!("admin{number}"), life)),
        }
    };
    // A process that dies over it answers nothing.
    const PATIENCE: Duration = Duration::from_secs(15);
    let id = loop {
        let created = any(&mut chance);
        match tokio::time::timeout(PATIENCE, created.create(definition.clone(), Some(&key))).await {
            Ok(Ok(id)) => break id,
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    };
    loop {
        let service = any(&mut chance);
        match tokio::time::timeout(PATIENCE, service.start(id, &key)).await {
            Ok(Ok(())) => break,
            Ok(Err(campaign_service::ServiceError::NoMembers { .. })) => return,
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
    while !sim.is_fair.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(chance.below(40_000))).await;
        let service = any(&mut chance);
        let what = chance.below(20);
        let asked = async {
            match what {
                0 => service.stop(id, &key, chance.below(2) == 0).await,
                1..8 => service.pause(id, &key, "to look").await,
                8..17 => service.resume(id, &key).await,
                _ => service.status(id).await.map(drop),
            }
        };
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        let answer = answer.map(|answer| answer.map_err(|error| error.to_string()));
        lock(&sim.world).note(&format!("{key} asked {id} for {what}: {answer:?}"));
    }
}
