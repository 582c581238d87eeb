//! The processes: they start, die, come back, and are told what they own.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use campaign::{CampaignId, Definition};
use campaign_service::{CampaignService, Process};
use dm_sim::Chance;
use service_kit::{Metrics, Settings, metrics::SessionMetrics};
use session_service::{Engine, EngineSettings};
use storage::{Ownership, OwnsNone, Stores, TenantId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    Sim,
    fleet::Front,
    gate::{Gate, lock},
    stores::View,
    world::now,
};

/// Which workers believe that they own the campaigns: mostly one, at times two or none.
#[derive(Default)]
pub struct Assigned {
    owners: Mutex<BTreeSet<usize>>,
    changed: Notify,
}

impl Assigned {
    fn assign(&self, owners: impl IntoIterator<Item = usize>) {
        *self.owners.lock().unwrap_or_else(PoisonError::into_inner) = owners.into_iter().collect();
        self.changed.notify_waiters();
    }
}

struct Share(Arc<Assigned>, usize);

#[async_trait]
impl Ownership for Share {
    fn owns(&self, _: &TenantId, _: CampaignId) -> bool {
        self.0.owners.lock().unwrap_or_else(PoisonError::into_inner).contains(&self.1)
    }

    async fn changed(&self) {
        self.0.changed.notified().await;
    }
}

fn gate(sim: &Sim, name: String, life: u64) -> Arc<Gate> {
    let chance = Chance::new(sim.seed, life, &name);
    Gate::new(format!("{name}.{life}"), &sim.world, chance, sim.rates, &sim.is_fair)
}

fn stores(gate: &Arc<Gate>) -> Stores {
    Stores::of(View(Arc::clone(gate)))
}

fn service(sim: &Sim, gate: &Arc<Gate>, ownership: Arc<dyn Ownership>) -> CampaignService {
    let begun = sim.begun;
    let entropy = Arc::clone(gate);
    let process = Process {
        ownership,
        clock: Arc::new(move || now(begun)),
        entropy: Arc::new(move |octets| entropy.fill(octets)),
    };
    CampaignService::in_process(stores(gate), TenantId::default(), process)
}

/// A service that owns nothing and answers operators.
pub fn admin(sim: &Sim, name: &str) -> CampaignService {
    service(sim, &gate(sim, name.into(), 0), Arc::new(OwnsNone))
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
        let gate = gate(&sim, name.clone(), life);
        let metrics = SessionMetrics::new(&Metrics::new("sim"));
        let entropy = Arc::clone(&gate);
        let engine = Engine::with_entropy(
            &EngineSettings::new(&settings, "http://sim"),
            stores(&gate),
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

/// A process that works on campaigns: dies and comes back.
pub async fn worker(sim: Arc<Sim>, number: usize) {
    let name = format!("worker{number}");
    let mut chance = Chance::new(sim.seed, number as u64, "worker");
    for life in 0.. {
        let gate = gate(&sim, name.clone(), life);
        let service = service(&sim, &gate, Arc::new(Share(Arc::clone(&sim.assigned), number)));
        sim.workers.lock().unwrap_or_else(PoisonError::into_inner).insert(number, service.clone());
        tokio::select! {
            biased;
            () = gate.death() => {}
            ended = service.run(CancellationToken::new()) => ended.unwrap(),
        }
        sim.workers.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        rest(&sim, &mut chance, &name).await;
    }
}

/// Carries jobs to devices and events to ledgers, late.
pub async fn carry(sim: Arc<Sim>) {
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        lock(&sim.world).deliver_due();
    }
}

/// What happens to a cluster from outside: sessions are lost, campaigns move, processes are killed.
pub async fn trouble(sim: Arc<Sim>) {
    let mut chance = Chance::new(sim.seed, 0, "trouble");
    sim.assigned.assign([0]);
    while !sim.is_fair.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(500 + chance.below(12_000))).await;
        match chance.below(10) {
            0 => {
                let mut world = lock(&sim.world);
                world.note("sessions are lost");
                world.sessions.clear();
                world.session_losses += 1;
            }
            1 => {
                let fronts = sim.fronts.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some(front) = &fronts[chance.below(2) as usize] {
                    front.gate.die();
                }
            }
            2 | 3 => move_to(&sim, &[0, 1]),
            4 => move_to(&sim, &[]),
            which => move_to(&sim, &[(which % 2) as usize]),
        }
    }
    move_to(&sim, &[0]);
}

fn move_to(sim: &Sim, owners: &[usize]) {
    lock(&sim.world).note(&format!("campaigns belong to {owners:?}"));
    sim.assigned.assign(owners.iter().copied());
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
            None => service(&sim, &gate(&sim, format!("admin{number}"), life), Arc::new(OwnsNone)),
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
