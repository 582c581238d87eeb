//! Trees of devices: the one now and the ones before, over pages that devices share.

mod pages;

use std::ops::Bound;

use async_trait::async_trait;
use dm_protocol::DevId;
use dm_tree::{Leaf, TreeDelta};
use jiff::Timestamp;
use pages::TenantPages;
pub(super) use pages::{LIKENESS, PAGE};
use serde::{Deserialize, Serialize};

use super::{Embedded, Inner, commit::Batch, engine::Space, keys};
use crate::{
    Marks, SnapshotId, SnapshotRef, SnapshotStore, StoreError, TenantId,
    merkle::{self, Limits},
    records::{self, instant},
};

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct HeadRecord {
    pub(super) root: SnapshotId,
    #[serde(with = "instant")]
    pub(super) since: Timestamp,
    #[serde(with = "instant")]
    pub(super) seen: Timestamp,
}

impl From<HeadRecord> for SnapshotRef {
    fn from(record: HeadRecord) -> Self {
        Self { root: record.root, since: record.since, seen: record.seen }
    }
}

impl From<SnapshotRef> for HeadRecord {
    fn from(head: SnapshotRef) -> Self {
        Self { root: head.root, since: head.since, seen: head.seen }
    }
}

/// Orders instants as octets: the sign bit turned, then big-endian.
fn instant_key(at: Timestamp) -> [u8; 12] {
    let mut key = [0; 12];
    let seconds = (at.as_second() as u64) ^ (1 << 63);
    // Before 1970 the fraction is negative; such instants are ordered by their second alone.
    let nanoseconds = u32::try_from(at.subsec_nanosecond()).unwrap_or(0);
    key[..8].copy_from_slice(&seconds.to_be_bytes());
    key[8..].copy_from_slice(&nanoseconds.to_be_bytes());
    key
}

impl Inner {
    fn head(&self, operation: &'static str, key: &[u8]) -> Result<Option<SnapshotRef>, StoreError> {
        let stored = self.engine.read(operation, Space::Heads, key)?;
        stored.map(|stored| Ok(records::decode::<HeadRecord>(operation, &stored)?.into())).transpose()
    }

    fn pages(&self, operation: &'static str, tenant: &TenantId) -> Result<TenantPages<'_>, StoreError> {
        Ok(self.pages_of(operation, &keys::tenant(operation, tenant)?))
    }

    /// The pages of the tenant whose keys begin so.
    pub(super) fn pages_of(&self, operation: &'static str, prefix: &[u8]) -> TenantPages<'_> {
        let prefix = prefix.to_vec();
        TenantPages { engine: &self.engine, cache: &self.pages, operation, prefix, marks: None }
    }

    fn apply_tree(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        key: Vec<u8>,
        at: Timestamp,
        delta: &TreeDelta,
        marks: Option<&Marks>,
    ) -> Result<(Batch, SnapshotRef), StoreError> {
        let before = self.head(operation, &key)?;
        let pages = TenantPages { marks, ..self.pages(operation, tenant)? };
        let applied = merkle::apply(&pages, before.map(|before| before.root), delta, &Limits::default())
            .map_err(|error| error.into_store_error(operation))?;
        let head = SnapshotRef::after(before, applied.root, at);
        let mut batch = Batch::default();
        for page in &applied.pages {
            pages.store(page, &mut batch)?;
        }
        if let Some(before) = before.filter(|before| before.root != head.root) {
            let past = [&key[..], &[keys::DEVICE_END], &instant_key(before.since)].concat();
            batch.put(Space::History, past, records::encode(&HeadRecord::from(before)));
        }
        batch.put(Space::Heads, key, records::encode(&HeadRecord::from(head)));
        Ok((batch, head))
    }
}

#[async_trait]
impl SnapshotStore for Embedded {
    async fn current(&self, tenant: &TenantId, device: &DevId) -> Result<Option<SnapshotRef>, StoreError> {
        const OPERATION: &str = "load snapshot";
        self.0.head(OPERATION, &keys::device(OPERATION, tenant, device)?)
    }

    async fn apply(
        &self,
        tenant: &TenantId,
        device: &DevId,
        at: Timestamp,
        delta: &TreeDelta,
    ) -> Result<SnapshotRef, StoreError> {
        const OPERATION: &str = "apply to snapshot";
        let key = keys::device(OPERATION, tenant, device)?;
        let guard = self.0.snapshot_locks.lock(&key).await;
        let gate = self.0.gate.open().await;
        let (mut batch, head) = self.0.apply_tree(OPERATION, tenant, key, at, delta, gate.as_deref())?;
        batch.hold([guard]);
        batch.hold_open(gate);
        self.0.committer.commit(OPERATION, batch).await?;
        Ok(head)
    }

    async fn as_of(
        &self,
        tenant: &TenantId,
        device: &DevId,
        at: Timestamp,
    ) -> Result<Option<SnapshotRef>, StoreError> {
        const OPERATION: &str = "load snapshot as of an instant";
        let mut key = keys::device(OPERATION, tenant, device)?;
        // The head is read first: a tree that stops being the head meanwhile is found among the past ones.
        let head = self.0.head(OPERATION, &key)?;
        if let Some(head) = head.filter(|head| head.since <= at) {
            return Ok(Some(head));
        }
        key.push(keys::DEVICE_END);
        let to = keys::with(&key, &instant_key(at));
        let past = self.0.engine.last(OPERATION, Space::History, &key, Some(&to))?;
        past.map(|(_, stored)| Ok(records::decode::<HeadRecord>(OPERATION, &stored)?.into())).transpose()
    }

    async fn history(
        &self,
        tenant: &TenantId,
        device: &DevId,
        limit: usize,
    ) -> Result<Vec<SnapshotRef>, StoreError> {
        const OPERATION: &str = "load history of snapshots";
        let mut key = keys::device(OPERATION, tenant, device)?;
        let mut snapshots: Vec<SnapshotRef> = self.0.head(OPERATION, &key)?.into_iter().collect();
        key.push(keys::DEVICE_END);
        let past = self.0.engine.scan(OPERATION, Space::History, &key, Bound::Included(&key));
        for row in past.rev() {
            if snapshots.len() >= limit {
                break;
            }
            let (_, stored) = row?;
            let past: SnapshotRef = records::decode::<HeadRecord>(OPERATION, &stored)?.into();
            // The head we read may have become a past one meanwhile.
            if snapshots.last().is_none_or(|later| past.since < later.since) {
                snapshots.push(past);
            }
        }
        snapshots.truncate(limit);
        Ok(snapshots)
    }

    async fn leaf(&self, tenant: &TenantId, root: SnapshotId, uri: &str) -> Result<Option<Leaf>, StoreError> {
        const OPERATION: &str = "read leaf";
        let pages = self.0.pages(OPERATION, tenant)?;
        merkle::leaf(&pages, root, uri).map_err(|error| error.into_store_error(OPERATION))
    }

    async fn read(&self, tenant: &TenantId, root: SnapshotId, uri: &str) -> Result<TreeDelta, StoreError> {
        const OPERATION: &str = "read tree";
        let pages = self.0.pages(OPERATION, tenant)?;
        merkle::read(&pages, root, uri).map_err(|error| error.into_store_error(OPERATION))
    }

    async fn diff(
        &self,
        tenant: &TenantId,
        from: SnapshotId,
        to: SnapshotId,
    ) -> Result<TreeDelta, StoreError> {
        const OPERATION: &str = "compare trees";
        let pages = self.0.pages(OPERATION, tenant)?;
        merkle::diff(&pages, from, to).map_err(|error| error.into_store_error(OPERATION))
    }
}
