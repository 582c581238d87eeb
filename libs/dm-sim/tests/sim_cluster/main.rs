//! The whole cluster in one thread under a fake clock: session engines, campaign services with the workers that carry jobs
//! and events, and devices, over the cluster's own stores on servers in memory. Messages are lost, late and repeated;
//! processes die or stand still at any call of a server; calls are refused, or done and reported lost; Redis is emptied;
//! groups of consumers are balanced anew before their members know, and read again what they had committed; operators
//! interfere. After every change of anything the promises are checked. Then the faults stop, and all work must end.
//!
//! All chance comes from one seed. A seed that fails is printed with the end of its history, and replays:
//!
//! ```text
//! SEED=7 cargo test --release -p dm-sim --test sim_cluster promises -- --nocapture     with its whole history
//! SEEDS=1000..5000 cargo test --release -p dm-sim --test sim_cluster                   others
//! ```
//!
//! `deploy/dev/test simulate` runs `FLOTILLA_SIM_SEEDS` of them.

#![allow(clippy::unwrap_used, unreachable_pub, missing_docs, reason = "these are tests, helpers and all")]

mod fleet;
mod gate;
mod late;
mod ports;
mod processes;
mod promises;
mod stores;
mod world;

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use campaign::{CampaignId, Definition};
use campaign_service::CampaignService;
use dm_protocol::DevId;
use dm_sim::{Chance, FaultPlan, Mix, Setup, SimDevice, Timing};
use sha2::{Digest as _, Sha256};
use storage::{
    ArtifactMeta, JobStore as _, Revision, TenantId, Versioned,
    seal::{KeyId, KeyRing},
};
use tokio::time::Instant;

use crate::{
    fleet::Front,
    gate::{Rates, Shared, lock},
    world::{Servers, World},
};

/// Seeds of an ordinary run, which may be one without optimisation.
const SEEDS: Range<u64> = 0..4;
/// How long the faults last.
const ROUGH: Duration = Duration::from_secs(150);
/// All work has ended so long after them.
const FAIR_MAX: Duration = Duration::from_secs(4 * 3600);

/// What all tasks of a run share.
pub struct Sim {
    pub seed: u64,
    pub begun: Instant,
    pub world: Shared,
    pub is_fair: Arc<AtomicBool>,
    pub rates: Rates,
    pub servers: Arc<Servers>,
    pub keys: KeyRing,
    pub fronts: Mutex<Vec<Option<Front>>>,
    pub workers: Mutex<BTreeMap<usize, CampaignService>>,
}

fn world(begun: Instant, setup: &Arc<Setup>, devices: u32) -> World {
    let content: Vec<u8> = (0..3000_u32).map(|at| at as u8).collect();
    let meta = ArtifactMeta {
        digest: Sha256::digest(&content).into(),
        size: content.len() as u64,
        name: "fw".into(),
        version: "2.0".into(),
        media_type: "application/octet-stream".into(),
        added: world::now(begun),
    };
    let mut world = World {
        begun,
        sessions: BTreeMap::new(),
        session_revision: 0,
        session_losses: 0,
        devices: Vec::new(),
        ordinals: BTreeMap::new(),
        accepted: BTreeMap::new(),
        pages: BTreeMap::new(),
        heads: BTreeMap::new(),
        ledgers: BTreeMap::new(),
        campaigns: Vec::new(),
        campaign_keys: BTreeMap::new(),
        starts: Vec::new(),
        requests: BTreeMap::new(),
        committed: BTreeMap::new(),
        artifact: (meta, content),
        history: Vec::new(),
        broken: Vec::new(),
    };
    for number in 0..devices {
        let identity = SimDevice::new(Arc::clone(setup), number, world.now()).identity();
        let device = fleet::record(&identity, number, world.now());
        world.ordinals.insert(identity.id, number);
        world.devices.push(Versioned { value: device, revision: Revision(1) });
    }
    world
}

fn definition(chance: &mut Chance, in_flight_max: u64) -> Definition {
    let waves = ["", "waves = [{percent = 20}, {percent = 60}, {}]\n", "waves = [{percent = 50}, {}]\n"]
        [chance.below(3) as usize];
    let retries =
        [("transient", 3), ("needs-user", 2), ("device-fault", 2), ("refused", 2), ("exec-lost", 5)];
    let retry = |(class, attempts): &(&str, u8)| {
        format!("[retry.{class}]\nattempts_max = {attempts}\ndelay = '1s'\ndelay_max = '10s'\n")
    };
    let retry: String = retries.iter().chain(&[("timed-out", 2)]).map(retry).collect();
    let text = format!(
        "name = 'sim'\nartifact = {{ name = 'fw' }}\nin_flight_max = {in_flight_max}\n{waves}\
        [failure_gate]\nfailure_max_percent = 100\nsilence_max_percent = 100\n\
        [timers]\nwait = '120s'\nsession = '120s'\ndownload = '60s'\ninstall = '60s'\nreport = '60s'\n\
        {retry}"
    );
    Definition::parse_toml(&text).unwrap()
}

/// Runs a seed; answers its history and what was broken.
fn run(seed: u64) -> (Vec<String>, Vec<String>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(simulate(seed))
}

async fn simulate(seed: u64) -> (Vec<String>, Vec<String>) {
    let begun = Instant::now();
    let mut chance = Chance::new(seed, 0, "plan");
    let devices = 3 + chance.below(6) as u32;
    let faults = FaultPlan { failing: 0.15, silent: 0.06, wrong_version: 0.05, ..FaultPlan::rough() };
    let mix = Mix { auth_none: 0.1, auth_basic: 0.6, auth_md5: 0.3, xml: 0.5 };
    let timing = Timing {
        poll_ms: 4000,
        install_ms: 200..=2000,
        resend_ms: 300,
        slow_ms: 500..=3000,
        ..Timing::default()
    };
    let setup = Setup::new(seed, "http://sim/dm", mix, faults, timing, world::now(begun)).unwrap();
    let setup = Arc::new(setup);
    let rates = Rates {
        refused: chance.below(30),
        lost: chance.below(30),
        crash: chance.below(8),
        freeze: chance.below(4),
        late: chance.below(40),
        latency_ms: 1 << chance.below(7),
    };
    let sim = Arc::new(Sim {
        seed,
        begun,
        world: Arc::new(Mutex::new(world(begun, &setup, devices))),
        is_fair: Arc::default(),
        rates,
        servers: Servers::new(2),
        keys: KeyRing::from_keys(&[(KeyId(1), [7; 32])]).unwrap(),
        fronts: Mutex::new(vec![None; 2]),
        workers: Mutex::default(),
    });
    lock(&sim.world).note(&format!("{devices} devices, {rates:?}"));
    for number in 0..2 {
        tokio::spawn(processes::front(Arc::clone(&sim), number));
        tokio::spawn(processes::worker(Arc::clone(&sim), number));
    }
    tokio::spawn(processes::trouble(Arc::clone(&sim)));
    let fleet: Vec<Arc<Mutex<SimDevice>>> = (0..devices)
        .map(|number| Arc::new(Mutex::new(SimDevice::new(Arc::clone(&setup), number, world::now(begun)))))
        .collect();
    for (number, device) in fleet.iter().enumerate() {
        tokio::spawn(fleet::live(Arc::clone(&sim), Arc::clone(device), number as u32));
    }
    let campaigns = 1 + chance.below(2);
    let definitions: Vec<_> = (0..campaigns)
        .map(|_| {
            let in_flight_max = 1 + chance.below(4);
            definition(&mut chance, in_flight_max)
        })
        .collect();
    let operators: Vec<_> = definitions
        .into_iter()
        .enumerate()
        .map(|(number, definition)| tokio::spawn(processes::operate(Arc::clone(&sim), number, definition)))
        .collect();
    while begun.elapsed() < ROUGH && !is_over(&sim, campaigns) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    lock(&sim.world).note("faults stop");
    sim.is_fair.store(true, Ordering::SeqCst);
    for operator in operators {
        operator.await.unwrap();
    }
    finish(&sim).await;
    let world = lock(&sim.world);
    (world.history.clone(), world.broken.clone())
}

/// All campaigns have been started, and the ledgers say that they are over.
fn is_over(sim: &Sim, campaigns: u64) -> bool {
    let world = lock(&sim.world);
    let over =
        |ledger: &world::Ledger| ledger.checks.as_ref().is_some_and(|(_, campaign)| campaign.run().is_over());
    world.starts.len() as u64 == campaigns && world.ledgers.values().all(over)
}

/// Everything comes to its end by itself, but for what an operator has to say.
async fn finish(sim: &Arc<Sim>) {
    let admin = processes::admin(sim, "admin at the end");
    let deadline = Instant::now() + FAIR_MAX;
    loop {
        let ids: Vec<CampaignId> = lock(&sim.world).starts.iter().map(|start| start.campaign).collect();
        let mut is_over = true;
        for id in ids {
            let run = admin.status(id).await.unwrap().summary.run;
            if run == "paused" {
                let _ = admin.resume(id, "end").await;
            }
            is_over &= ["finished", "stopped"].contains(&run);
        }
        if is_over {
            break;
        }
        if Instant::now() > deadline {
            return lock(&sim.world).breach("the work does not end".into());
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let ids: Vec<CampaignId> = lock(&sim.world).starts.iter().map(|start| start.campaign).collect();
    for id in ids {
        let verification = admin.verify(id).await.unwrap();
        let mut world = lock(&sim.world);
        if !verification.adds_up {
            world.breach(format!("{id}: {:?}", verification.differences));
        }
        if verification.counts.ended() != verification.members {
            world.breach(format!("{id}: {:?}", verification.counts));
        }
    }
    let put_aside = sim.servers.topics.put_aside_reasons();
    if !put_aside.is_empty() {
        lock(&sim.world).breach(format!("messages were put aside: {put_aside:?}"));
    }
    // What was still on its way has long arrived then.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let ids: Vec<DevId> = lock(&sim.world).devices.iter().map(|device| device.value.id.clone()).collect();
    for id in ids {
        let open = sim.servers.observer.pending(&TenantId::default(), &id).await.unwrap();
        if !open.is_empty() {
            lock(&sim.world).breach(format!("{id} has jobs after the end: {open:?}"));
        }
    }
    sim.servers.judge_histories(&sim.world).await;
}

fn seeds() -> Range<u64> {
    let number = |text: &str| text.trim().parse::<u64>().unwrap();
    if let Ok(seed) = std::env::var("SEED") {
        return number(&seed)..number(&seed) + 1;
    }
    match std::env::var("SEEDS") {
        Ok(range) => range.split_once("..").map(|(from, to)| number(from)..number(to)).unwrap(),
        Err(_) => SEEDS,
    }
}

/// Runs seeds on all cores; the first that breaks a promise is told with its history.
#[test]
fn the_promises_hold_whatever_is_lost_repeated_or_killed() {
    let seeds = seeds();
    let is_single = seeds.end - seeds.start == 1;
    let threads = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    let failures = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..threads)
            .map(|thread| {
                let seeds = seeds.clone().skip(thread as usize).step_by(threads as usize);
                scope.spawn(move || {
                    let failing = seeds.filter_map(|seed| {
                        let outcome = std::panic::catch_unwind(|| run(seed));
                        match outcome {
                            Ok((history, broken)) => {
                                if is_single {
                                    println!("{}", history.join("\n"));
                                }
                                (!broken.is_empty()).then_some((seed, broken, history))
                            }
                            Err(panic) => {
                                let why = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                                Some((seed, vec![format!("panic: {why}")], Vec::new()))
                            }
                        }
                    });
                    failing.take(3).collect::<Vec<_>>()
                })
            })
            .collect();
        runs.into_iter().flat_map(|run| run.join().unwrap()).collect::<Vec<_>>()
    });
    for (seed, broken, history) in &failures {
        let tail = history.iter().rev().take(60).rev().cloned().collect::<Vec<_>>().join("\n");
        println!("{tail}\nSEED={seed} breaks promises:\n{}", broken.join("\n"));
    }
    assert!(failures.is_empty(), "seeds {:?}", failures.iter().map(|(seed, ..)| seed).collect::<Vec<_>>());
}

#[test]
fn a_seed_runs_the_same_twice() {
    for seed in [5, 6] {
        let (first, second) = (run(seed).0, run(seed).0);
        let apart = first.iter().zip(&second).position(|(one, other)| one != other);
        if let Some(at) = apart {
            panic!("seed {seed}, line {at}:\n{}\n{}", first[at], second[at]);
        }
        assert_eq!(first.len(), second.len());
    }
}
