//! How often memory is asked for in an empty visit: in the session alone, and in the whole step on the embedded store.
//!
//! The aim is ten a step. What is above it in the session: decoding (eleven in XML, five in WBXML), names in the record
//! and in the answer's header, and reading the record (five). In the whole step: keys, the two records of a device, its
//! account unsealed and sealed again, a boxed future for each call of a store.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

#[path = "../benches/visit/fleet.rs"]
mod fleet;

use benches::visit::Visit;
use syncml::Encoding;

#[test]
fn a_step_of_an_empty_visit_asks_for_little_memory() {
    for (encoding, challenged_max, accepted_max) in [(Encoding::Xml, 21, 26), (Encoding::Wbxml, 15, 20)] {
        let visit = Visit::new(encoding);
        let challenged = allocation_counter::measure(|| drop(visit.challenge())).count_total;
        let accepted = allocation_counter::measure(|| drop(visit.accept())).count_total;
        assert!(
            challenged <= challenged_max && accepted <= accepted_max,
            "{encoding}: {challenged} allocations to challenge, {accepted} to accept"
        );
    }
}

/// Counts what the thread of the step asks for, which is all but the writing thread's share.
#[test]
fn a_whole_step_on_the_embedded_store_asks_for_little_memory() {
    // Several for each part of the session store, which opens a file when it is first written to.
    const VISITS: usize = 64;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (store, mut visitors) = runtime.block_on(fleet::open(dir.path(), 1));
    let (visitor, engine) = (&mut visitors[0], fleet::engine(store));
    let mut counts = [Vec::new(), Vec::new()];
    for _ in 0..VISITS {
        let visit = visitor.visit();
        let mut answers = Vec::new();
        for (body, counts) in [&visit.first, &visit.second].into_iter().zip(&mut counts) {
            let step = || answers.push(runtime.block_on(fleet::step(&engine, body)));
            counts.push(allocation_counter::measure(step).count_total);
        }
        visitor.learn(&answers[0]);
        fleet::check_empty(&answers[1]);
    }
    // The usual visit: now and then a table grows, or a file is opened.
    let [first, second] = counts.map(|mut counts| {
        counts.sort_unstable();
        counts[VISITS / 2]
    });
    assert!(first <= 58 && second <= 29, "{first} allocations for message 1, {second} for message 2");
}
