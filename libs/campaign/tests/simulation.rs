//! A campaign against devices that come, fail, fall silent and repeat themselves, an owner that dies at any step, and
//! an operator who pauses, resumes and stops: by seed, under a clock of its own, with the promises checked at every step.
//!
//! A failure prints its seed, and the seed replays it.

mod world;

use campaign::{Campaign, Run};
use world::World;

/// Every seed ends, and no promise is broken on the way.
#[test]
fn every_campaign_ends_and_keeps_its_promises() {
    let mut over = [0; 2];
    let mut crashes = 0;
    for seed in 0..100 {
        let mut world = World::new(seed);
        world.run_to_the_end();
        over[usize::from(*world.owner().run() == Run::Stopped)] += 1;
        crashes += world.crashes;
    }
    // The seeds do meet what they are here for.
    assert!(over[0] > 40 && over[1] > 5, "finished and stopped: {over:?}");
    assert!(crashes > 150, "{crashes} crashes");
}

#[test]
fn a_seed_replays_itself() {
    for seed in [3, 77] {
        let [mut first, mut second] = [World::new(seed), World::new(seed)];
        first.run_to_the_end();
        second.run_to_the_end();
        assert_eq!(first.ledger, second.ledger, "seed {seed}");
    }
}

/// The owner's state, a replay of the ledger, and a checkpoint with the rest of the ledger are one, at every event.
#[test]
fn live_replayed_and_restored_are_equal_at_every_event() {
    for seed in 1000..1006 {
        let mut world = World::new(seed);
        world.run_to_the_end();
        let (plan, members, start) = (&world.plan, &world.members, &world.start);
        let mut live = Campaign::new(plan.clone(), members, start);
        for (at, event) in world.ledger.iter().enumerate() {
            live.fold(event);
            if at % 401 == 0 {
                let replayed = Campaign::replay(plan.clone(), members, start, &world.ledger[..=at]);
                assert!(live == replayed, "seed {seed}, event {at}");
                let restored = Campaign::restore(plan.clone(), members, start, &live.checkpoint());
                assert!(restored.as_ref() == Ok(&live), "seed {seed}, event {at}");
            }
        }
        assert!(&live == world.owner(), "seed {seed}");
    }
}
