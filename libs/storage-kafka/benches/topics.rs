//! Jobs a second through Kafka: published durably in batches, and read with a commit a batch, beside a bare producer of the
//! same client library in the same run.
//!
//! ```sh
//! FLOTILLA_TEST_KAFKA=127.0.0.1:9092 cargo bench -p storage-kafka --bench topics -- 200000
//! ```
#![allow(clippy::unwrap_used)]

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use campaign::{CampaignId, EventKind, Job, JobEvent, Phase};
use dm_protocol::DevId;
use jiff::Timestamp;
use rdkafka::{
    ClientConfig,
    producer::{BaseRecord, Producer as _, ThreadedProducer},
};
use service_kit::{Metrics, Settings};
use storage::{Release, TenantId};
use storage_cluster::{
    payload::JobMessage,
    topics::{Consumer as _, Outgoing, Polled, Publisher as _, Topic},
};
use storage_kafka::Kafka;

/// Jobs in one call, as a campaign's owner releases them.
const BATCH: usize = 1_000;

/// Calls under way at once.
const CALLS: usize = 4;

fn main() -> ExitCode {
    let Ok(brokers) = std::env::var("FLOTILLA_TEST_KAFKA") else {
        println!("skipped: FLOTILLA_TEST_KAFKA is not set");
        return ExitCode::SUCCESS;
    };
    // Cargo adds `--bench`.
    let count = std::env::args().skip(1).find_map(|text| text.parse().ok()).unwrap_or(100_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(&brokers, count));
    ExitCode::SUCCESS
}

async fn measure(brokers: &str, count: usize) {
    let prefix = format!("bench-{:x}-", Timestamp::now().as_microsecond());
    let pairs =
        [("bootstrap", brokers), ("prefix", &prefix), ("replication", "1"), ("min_insync_replicas", "1")];
    let pairs = pairs.map(|(key, value)| (format!("kafka.{key}"), value.to_owned()));
    let settings = Settings::load(None, [], pairs).unwrap().kafka;
    let kafka = Kafka::new(&settings, &Metrics::new("bench")).unwrap();
    kafka.apply_topics().await.unwrap();

    let begun = Instant::now();
    let jobs: Vec<Outgoing> = (0..count).map(job).collect();
    let octets: usize = jobs.iter().map(|job| job.payload.len()).sum();
    report("encode", count, begun.elapsed());
    println!("{:>10}  octets a job", octets / count.max(1));

    let bare = {
        let (jobs, topic, brokers) = (jobs.clone(), kafka.topic_name(Topic::Triggers), brokers.to_owned());
        tokio::task::spawn_blocking(move || publish_bare(&brokers, &topic, &jobs)).await.unwrap()
    };
    report("publish, bare producer", count, bare);
    let ours = publish(&kafka, &jobs).await;
    report(&format!("publish, {CALLS} calls of {BATCH}"), count, ours);
    println!("{:>10.2}  of the bare producer's time", ours.as_secs_f64() / bare.as_secs_f64());
    report("read, a commit a batch", count, read(&kafka, count).await);
    kafka.delete_topics().await.unwrap();
}

fn job(number: usize) -> Outgoing {
    let device = DevId::parse(&format!("IMEI:{number:015}")).unwrap();
    let (campaign, since) = (CampaignId(1), Timestamp::UNIX_EPOCH);
    let ordinal = u32::try_from(number).unwrap();
    let job = Job { campaign, ordinal, attempt: 1, phase: Phase::Waiting, since };
    let kind = EventKind::Released { wave: 0, after: None };
    let event = JobEvent { device: Some(device.clone()), ordinal, attempt: 1, at: since, kind };
    let key = device.as_str().as_bytes().to_vec();
    let release = Release { device, job, event, trigger_until: None };
    let payload = JobMessage { tenant: TenantId::default(), release }.encode();
    Outgoing { key, partition: None, payload, traceparent: None }
}

/// The library by itself: everything into its queue, then one wait.
fn publish_bare(brokers: &str, topic: &str, jobs: &[Outgoing]) -> Duration {
    let producer: ThreadedProducer<_> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "lz4")
        .set("linger.ms", "2")
        .set("queue.buffering.max.messages", "100000")
        .create()
        .unwrap();
    let begun = Instant::now();
    for job in jobs {
        let mut record = BaseRecord::to(topic).key(&job.key).payload(&job.payload);
        while let Err((_, back)) = producer.send(record) {
            record = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    begun.elapsed()
}

/// As the owners of a few campaigns do it: each call waits for its batch.
async fn publish(kafka: &Kafka, jobs: &[Outgoing]) -> Duration {
    let batches: Arc<[Vec<Outgoing>]> = jobs.chunks(BATCH).map(<[Outgoing]>::to_vec).collect();
    let begun = Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    for first in 0..CALLS {
        let (kafka, batches) = (kafka.clone(), batches.clone());
        calls.spawn(async move {
            for batch in batches.iter().skip(first).step_by(CALLS) {
                kafka.publish(Topic::Jobs, batch.clone()).await.unwrap();
            }
        });
    }
    while let Some(ended) = calls.join_next().await {
        ended.unwrap();
    }
    begun.elapsed()
}

async fn read(kafka: &Kafka, count: usize) -> Duration {
    let mut consumer = kafka.consumer(Topic::Jobs, "bench").unwrap();
    // The time to join the group is not the log's.
    while !matches!(consumer.poll(1, Duration::from_secs(5)).await.unwrap(), Polled::Assigned(_)) {}
    let begun = Instant::now();
    let mut read = 0;
    while read < count {
        let Polled::Messages(messages) = consumer.poll(BATCH, Duration::from_secs(5)).await.unwrap() else {
            continue;
        };
        read += messages.len();
        for message in &messages {
            JobMessage::decode(&message.payload).unwrap();
        }
        let ends: std::collections::BTreeMap<u32, u64> =
            messages.iter().map(|message| (message.partition, message.offset + 1)).collect();
        for (partition, next) in ends {
            consumer.commit(partition, next).await.unwrap();
        }
    }
    let took = begun.elapsed();
    Box::new(consumer).leave().await;
    took
}

fn report(what: &str, count: usize, took: Duration) {
    println!("{:>10.0}  jobs/s  {what}", count as f64 / took.as_secs_f64());
}
