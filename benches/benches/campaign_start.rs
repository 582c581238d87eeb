//! What creating and starting a campaign of a whole fleet costs on the cluster: seconds, and rows that are there after it.
//!
//! ```text
//! FLOTILLA_TEST_CASSANDRA=127.0.0.1:9042 FLOTILLA_TEST_KAFKA=127.0.0.1:9092 FLOTILLA_TEST_REDIS=redis://127.0.0.1:6379 \
//!     DEVICES=1000000 cargo bench -p benches --bench campaign_start
//! ```

use std::{
    collections::BTreeSet,
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use campaign::{CampaignId, Definition};
use campaign_service::{CampaignMetrics, CampaignService, Process};
use dm_protocol::{Account, ClientAuth, DevId, Nonces};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use scylla::client::{session::Session, session_builder::SessionBuilder};
use service_kit::{Metrics, Settings, settings::Span};
use storage::{Device, Inventory, KeyRing, Stores, TenantId, seal::KeyId};
use storage_cluster::{
    ClusterJobs, ClusterTriggers, EventsWorker, JobsWorker, Ports, draw_from_system, topics::Topic,
};
use storage_kafka::Kafka;
use storage_redis::{Redis, RedisSettings};
use storage_scylla::{
    JobKeep, Replication, Scylla, ScyllaBlocks, ScyllaDevices, ScyllaRows, ScyllaSettings, SnapshotOptions,
    Snapshots, schema,
};
use tokio_util::sync::CancellationToken;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Batches of a thousand devices that are added at the same time.
const ADDING_AT_ONCE: usize = 4;
/// Jobs that may be on their way at once.
const IN_FLIGHT_MAX: u32 = 1000;
const RELEASED_WITHIN: Duration = Duration::from_secs(120);

fn main() -> Result<(), Failure> {
    // Without `--bench` cargo only wants to see that it runs.
    let measured = env::args().any(|argument| argument == "--bench");
    let devices = env::var("DEVICES").ok().map_or(Ok(20_000), |number| number.parse())?;
    let devices: u32 = if measured { devices } else { 2000 };
    let server = storage::laws::test_server;
    let (Some(cassandra), Some(kafka), Some(redis)) =
        (server("FLOTILLA_TEST_CASSANDRA"), server("FLOTILLA_TEST_KAFKA"), server("FLOTILLA_TEST_REDIS"))
    else {
        return Ok(());
    };
    let name = format!("bench_{:x}", Timestamp::now().as_microsecond());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let settings = ScyllaSettings {
            contact_points: cassandra.split(',').map(str::to_owned).collect(),
            keyspace: name.clone(),
            replication: Replication::Everywhere(1),
            request_timeout: Span::of_ms(30_000),
            ..ScyllaSettings::default()
        };
        let kafka = Kafka::new(&kafka_settings(&kafka, &name)?, &Metrics::new("bench"))?;
        kafka.apply_topics().await?;
        schema::apply(&settings).await?;
        let done = measure(&settings, &kafka, &redis, devices).await;
        schema::drop_keyspace(&settings).await?;
        kafka.delete_topics().await?;
        done
    })
}

fn kafka_settings(bootstrap: &str, name: &str) -> Result<storage_kafka::KafkaSettings, Failure> {
    let pairs = [
        ("bootstrap", bootstrap.to_owned()),
        ("prefix", format!("{name}-")),
        ("replication", "1".to_owned()),
        ("min_insync_replicas", "1".to_owned()),
    ];
    let pairs = pairs.map(|(key, value)| (format!("kafka.{key}"), value));
    Ok(Settings::load(None, [], pairs).map_err(|errors| errors.to_string())?.kafka)
}

async fn measure(settings: &ScyllaSettings, kafka: &Kafka, redis: &str, devices: u32) -> Result<(), Failure> {
    let session = SessionBuilder::new().known_nodes(&settings.contact_points).build().await?;
    session.use_keyspace(&settings.keyspace, false).await?;
    let (stores, jobs) = open(settings, kafka, redis).await?;
    add_devices(&stores, devices).await?;

    let process = Process::of_many(jobs.ownership(), CampaignMetrics::new(&Metrics::new("bench")));
    let service = CampaignService::in_process(stores, TenantId::default(), process);
    let before = rows(&session, &settings.keyspace).await?;
    let text = format!(
        "name = 'all'\nartifact = {{ name = 'fw' }}\ntrigger = false\nin_flight_max = {IN_FLIGHT_MAX}\n\
         waves = [{{percent = 10, gate = {{tried_min_percent = 0}}}}, {{}}]"
    );
    let began = Instant::now();
    let id = service.create(Definition::parse_toml(&text)?, None).await?;
    println!("{:44} {:>10.2} s", "created", began.elapsed().as_secs_f64());
    service.start(id, "ann").await?;
    println!(
        "{:44} {:>10.2} s",
        format!("created and started, {devices} devices"),
        began.elapsed().as_secs_f64()
    );
    let after = rows(&session, &settings.keyspace).await?;
    let mut sum = 0;
    for ((table, before), (_, after)) in before.iter().zip(&after) {
        if after != before {
            println!("  rows of {table:34} {:>10}", after - before);
        }
        sum += after - before;
    }
    println!("  {:42} {sum:>10}", "rows, all of it");
    release(&service, &jobs, kafka, id).await
}

/// The stores as a process of the cluster has them.
async fn open(
    settings: &ScyllaSettings,
    kafka: &Kafka,
    redis: &str,
) -> Result<(Stores, ClusterJobs), Failure> {
    let scylla = Scylla::connect(settings).await?;
    let redis = RedisSettings {
        nodes: vec![redis.to_owned()],
        key_prefix: format!("{}:", settings.keyspace),
        device_keep: Span::of_ms(600_000),
        ..RedisSettings::default()
    };
    let redis = Arc::new(Redis::connect(&redis).await?);
    let topics = Arc::new(kafka.clone());
    let jobs = ClusterJobs::new(Ports {
        rows: Arc::new(ScyllaRows::new(scylla.clone(), &JobKeep::default())?),
        blocks: Arc::new(ScyllaBlocks::new(scylla.clone())),
        topics: topics.clone(),
        marks: redis.clone(),
        draw: draw_from_system(),
    });
    let join = {
        let kafka = kafka.clone();
        Arc::new(move || Ok(Box::new(kafka.consumer(Topic::Triggers, "bench-triggers")?) as Box<_>))
    };
    let tables = Arc::new(scylla.clone());
    let keys = KeyRing::from_keys(&[(KeyId(1), [7; 32])]).ok_or("there is a key")?;
    let stores = Stores {
        sessions: redis,
        devices: Arc::new(ScyllaDevices::new(scylla.clone(), keys)),
        snapshots: Arc::new(Snapshots::new(scylla, SnapshotOptions::default())),
        jobs: Arc::new(jobs.clone()),
        campaigns: tables.clone(),
        starts: tables.clone(),
        requests: tables.clone(),
        artifacts: tables,
        triggers: Arc::new(ClusterTriggers::new(topics, join)),
        limits: Arc::new(storage::MemoryLimits::new()),
    };
    Ok((stores, jobs))
}

fn device(at: u32) -> Result<Device, Failure> {
    Ok(Device {
        id: DevId::parse(&format!("IMEI:{at:015}")).map_err(|error| format!("{error:?}"))?,
        ordinal: 0,
        account: Account { client: ClientAuth::None, server: None, nonces: Nonces::default() },
        tags: BTreeSet::new(),
        added: Timestamp::now(),
        last_seen: None,
        inventory: Inventory {
            maker: "Acme".into(),
            model: if at.is_multiple_of(2) { "M1" } else { "M2" }.into(),
            firmware: "1.0".into(),
            ..Inventory::default()
        },
        fumo_root: None,
        dev_detail_read: None,
        notify_address: None,
    })
}

async fn add_devices(stores: &Stores, devices: u32) -> Result<(), Failure> {
    let tenant = TenantId::default();
    let mut firmware: &[u8] = b"firmware";
    let kind = "application/octet-stream";
    stores.artifacts.add(&tenant, "fw", "2.0", kind, 1 << 20, &mut firmware).await?;
    let began = Instant::now();
    let chunks = (0..devices).step_by(1000).map(|from| {
        let (stores, tenant) = (&stores, &tenant);
        async move {
            let some = (from..devices.min(from + 1000)).map(device).collect::<Result<Vec<_>, _>>()?;
            stores.devices.add(tenant, &some).await?;
            Ok::<_, Failure>(())
        }
    });
    stream::iter(chunks).buffer_unordered(ADDING_AT_ONCE).try_collect::<()>().await?;
    let rate = f64::from(devices) / began.elapsed().as_secs_f64();
    println!("{:44} {rate:>10.0} /s", format!("{devices} devices added"));
    Ok(())
}

/// Rows of each table that a campaign could write; those of devices are a million, and of devices alone.
async fn rows(session: &Session, keyspace: &str) -> Result<Vec<(String, i64)>, Failure> {
    let asked = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?";
    let found = session.query_unpaged(asked, (keyspace,)).await?.into_rows_result()?;
    let mut counted = Vec::new();
    for row in found.rows::<(String,)>()? {
        let (table,) = row?;
        if ["device", "inventory"].contains(&table.as_str()) {
            continue;
        }
        let asked = format!("SELECT count(*) FROM {keyspace}.{table}");
        let (count,) = session.query_unpaged(asked, ()).await?.into_rows_result()?.first_row::<(i64,)>()?;
        counted.push((table, count));
    }
    Ok(counted)
}

/// Lets the campaign run until as many jobs are out as may be.
async fn release(
    service: &CampaignService,
    jobs: &ClusterJobs,
    kafka: &Kafka,
    id: CampaignId,
) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let events = EventsWorker::new(jobs.clone(), Box::new(kafka.consumer(Topic::Events, "bench-events")?));
    let carrier = JobsWorker::new(jobs.clone(), Box::new(kafka.consumer(Topic::Jobs, "bench-jobs")?));
    let began = Instant::now();
    let work = {
        let (service, stop) = (service.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::join!(events.run(stop.clone()), carrier.run(stop.clone()), service.run(stop)).2
        })
    };
    while service.status(id).await?.in_flight < IN_FLIGHT_MAX {
        if began.elapsed() > RELEASED_WITHIN {
            return Err(format!("no {IN_FLIGHT_MAX} jobs were released within {RELEASED_WITHIN:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let what = format!("taken up, {IN_FLIGHT_MAX} jobs released");
    println!("{what:44} {:>10.2} s", began.elapsed().as_secs_f64());
    stop.cancel();
    work.await??;
    jobs.shutdown().await;
    Ok(())
}
