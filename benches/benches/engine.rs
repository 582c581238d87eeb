//! The engines that the embedded store could stand on, doing what it does: many small records, written in
//! synced batches. `docs/decisions/0001-embedded-engine.md` says what followed.
//!
//! ```text
//! cargo bench -p benches --bench engine            # ENGINE_RECORDS=200000 unless set
//! ```

use std::{
    env,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use redb::{Durability, ReadableDatabase, TableDefinition};

/// Octets of a record: about a sealed account or an inventory.
const RECORD: usize = 316;
const KEY: usize = 24;
const BATCH: usize = 100;
const TABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");

type Failure = Box<dyn std::error::Error>;

/// What is asked of an engine.
trait Engine: Sized {
    const NAME: &'static str;
    fn open(dir: &Path) -> Result<Self, Failure>;
    /// Writes records in one step, on the disk when it returns if `synced`.
    fn write(&self, records: &[(Vec<u8>, Vec<u8>)], synced: bool) -> Result<(), Failure>;
    fn read(&self, key: &[u8]) -> Result<Option<usize>, Failure>;
    /// Brings everything to where it stays.
    fn settle(&mut self) -> Result<(), Failure>;
}

struct Fjall {
    database: Database,
    records: fjall::Keyspace,
}

impl Engine for Fjall {
    const NAME: &'static str = "fjall";

    fn open(dir: &Path) -> Result<Self, Failure> {
        let database = Database::builder(dir).cache_size(64 << 20).open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(16 << 20);
        let records = database.keyspace("records", options)?;
        Ok(Self { database, records })
    }

    fn write(&self, records: &[(Vec<u8>, Vec<u8>)], synced: bool) -> Result<(), Failure> {
        let mode = if synced { PersistMode::SyncData } else { PersistMode::Buffer };
        let mut batch = self.database.batch().durability(Some(mode));
        for (key, value) in records {
            batch.insert(&self.records, key.as_slice(), value.as_slice());
        }
        Ok(batch.commit()?)
    }

    fn read(&self, key: &[u8]) -> Result<Option<usize>, Failure> {
        Ok(self.records.get(key)?.map(|value| value.len()))
    }

    fn settle(&mut self) -> Result<(), Failure> {
        self.records.rotate_memtable_and_wait()?;
        Ok(self.records.major_compact()?)
    }
}

struct Redb(redb::Database);

impl Engine for Redb {
    const NAME: &'static str = "redb";

    fn open(dir: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(dir)?;
        let database = redb::Builder::new().set_cache_size(64 << 20).create(dir.join("records.redb"))?;
        let create = database.begin_write()?;
        create.open_table(TABLE)?;
        create.commit()?;
        Ok(Self(database))
    }

    fn write(&self, records: &[(Vec<u8>, Vec<u8>)], synced: bool) -> Result<(), Failure> {
        let mut transaction = self.0.begin_write()?;
        if !synced {
            transaction.set_durability(Durability::None)?;
        }
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in records {
                table.insert(key.as_slice(), value.as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn read(&self, key: &[u8]) -> Result<Option<usize>, Failure> {
        let table = self.0.begin_read()?.open_table(TABLE)?;
        Ok(table.get(key)?.map(|value| value.value().len()))
    }

    fn settle(&mut self) -> Result<(), Failure> {
        self.0.compact()?;
        Ok(())
    }
}

fn main() -> Result<(), Failure> {
    // Without `--bench` cargo only wants to see that it runs.
    let measured = env::args().any(|argument| argument == "--bench");
    let records = env::var("ENGINE_RECORDS").ok().map_or(Ok(200_000), |number| number.parse())?;
    let records: u64 = if measured { records } else { 2_000 };
    println!("{records} records of {RECORD} octets, keys of {KEY} at random");
    println!("{:34} {:>12} {:>12}", "", Fjall::NAME, Redb::NAME);
    let (fjall, redb) = (run::<Fjall>(records)?, run::<Redb>(records)?);
    for ((what, fjall), (_, redb)) in fjall.into_iter().zip(redb) {
        println!("{what:34} {fjall:>12.0} {redb:>12.0}");
    }
    println!("{:34} {:>12.0}", "bare appends of 316 B, synced /s", bare_appends(records / 200)?);
    Ok(())
}

fn run<E: Engine>(records: u64) -> Result<Vec<(&'static str, f64)>, Failure> {
    let dir = tempfile::tempdir()?;
    let mut engine = E::open(dir.path())?;
    let mut figures = Vec::new();
    let numbers: Vec<u64> = (0..records).collect();

    let batches: Vec<Vec<_>> =
        numbers.chunks(BATCH).map(|chunk| chunk.iter().map(record).collect()).collect();
    let took = timed(|| batches.iter().try_for_each(|batch| engine.write(batch, true)))?;
    figures.push(("writes/s, synced batches of 100", rate(records, took)));

    let singles: Vec<_> = (0..records / 200).map(|number| [record(&(records + number))]).collect();
    let took = timed(|| singles.iter().try_for_each(|single| engine.write(single, true)))?;
    figures.push(("writes/s, synced one by one", rate(singles.len() as u64, took)));

    let singles: Vec<_> = (0..records / 4).map(|number| [record(&number)]).collect();
    let took = timed(|| singles.iter().try_for_each(|single| engine.write(single, false)))?;
    figures.push(("writes/s, one by one, not synced", rate(singles.len() as u64, took)));

    engine.settle()?;
    let keys: Vec<_> = (0..records).map(|number| record(&(number.wrapping_mul(7919) % records)).0).collect();
    let took = timed(|| {
        keys.iter().try_for_each(|key| match engine.read(key)? {
            Some(RECORD) => Ok(()),
            other => Err(format!("expected {RECORD} octets, got {other:?}").into()),
        })
    })?;
    figures.push(("reads/s at random", rate(records, took)));
    let unknown: Vec<_> = (0..records).map(|number| record(&(u64::MAX - number)).0).collect();
    let took = timed(|| {
        unknown.iter().try_for_each(|key| match engine.read(key)? {
            None => Ok(()),
            Some(_) => Err("expected no record".into()),
        })
    })?;
    figures.push(("reads/s of what is not there", rate(records, took)));
    drop(engine);
    // Journals that are emptied at closing do not count for either.
    let mut engine = E::open(dir.path())?;
    engine.settle()?;
    drop(engine);
    let stored = records + records / 200;
    figures.push(("octets on disk a record", disk_bytes(dir.path())? as f64 / stored as f64));
    Ok(figures)
}

fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<Duration, Failure> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed())
}

fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// A record that follows from its number: neither keys nor values compress.
fn record(number: &u64) -> (Vec<u8>, Vec<u8>) {
    let mut state = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut octets = Vec::with_capacity(KEY + RECORD + 8);
    while octets.len() < KEY + RECORD {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        octets.extend_from_slice(&state.to_le_bytes());
    }
    let value = octets.split_off(KEY);
    (octets, value[..RECORD].to_vec())
}

fn disk_bytes(dir: &Path) -> io::Result<u64> {
    let mut octets = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        octets += if meta.is_dir() {
            disk_bytes(&entry.path())?
        } else if entry.path().extension().is_some_and(|extension| extension == "jnl") {
            // A journal is of a fixed size and used again.
            0
        } else {
            meta.blocks() * 512
        };
    }
    Ok(octets)
}

/// What the disk itself gives: the ceiling of synced writes one by one.
fn bare_appends(count: u64) -> Result<f64, Failure> {
    use std::io::Write;
    let dir = tempfile::tempdir()?;
    let mut file = File::create(dir.path().join("appended"))?;
    let took = timed(|| {
        for _ in 0..count {
            file.write_all(&[7; RECORD])?;
            file.sync_data()?;
        }
        Ok(())
    })?;
    Ok(rate(count, took))
}
