//! The mark "this device has no work": what an empty visit asks instead of the rows of jobs.

use async_trait::async_trait;
use dm_protocol::DevId;
use storage::{StoreError, TenantId};

/// Which state of a mark somebody saw. Never given twice, however the mark was lost in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MarkVersion(pub u64);

/// Marks, each of one device. A mark may be lost at any time; a device without one may have work.
///
/// Why no released job is overlooked: who releases makes the row durable and *then* calls [`WorkMarks::set_busy`]; who
/// looks calls [`WorkMarks::begin_look`], *then* reads the rows, and calls [`WorkMarks::set_idle`] where there are none.
/// Take a row that the look did not find, so it became durable after the rows were read, so after `begin_look`; and its
/// `set_busy` is later still.
///
/// - If that is before `set_idle`, the version is not the one that `begin_look` answered, and `set_idle` does nothing.
/// - If it is after, it overwrites "no work", whatever stands there.
///
/// Either way the mark says "may have work" once `set_busy` has returned. Until then the release is not done: who makes
/// it has not committed its offset, and if it stops there another does the same again. A mark that is lost says "may
/// have work" too, and gets a version that nobody has seen. What is left is a server that goes back to an older state (a
/// replica that had not heard of `set_busy` takes over): "no work" is believed for its time to live and no longer, so
/// such a job is late by at most that.
#[async_trait]
pub trait WorkMarks: Send + Sync {
    /// Whether the device surely has no work. False when nothing is known. One command.
    async fn is_idle(&self, tenant: &TenantId, device: &DevId) -> Result<bool, StoreError>;

    /// Before the rows of jobs are read: the mark's version now, a new one where there was no mark.
    async fn begin_look(&self, tenant: &TenantId, device: &DevId) -> Result<MarkVersion, StoreError>;

    /// The rows had no work: marks the device so, for a while, if the mark's version is still `seen`. Answers whether
    /// it was.
    async fn set_idle(
        &self,
        tenant: &TenantId,
        device: &DevId,
        seen: MarkVersion,
    ) -> Result<bool, StoreError>;

    /// After rows have become durable: their devices may have work, whatever was said before.
    async fn set_busy(&self, tenant: &TenantId, devices: &[DevId]) -> Result<(), StoreError>;
}
