//! The embedded store as the services use it: many callers at once, every write durable.
//!
//! ```text
//! cargo bench -p benches --bench storage                           # 10,000 devices
//! STORAGE_DEVICES=100000 cargo bench -p benches --bench storage
//! ```

use std::{
    env,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use benches::tree;
use campaign::{CampaignId, EventKind, Job, JobEvent, Phase};
use dm_protocol::{Account, ClientAuth, DevId, Nonces, Scheme};
use dm_tree::{Change, Format, Leaf, TreeDelta};
use fjall::{Database, KeyspaceCreateOptions};
use jiff::Timestamp;
use storage::{
    Device, DeviceStore, Embedded, Inventory, JobStore, Release, SessionKey, SessionStore, SnapshotStore,
    TenantId, embedded::Options,
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const CALLERS: u64 = 256;
const KEEP: Duration = Duration::from_secs(600);

fn main() -> Result<(), Failure> {
    // Without `--bench` cargo only wants to see that it runs.
    let measured = env::args().any(|argument| argument == "--bench");
    let devices = env::var("STORAGE_DEVICES").ok().map_or(Ok(10_000), |number| number.parse())?;
    let devices: u64 = if measured { devices } else { 600 };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let dir = tempfile::tempdir()?;
    runtime.block_on(async {
        let store = Embedded::open(dir.path(), &Options::default())?;
        add_devices(&store, devices).await?;
        put_devices(&store, devices).await?;
        sessions(&store, devices).await?;
        release_jobs(&store, devices).await?;
        apply_trees(&store, devices).await?;
        scan(&store, devices).await?;
        Ok::<(), Failure>(())
    })?;
    runtime.shutdown_timeout(Duration::from_secs(10));
    let began = Instant::now();
    drop(Embedded::open(dir.path(), &Options::default())?);
    println!("{:44} {:>10.0} ms", "open again", began.elapsed().as_secs_f64() * 1e3);
    disk(dir.path(), devices)?;
    row_a_node(devices.min(1000))
}

fn report(what: &str, count: u64, took: Duration) {
    let rate = count as f64 / took.as_secs_f64();
    println!("{what:44} {rate:>10.0} /s  {:>8.1} us each", took.as_secs_f64() * 1e6 / count as f64);
}

fn tenant() -> TenantId {
    TenantId::default()
}

fn dev_id(number: u64) -> Result<DevId, Failure> {
    Ok(DevId::parse(&format!("IMEI:{:015}", 490_154_203_000_000 + number))?)
}

fn device(number: u64) -> Result<Device, Failure> {
    let client =
        ClientAuth::Password { scheme: Scheme::Md5, user: format!("user-{number}"), digest: [7; 16] };
    let nonces = Nonces { client: Some(vec![1; 16]), client_previous: Some(vec![2; 16]), server: None };
    Ok(Device {
        id: dev_id(number)?,
        ordinal: 0,
        account: Account { client, server: None, nonces },
        tags: ["pilot".to_owned()].into(),
        added: Timestamp::now(),
        last_seen: None,
        inventory: Inventory {
            maker: "Example Devices".into(),
            model: format!("Model {}", number % 7),
            firmware: "1.0.3".into(),
            language: "en".into(),
            dm_version: "1.2".into(),
            ..Inventory::default()
        },
        fumo_root: Some("FwUpdate/Pkg1".into()),
        dev_detail_read: Some(Timestamp::now()),
        notify_address: None,
    })
}

async fn add_devices(store: &Embedded, count: u64) -> Result<(), Failure> {
    let devices = (0..count).map(device).collect::<Result<Vec<_>, _>>()?;
    let began = Instant::now();
    for chunk in devices.chunks(1000) {
        DeviceStore::add(store, &tenant(), chunk).await?;
    }
    report("devices added, a thousand a call", count, began.elapsed());
    Ok(())
}

/// Runs callers at the same time, each with its own numbers below `count`; answers all latencies, in order.
async fn concurrently<F>(
    count: u64,
    call: impl Fn(u64) -> F + Send + Sync + 'static,
) -> Result<(Duration, Vec<Duration>), Failure>
where
    F: Future<Output = Result<(), Failure>> + Send,
{
    let call = Arc::new(call);
    let began = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let call = Arc::clone(&call);
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                for number in (caller..count).step_by(CALLERS as usize) {
                    let began = Instant::now();
                    call(number).await?;
                    latencies.push(began.elapsed());
                }
                Ok::<_, Failure>(latencies)
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for caller in callers {
        latencies.extend(caller.await??);
    }
    let took = began.elapsed();
    latencies.sort_unstable();
    Ok((took, latencies))
}

fn report_latencies(latencies: &[Duration]) {
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("{:44} p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms", "", at(0.5), at(0.99), at(1.0));
}

async fn put_devices(store: &Embedded, devices: u64) -> Result<(), Failure> {
    let store = store.clone();
    let puts = devices.max(2000) * 2;
    let (took, latencies) = concurrently(puts, move |number| {
        let store = store.clone();
        async move {
            let mut read =
                DeviceStore::load(&store, &tenant(), &dev_id(number % devices)?).await?.ok_or("no device")?;
            read.value.last_seen = Some(Timestamp::now());
            read.value.account.nonces.client = Some(vec![number as u8; 16]);
            match DeviceStore::put(&store, &tenant(), read.revision, &read.value).await {
                Err(error) if error.kind != storage::ErrorKind::Conflict => Err(error.into()),
                _ => Ok(()),
            }
        }
    })
    .await?;
    report("device loaded and put durably, 256 callers", puts, took);
    report_latencies(&latencies);
    Ok(())
}

async fn sessions(store: &Embedded, devices: u64) -> Result<(), Failure> {
    let record = vec![0x5a; 1000];
    let keys = (0..devices)
        .map(|number| Ok(SessionKey { tenant: tenant(), device: dev_id(number)?, session: "1".into() }))
        .collect::<Result<Vec<_>, Failure>>()?;
    let began = Instant::now();
    for key in &keys {
        SessionStore::put(store, key, None, &record, KEEP).await?;
    }
    report("session of 1000 octets put, one caller", devices, began.elapsed());
    let began = Instant::now();
    for key in &keys {
        SessionStore::load(store, key).await?.ok_or("no session")?;
    }
    report("session loaded, one caller", devices, began.elapsed());
    Ok(())
}

async fn release_jobs(store: &Embedded, devices: u64) -> Result<(), Failure> {
    let campaign = CampaignId(1);
    let releases = (0..devices.min(10_000))
        .map(|number| {
            let (device, ordinal, at) = (dev_id(number)?, number as u32, Timestamp::now());
            let job = Job { campaign, ordinal, attempt: 1, phase: Phase::Waiting, since: at };
            let kind = EventKind::Released { wave: 0, after: None };
            let event = JobEvent { device: Some(device.clone()), ordinal, attempt: 1, at, kind };
            Ok(Release { device, job, event, trigger_until: None })
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let epoch = store.claim(&tenant(), campaign).await?;
    let began = Instant::now();
    for chunk in releases.chunks(1000) {
        store.release(&tenant(), campaign, epoch, chunk).await?;
    }
    report("jobs released, a thousand a call", releases.len() as u64, began.elapsed());
    let began = Instant::now();
    for number in 0..devices {
        store.pending(&tenant(), &dev_id(devices + number)?).await?;
    }
    report("pending jobs of a device without any", devices, began.elapsed());
    let (updated, count) = (store.clone(), releases.len() as u64);
    let (took, latencies) = concurrently(count, move |number| {
        let store = updated.clone();
        async move {
            let device = dev_id(number)?;
            let mut pending = store.pending(&tenant(), &device).await?;
            let job = pending.pop().ok_or("no job")?;
            let (at, ordinal) = (Timestamp::now(), job.value.ordinal);
            let kind = EventKind::Moved { phase: Phase::Waiting };
            let event = JobEvent { device: Some(device.clone()), ordinal, attempt: 1, at, kind };
            store.update(&tenant(), &device, campaign, job.revision, Some(&job.value), &[event]).await?;
            Ok(())
        }
    })
    .await?;
    report("job loaded and moved durably, 256 callers", count, took);
    report_latencies(&latencies);
    let began = Instant::now();
    let (mut from, mut read) = (0, 0);
    while let page = store.events(&tenant(), campaign, from, 5000).await?
        && let Some((after, _)) = page.last()
    {
        from = *after;
        read += page.len() as u64;
    }
    report("events read, five thousand a call", read, began.elapsed());
    Ok(())
}

async fn apply_trees(store: &Embedded, devices: u64) -> Result<(), Failure> {
    let apply = |change: fn(u64) -> TreeDelta| {
        let store = store.clone();
        concurrently(devices, move |number| {
            let store = store.clone();
            async move {
                store.apply(&tenant(), &dev_id(number)?, Timestamp::now(), &change(number)).await?;
                Ok(())
            }
        })
    };
    let (took, _) = apply(tree).await?;
    report("tree of 300 nodes first seen, 256 callers", devices, took);
    let (took, _) = apply(tree).await?;
    report("the same tree again", devices, took);
    let one_leaf = |number: u64| {
        let value = format!("2.{number}").into_bytes().into();
        let leaf = Leaf { format: Format::Chr, mime: None, value };
        vec![Change::Leaf { uri: "Branch3/Node2/Property1".into(), leaf }]
    };
    let (took, _) = apply(one_leaf).await?;
    report("one leaf changed", devices, took);
    Ok(())
}

async fn scan(store: &Embedded, devices: u64) -> Result<(), Failure> {
    let began = Instant::now();
    let (mut from, mut rows) = (0, 0);
    while let page = store.scan_inventory(&tenant(), from, 10_000).await?
        && let Some(last) = page.last()
    {
        from = last.ordinal + 1;
        rows += page.len() as u64;
    }
    if rows != devices {
        return Err(format!("expected {devices} rows, got {rows}").into());
    }
    report("inventory rows scanned", rows, began.elapsed());
    Ok(())
}

/// Octets on the disk by keyspace, all of it brought to where it stays.
fn disk(dir: &Path, devices: u64) -> Result<(), Failure> {
    let database = Database::builder(dir.join("engine")).open()?;
    let mut total = 0;
    println!("octets on disk a device, of {devices}:");
    for name in database.list_keyspace_names() {
        let keyspace = database.keyspace(&name, KeyspaceCreateOptions::default)?;
        keyspace.rotate_memtable_and_wait()?;
        keyspace.major_compact()?;
        let octets = keyspace.disk_space();
        total += octets;
        println!("  {:42} {:>10.1}", &*name, octets as f64 / devices as f64);
    }
    println!("  {:42} {:>10.1}", "all", total as f64 / devices as f64);
    Ok(())
}

/// What the same trees take with one row a node.
fn row_a_node(devices: u64) -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let database = Database::builder(dir.path()).open()?;
    let keyspace = database.keyspace("nodes", KeyspaceCreateOptions::default)?;
    for number in 0..devices {
        let id = dev_id(number)?;
        let mut batch = database.batch();
        for change in tree(number) {
            let Change::Leaf { uri, leaf } = change else { continue };
            batch.insert(&keyspace, format!("{id}/{uri}").as_str(), &*leaf.value);
        }
        batch.commit()?;
    }
    keyspace.rotate_memtable_and_wait()?;
    keyspace.major_compact()?;
    let octets = keyspace.disk_space() as f64 / devices as f64;
    println!("  {:42} {octets:>10.1}", format!("one row a leaf beside it, of {devices}"));
    Ok(())
}
