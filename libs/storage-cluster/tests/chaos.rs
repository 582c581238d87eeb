//! Processes over servers whose calls fail by a seed, and who are killed: all is told once, in order, and ends.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use campaign::{EventKind, JobEvent, Outcome};
use common::{CAMPAIGN, Process, device, event, memory::Servers, moved, release, soon, tenant};
use storage::{Epoch, JobStore, faults::FaultPlan};
use storage_cluster::ClusterJobs;

const DEVICES: u32 = 12;
const ATTEMPTS: u16 = 2;
const MOVES: i64 = 3;

/// One step of a campaign's owner: claims where it must, and releases what is next by the ledger.
async fn own(store: &ClusterJobs, epoch: &mut Option<Epoch>) -> Option<bool> {
    if epoch.is_none() {
        *epoch = Some(store.claim(&tenant(), CAMPAIGN).await.ok()?);
    }
    let events = store.events(&tenant(), CAMPAIGN, 0, 100_000).await.ok()?;
    let mut left = false;
    let mut next = Vec::new();
    for number in 0..DEVICES {
        let of = |it: &&(u64, JobEvent)| it.1.ordinal == number;
        let released =
            events.iter().filter(of).filter(|it| matches!(it.1.kind, EventKind::Released { .. })).count();
        let ended =
            events.iter().filter(of).filter(|it| matches!(it.1.kind, EventKind::Ended { .. })).count();
        assert!(ended <= released, "no end without a release: {events:#?}");
        left |= ended < usize::from(ATTEMPTS);
        if released == ended && released < usize::from(ATTEMPTS) {
            next.push(release(number, u16::try_from(released + 1).unwrap()));
        }
    }
    if !next.is_empty()
        && let Err(error) = store.release(&tenant(), CAMPAIGN, epoch.unwrap(), &next).await
        && error.kind == storage::ErrorKind::Conflict
    {
        *epoch = None;
    }
    Some(left)
}

/// One step of a session: whatever it hears, it looks again.
async fn visit(store: &ClusterJobs, number: u32, second: i64) {
    let Ok(true) = store.may_have(&tenant(), &device(number)).await else { return };
    let Ok(jobs) = store.pending(&tenant(), &device(number)).await else { return };
    let Some(job) = jobs.first() else { return };
    let attempt = job.value.attempt;
    let moves = i64::try_from(job.revision.0 & 0xffff_ffff).unwrap();
    let (after, event) = if moves < MOVES {
        (Some(&job.value), moved(number, attempt, second))
    } else {
        let kind =
            EventKind::Ended { outcome: Outcome::Succeeded, version: None, detail: None, retry_at: None };
        (None, event(number, attempt, second, kind))
    };
    let _ = store.update(&tenant(), &device(number), CAMPAIGN, job.revision, after, &[event]).await;
}

async fn run(seed: u64) -> Vec<JobEvent> {
    let servers = Servers::new(FaultPlan::new(seed, 60, 60));
    let mut processes: Vec<Process> = (0..3).map(|_| servers.process()).collect();
    let mut epochs: Vec<Option<Epoch>> = vec![None; 3];
    let mut lot = seed;
    let mut draw = move |below: u64| {
        lot = lot.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (lot >> 33) % below
    };
    let mut second = 10;
    for step in 0.. {
        assert!(step < 20_000, "seed {seed} never ends");
        if step == 600 {
            servers.plan.stop();
        }
        second += 1;
        let at = usize::try_from(draw(3)).unwrap();
        let stopped = step >= 600;
        match draw(20) {
            0 if !stopped => {
                let killed = std::mem::replace(&mut processes[at], servers.process());
                killed.kill();
                epochs[at] = None;
            }
            1 if !stopped => servers.marks.clear(),
            2..=5 => {
                // Whoever thinks it is the owner: the ledger says who is.
                if own(&processes[at].store, &mut epochs[at]).await == Some(false) && stopped {
                    break;
                }
            }
            _ => visit(&processes[at].store, u32::try_from(draw(DEVICES.into())).unwrap(), second).await,
        }
        tokio::time::sleep(Duration::from_millis(draw(40))).await;
    }
    assert!(servers.plan.happened() > 50, "seed {seed}: faults do happen");
    let events = check(&processes[0].store, seed).await;
    for process in processes {
        process.stop().await;
    }
    events
}

/// Every device's events are in the ledger once each and in their order, and its history says the same.
async fn check(store: &ClusterJobs, seed: u64) -> Vec<JobEvent> {
    let events = soon("the whole ledger", || async {
        let mut from = 0;
        let mut all = Vec::new();
        loop {
            store.wait_events(&tenant(), CAMPAIGN, from).await.ok()?;
            let page = store.events(&tenant(), CAMPAIGN, from, 50).await.ok()?;
            let Some(&(last, _)) = page.last() else { return Some(all) };
            assert_eq!(page.first().unwrap().0, from + 1, "offsets are dense");
            from = last;
            all.extend(page.into_iter().map(|(_, event)| event));
        }
    })
    .await;
    for number in 0..DEVICES {
        let own: Vec<&JobEvent> = events.iter().filter(|event| event.ordinal == number).collect();
        let names: Vec<&str> = own.iter().map(|event| event.kind.name()).collect();
        let attempt = ["released", "moved", "moved", "moved", "ended"];
        assert_eq!(names, attempt.repeat(ATTEMPTS.into()), "seed {seed}, device {number}: {own:#?}");
        let seconds: Vec<_> =
            own.iter().filter(|event| event.kind.name() != "released").map(|it| it.at).collect();
        assert!(seconds.is_sorted(), "seed {seed}, device {number}: told in order");
        let mut history = store.device_events(&tenant(), &device(number), 100).await.unwrap();
        history.sort_by_key(|(_, event)| (event.attempt, event.kind.name() != "released", event.at));
        let history: Vec<&JobEvent> = history.iter().map(|(_, event)| event).collect();
        assert_eq!(history, own, "seed {seed}: the history of device {number} is that of the ledger");
    }
    events
}

#[tokio::test(start_paused = true)]
async fn all_is_told_once_whatever_fails() {
    let seeds = std::env::var("FLOTILLA_TEST_SEEDS").ok().and_then(|it| it.parse().ok()).unwrap_or(30);
    for seed in 0..seeds {
        run(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_seed_replays() {
    assert_eq!(run(7).await, run(7).await);
}
