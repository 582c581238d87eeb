//! Against real brokers, named by `FLOTILLA_TEST_KAFKA`.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "kafka/secured.rs"]
mod secured;

use std::time::{Duration, Instant};

use common::{Topics, brokers, fresh, settings};
use service_kit::Metrics;
use storage::ErrorKind;
use storage_cluster::{
    laws::topics_laws,
    topics::{Consumer, Incoming, Outgoing, Polled, Publisher as _, Topic},
};
use storage_kafka::{Applied, ConnectError, Kafka, Which};

const WAIT: Duration = Duration::from_millis(100);

fn message(key: &str, payload: &[u8]) -> Outgoing {
    Outgoing { key: key.into(), partition: None, payload: payload.to_vec(), traceparent: None }
}

/// Polls until `count` messages are there.
async fn read(consumer: &mut dyn Consumer, count: usize) -> Vec<Incoming> {
    let (mut read, begun) = (Vec::new(), Instant::now());
    while read.len() < count {
        assert!(begun.elapsed() < Duration::from_secs(30), "only {} of {count} came", read.len());
        if let Polled::Messages(messages) = consumer.poll(count, WAIT).await.unwrap() {
            read.extend(messages);
        }
    }
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_keeps_the_laws_of_topics() {
    let Some(brokers) = brokers() else { return };
    let topics = Topics::make(&settings(&brokers, &fresh("laws"), &[])).await;
    let kafka = topics.0.clone();
    let join = move |topic: Topic, group: &str| -> Box<dyn Consumer> {
        Box::new(kafka.consumer(topic, group).unwrap())
    };
    topics_laws(&topics.0, &join, "run").await;
    topics.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_set_up_is_refused_by_name_and_apply_mends_what_can_be_mended() {
    let Some(brokers) = brokers() else { return };
    let prefix = fresh("setup");
    let metrics = Metrics::new("test");
    let at_first = settings(&brokers, &prefix, &[("jobs_retention", "1h")]);
    let refused = Kafka::connect(&at_first, &metrics).await.map(|_| ()).unwrap_err();
    assert!(!refused.may_pass() && refused.to_string().contains("topics apply"), "{refused}");

    let topics = Topics::make(&at_first).await;
    let again = topics.0.apply_topics().await.unwrap();
    assert!(again.iter().all(|(_, applied)| *applied == Applied::Kept), "{again:?}");

    let later = settings(&brokers, &prefix, &[("jobs_retention", "2h"), ("events_partitions", "5")]);
    let refused = Kafka::connect(&later, &metrics).await.map(|_| ()).unwrap_err();
    let ConnectError::Setup(problems) = &refused else { panic!("{refused}") };
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            format!(
                "{prefix}dm.jobs: retention.ms: expected 7200000 to 2419200000: jobs that are told again later \
                 would be done again, got 3600000"
            ),
            format!(
                "{prefix}dm.events: partitions: expected 5 (they are fixed once the topic is made), got 3"
            ),
        ]
    );
    let later = Kafka::new(&later, &metrics).unwrap();
    let applied = later.apply_topics().await.unwrap();
    assert_eq!(applied[0].1, Applied::Changed(vec!["retention.ms".to_owned()]));
    let left = later.check_topics().await.unwrap();
    assert_eq!(left.len(), 1, "the number of partitions cannot be mended: {left:?}");
    topics.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_are_away_are_an_error_that_may_pass() {
    if brokers().is_none() {
        return;
    }
    let nowhere = settings("127.0.0.1:1", "", &[("request_timeout", "1s"), ("delivery_timeout", "1s")]);
    let metrics = Metrics::new("test");
    let refused = Kafka::connect(&nowhere, &metrics).await.map(|_| ()).unwrap_err();
    assert!(refused.may_pass(), "{refused}");
    let kafka = Kafka::new(&nowhere, &metrics).unwrap();
    let error = kafka.publish(Topic::Jobs, vec![message("k", b"v")]).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TimedOut, "{error:?}");
    assert!(kafka.ping().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_are_kept_and_a_call_larger_than_the_queue_still_goes_through() {
    let Some(brokers) = brokers() else { return };
    let small = [("queue_messages", "100"), ("message_bytes_max", "4 KiB")];
    let topics = Topics::make(&settings(&brokers, &fresh("bounds"), &small)).await;
    let large = topics.0.publish(Topic::Jobs, vec![message("k", &[7; 8_192])]).await.unwrap_err();
    assert_eq!(large.kind, ErrorKind::TooLarge, "{large:?}");
    let many: Vec<_> = (0..1_000).map(|number| message(&format!("k{number}"), b"v")).collect();
    topics.0.publish(Topic::Jobs, many).await.unwrap();
    let mut consumer = topics.0.consumer(Topic::Jobs, "bounds").unwrap();
    assert_eq!(read(&mut consumer, 1_000).await.len(), 1_000);
    Box::new(consumer).leave().await;

    // A queue that is full of what others publish refuses at once.
    let stuck = settings("127.0.0.1:1", "", &[("queue_messages", "100"), ("delivery_timeout", "2s")]);
    let stuck = Kafka::new(&stuck, &Metrics::new("test")).unwrap();
    let first = tokio::spawn({
        let stuck = stuck.clone();
        async move { stuck.publish(Topic::Jobs, (0..100).map(|_| message("k", b"v")).collect()).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let refused = stuck.publish(Topic::Jobs, vec![message("k", b"v")]).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unavailable, "{refused:?}");
    assert_eq!(first.await.unwrap().unwrap_err().kind, ErrorKind::TimedOut);
    topics.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_polling_loses_its_partitions_and_its_commits_conflict() {
    let Some(brokers) = brokers() else { return };
    let quick = [("poll_interval", "6s")];
    let topics = Topics::make(&settings(&brokers, &fresh("zombie"), &quick)).await;
    let sent = (0..5).map(|_| Outgoing { partition: Some(0), ..message("k", b"v") });
    topics.0.publish(Topic::Jobs, sent.collect()).await.unwrap();
    let mut zombie = topics.0.consumer(Topic::Jobs, "zombie").unwrap();
    let held = read(&mut zombie, 5).await;
    zombie.commit(0, held[1].offset).await.unwrap();

    let mut heir = topics.0.consumer(Topic::Jobs, "zombie").unwrap();
    let inherited = read(&mut heir, 4).await;
    assert_eq!(inherited[..], held[1..], "the heir reads on from what was committed");
    heir.commit(0, 5).await.unwrap();
    let late = zombie.commit(0, held[3].offset).await.unwrap_err();
    assert_eq!(late.kind, ErrorKind::Conflict, "{late:?}");

    // It comes back, is told what it lost, and takes part again.
    let (mut told, begun) = (false, Instant::now());
    while !told {
        assert!(begun.elapsed() < Duration::from_secs(20), "the zombie is told");
        match zombie.poll(10, WAIT).await {
            Ok(Polled::Revoked(lost)) => told = lost.contains(&0),
            Ok(Polled::Messages(_)) => panic!("it reads nothing before it is told"),
            _ => {}
        }
        heir.poll(10, Duration::ZERO).await.unwrap();
    }
    Box::new(zombie).leave().await;
    Box::new(heir).leave().await;
    topics.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_put_aside_listed_and_replayed_to_where_it_came_from() {
    let Some(brokers) = brokers() else { return };
    let metrics = Metrics::new("test");
    let topics = Topics::make_with(&settings(&brokers, &fresh("dead"), &[]), &metrics).await;
    let kafka = &topics.0;
    assert_eq!(kafka.dead_letters(None, true, 10).await.unwrap(), []);
    let trace = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned());
    let poison = |key: &str| Outgoing {
        partition: Some(2),
        traceparent: trace.clone(),
        ..message(key, &[0xff, 0x00, 0xfe])
    };
    kafka.publish(Topic::Events, vec![poison("a"), poison("b")]).await.unwrap();
    let mut consumer = kafka.consumer(Topic::Events, "dead").unwrap();
    let got = read(&mut consumer, 2).await;
    for message in &got {
        consumer.put_aside(message, &"no reason at all. ".repeat(100)).await.unwrap();
        consumer.commit(message.partition, message.offset + 1).await.unwrap();
    }
    let letters = kafka.dead_letters(Some(Topic::Events), false, 10).await.unwrap();
    assert_eq!(letters.len(), 2);
    let first = &letters[0];
    assert_eq!((first.topic, first.origin_partition, first.origin_offset), (Some(Topic::Events), 2, 0));
    assert_eq!((&first.key[..], &first.payload[..]), (&b"a"[..], &[0xff, 0x00, 0xfe][..]));
    assert!(first.reason.starts_with("no reason") && first.reason.len() <= 1_024);
    assert!(first.at.is_some() && first.replayed.is_none() && first.traceparent == trace);
    assert_eq!(kafka.dead_letters(Some(Topic::Jobs), false, 10).await.unwrap(), []);
    assert_eq!(kafka.dead_letters(None, false, 1).await.unwrap(), letters[..1]);

    let at = Which::At { partition: first.partition, offset: first.offset };
    assert_eq!(kafka.replay_dead(&at).await.unwrap(), 1);
    let back = read(&mut consumer, 1).await.remove(0);
    assert_eq!((back.partition, &back.key, &back.payload), (2, &got[0].key, &got[0].payload));
    assert_eq!(back.traceparent, trace);
    let left = kafka.dead_letters(None, false, 10).await.unwrap();
    assert_eq!(left, letters[1..]);
    assert_eq!(kafka.replay_dead(&Which::New(Some(Topic::Jobs))).await.unwrap(), 0);
    assert_eq!(kafka.replay_dead(&Which::New(None)).await.unwrap(), 1);
    assert_eq!(kafka.replay_dead(&Which::New(None)).await.unwrap(), 0);
    let all = kafka.dead_letters(None, true, 10).await.unwrap();
    assert!(all.len() == 2 && all.iter().all(|letter| letter.replayed.is_some()));
    let missing = kafka.replay_dead(&Which::At { partition: 0, offset: 999 }).await.unwrap_err();
    assert_eq!(missing.kind, ErrorKind::Missing);
    assert!(metrics.expose().contains("dm_kafka_dead_messages_total{topic=\"dm.events\"} 2"));
    Box::new(consumer).leave().await;
    topics.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_is_a_metric_that_falls_with_commits() {
    let Some(brokers) = brokers() else { return };
    let metrics = Metrics::new("test");
    let topics = Topics::make_with(&settings(&brokers, &fresh("lag"), &[]), &metrics).await;
    let sent = (0..7).map(|_| Outgoing { partition: Some(1), ..message("k", b"v") });
    topics.0.publish(Topic::Jobs, sent.collect()).await.unwrap();
    let mut consumer = topics.0.consumer(Topic::Jobs, "lag").unwrap();
    read(&mut consumer, 7).await;
    let begun = Instant::now();
    for (committed, want) in [(None, 7), (Some(5), 2), (Some(7), 0)] {
        if let Some(next) = committed {
            consumer.commit(1, next).await.unwrap();
        }
        let line = format!("dm_kafka_consumer_lag_messages{{partition=\"1\",topic=\"dm.jobs\"}} {want}\n");
        while !metrics.expose().contains(&line) {
            assert!(begun.elapsed() < Duration::from_secs(20), "no {line} in:\n{}", metrics.expose());
            consumer.poll(1, WAIT).await.unwrap();
        }
    }
    Box::new(consumer).leave().await;
    topics.delete().await;
}
