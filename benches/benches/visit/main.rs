//! An empty visit: two messages, MD5, nothing to do, on the embedded store.
//!
//! `engine/one` is one visit after the other, so mostly the time of one synced write; `engine/many` has 256 visits in
//! flight, which share their syncs. `socket/visit` is the same through HTTP on 64 kept connections, `socket/bare` two
//! requests to a bare hyper that answers octets of the same size: their ratio within one run is the figure to look
//! at. The client's own time (building and checking messages) is outside of the measurement, its socket work inside
//! of both.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod fleet;
mod wire;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;

use fleet::{Visit, Visitor};

const DEVICES: usize = 4096;
const IN_FLIGHT: usize = 256;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Runs `visits` visits through `run` in batches of `in_flight`, and adds up the time of the batches alone.
fn measure<F>(
    visitors: &mut [Visitor],
    next: &mut usize,
    visits: u64,
    in_flight: usize,
    mut run: F,
) -> Duration
where
    F: FnMut(Vec<Visit>) -> (Duration, Vec<[Vec<u8>; 2]>),
{
    let mut took = Duration::ZERO;
    let mut left = usize::try_from(visits).unwrap();
    while left > 0 {
        let count = left.min(in_flight);
        let places: Vec<usize> = (0..count).map(|at| (*next + at) % DEVICES).collect();
        let batch = places.iter().map(|at| visitors[*at].visit()).collect();
        let (span, answers) = run(batch);
        took += span;
        for (at, [first, second]) in places.iter().zip(&answers) {
            visitors[*at].learn(first);
            fleet::check_empty(second);
        }
        *next = (*next + count) % DEVICES;
        left -= count;
    }
    took
}

fn engine(criterion: &mut Criterion) {
    let runtime = runtime();
    let dir = tempfile::tempdir().unwrap();
    let (store, mut visitors) = runtime.block_on(fleet::open(dir.path(), DEVICES));
    let engine = fleet::engine(store);
    let mut next = 0;
    count_allocations(&engine, &mut visitors[0]);
    let mut group = criterion.benchmark_group("visit/engine");
    group.throughput(Throughput::Elements(1));
    for (name, in_flight) in [("one", 1), ("many", IN_FLIGHT)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|visits| {
                measure(&mut visitors, &mut next, visits, in_flight, |batch| {
                    let engine = Arc::clone(&engine);
                    runtime.block_on(async move {
                        let begun = Instant::now();
                        let tasks: Vec<_> = batch
                            .into_iter()
                            .map(|visit| {
                                let engine = Arc::clone(&engine);
                                tokio::spawn(async move {
                                    let first = fleet::step(&engine, &visit.first).await;
                                    [first, fleet::step(&engine, &visit.second).await]
                                })
                            })
                            .collect();
                        let mut answers = Vec::with_capacity(tasks.len());
                        for task in tasks {
                            answers.push(task.await.unwrap());
                        }
                        (begun.elapsed(), answers)
                    })
                })
            });
        });
    }
    group.finish();
}

/// Prints what the thread of the step allocates, the store's part on it included.
fn count_allocations(engine: &Arc<session_service::Engine>, visitor: &mut Visitor) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // The first visit learns the device; the second is an empty one.
    for name in ["first visit", "empty visit"] {
        let visit = visitor.visit();
        let mut answers = Vec::new();
        for (message, body) in [("message 1", &visit.first), ("message 2", &visit.second)] {
            let info =
                allocation_counter::measure(|| answers.push(runtime.block_on(fleet::step(engine, body))));
            eprintln!("{name}, {message}: {} allocations, {} octets", info.count_total, info.bytes_total);
        }
        visitor.learn(&answers[0]);
    }
}

fn socket(criterion: &mut Criterion) {
    let runtime = runtime();
    let dir = tempfile::tempdir().unwrap();
    let (store, mut visitors) = runtime.block_on(fleet::open(dir.path(), DEVICES));
    let served = runtime.block_on(wire::Served::start(store));
    let mut next = 0;
    let mut group = criterion.benchmark_group("visit/socket");
    group.throughput(Throughput::Elements(1));
    for (name, address) in [("visit", served.front), ("bare", served.bare)] {
        let mut client = runtime.block_on(wire::Client::connect(address));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|visits| {
                if name == "bare" {
                    return bare(&runtime, &mut client, &mut visitors[0], visits);
                }
                measure(&mut visitors, &mut next, visits, IN_FLIGHT, |batch| {
                    let begun = Instant::now();
                    let answers = runtime.block_on(client.run(batch));
                    (begun.elapsed(), answers)
                })
            });
        });
    }
    group.finish();
}

/// The same requests to a server that does nothing; its answers are looked at by their size only.
fn bare(runtime: &Runtime, client: &mut wire::Client, visitor: &mut Visitor, visits: u64) -> Duration {
    let mut took = Duration::ZERO;
    let mut left = usize::try_from(visits).unwrap();
    while left > 0 {
        let count = left.min(IN_FLIGHT);
        let batch = (0..count).map(|_| visitor.visit()).collect();
        let begun = Instant::now();
        let answers = runtime.block_on(client.run(batch));
        took += begun.elapsed();
        assert!(answers.iter().all(|answer| answer.iter().all(|body| body.len() == wire::BARE_OCTETS)));
        left -= count;
    }
    took
}

criterion_group! {
    name = visit;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(5));
    targets = engine, socket
}
criterion_main!(visit);
