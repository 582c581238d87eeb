//! The port of a device's hot record: what every message of a session reads and writes instead of the durable row. All of
//! it may be lost at any time.
//!
//! A hot record says what the durable row says, so the two have to change together, though no step spans both. Before the
//! row is written the record is replaced by a [`Claim`]; nobody reads the old state then, and only who holds the claim can
//! put the new one there.

use async_trait::async_trait;
use dm_protocol::DevId;
use storage::{Revision, StoreError, TenantId, Versioned};

/// Who may put a record there. Never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim(pub u64);

/// A device's hot record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotRecord {
    /// Of what the durable row keeps: a record with another digest is written to the row first.
    pub digest: [u8; 16],
    /// The revision of the durable row that this was filled from, or written to.
    pub durable: Revision,
    /// The device's ordinal, which the durable store gave it.
    pub ordinal: u32,
    /// The device, sealed.
    pub sealed: Vec<u8>,
}

/// What stands where a device's hot record belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hot {
    /// No record; somebody may be about to fill it.
    Absent,
    /// Somebody is writing the durable row, or stopped while doing that.
    Changing(Claim),
    /// A record.
    Record(Versioned<HotRecord>),
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HotPut {
    /// Done; the record has this revision now.
    Written(Revision),
    /// Another revision stands there, or none.
    Lost,
    /// The digest is another: nothing was written, and the claim stands there now. The durable row is next.
    Changes {
        /// To settle.
        claim: Claim,
        /// Of the durable row.
        durable: Revision,
        /// The device's.
        ordinal: u32,
    },
}

/// Hot records. Each call is one step: it happens whole, or not at all. Revisions grow, and none is given twice, however
/// the records were lost in between.
#[async_trait]
pub trait HotDevices: Send + Sync {
    /// What is there. One command.
    async fn load(&self, tenant: &TenantId, device: &DevId) -> Result<Hot, StoreError>;

    /// What is there for each of many devices.
    async fn load_many(&self, tenant: &TenantId, devices: &[DevId]) -> Result<Vec<Hot>, StoreError> {
        let mut all = Vec::with_capacity(devices.len());
        for device in devices {
            all.push(self.load(tenant, device).await?);
        }
        Ok(all)
    }

    /// Writes a record that the durable row need not follow, if `expected` stands there and has this digest; durable
    /// revision and ordinal stay.
    async fn put(
        &self,
        tenant: &TenantId,
        device: &DevId,
        expected: Revision,
        digest: [u8; 16],
        sealed: &[u8],
    ) -> Result<HotPut, StoreError>;

    /// Before the durable row is read to fill what is absent. Takes the claim of others who fill; `None` where there is a
    /// record, or the row is being written.
    async fn claim_fill(&self, tenant: &TenantId, device: &DevId) -> Result<Option<Claim>, StoreError>;

    /// Puts a record in the place of the claim to fill; `None` when that is not there any more.
    async fn fill(
        &self,
        tenant: &TenantId,
        device: &DevId,
        claim: Claim,
        record: &HotRecord,
    ) -> Result<Option<Revision>, StoreError>;

    /// After the durable row was written: puts the record in the place of the claim to change. Where that is not there any
    /// more, nobody knows whether what is there was read before: it is removed, and the answer is `None`.
    async fn settle(
        &self,
        tenant: &TenantId,
        device: &DevId,
        claim: Claim,
        record: &HotRecord,
    ) -> Result<Option<Revision>, StoreError>;

    /// Gives a claim of either kind up, where it still stands.
    async fn abandon(&self, tenant: &TenantId, device: &DevId, claim: Claim) -> Result<(), StoreError>;

    /// Removes a record, where it still has this revision.
    async fn forget(&self, tenant: &TenantId, device: &DevId, revision: Revision) -> Result<(), StoreError>;
}
