//! The cases that a cluster is hard for: processes that die in between, answers that are lost, messages that come again.
//! Time is paused, so waiting costs none.

#![allow(clippy::unwrap_used)]

mod common;

use campaign::{EventKind, Job, JobEvent, Outcome};
use common::{CAMPAIGN, at, device, event, job, ledger, memory::Servers, moved, release, soon, tenant};
use storage::{
    Epoch, ErrorKind, JobStore, Release, Revision, StoreError,
    faults::{Fault, FaultPlan},
    trace::{self, Traceparent},
};
use storage_cluster::{ClusterJobs, testing::MemoryTopics, topics::Topic};

fn kind<T: std::fmt::Debug>(result: Result<T, StoreError>) -> ErrorKind {
    result.unwrap_err().kind
}

async fn claim(store: &ClusterJobs) -> Epoch {
    store.claim(&tenant(), CAMPAIGN).await.unwrap()
}

async fn give(store: &ClusterJobs, epoch: Epoch, number: u32, attempt: u16) -> Result<usize, StoreError> {
    store.release(&tenant(), CAMPAIGN, epoch, &[release(number, attempt)]).await
}

async fn update(
    store: &ClusterJobs,
    number: u32,
    expected: Revision,
    job: Option<&Job>,
    event: JobEvent,
) -> Result<Option<Revision>, StoreError> {
    store.update(&tenant(), &device(number), CAMPAIGN, expected, job, &[event]).await
}

fn ended(number: u32, attempt: u16, second: i64) -> JobEvent {
    let kind = EventKind::Ended {
        outcome: Outcome::Succeeded,
        version: None,
        detail: None,
        retry_at: Some(at(second)),
    };
    event(number, attempt, second, kind)
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_slept_through_another_claim_writes_nothing() {
    let servers = Servers::new(FaultPlan::quiet());
    let (zombie, owner) = (servers.store(), servers.store());
    let slept = claim(&zombie).await;
    assert_eq!(give(&zombie, slept, 1, 1).await.unwrap(), 1);
    let epoch = claim(&owner).await;
    assert!(epoch > slept);
    // It has heard nothing, so only the block's number can refuse it.
    assert_eq!(kind(give(&zombie, slept, 2, 1).await), ErrorKind::Conflict);
    let append = zombie.append(&tenant(), CAMPAIGN, slept, &[moved(1, 1, 5)]).await;
    assert_eq!(kind(append), ErrorKind::Conflict);
    let missing = zombie.end_missing(&tenant(), &device(2), CAMPAIGN, slept, 1, &[ended(2, 1, 5)]).await;
    assert_eq!(kind(missing), ErrorKind::Conflict);
    assert_eq!(give(&owner, epoch, 1, 1).await.unwrap(), 0, "what the zombie released before is known");
    assert_eq!(give(&owner, epoch, 3, 1).await.unwrap(), 1);
    assert_eq!(ledger(&owner, 2).await, [release(1, 1).event, release(3, 1).event]);
    assert_eq!(ledger(&zombie, 2).await.len(), 2, "it still reads");
}

#[tokio::test(start_paused = true)]
async fn events_of_a_front_end_that_died_before_publishing_are_published_by_who_reads_the_row() {
    let servers = Servers::new(FaultPlan::quiet());
    let owner = servers.process();
    let epoch = claim(&owner.store).await;
    give(&owner.store, epoch, 1, 1).await.unwrap();
    let first = job(&owner.store, 1, 1).await;
    for end in [false, true] {
        // Nothing it publishes arrives, now or later, which is how the world looks after its death.
        let dying = servers.over(FaultPlan::quiet());
        for _ in 0..100 {
            dying.plan.fail_next("publish", Fault::Refused);
        }
        let store = dying.store();
        let now = job(&store, 1, 1).await;
        let (after, event) =
            if end { (None, ended(1, 1, 9)) } else { (Some(first.value.clone()), moved(1, 1, 5)) };
        let result = update(&store, 1, now.revision, after.as_ref(), event).await;
        assert_eq!(kind(result), ErrorKind::TimedOut, "it may be done, and is");
        let before = ledger(&owner.store, if end { 2 } else { 1 }).await;
        owner.store.pending(&tenant(), &device(1)).await.unwrap();
        assert_eq!(ledger(&owner.store, before.len() + 1).await[..before.len()], before);
    }
    assert_eq!(ledger(&owner.store, 3).await, [release(1, 1).event, moved(1, 1, 5), ended(1, 1, 9)]);
    owner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_end_that_the_topic_lost_is_told_again_to_an_owner_that_misses_the_job() {
    let servers = Servers::new(FaultPlan::quiet());
    let before = servers.process();
    let epoch = claim(&before.store).await;
    give(&before.store, epoch, 1, 1).await.unwrap();
    let first = job(&before.store, 1, 1).await;
    // Published, and noted as such, in a topic that nobody will read.
    let lost = servers.with_topics(Servers::new(FaultPlan::quiet()).topics);
    let store = lost.store();
    update(&store, 1, first.revision, None, ended(1, 1, 9)).await.unwrap();
    store.shutdown().await;
    before.stop().await;

    let owner = servers.process();
    let epoch = claim(&owner.store).await;
    assert!(owner.store.pending(&tenant(), &device(1)).await.unwrap().is_empty());
    assert_eq!(ledger(&owner.store, 1).await, [release(1, 1).event]);
    let missed = owner.store.end_missing(&tenant(), &device(1), CAMPAIGN, epoch, 1, &[ended(1, 1, 99)]).await;
    assert_eq!(kind(missed), ErrorKind::Conflict, "it has ended by itself");
    assert_eq!(ledger(&owner.store, 2).await, [release(1, 1).event, ended(1, 1, 9)]);
    owner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_block_whose_owner_died_before_delivering_it_is_delivered_by_the_next() {
    let servers = Servers::new(FaultPlan::quiet());
    let others = servers.process();
    let dying = servers.over(FaultPlan::quiet());
    for _ in 0..10_000 {
        dying.plan.fail_next("publish", Fault::Refused);
    }
    let store = dying.store();
    let epoch = claim(&store).await;
    assert_eq!(give(&store, epoch, 1, 1).await.unwrap(), 1, "it is durable, so the owner may go on");
    store.append(&tenant(), CAMPAIGN, epoch, &[moved(2, 1, 3)]).await.unwrap();
    store.shutdown().await;
    assert!(servers.topics.published(Topic::Jobs).is_empty());
    assert!(others.store.pending(&tenant(), &device(1)).await.unwrap().is_empty());

    let epoch = claim(&others.store).await;
    assert_eq!(job(&others.store, 1, 1).await.value, release(1, 1).job);
    assert_eq!(give(&others.store, epoch, 1, 1).await.unwrap(), 0);
    soon("the history that was not written", || async {
        let events = others.store.device_events(&tenant(), &device(2), 10).await.unwrap();
        (events == [(CAMPAIGN, moved(2, 1, 3))]).then_some(())
    })
    .await;
    others.stop().await;
}

#[tokio::test(start_paused = true)]
async fn everything_delivered_again_changes_nothing() {
    let servers = Servers::new(FaultPlan::quiet());
    let process = servers.process();
    let store = &process.store;
    let epoch = claim(store).await;
    give(store, epoch, 1, 1).await.unwrap();
    give(store, epoch, 2, 1).await.unwrap();
    let one = job(store, 1, 1).await;
    let moved_one = update(store, 1, one.revision, Some(&one.value), moved(1, 1, 5)).await.unwrap().unwrap();
    let two = job(store, 2, 1).await;
    update(store, 2, two.revision, None, ended(2, 1, 6)).await.unwrap();
    let events = ledger(store, 4).await;
    for topic in [Topic::Jobs, Topic::Events] {
        servers.topics.forget_committed(topic, "workers");
        servers.topics.expel_all(topic, "workers");
    }
    // Another event shows that all before it have been read again.
    let again = update(store, 1, moved_one, Some(&one.value), moved(1, 1, 7)).await.unwrap().unwrap();
    assert_eq!(ledger(store, 5).await[..4], events);
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(ledger(store, 5).await.len(), 5);
    assert_eq!(job(store, 1, 1).await.revision, again, "a release that comes again takes nothing back");
    assert!(store.pending(&tenant(), &device(2)).await.unwrap().is_empty(), "nor does it revive what ended");
    assert_eq!(store.device_events(&tenant(), &device(1), 10).await.unwrap().len(), 3);
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_is_found_out() {
    let servers = Servers::new(FaultPlan::quiet());
    let process = servers.process();
    let store = &process.store;
    let plan = &servers.plan;
    plan.fail_next("insert block", Fault::AnswerLost);
    plan.fail_next("confirm block", Fault::Refused);
    let epoch = claim(store).await;
    plan.fail_next("insert block", Fault::AnswerLost);
    assert_eq!(give(store, epoch, 1, 1).await.unwrap(), 1);
    plan.fail_next("insert block", Fault::Refused);
    assert_eq!(give(store, epoch, 1, 1).await.unwrap(), 0);
    assert_eq!(give(store, epoch, 2, 1).await.unwrap(), 1);
    let mut now = job(store, 1, 1).await;
    for (second, faults) in [
        (1, &[Fault::AnswerLost][..]),
        (2, &[Fault::Refused]),
        (3, &[Fault::Refused, Fault::AnswerLost]),
        (4, &[Fault::AnswerLost, Fault::AnswerLost]),
    ] {
        faults.iter().for_each(|&fault| plan.fail_next("write row", fault));
        plan.fail_next("confirm row", Fault::Refused);
        now.revision =
            update(store, 1, now.revision, Some(&now.value), moved(1, 1, second)).await.unwrap().unwrap();
    }
    let stale = Revision(now.revision.0 - 1);
    plan.fail_next("write row", Fault::AnswerLost);
    let late = update(store, 1, stale, Some(&now.value), moved(1, 1, 9)).await;
    assert_eq!(kind(late), ErrorKind::Conflict, "a refusal whose answer is lost is found out too");
    plan.fail_next("write row", Fault::AnswerLost);
    store.end_missing(&tenant(), &device(3), CAMPAIGN, epoch, 1, &[ended(3, 1, 5)]).await.unwrap();
    let events = ledger(store, 7).await;
    assert_eq!(events.iter().filter(|event| matches!(event.kind, EventKind::Moved { .. })).count(), 4);
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_block_that_stays_unknown_is_told_so_and_not_written_twice() {
    let servers = Servers::new(FaultPlan::quiet());
    let process = servers.process();
    let store = &process.store;
    let epoch = claim(store).await;
    servers.plan.fail_next("insert block", Fault::AnswerLost);
    for _ in 0..4 {
        servers.plan.fail_next("insert block", Fault::Refused);
    }
    for _ in 0..5 {
        servers.plan.fail_next("confirm block", Fault::Refused);
    }
    assert_eq!(kind(give(store, epoch, 1, 1).await), ErrorKind::TimedOut);
    assert_eq!(give(store, epoch, 1, 1).await.unwrap(), 0, "it was written after all, and is found");
    assert_eq!(give(store, epoch, 2, 1).await.unwrap(), 1);
    assert_eq!(ledger(store, 2).await, [release(1, 1).event, release(2, 1).event]);
    job(store, 1, 1).await;
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_ended_does_not_come_back_with_a_release_that_is_told_again() {
    let servers = Servers::new(FaultPlan::quiet());
    let process = servers.process();
    let store = &process.store;
    let epoch = claim(store).await;
    give(store, epoch, 1, 1).await.unwrap();
    let first = job(store, 1, 1).await;
    update(store, 1, first.revision, None, ended(1, 1, 5)).await.unwrap();
    ledger(store, 2).await;
    give(store, epoch, 1, 2).await.unwrap();
    let second = job(store, 1, 2).await;
    let moved_on = update(store, 1, second.revision, Some(&second.value), moved(1, 2, 7)).await.unwrap();
    for _ in 0..3 {
        servers.topics.forget_committed(Topic::Jobs, "workers");
        servers.topics.expel_all(Topic::Jobs, "workers");
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        let pending = store.pending(&tenant(), &device(1)).await.unwrap();
        let pending: Vec<_> = pending.iter().map(|job| (job.value.attempt, Some(job.revision))).collect();
        assert_eq!(pending, [(2, moved_on)]);
    }
    let late = update(store, 1, first.revision, Some(&first.value), moved(1, 1, 9)).await;
    assert_eq!(kind(late), ErrorKind::Conflict);
    ledger(store, 4).await;
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_is_seen_wherever_the_marks_are_lost() {
    let servers = Servers::new(FaultPlan::quiet());
    let process = servers.process();
    let store = &process.store;
    let epoch = claim(store).await;
    for number in 0..20 {
        let (tenant, device) = (tenant(), device(number));
        if number % 2 == 0 {
            assert!(store.pending(&tenant, &device).await.unwrap().is_empty());
            assert!(!store.may_have(&tenant, &device).await.unwrap(), "a device without work is marked so");
        }
        if number % 3 == 0 {
            servers.marks.clear();
            assert!(store.may_have(&tenant, &device).await.unwrap(), "a mark that is lost says nothing");
        }
        give(store, epoch, number, 1).await.unwrap();
        if number % 5 == 0 {
            servers.marks.clear();
        }
        let found = job(store, number, 1).await;
        assert!(store.may_have(&tenant, &device).await.unwrap());
        update(store, number, found.revision, None, ended(number, 1, 5)).await.unwrap();
        if number % 7 == 0 {
            servers.marks.clear();
        }
        assert!(store.pending(&tenant, &device).await.unwrap().is_empty());
        assert!(!store.may_have(&tenant, &device).await.unwrap());
    }
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn campaigns_follow_the_partitions_of_events() {
    use storage::Ownership;
    let servers = Servers::new(FaultPlan::quiet());
    let owns = |store: &ClusterJobs| {
        let ownership = store.ownership();
        (0..8).filter(|&id| ownership.owns(&tenant(), campaign::CampaignId(id))).collect::<Vec<_>>()
    };
    let first = servers.process();
    soon("all partitions", || async { (owns(&first.store).len() == 8).then_some(()) }).await;
    let epoch = claim(&first.store).await;
    give(&first.store, epoch, 1, 1).await.unwrap();
    let second = servers.process();
    soon("a half each", || async {
        (owns(&first.store).len() == 4 && owns(&second.store).len() == 4).then_some(())
    })
    .await;
    let mut all = [owns(&first.store), owns(&second.store)].concat();
    all.sort_unstable();
    assert_eq!(all, (0..8).collect::<Vec<_>>());
    let (mine, other) = if owns(&first.store).contains(&CAMPAIGN.0) {
        (&first.store, &second.store)
    } else {
        assert_eq!(
            kind(give(&first.store, epoch, 2, 1).await),
            ErrorKind::Conflict,
            "it has left the ledger"
        );
        (&second.store, &first.store)
    };
    // A session elsewhere moves the job; who has the partition takes the event in, owner or not.
    let found = job(other, 1, 1).await;
    update(other, 1, found.revision, None, ended(1, 1, 5)).await.unwrap();
    ledger(mine, 2).await;
    first.kill();
    soon("all of it after a death", || async { (owns(&second.store).len() == 8).then_some(()) }).await;
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_released_job_and_its_trigger_carry_the_trace_of_the_call() {
    let servers = Servers::new(FaultPlan::quiet());
    let process = servers.process();
    let (tenant, epoch) = (tenant(), claim(&process.store).await);
    for (number, trace) in [(1, Traceparent::draw()), (2, None), (3, Traceparent::draw())] {
        let release = [Release { trigger_until: Some(at(900)), ..release(number, 1) }];
        let call = process.store.release(&tenant, CAMPAIGN, epoch, &release);
        trace::within(trace, call).await.unwrap();
        for topic in [Topic::Jobs, Topic::Triggers] {
            let key = device(number).as_str().as_bytes().to_vec();
            let of_device = |topics: &MemoryTopics| {
                topics.published(topic).into_iter().find(|message| message.key == key)
            };
            let found = soon("a message", || async { of_device(&servers.topics) }).await;
            assert_eq!(found.trace(), trace, "{topic:?} of device {number}");
        }
    }
    process.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_put_aside_and_the_rest_goes_on() {
    use storage_cluster::topics::{Outgoing, Publisher};
    let servers = Servers::new(FaultPlan::quiet());
    let process = servers.process();
    let store = &process.store;
    let bad = |key: &str| Outgoing {
        key: key.into(),
        partition: Some(u32::try_from(CAMPAIGN.0).unwrap()),
        payload: vec![255; 9],
        traceparent: None,
    };
    for topic in [Topic::Jobs, Topic::Events] {
        servers.topics.publish(topic, vec![bad("a"), bad("b")]).await.unwrap();
    }
    let epoch = claim(store).await;
    give(store, epoch, 1, 1).await.unwrap();
    let found = job(store, 1, 1).await;
    update(store, 1, found.revision, None, ended(1, 1, 5)).await.unwrap();
    ledger(store, 2).await;
    assert_eq!(servers.topics.published(Topic::Dead).len(), 4);
    let reasons = servers.topics.put_aside_reasons();
    assert!(reasons.iter().all(|reason| reason.contains("protobuf")), "{reasons:?}");
    process.stop().await;
}
