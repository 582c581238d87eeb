//! The service dies at random moments, between any two writes, and another takes up its campaigns.

#![allow(clippy::unwrap_used, reason = "these are tests, helpers and all")]

mod support;

use std::time::Duration;

use campaign::{CampaignId, EventKind};
use support::{Act, Fleet, Place, definition, most_in_flight, released_and_in_flight, spawn};

const DEVICES: u32 = 400;
const BUDGET: usize = 20;

#[test]
fn a_campaign_ends_whenever_its_owner_dies() {
    let outer = tokio::runtime::Runtime::new().unwrap();
    let place = outer.block_on(Place::with_devices(DEVICES));
    let fleet = Fleet::new(place.clock());
    let id = outer.block_on(async {
        let text = format!(
            "in_flight_max = {BUDGET}\nwaves = [{{percent = 5}}, {{percent = 20}}, {{}}]\nseed = 3\n\
            [timers]\nwait = '60s'\n[failure_gate]\nsilence_max_percent = 100"
        );
        place.service().create(definition(&text), None).await.unwrap()
    });
    let mut lives = 0;
    while !outer.block_on(is_over(&place, id)) {
        lives += 1;
        assert!(lives < 400, "the campaign does not end: {}", outer.block_on(where_it_stands(&place, id)));
        live_and_die(&place, &fleet, id, lives);
        // Nobody lives now, and behind a write of ours nothing comes that the dead had begun to write. Where only those who
        // never come are waited for, their time is over.
        outer.block_on(write_something(&place));
        let (_, in_flight) = released_and_in_flight(&outer.block_on(place.ledger(id)));
        if !in_flight.is_empty() && in_flight.into_iter().all(|ordinal| behaviour(ordinal) == Act::StayAway) {
            place.put_clock_forward(61);
        }
    }
    assert!(lives > 5, "{lives} lives: the service hardly died");
    outer.block_on(check(&place, &fleet, id));
}

fn behaviour(ordinal: u32) -> Act {
    match ordinal % 25 {
        0 => Act::StayAway,
        1 => Act::Fail(402),
        _ => Act::Succeed,
    }
}

/// A runtime that is dropped takes all tasks with it, wherever they are: what `kill -9` does to a process, as far as
/// the stores can tell.
fn live_and_die(place: &Place, fleet: &Fleet, id: CampaignId, life: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let service = place.service();
        let _shutdown = spawn(&service);
        let started = service.clone();
        tokio::spawn(async move { started.start(id, "ann").await });
        let (fleet, stores) = (fleet.clone(), place.stores.clone());
        tokio::spawn(async move { fleet.run(stores, 0..DEVICES, behaviour).await });
        // From some microseconds on, so that starting is interrupted too.
        let alive = Duration::from_micros(300 * life * (life * 7919 % 97 + 1) / 4);
        tokio::time::sleep(alive.min(Duration::from_millis(400))).await;
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
}

async fn is_over(place: &Place, id: CampaignId) -> bool {
    let finished = |event: &campaign::JobEvent| event.kind == EventKind::Finished;
    place.ledger(id).await.iter().any(finished)
}

/// Writes are made durable in the order in which they were asked for.
async fn write_something(place: &Place) {
    let (devices, tenant) = (&place.stores.devices, support::tenant());
    let found = devices.load(&tenant, &support::dev_id(0)).await.unwrap().unwrap();
    devices.put(&tenant, found.revision, &found.value).await.unwrap();
}

async fn where_it_stands(place: &Place, id: CampaignId) -> String {
    let ledger = place.ledger(id).await;
    let (released, in_flight) = released_and_in_flight(&ledger);
    let of_all: Vec<_> = ledger.iter().filter(|event| event.device.is_none()).collect();
    let last: Vec<_> = ledger.iter().rev().take(5).collect();
    format!("{released:?} released, {in_flight:?} in flight; {of_all:?}; last {last:?}")
}

async fn check(place: &Place, fleet: &Fleet, id: CampaignId) {
    let ledger = place.ledger(id).await;
    assert!(most_in_flight(&ledger) <= BUDGET);
    for (attempt, execs) in fleet.execs.lock().unwrap().iter() {
        assert_eq!(*execs, 1, "{attempt:?}");
    }
    let service = place.service();
    let verification = service.verify(id).await.unwrap();
    assert!(verification.adds_up, "{:?}", verification.differences);
    let counts = verification.counts;
    assert_eq!(counts.ended(), DEVICES);
    assert_eq!((counts.silent, counts.failed_package_fault), (16, 16), "{counts:?}");
    assert_eq!(counts.succeeded, DEVICES - 32, "{counts:?}");
    for once in ["started", "finished"] {
        let count = ledger.iter().filter(|event| event.kind.name() == once).count();
        assert!(count >= 1, "{once}");
    }
}
