//! Everything in Redis, Kafka and Scylla.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use campaign_service::CampaignMetrics;
use futures_util::future::BoxFuture;
use service_kit::{
    Health, Settings, Shutdown,
    refusal::with_causes,
    settings::{Role, SnapshotSettings},
};
use storage::{Collector, KeyRing, Ownership, OwnsNone, StoreError, Stores};
use storage_cluster::{
    ClusterJobs, ClusterTriggers, EventsWorker, JobsWorker, Ports, devices::CachedDevices, draw_from_system,
    topics::Topic,
};
use storage_kafka::Kafka;
use storage_redis::Redis;
use storage_scylla::{
    JobKeep, Scylla, ScyllaBlocks, ScyllaDevices, ScyllaError, ScyllaRows, SnapshotOptions, Snapshots,
};
use tokio_util::sync::CancellationToken;

use super::{Backend, Opening, Work, keep_keys_fresh};

/// How far behind the durable time of a device's last visit may be.
const SEEN_GRAIN: Duration = Duration::from_secs(3600);
/// How long what was begun with jobs may take at the end.
const JOBS_END_MAX: Duration = Duration::from_secs(10);

/// The consumer groups, without the prefix of the settings.
const JOBS_GROUP: &str = "flotilla-jobs";
const EVENTS_GROUP: &str = "flotilla-events";
const TRIGGERS_GROUP: &str = "flotilla-triggers";
/// All of them.
pub(crate) const CONSUMER_GROUPS: [&str; 3] = [JOBS_GROUP, EVENTS_GROUP, TRIGGERS_GROUP];

const REDIS: &str = "redis";
const KAFKA: &str = "kafka";
const SCYLLA: &str = "scylla";

/// What a role cannot do its work without. A front-end publishes what happened when Kafka is back, so it serves without.
fn servers_of(role: Role) -> &'static [&'static str] {
    match role {
        Role::Session | Role::Admin => &[REDIS, SCYLLA],
        Role::Campaign | Role::Notify => &[REDIS, KAFKA, SCYLLA],
        Role::Snapshot => &[SCYLLA],
    }
}

/// Connects to the servers, waiting for those that are away; `None` when the end was asked for meanwhile.
pub(super) async fn open(opening: &Opening<'_>) -> anyhow::Result<Option<Backend>> {
    let settings = opening.settings;
    let has_work = opening.roles.iter().any(|role| *role != Role::Snapshot);
    for server in [REDIS, KAFKA, SCYLLA] {
        let by: Vec<_> = opening.roles.iter().filter(|role| servers_of(**role).contains(&server)).collect();
        if !by.is_empty() {
            let by: Vec<_> = by.iter().map(|role| role.name()).collect();
            opening.health.needs(server, &by.join(", "));
        }
    }
    if !has_work {
        return open_trees(opening).await;
    }
    let key_file = settings.secrets.key_file.as_deref().context("secrets.key_file is not set")?;
    let keys = KeyRing::from_file(key_file)?;
    let kafka = Kafka::new(&settings.kafka, opening.metrics)?;
    let Some(scylla) = connect_scylla(opening).await? else { return Ok(None) };
    let Some(redis) = connect_redis(opening).await? else { return Ok(None) };
    redis.measure(opening.metrics);
    if needs(opening, KAFKA) && wait_for_kafka(opening, &kafka).await.is_none() {
        return Ok(None);
    }
    compose(opening, &keys, redis, &kafka, &scylla).map(Some)
}

/// For a process that looks after stored trees and does nothing else: Scylla alone, and no keys.
async fn open_trees(opening: &Opening<'_>) -> anyhow::Result<Option<Backend>> {
    let Some(scylla) = connect_scylla(opening).await? else { return Ok(None) };
    Ok(Some(Backend {
        work: None,
        collector: Arc::new(Snapshots::new(scylla.clone(), trees(&opening.settings.snapshot))),
        beside: vec![watch_scylla(opening, &scylla)],
        ended: Box::pin(std::future::ready(())),
    }))
}

/// Looks after the trees in Scylla. A server that is away is not waited for.
pub(super) async fn open_collector(settings: &Settings) -> anyhow::Result<Arc<dyn Collector>> {
    let scylla = Scylla::connect(&settings.scylla).await?;
    Ok(Arc::new(Snapshots::new(scylla, trees(&settings.snapshot))))
}

fn needs(opening: &Opening<'_>, server: &str) -> bool {
    opening.roles.iter().any(|role| servers_of(*role).contains(&server))
}

async fn connect_scylla(opening: &Opening<'_>) -> anyhow::Result<Option<Scylla>> {
    let settings = &opening.settings.scylla;
    storage_scylla::check(settings)?;
    let pause_max = opening.settings.process.retry_pause_max.value();
    let connect = || Scylla::connect(settings);
    let scylla = opening.health.wait_for::<_, ScyllaError, _>(SCYLLA, pause_max, connect).await;
    Ok(scylla.inspect(|scylla| scylla.measure(opening.metrics)))
}

async fn connect_redis(opening: &Opening<'_>) -> anyhow::Result<Option<Redis>> {
    let settings = &opening.settings.redis;
    storage_redis::check(settings)?;
    let pause_max = opening.settings.process.retry_pause_max.value();
    let connect = || Redis::connect(settings);
    Ok(opening.health.wait_for::<_, StoreError, _>(REDIS, pause_max, connect).await)
}

/// Waits until Kafka answers and its topics are as the settings ask.
async fn wait_for_kafka(opening: &Opening<'_>, kafka: &Kafka) -> Option<()> {
    let pause_max = opening.settings.process.retry_pause_max.value();
    opening.health.wait_for(KAFKA, pause_max, || check_kafka(kafka)).await
}

#[derive(Debug, thiserror::Error)]
enum KafkaError {
    #[error(transparent)]
    Connect(#[from] storage_kafka::ConnectError),
    #[error("topics are not as the settings ask; see flotilla topics status, and flotilla topics apply: {0}")]
    Topics(String),
}

async fn check_kafka(kafka: &Kafka) -> Result<(), KafkaError> {
    let problems = kafka.check_topics().await?;
    if problems.is_empty() {
        return Ok(());
    }
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    Err(KafkaError::Topics(problems.join("; ")))
}

/// The stores over the servers, and what runs beside the roles.
fn compose(
    opening: &Opening<'_>,
    keys: &KeyRing,
    redis: Redis,
    kafka: &Kafka,
    scylla: &Scylla,
) -> anyhow::Result<Backend> {
    let (redis, topics) = (Arc::new(redis), Arc::new(kafka.clone()));
    let snapshots = Arc::new(Snapshots::new(scylla.clone(), trees(&opening.settings.snapshot)));
    let jobs = ClusterJobs::new(Ports {
        rows: Arc::new(ScyllaRows::new(scylla.clone(), &JobKeep::default())?),
        blocks: Arc::new(ScyllaBlocks::new(scylla.clone())),
        topics: topics.clone(),
        marks: redis.clone(),
        draw: draw_from_system(),
    });
    let durable = Arc::new(ScyllaDevices::new(scylla.clone(), keys.clone()));
    let join = {
        let kafka = kafka.clone();
        Arc::new(move || Ok(Box::new(kafka.consumer(Topic::Triggers, TRIGGERS_GROUP)?) as Box<_>))
    };
    let tables = Arc::new(scylla.clone());
    let stores = Stores {
        sessions: redis.clone(),
        devices: Arc::new(CachedDevices::new(durable, redis.clone(), keys.clone(), SEEN_GRAIN)),
        snapshots: snapshots.clone(),
        jobs: Arc::new(jobs.clone()),
        campaigns: tables.clone(),
        starts: tables.clone(),
        requests: tables.clone(),
        artifacts: tables,
        triggers: Arc::new(ClusterTriggers::new(topics, join)),
        limits: redis.clone(),
    };

    let mut beside = vec![("the key file's reader", keep_keys_fresh(keys.clone(), opening))];
    beside.extend(watch(opening, &redis, kafka));
    beside.push(watch_scylla(opening, scylla));
    beside.extend(keep_files_fresh(opening, &redis, kafka));
    let mut ownership: Arc<dyn Ownership> = Arc::new(OwnsNone);
    if opening.roles.contains(&Role::Campaign) {
        ownership = jobs.ownership();
        let shutdown = opening.shutdown.clone();
        let events = EventsWorker::new(jobs.clone(), Box::new(kafka.consumer(Topic::Events, EVENTS_GROUP)?));
        let metrics = CampaignMetrics::new(opening.metrics);
        let carrier = JobsWorker::new(jobs.clone(), Box::new(kafka.consumer(Topic::Jobs, JOBS_GROUP)?))
            .telling(move |released| metrics.dispatched(released));
        beside.push(("the taker of events", until(shutdown.clone(), move |stop| events.run(stop))));
        beside.push(("the carrier of jobs", until(shutdown, move |stop| carrier.run(stop))));
    }
    let ended = {
        let jobs = jobs.clone();
        Box::pin(async move {
            if tokio::time::timeout(JOBS_END_MAX, jobs.shutdown()).await.is_err() {
                tracing::warn!("jobs on their way are left to whoever claims their campaigns next");
            }
        })
    };
    let work = Some(Work { stores, keys: keys.clone(), ownership, backup: None });
    Ok(Backend { work, collector: snapshots, beside, ended })
}

/// Runs a worker until the drain begins.
fn until<F: Future<Output = ()> + Send + 'static>(
    shutdown: Shutdown,
    run: impl FnOnce(CancellationToken) -> F + Send + 'static,
) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(async move {
        let stop = CancellationToken::new();
        let mut run = std::pin::pin!(run(stop.clone()));
        tokio::select! {
            () = &mut run => {}
            () = shutdown.draining() => {
                stop.cancel();
                run.await;
            }
        }
        Ok(())
    })
}

/// How trees are kept in Scylla.
fn trees(settings: &SnapshotSettings) -> SnapshotOptions {
    SnapshotOptions {
        page_cache_bytes: settings.page_cache.as_usize(),
        history_age_max: Some(settings.history_age_max.value()),
        seen_every: settings.seen_every.value(),
        ..SnapshotOptions::default()
    }
}

/// What runs beside the roles, and its name.
type Beside = (&'static str, BoxFuture<'static, anyhow::Result<()>>);

/// Asks the servers that are needed whether they are there, as long as the process runs.
fn watch(opening: &Opening<'_>, redis: &Arc<Redis>, kafka: &Kafka) -> Vec<Beside> {
    let mut watches = Vec::new();
    if needs(opening, REDIS) {
        let redis = Arc::clone(redis);
        watches.push(watch_one(opening, REDIS, move || {
            let redis = Arc::clone(&redis);
            async move { redis.ping().await }
        }));
    }
    if needs(opening, KAFKA) {
        let kafka = kafka.clone();
        watches.push(watch_one(opening, KAFKA, move || {
            let kafka = kafka.clone();
            async move { kafka.ping().await }
        }));
    }
    watches
}

fn watch_scylla(opening: &Opening<'_>, scylla: &Scylla) -> Beside {
    let scylla = scylla.clone();
    watch_one(opening, SCYLLA, move || {
        let scylla = scylla.clone();
        async move { scylla.ping().await }
    })
}

fn watch_one<F>(opening: &Opening<'_>, server: &'static str, ping: impl Fn() -> F + Send + 'static) -> Beside
where
    F: Future<Output = Result<(), StoreError>> + Send + 'static,
{
    let settings = &opening.settings.health;
    let (period, timeout) = (settings.probe_period.value(), settings.probe_timeout.value());
    let health: Health = opening.health.clone();
    let watching = async move {
        health.watch(server, period, timeout, ping).await;
        Ok(())
    };
    (server, Box::pin(watching))
}

/// Reads passwords and certificates again when their files change. What Scylla's connections are made with is read
/// for each of them.
fn keep_files_fresh(opening: &Opening<'_>, redis: &Arc<Redis>, kafka: &Kafka) -> Vec<Beside> {
    let (redis, kafka) = (Arc::clone(redis), kafka.clone());
    let of_redis = keep_fresh(opening, REDIS, move || {
        let redis = Arc::clone(&redis);
        async move { redis.refresh().await }
    });
    let of_kafka = keep_fresh(opening, KAFKA, move || {
        let kafka = kafka.clone();
        async move { kafka.refresh().await }
    });
    vec![("the reader of Redis' files", of_redis), ("the reader of Kafka's files", of_kafka)]
}

fn keep_fresh<E, F>(
    opening: &Opening<'_>,
    server: &'static str,
    refresh: impl Fn() -> F + Send + 'static,
) -> BoxFuture<'static, anyhow::Result<()>>
where
    E: std::error::Error + Send,
    F: Future<Output = Result<bool, E>> + Send + 'static,
{
    let (period, shutdown) = (opening.settings.secrets.reload_period.value(), opening.shutdown.clone());
    Box::pin(async move {
        let mut said = String::new();
        loop {
            tokio::select! {
                () = shutdown.draining() => return Ok(()),
                () = tokio::time::sleep(period) => {}
            }
            match refresh().await {
                Ok(false) => {}
                Ok(true) => {
                    said.clear();
                    tracing::info!(server, "connected anew, with other files than before");
                }
                Err(error) => {
                    let reason = with_causes(&error);
                    // Until the files change again it is the same at every look.
                    if reason != said {
                        tracing::warn!(server, reason, "the new files cannot be used, going on as before");
                        said = reason;
                    }
                }
            }
        }
    })
}
