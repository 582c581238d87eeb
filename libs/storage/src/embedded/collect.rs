//! Collection of what no tree names, while devices come and go.
//!
//! While a collection runs, whoever changes a tree marks the pages that the new tree has and the one before had not, and
//! the bases they are stored by, also where they are stored already. So what is not marked after all trees were
//! gone over is named by nobody, and nobody can come to name it unnoticed: pages go under a gate that changes of trees hold open from their
//! first look until they are durable, and each page's mark is looked at once more behind it. Nothing depends on time here, so there is no grace.
//!
//! The marks may take garbage for used. For that reason pages are not walked from the roots, where a mark that is
//! there already would end the walk too early: all pages are gone over until a whole pass marks nothing new.

use std::{
    ops::Bound,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use fjall::Slice;
use jiff::Timestamp;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use super::{
    Embedded, Inner,
    commit::Batch,
    engine::Space,
    keys,
    snapshots::{HeadRecord, LIKENESS, PAGE},
};
use crate::{
    Collected, Collection, Collector, Marks, Progress, SnapshotId, SnapshotRef, StoreError,
    merkle::{
        self,
        pack::{self, Stored},
    },
    records,
};

const COLLECT: &str = "collect trees";
/// Rows looked at in one go on a thread of their own.
const CHUNK_ROWS: usize = 4096;
/// Pages that go behind one closing of the gate.
const CHUNK_DELETED: usize = 256;
/// Pages are never that deep: a tree has bounds.
const PASSES_MAX: u32 = 64;

/// What changes of trees hold open; in it the marks of a collection while one runs.
#[derive(Default)]
pub(super) struct Gate {
    marks: Arc<RwLock<Option<Arc<Marks>>>>,
    running: AtomicBool,
    /// When a collection of this process came to its end; the next process begins with one of its own.
    last: Mutex<Option<Timestamp>>,
}

/// The gate held open.
pub(super) type OpenGate = OwnedRwLockReadGuard<Option<Arc<Marks>>>;

impl Gate {
    pub(super) async fn open(&self) -> OpenGate {
        Arc::clone(&self.marks).read_owned().await
    }
}

/// Ends the state of running however a collection ends.
struct Running<'a>(&'a AtomicBool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[async_trait]
impl Collector for Embedded {
    async fn collect(
        &self,
        now: Timestamp,
        plan: &Collection,
        progress: &Progress<'_>,
    ) -> Result<Option<Collected>, StoreError> {
        let gate = &self.0.gate;
        if gate.running.swap(true, Ordering::AcqRel) {
            return Ok(None);
        }
        let running = Running(&gate.running);
        let seed = getrandom::u64().map_err(|error| StoreError::unavailable(COLLECT, error))?;
        let marks = Arc::new(Marks::new(plan.marks_bytes_max, seed));
        *gate.marks.write().await = Some(Arc::clone(&marks));
        let mut run = Run {
            store: self,
            plan: Arc::new(plan.clone()),
            now,
            marks,
            collected: Collected::default(),
            progress,
            began: Instant::now(),
            rows: 0,
        };
        let done = run.go().await;
        let collected = run.collected;
        *gate.marks.write().await = None;
        drop(running);
        done?;
        if !plan.dry_run {
            *gate.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        }
        Ok(Some(collected))
    }

    async fn last_collected(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(*self.0.gate.last.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A collection that is under way.
struct Run<'a> {
    store: &'a Embedded,
    plan: Arc<Collection>,
    now: Timestamp,
    marks: Arc<Marks>,
    collected: Collected,
    progress: &'a Progress<'a>,
    began: Instant,
    rows: u64,
}

/// What one go over some rows found.
#[derive(Default)]
struct Chunk {
    counts: Collected,
    rows: usize,
    /// The last key, where there may be more.
    last: Option<Vec<u8>>,
    marked: bool,
    /// Keys that go, and the octets of their rows.
    unused: Vec<(Vec<u8>, usize)>,
}

impl Run<'_> {
    async fn go(&mut self) -> Result<(), StoreError> {
        self.over(Space::Heads, Inner::mark_trees).await?;
        for pass in 0.. {
            if pass == PASSES_MAX {
                return Err(StoreError::corrupt(COLLECT, "pages refer to pages too deep"));
            }
            if !self
                .over(Space::Blobs, |inner, run, key, stored, chunk| {
                    inner.mark_below(run, key, stored, chunk)
                })
                .await?
            {
                break;
            }
        }
        // What names a base goes before the base does.
        self.over(Space::Blobs, |_, run, key, stored, chunk| {
            let Some((tenant, LIKENESS, _)) = blob_key(key) else { return Ok(()) };
            let base = [tenant, &[PAGE], stored].concat();
            if !run.marks.contains(&base) {
                chunk.unused.push((key.to_vec(), 0));
            }
            Ok(())
        })
        .await?;
        self.over(Space::Blobs, |_, run, key, stored, chunk| {
            let Some((_, PAGE, _)) = blob_key(key) else { return Ok(()) };
            chunk.counts.pages += 1;
            if !run.marks.contains(key) {
                chunk.unused.push((key.to_vec(), stored.len()));
            }
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Looks at all rows of a space; answers whether that marked anything new.
    async fn over(&mut self, space: Space, visit: Visit) -> Result<bool, StoreError> {
        let mut from = Bound::Unbounded;
        let mut marked = false;
        loop {
            let fixed = Fixed { plan: Arc::clone(&self.plan), now: self.now, marks: Arc::clone(&self.marks) };
            let chunk =
                self.store.blocking(COLLECT, move |inner| inner.chunk(space, &from, &fixed, visit)).await?;
            marked |= chunk.marked;
            self.add(&chunk.counts);
            for unused in chunk.unused.chunks(CHUNK_DELETED) {
                self.delete(space, unused).await?;
            }
            (self.progress)(&self.collected);
            self.pace(chunk.rows).await;
            match chunk.last {
                Some(last) => from = Bound::Excluded(last),
                None => return Ok(marked),
            }
        }
    }

    async fn pace(&mut self, rows: usize) {
        self.rows += rows as u64;
        let due = Duration::from_secs_f64(self.rows as f64 / f64::from(self.plan.rows_per_s_max.max(1)));
        tokio::time::sleep(due.saturating_sub(self.began.elapsed())).await;
    }

    fn add(&mut self, counts: &Collected) {
        self.collected.trees += counts.trees;
        self.collected.past_trees += counts.past_trees;
        self.collected.past_trees_ended += counts.past_trees_ended;
        self.collected.pages += counts.pages;
    }

    async fn delete(&mut self, space: Space, unused: &[(Vec<u8>, usize)]) -> Result<(), StoreError> {
        let inner = &self.store.0;
        if space == Space::Heads {
            // These are past trees, which no change of a tree looks at.
            let mut batch = Batch::default();
            for (key, _) in unused.iter().filter(|_| !self.plan.dry_run) {
                batch.remove(Space::History, key.clone());
            }
            return inner.committer.commit(COLLECT, batch).await;
        }
        // Behind the gate nobody is about to name any of them.
        let gate = inner.gate.marks.write().await;
        let mut batch = Batch::default();
        for (key, bytes) in unused {
            if *bytes == 0 || !self.marks.contains(key) {
                if *bytes > 0 {
                    self.collected.pages_deleted += 1;
                    self.collected.bytes_deleted += *bytes as u64;
                }
                if !self.plan.dry_run {
                    inner.pages.forget(key);
                    batch.remove(space, key.clone());
                }
            }
        }
        let done = inner.committer.commit(COLLECT, batch).await;
        drop(gate);
        done
    }
}

/// What is done with a row: its key and what is stored, and where its findings go.
type Visit = fn(&Inner, &Fixed, &[u8], &[u8], &mut Chunk) -> Result<(), StoreError>;

/// What every go over rows knows.
struct Fixed {
    plan: Arc<Collection>,
    now: Timestamp,
    marks: Arc<Marks>,
}

impl Inner {
    fn chunk(
        &self,
        space: Space,
        from: &Bound<Vec<u8>>,
        fixed: &Fixed,
        visit: Visit,
    ) -> Result<Chunk, StoreError> {
        let mut chunk = Chunk::default();
        for row in self.engine.scan(COLLECT, space, &[], from.as_ref().map(Vec::as_slice)).take(CHUNK_ROWS) {
            let (key, stored): (Slice, Slice) = row?;
            visit(self, fixed, &key, &stored, &mut chunk)?;
            chunk.rows += 1;
            if chunk.rows == CHUNK_ROWS {
                chunk.last = Some(key.to_vec());
            }
        }
        Ok(chunk)
    }

    /// Marks the trees of a device, and finds those that are too old.
    fn mark_trees(
        &self,
        run: &Fixed,
        key: &[u8],
        stored: &[u8],
        chunk: &mut Chunk,
    ) -> Result<(), StoreError> {
        let decode = |stored: &[u8]| records::decode::<HeadRecord>(COLLECT, stored).map(SnapshotRef::from);
        let head = decode(stored)?;
        let Some(tenant) = tenant_of(key) else { return Ok(()) };
        let mark = |root: SnapshotId| run.marks.insert(&[tenant, &[PAGE], &root.0].concat());
        mark(head.root);
        chunk.counts.trees += 1;
        let device = keys::with(key, &[keys::DEVICE_END]);
        let mut ended = head.since;
        let past = self.engine.scan(COLLECT, Space::History, &device, Bound::Included(&device)).rev();
        for (number, row) in (1..).zip(past) {
            let (past_key, stored) = row?;
            let past = decode(&stored)?;
            let is_young = run.plan.history_age_max.is_none_or(|age_max| {
                run.now.as_nanosecond() - ended.as_nanosecond() < age_max.as_nanos().cast_signed()
            });
            chunk.counts.past_trees += 1;
            if is_young && number <= run.plan.history_trees_max {
                mark(past.root);
            } else {
                chunk.counts.past_trees_ended += 1;
                chunk.unused.push((past_key.to_vec(), 0));
            }
            ended = past.since;
        }
        Ok(())
    }

    /// Marks what a marked page refers to.
    fn mark_below(
        &self,
        run: &Fixed,
        key: &[u8],
        stored: &[u8],
        chunk: &mut Chunk,
    ) -> Result<(), StoreError> {
        let Some((tenant, PAGE, _)) = blob_key(key) else { return Ok(()) };
        if !run.marks.contains(key) {
            return Ok(());
        }
        let corrupt = |error: merkle::MerkleError| error.into_store_error(COLLECT);
        if let Stored::Delta { base, .. } = pack::parse(stored).map_err(corrupt)? {
            chunk.marked |= run.marks.insert(&[tenant, &[PAGE], &base.0].concat());
        }
        let octets = self.pages_of(COLLECT, tenant).unpack(stored)?;
        for id in merkle::refs(&octets).map_err(corrupt)? {
            chunk.marked |= run.marks.insert(&[tenant, &[PAGE], &id.0].concat());
        }
        Ok(())
    }
}

/// The tenant's part of a key, its length included.
fn tenant_of(key: &[u8]) -> Option<&[u8]> {
    key.get(..1 + usize::from(*key.first()?))
}

/// The tenant, the kind, and the rest of a key of [`Space::Blobs`].
fn blob_key(key: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let tenant = tenant_of(key)?;
    let (kind, rest) = key.get(tenant.len()..)?.split_first()?;
    Some((tenant, *kind, rest))
}
