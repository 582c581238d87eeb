//! The last known tree of every device, and how it was before.
//!
//! Trees are content-addressed: a snapshot is the id of a root, equal subtrees are stored once.

use async_trait::async_trait;
use dm_protocol::DevId;
use dm_tree::{Leaf, TreeDelta};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{StoreError, TenantId};

/// The hash of a subtree: of its kind, its properties and its children, large ones among them by their own hashes.
/// Two trees are equal if and only if their ids are. See [`crate::merkle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SnapshotId(pub [u8; 20]);

/// A device's tree at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRef {
    /// The root.
    pub root: SnapshotId,
    /// Since when the tree is so.
    pub since: Timestamp,
    /// When it was last seen to be so.
    pub seen: Timestamp,
}

impl SnapshotRef {
    /// The tree of a device at `at`, when it was `before` and is that of `root` now.
    #[must_use]
    pub fn after(before: Option<Self>, root: SnapshotId, at: Timestamp) -> Self {
        let Some(before) = before else { return Self { root, since: at, seen: at } };
        // Clocks go back; a tree's time does not.
        let at = at.max(before.seen);
        if before.root == root {
            return Self { seen: at, ..before };
        }
        // Two trees of one device never begin at the same instant: the earlier could not be found again.
        let next = before.since.checked_add(NANOSECOND).unwrap_or(before.since);
        let since = at.max(next);
        Self { root, since, seen: since }
    }
}

const NANOSECOND: SignedDuration = SignedDuration::from_nanos(1);

/// Tree snapshots by device and time.
#[async_trait]
pub trait SnapshotStore: Send + Sync {
    /// The device's tree now.
    async fn current(&self, tenant: &TenantId, device: &DevId) -> Result<Option<SnapshotRef>, StoreError>;

    /// Applies what was learned at `at`, durably. An unchanged tree costs no more than its time.
    async fn apply(
        &self,
        tenant: &TenantId,
        device: &DevId,
        at: Timestamp,
        delta: &TreeDelta,
    ) -> Result<SnapshotRef, StoreError>;

    /// The device's tree as of an instant.
    async fn as_of(
        &self,
        tenant: &TenantId,
        device: &DevId,
        at: Timestamp,
    ) -> Result<Option<SnapshotRef>, StoreError>;

    /// The device's trees, newest first, at most `limit`.
    async fn history(
        &self,
        tenant: &TenantId,
        device: &DevId,
        limit: usize,
    ) -> Result<Vec<SnapshotRef>, StoreError>;

    /// One leaf of a snapshot.
    async fn leaf(&self, tenant: &TenantId, root: SnapshotId, uri: &str) -> Result<Option<Leaf>, StoreError>;

    /// The subtree at `uri` as the changes that would build it, in the order of addresses.
    async fn read(&self, tenant: &TenantId, root: SnapshotId, uri: &str) -> Result<TreeDelta, StoreError>;

    /// What changes `from` into `to`, in time that follows the difference.
    async fn diff(
        &self,
        tenant: &TenantId,
        from: SnapshotId,
        to: SnapshotId,
    ) -> Result<TreeDelta, StoreError>;
}
