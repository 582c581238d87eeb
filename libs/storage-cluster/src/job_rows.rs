//! What the cluster asks of the rows of jobs: one partition a device, a row an attempt, and the device's history beside
//! them. `storage-scylla` has one; tests and simulations have `testing::MemoryRows`.

use async_trait::async_trait;
use campaign::CampaignId;
use dm_protocol::DevId;
use storage::{StoreError, TenantId};

/// The partition: a device of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceKey {
    /// Whose device it is.
    pub tenant: TenantId,
    /// The device.
    pub device: DevId,
}

/// A row of the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptKey {
    /// The campaign.
    pub campaign: CampaignId,
    /// From 1.
    pub attempt: u16,
}

/// One attempt of one campaign on one device, as stored. What the octets mean is this crate's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    /// Which it is.
    pub key: AttemptKey,
    /// The job as it was released. `None`: it has not come yet, though something was written of it.
    pub released: Option<Vec<u8>>,
    /// The last conditional write. `None`: the job is as it was released.
    pub written: Option<Written>,
    /// The revision up to which the events of the conditional writes are known to be in their topic.
    pub published: u32,
}

/// One conditional write of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// From 1, one more with every write.
    pub revision: u32,
    /// Drawn by the writer, who knows the write again by it.
    pub writer: u64,
    /// The job after it, or that it has ended.
    pub state: Vec<u8>,
    /// The events of this write alone; empty: there are none.
    pub events: Vec<u8>,
}

/// What a row must be for a conditional write to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Released, and never written since.
    Released,
    /// Neither released nor written.
    Absent,
    /// Last written so.
    Revision(u32),
}

/// An entry of a device's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// When, in nanoseconds since 1970. History is ordered by it, newest first, then by the fields below, largest first.
    pub at_ns: i64,
    /// The campaign and attempt it belongs to.
    pub key: AttemptKey,
    /// Tells entries of one instant apart.
    pub number: u64,
    /// The event.
    pub event: Vec<u8>,
}

/// Rows of jobs by device. Each write is durable when its call returns. A call that ends in
/// [`storage::ErrorKind::TimedOut`], or in [`storage::ErrorKind::Unavailable`], may have been done, or be done within moments.
#[async_trait]
pub trait JobRows: Send + Sync {
    /// Writes the job as released, with its entry of the history; nothing else of the row. Writing again changes nothing.
    /// It is kept for a shorter time than an end, so that no end is outlived by its release.
    async fn release(
        &self,
        device: &DeviceKey,
        key: AttemptKey,
        released: &[u8],
        history: &HistoryRow,
    ) -> Result<(), StoreError>;

    /// All rows of a device: every write that was answered is seen.
    async fn read(&self, device: &DeviceKey) -> Result<Vec<JobRow>, StoreError>;

    /// One row, after every conditional write of it that was ever begun is either done or will never be.
    async fn confirm(&self, device: &DeviceKey, key: AttemptKey) -> Result<Option<JobRow>, StoreError>;

    /// Writes a row if it is as expected, and entries of the history with it, in one step; answers whether it was.
    /// `ended` rows go after the time that the settings say, at least as long after any release of them could come.
    async fn write(
        &self,
        device: &DeviceKey,
        key: AttemptKey,
        expect: Expect,
        written: &Written,
        ended: bool,
        history: &[HistoryRow],
    ) -> Result<bool, StoreError>;

    /// Notes that the events of the writes up to a revision are in their topic. A higher note is never undone by a lower.
    async fn note_published(
        &self,
        device: &DeviceKey,
        key: AttemptKey,
        revision: u32,
    ) -> Result<(), StoreError>;

    /// Writes entries of the history alone. Writing again changes nothing.
    async fn add_history(&self, device: &DeviceKey, history: &[HistoryRow]) -> Result<(), StoreError>;

    /// Up to `limit` entries of the history, newest first.
    async fn history(&self, device: &DeviceKey, limit: usize) -> Result<Vec<HistoryRow>, StoreError>;
}
