//! Trees of devices, over pages that devices share.
//!
//! A device is one partition of `trees`: its tree of now in static columns, those before as rows. A changed tree
//! writes its new pages first and then moves the root by a conditional write over the root it was made from, with the
//! row of the past in the same batch; two front-ends that race lose nothing, since the one that comes late loads
//! again and applies again. An unchanged tree writes only when it was seen: not conditional, its time as the timestamp, so that
//! the latest stands whoever writes last; and not even that, where [`Options::seen_every`] says that it was seen lately.

mod pages;
mod recent;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use dm_protocol::DevId;
use dm_tree::{Leaf, TreeDelta};
use jiff::Timestamp;
use pages::TenantPages;
use recent::Recent;
use storage::{
    ErrorKind, SnapshotId, SnapshotRef, SnapshotStore, StoreError, TenantId,
    merkle::{Limits, MerkleError, PageCache, ahead},
};

use crate::{Scylla, lwt::Lwt, statement::Cql};

const HEAD: &str = "SELECT root, since, seen, seen_later FROM trees WHERE tenant = ? AND device = ? LIMIT 1";
const LOAD: Cql = Cql::read(HEAD);
const LOAD_SERIAL: Cql = Cql::serial_read(HEAD);
const AS_OF: Cql = Cql::read(
    "SELECT past_root, past_since, past_seen FROM trees WHERE tenant = ? AND device = ? AND past_since <= ? \
     LIMIT 1",
);
const HISTORY: Cql = Cql::read(
    "SELECT root, since, seen, seen_later, past_root, past_since, past_seen FROM trees \
     WHERE tenant = ? AND device = ? LIMIT ?",
);
const FIRST: Cql = Cql::conditional(
    "UPDATE trees SET root = ?, since = ?, seen = ? WHERE tenant = ? AND device = ? IF root = NULL",
);
const MOVE: Cql = Cql::conditional(
    "BEGIN BATCH \
     UPDATE trees SET root = ?, since = ?, seen = ? WHERE tenant = ? AND device = ? IF root = ? AND since = ?; \
     INSERT INTO trees (tenant, device, past_since, past_root, past_seen) VALUES (?, ?, ?, ?, ?) USING TTL ?; \
     APPLY BATCH",
);
const SEEN: Cql =
    Cql::write("UPDATE trees USING TIMESTAMP ? SET seen_later = ? WHERE tenant = ? AND device = ?");

/// Times a change is tried over a root that others move meanwhile.
const ATTEMPTS_MAX: u32 = 32;
/// The longest time to live that a row can have.
const TTL_MAX_S: u64 = 630_000_000;

/// What can be set about trees.
#[derive(Clone, Debug)]
pub struct SnapshotOptions {
    /// Octets of memory for pages that are used again and again.
    pub page_cache_bytes: usize,
    /// How long a tree is kept after another took its place; `None` keeps it for ever.
    pub history_age_max: Option<Duration>,
    /// An unchanged tree is not written again until that long after it was last seen.
    pub seen_every: Duration,
    /// How long the pages that a change relies on may have been written before the root moves. A collection's grace is
    /// longer by what the module `gc` says.
    pub write_window: Duration,
    /// Parts in which a collection reads a table: more where there are more devices, so that each is read in seconds.
    pub scan_ranges: u16,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        Self {
            page_cache_bytes: 64 << 20,
            history_age_max: Some(Duration::from_secs(90 * 24 * 3600)),
            seen_every: Duration::ZERO,
            write_window: Duration::from_secs(3600),
            scan_ranges: 128,
        }
    }
}

impl SnapshotOptions {
    /// Within this time a process does not write again what it wrote. A page may rely on a base this old and be this
    /// old itself, and then the root has [`Self::patience`]: a window in all.
    fn lately(&self) -> Duration {
        self.write_window / 4
    }

    /// How long one attempt may take from its first write until its root has moved.
    fn patience(&self) -> Duration {
        self.write_window / 2
    }

    fn history_ttl_s(&self) -> i32 {
        // Zero is for ever.
        self.history_age_max.map_or(0, |age| age.as_secs().clamp(1, TTL_MAX_S) as i32)
    }
}

/// Trees of devices, in a cluster. Cheap to clone; clones share their memory.
#[derive(Clone)]
pub struct Snapshots(Arc<Inner>);

struct Inner {
    scylla: Scylla,
    options: SnapshotOptions,
    cache: PageCache,
    /// When this process last wrote a page or a base.
    written: Recent<Instant>,
    /// The base for a likeness, and when that was read.
    likeness: Recent<(SnapshotId, Instant)>,
}

impl std::fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshots").field("scylla", &self.0.scylla).finish_non_exhaustive()
    }
}

/// The static columns of a device's partition.
type HeadRow = (Option<Vec<u8>>, Option<i64>, Option<i64>, Option<(Vec<u8>, i64)>);
/// The static columns and those of a row.
type HistoryRow = (
    Option<Vec<u8>>,
    Option<i64>,
    Option<i64>,
    Option<(Vec<u8>, i64)>,
    Option<Vec<u8>>,
    Option<i64>,
    Option<i64>,
);

impl Snapshots {
    /// The trees in a cluster.
    pub fn new(scylla: Scylla, options: SnapshotOptions) -> Self {
        let cache = PageCache::new(options.page_cache_bytes);
        let (written, likeness) = (Recent::new(1 << 16), Recent::new(1 << 16));
        Self(Arc::new(Inner { scylla, options, cache, written, likeness }))
    }

    pub(crate) fn options(&self) -> &SnapshotOptions {
        &self.0.options
    }

    pub(crate) fn scylla(&self) -> &Scylla {
        &self.0.scylla
    }
}

/// What one attempt to apply came to.
enum Attempt {
    Done(SnapshotRef),
    /// Another moved the root.
    Lost,
    /// Perhaps ours has moved it.
    Unknown(StoreError),
}

/// A change on its way to a device's tree.
struct Applying<'a> {
    tenant: &'a TenantId,
    device: &'a DevId,
    at: Timestamp,
    delta: &'a TreeDelta,
}

const APPLY: &str = "apply to snapshot";

impl Inner {
    fn pages<'a>(&'a self, operation: &'static str, tenant: &'a TenantId) -> TenantPages<'a> {
        TenantPages { inner: self, operation, tenant }
    }

    async fn head(
        &self,
        operation: &'static str,
        cql: &Cql,
        tenant: &TenantId,
        device: &DevId,
    ) -> Result<Option<SnapshotRef>, StoreError> {
        let row: Option<HeadRow> = self.scylla.row(operation, cql, (&*tenant.0, device.as_str())).await?;
        row.map_or(Ok(None), |row| head_of(operation, row))
    }

    async fn attempt(&self, it: &Applying<'_>, serial: bool) -> Result<Attempt, StoreError> {
        let load = if serial { &LOAD_SERIAL } else { &LOAD };
        let before = self.head(APPLY, load, it.tenant, it.device).await?;
        let pages = self.pages(APPLY, it.tenant);
        let root = before.map(|before| before.root);
        let applied = match ahead::apply(&pages, root, it.delta, &Limits::default()).await {
            Ok(applied) => applied,
            Err(lost @ (MerkleError::Missing(_) | MerkleError::Broken { .. })) => {
                // A tree that is of the past since we read it may be collected.
                let now = self.head(APPLY, &LOAD_SERIAL, it.tenant, it.device).await?;
                if now.map(|now| now.root) != root {
                    return Ok(Attempt::Lost);
                }
                // Tables that came back from copies of different instants have trees without some of their pages. A device
                // is served all the same.
                let device = it.device.as_str();
                tracing::warn!(device, error = %lost, "tree cannot be read and begins anew");
                let begun = ahead::apply(&pages, None, it.delta, &Limits::default()).await;
                begun.map_err(|error| error.into_store_error(APPLY))?
            }
            Err(error) => return Err(error.into_store_error(APPLY)),
        };
        let head = SnapshotRef::after(before, applied.root, it.at);
        if let Some(before) = before.filter(|before| before.root == head.root) {
            return self.saw(it, before, head).await.map(Attempt::Done);
        }
        let began = Instant::now();
        pages.store_all(&applied.pages, false).await?;
        if began.elapsed() > self.options.patience() {
            return Ok(Attempt::Lost);
        }
        let moved = self.move_root(it, before, head).await?;
        if matches!(moved, Attempt::Done(_)) && began.elapsed() > self.options.patience() {
            // This process was stopped for so long that a collection may have taken the pages for garbage.
            pages.store_all(&applied.pages, true).await?;
        }
        Ok(moved)
    }

    /// The tree is as it was.
    async fn saw(
        &self,
        it: &Applying<'_>,
        before: SnapshotRef,
        head: SnapshotRef,
    ) -> Result<SnapshotRef, StoreError> {
        let later = head.seen.duration_since(before.seen).unsigned_abs();
        if later.is_zero() || later < self.options.seen_every {
            return Ok(head);
        }
        let seen = (head.root.0.to_vec(), nanoseconds(APPLY, head.seen)?);
        let row = (head.seen.as_microsecond(), seen, &*it.tenant.0, it.device.as_str());
        self.scylla.write(APPLY, &SEEN, row).await?;
        Ok(head)
    }

    async fn move_root(
        &self,
        it: &Applying<'_>,
        before: Option<SnapshotRef>,
        head: SnapshotRef,
    ) -> Result<Attempt, StoreError> {
        let (since, seen) = (nanoseconds(APPLY, head.since)?, nanoseconds(APPLY, head.seen)?);
        let (tenant, device) = (&*it.tenant.0, it.device.as_str());
        let root = &head.root.0[..];
        let moved = match before {
            None => self.scylla.lwt(APPLY, &FIRST, (root, since, seen, tenant, device)).await?,
            Some(before) => {
                let past = &before.root.0[..];
                let past_since = nanoseconds(APPLY, before.since)?;
                let past_seen = nanoseconds(APPLY, before.seen)?;
                let ttl = self.options.history_ttl_s();
                let values = (
                    (root, since, seen, tenant, device, past, past_since),
                    (tenant, device, past_since, past, past_seen, ttl),
                );
                let ((a, b, c, d, e, f, g), (h, i, j, k, l, m)) = values;
                self.scylla.lwt(APPLY, &MOVE, (a, b, c, d, e, f, g, h, i, j, k, l, m)).await?
            }
        };
        Ok(match moved {
            Lwt::Applied => Attempt::Done(head),
            Lwt::NotApplied(_) => Attempt::Lost,
            Lwt::Unknown(unknown) => Attempt::Unknown(unknown.error),
        })
    }
}

#[async_trait]
impl SnapshotStore for Snapshots {
    async fn current(&self, tenant: &TenantId, device: &DevId) -> Result<Option<SnapshotRef>, StoreError> {
        self.0.head("load snapshot", &LOAD, tenant, device).await
    }

    async fn apply(
        &self,
        tenant: &TenantId,
        device: &DevId,
        at: Timestamp,
        delta: &TreeDelta,
    ) -> Result<SnapshotRef, StoreError> {
        let applying = Applying { tenant, device, at, delta };
        let mut failed = None;
        for number in 0..ATTEMPTS_MAX {
            match self.0.attempt(&applying, failed.is_some()).await? {
                Attempt::Done(head) => return Ok(head),
                Attempt::Lost => {}
                // If it was done, the next attempt finds a tree that has the change already.
                Attempt::Unknown(error) if failed.is_none() => failed = Some(error),
                Attempt::Unknown(error) => return Err(error),
            }
            tokio::time::sleep(back_off(number)).await;
        }
        Err(failed.unwrap_or_else(|| StoreError::conflict(APPLY)))
    }

    async fn as_of(
        &self,
        tenant: &TenantId,
        device: &DevId,
        at: Timestamp,
    ) -> Result<Option<SnapshotRef>, StoreError> {
        const OPERATION: &str = "load snapshot as of an instant";
        // The head is read first: a tree that stops being the head meanwhile is found among the past ones.
        let head = self.0.head(OPERATION, &LOAD, tenant, device).await?;
        if head.is_none_or(|head| head.since <= at) {
            return Ok(head);
        }
        let at = nanoseconds(OPERATION, at)?;
        let keys = (&*tenant.0, device.as_str(), at);
        let row: Option<(Vec<u8>, i64, i64)> = self.0.scylla.row(OPERATION, &AS_OF, keys).await?;
        row.map(|(root, since, seen)| snapshot(OPERATION, &root, since, seen)).transpose()
    }

    async fn history(
        &self,
        tenant: &TenantId,
        device: &DevId,
        limit: usize,
    ) -> Result<Vec<SnapshotRef>, StoreError> {
        const OPERATION: &str = "load history of snapshots";
        let rows_max = i32::try_from(limit.max(1)).unwrap_or(i32::MAX);
        let keys = (&*tenant.0, device.as_str(), rows_max);
        let rows: Vec<HistoryRow> = self.0.scylla.rows(OPERATION, &HISTORY, keys).await?;
        let mut snapshots = Vec::with_capacity(rows.len() + 1);
        for (root, since, seen, seen_later, past_root, past_since, past_seen) in rows {
            if snapshots.is_empty() {
                snapshots.extend(head_of(OPERATION, (root, since, seen, seen_later))?);
            }
            if let (Some(root), Some(since), Some(seen)) = (past_root, past_since, past_seen) {
                snapshots.push(snapshot(OPERATION, &root, since, seen)?);
            }
        }
        snapshots.truncate(limit);
        Ok(snapshots)
    }

    async fn leaf(&self, tenant: &TenantId, root: SnapshotId, uri: &str) -> Result<Option<Leaf>, StoreError> {
        const OPERATION: &str = "read leaf";
        let pages = self.0.pages(OPERATION, tenant);
        ahead::leaf(&pages, root, uri).await.map_err(|error| error.into_store_error(OPERATION))
    }

    async fn read(&self, tenant: &TenantId, root: SnapshotId, uri: &str) -> Result<TreeDelta, StoreError> {
        const OPERATION: &str = "read tree";
        let pages = self.0.pages(OPERATION, tenant);
        ahead::read(&pages, root, uri).await.map_err(|error| error.into_store_error(OPERATION))
    }

    async fn diff(
        &self,
        tenant: &TenantId,
        from: SnapshotId,
        to: SnapshotId,
    ) -> Result<TreeDelta, StoreError> {
        const OPERATION: &str = "compare trees";
        let pages = self.0.pages(OPERATION, tenant);
        ahead::diff(&pages, from, to).await.map_err(|error| error.into_store_error(OPERATION))
    }
}

fn head_of(operation: &'static str, row: HeadRow) -> Result<Option<SnapshotRef>, StoreError> {
    let (Some(root), Some(since), Some(seen), seen_later) = row else { return Ok(None) };
    // What was written of a tree that another has replaced does not count.
    let later = seen_later.filter(|(of, _)| *of == root).map_or(seen, |(_, later)| later);
    snapshot(operation, &root, since, seen.max(later)).map(Some)
}

fn snapshot(operation: &'static str, root: &[u8], since: i64, seen: i64) -> Result<SnapshotRef, StoreError> {
    let at = |nanoseconds: i64| {
        Timestamp::from_nanosecond(nanoseconds.into()).map_err(|error| StoreError::corrupt(operation, error))
    };
    Ok(SnapshotRef { root: id(operation, root)?, since: at(since)?, seen: at(seen)? })
}

fn id(operation: &'static str, octets: &[u8]) -> Result<SnapshotId, StoreError> {
    octets.try_into().map(SnapshotId).map_err(|error| StoreError::corrupt(operation, error))
}

/// An instant as it is stored: nanoseconds since 1970.
fn nanoseconds(operation: &'static str, at: Timestamp) -> Result<i64, StoreError> {
    i64::try_from(at.as_nanosecond()).map_err(|_| {
        let source = format!("expected an instant between 1677 and 2262, got {at}");
        StoreError { kind: ErrorKind::TooLarge, operation, source: Some(source.into()) }
    })
}

/// How long to wait before the next attempt: longer each time, and not the same for two that race.
fn back_off(attempt: u32) -> Duration {
    let random = u64::from(getrandom::u32().unwrap_or_default());
    let ceiling_us = 4_000 << attempt.min(6);
    Duration::from_micros(random % ceiling_us)
}
