//! The queue of triggers over real brokers, named by `FLOTILLA_TEST_KAFKA`.

#![allow(clippy::unwrap_used)]

mod common;

use std::{sync::Arc, time::Duration};

use campaign::CampaignId;
use common::{Topics, brokers, fresh, settings};
use jiff::{SignedDuration, Timestamp};
use storage::{TenantId, Trigger, TriggerStore as _, laws::trigger_store_laws};
use storage_cluster::{ClusterTriggers, topics::Topic};

fn queue(topics: &Topics, group: &'static str) -> ClusterTriggers {
    let kafka = topics.0.clone();
    let join = move || Ok(Box::new(kafka.consumer(Topic::Triggers, group)?) as Box<_>);
    ClusterTriggers::new(Arc::new(topics.0.clone()), Arc::new(join))
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_in_kafka_keep_the_laws() {
    let Some(brokers) = brokers() else { return };
    let topics = Topics::make(&settings(&brokers, &fresh("triggers"), &[])).await;
    trigger_store_laws(&queue(&topics, "laws")).await;
    topics.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_due_later_holds_up_no_commit_for_long_and_is_given_in_the_end() {
    let Some(brokers) = brokers() else { return };
    let topics = Topics::make(&settings(&brokers, &fresh("held"), &[])).await;
    let queue = queue(&topics, "held");
    let start = Timestamp::UNIX_EPOCH;
    let after = |minutes| start + SignedDuration::from_mins(minutes);
    let later = Trigger {
        tenant: TenantId::default(),
        device: dm_protocol::DevId::parse("IMEI:1").unwrap(),
        campaign: CampaignId(1),
        attempt: 1,
        asked: start,
        deadline: after(1000),
        due: after(60),
        sent: 2,
    };
    queue.ask(std::slice::from_ref(&later)).await.unwrap();
    let mut consumer = queue.consume().await.unwrap();
    let wait = Duration::from_millis(100);
    // The clock is the test's, and the group takes its time to balance.
    for _ in 0..50 {
        assert_eq!(consumer.take(10, start, wait).await.unwrap(), []);
    }
    // Now it is published again, at the end of the log, and its first place is committed.
    for _ in 0..20 {
        assert_eq!(consumer.take(10, after(20), wait).await.unwrap(), []);
    }
    drop(consumer);
    let mut next = queue.consume().await.unwrap();
    let (mut taken, begun) = (Vec::new(), std::time::Instant::now());
    while taken.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it was lost");
        taken = next.take(10, after(61), wait).await.unwrap();
    }
    taken.extend(next.take(10, after(61), Duration::from_secs(1)).await.unwrap());
    assert_eq!(taken.iter().map(|taken| &taken.trigger).collect::<Vec<_>>(), [&later], "once, and as it was");
    topics.delete().await;
}
