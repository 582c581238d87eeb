//! Octets that a device's tree takes in Cassandra, beside one row a node in the same run.
//!
//! ```text
//! FLOTILLA_TEST_CASSANDRA=127.0.0.1:9042 cargo bench -p storage-scylla --bench trees
//! FLOTILLA_TEST_CASSANDRA=127.0.0.1:9042 DEVICES=100000 cargo bench -p storage-scylla --bench trees
//! ```
//!
//! What is on the disk is asked of the server (`system_views.disk_usage`, which counts in MiB, so that a small fleet is
//! told coarsely) once the tables are flushed. With `CASSANDRA_DATA`, the server's directory of data, the files are
//! summed up instead, to the octet. A keyspace of its own is made and dropped.

use std::{
    env,
    path::Path,
    time::{Duration, Instant},
};

use benches::tree;
use dm_protocol::DevId;
use dm_tree::Change;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use scylla::{
    client::{session::Session, session_builder::SessionBuilder},
    statement::batch::{Batch, BatchType},
};
use service_kit::settings::Span;
use storage::{Collection, Collector as _, SnapshotStore as _, TenantId};
use storage_scylla::{Replication, Scylla, ScyllaSettings, SnapshotOptions, Snapshots, schema};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const CALLERS: usize = 64;
/// Tables of trees.
const TABLES: [&str; 4] = ["trees", "pages", "page_bases", "page_likeness"];
/// The table with a row a node.
const ROWS: &str = "node_rows";
/// Longer than a table is let keep its newest rows in memory only.
const FLUSHED_WITHIN: Duration = Duration::from_secs(3);
/// Looks at a table's size until it must have come to rest.
const SETTLES_MAX: usize = 20;
/// Devices whose nodes are rows, at most: the octets of one do not depend on how many there are.
const ROW_DEVICES_MAX: u64 = 5000;

fn main() -> Result<(), Failure> {
    // Without `--bench` cargo only wants to see that it runs.
    let measured = env::args().any(|argument| argument == "--bench");
    let devices = env::var("DEVICES").ok().map_or(Ok(2000), |number| number.parse())?;
    let devices: u64 = if measured { devices } else { 20 };
    let Some(address) = storage::laws::test_server("FLOTILLA_TEST_CASSANDRA") else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let settings = ScyllaSettings {
            contact_points: address.split(',').map(str::to_owned).collect(),
            keyspace: format!("bench_{:x}", Timestamp::now().as_microsecond()),
            replication: Replication::Everywhere(1),
            request_timeout: Span::of_ms(30_000),
            ..ScyllaSettings::default()
        };
        schema::apply(&settings).await?;
        let done = measure(&settings, devices).await;
        schema::drop_keyspace(&settings).await?;
        done
    })
}

async fn measure(settings: &ScyllaSettings, devices: u64) -> Result<(), Failure> {
    let session = SessionBuilder::new().known_nodes(&settings.contact_points).build().await?;
    session.use_keyspace(&settings.keyspace, false).await?;
    let store = Snapshots::new(Scylla::connect(settings).await?, SnapshotOptions::default());
    apply_trees(&store, devices, "trees of 300 nodes first seen").await?;
    apply_trees(&store, devices, "the same trees again").await?;
    let began = Instant::now();
    let plan = Collection { rows_per_s_max: 10_000_000, ..Collection::default() };
    let collected = store.collect(Timestamp::now(), &plan, &|_| {}).await?.ok_or("nobody else collects")?;
    let pages = collected.pages;
    println!("{:44} {:>10.1} s, {pages} pages", "a collection of it", began.elapsed().as_secs_f64());

    let row_devices = devices.min(ROW_DEVICES_MAX);
    write_rows(&session, row_devices).await?;
    println!("octets a device on the disk");
    let mut sum = 0.0;
    for table in TABLES {
        let octets = disk(&session, &settings.keyspace, table).await? as f64 / devices as f64;
        println!("  {table:42} {octets:>10.1}");
        sum += octets;
    }
    println!("  {:42} {sum:>10.1}", "all of it");
    let rows = disk(&session, &settings.keyspace, ROWS).await? as f64 / row_devices as f64;
    println!("  {:42} {rows:>10.1}", format!("one row a node beside it, of {row_devices}"));
    if sum > 0.0 {
        println!("  {:42} {:>10.1}", "ratio", rows / sum);
    }
    Ok(())
}

async fn apply_trees(store: &Snapshots, devices: u64, what: &str) -> Result<(), Failure> {
    let began = Instant::now();
    let tenant = TenantId::default();
    let applied = (0..devices).map(|number| {
        let (store, tenant) = (store.clone(), tenant.clone());
        async move {
            store.apply(&tenant, &dev_id(number)?, Timestamp::now(), &tree(number)).await?;
            Ok::<(), Failure>(())
        }
    });
    stream::iter(applied).buffer_unordered(CALLERS).try_collect::<()>().await?;
    let took = began.elapsed().as_secs_f64();
    println!("{what:44} {:>10.0} /s, {CALLERS} callers", devices as f64 / took);
    Ok(())
}

fn dev_id(number: u64) -> Result<DevId, Failure> {
    DevId::parse(&format!("IMEI:{number:015}")).map_err(|error| format!("{error:?}").into())
}

/// The plain way: a device is a partition, a node is a row.
async fn write_rows(session: &Session, devices: u64) -> Result<(), Failure> {
    let table = format!(
        "CREATE TABLE {ROWS} (tenant text, device text, uri text, format tinyint, value blob, seen bigint, \
         PRIMARY KEY ((tenant, device), uri))"
    );
    session.query_unpaged(table, ()).await?;
    session.await_schema_agreement().await?;
    let insert =
        format!("INSERT INTO {ROWS} (tenant, device, uri, format, value, seen) VALUES (?, ?, ?, ?, ?, ?)");
    let insert = session.prepare(insert).await?;
    let written = (0..devices).map(|number| {
        let insert = &insert;
        async move {
            let device = dev_id(number)?;
            let seen = Timestamp::now().as_millisecond();
            let mut batch = Batch::new(BatchType::Unlogged);
            let mut rows = Vec::new();
            for change in tree(number) {
                if let Change::Leaf { uri, leaf } = change {
                    batch.append_statement(insert.clone());
                    rows.push((
                        "default",
                        device.as_str().to_owned(),
                        uri,
                        leaf.format as i8,
                        leaf.value.to_vec(),
                        seen,
                    ));
                }
            }
            session.batch(&batch, rows).await?;
            Ok::<(), Failure>(())
        }
    });
    stream::iter(written).buffer_unordered(8).try_collect().await
}

/// Octets of a table on the disk, once what is in memory is written there and nothing changes any more.
async fn disk(session: &Session, keyspace: &str, table: &str) -> Result<u64, Failure> {
    let flush = format!("ALTER TABLE {table} WITH memtable_flush_period_in_ms = 1000");
    session.query_unpaged(flush, ()).await?;
    tokio::time::sleep(FLUSHED_WITHIN).await;
    let mut before = None;
    for _ in 0..SETTLES_MAX {
        let octets = disk_now(session, keyspace, table).await?;
        if before == Some(octets) {
            return Ok(octets);
        }
        before = Some(octets);
        tokio::time::sleep(FLUSHED_WITHIN).await;
    }
    Err(format!("{table} did not come to rest on the disk: {before:?} octets").into())
}

async fn disk_now(session: &Session, keyspace: &str, table: &str) -> Result<u64, Failure> {
    if let Ok(data) = env::var("CASSANDRA_DATA") {
        return files(&Path::new(&data).join(keyspace), table);
    }
    let asked = "SELECT mebibytes FROM system_views.disk_usage WHERE keyspace_name = ? AND table_name = ?";
    let rows = session.query_unpaged(asked, (keyspace, table)).await?.into_rows_result()?;
    let (mebibytes,) = rows.first_row::<(i64,)>()?;
    Ok(u64::try_from(mebibytes)? << 20)
}

/// The files of a table: its directory is named after it and its id.
fn files(keyspace: &Path, table: &str) -> Result<u64, Failure> {
    let mut sum = 0;
    for entry in std::fs::read_dir(keyspace)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&format!("{table}-")) {
            for file in std::fs::read_dir(entry.path())? {
                // A compaction may have removed it since.
                let Ok(file) = file?.metadata() else { continue };
                sum += if file.is_file() { file.len() } else { 0 };
            }
        }
    }
    Ok(sum)
}
