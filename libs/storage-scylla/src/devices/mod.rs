//! Devices: a row each, conditional on its revision, and beside it what campaigns choose by, a thousand devices a
//! partition.
//!
//! A write of a device that changes what campaigns choose by is two: the device's row, which decides and notes that
//! the inventory is due, and then the inventory's row. A device whose inventory is due and not done is one whose
//! writer died in between; the next load does it.

mod inventory;
pub(crate) mod ordinals;
pub(crate) mod record;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use dm_protocol::DevId;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use storage::{
    Device, DeviceStore, InventoryRow, KeyRing, Revision, StoreError, TenantId, Versioned, seal::SealedPage,
};

use self::{
    ordinals::{AT_ONCE, Due},
    record::{decode_device, encode_account, encode_inventory, from_int},
};
use crate::{
    Scylla,
    lwt::{Done, Lwt, Stamp},
    statement::Cql,
};

/// Devices whose ordinals are given in one step.
const BATCH: usize = 500;

const LOAD: Cql = Cql::read(
    "SELECT revision, ordinal, account, inventory, inventory_due, inventory_done FROM device \
     WHERE tenant = ? AND id = ?",
);
const REVISION: Cql = Cql::serial_read("SELECT revision FROM device WHERE tenant = ? AND id = ?");
const CLAIM: Cql = Cql::conditional(
    "INSERT INTO device (tenant, id, revision, account, inventory, inventory_due) VALUES (?, ?, ?, ?, ?, ?) \
     IF NOT EXISTS",
);
const PUT_ACCOUNT: Cql = Cql::conditional(
    "UPDATE device SET revision = ?, account = ? WHERE tenant = ? AND id = ? IF revision = ?",
);
const PUT_ALL: Cql = Cql::conditional(
    "UPDATE device SET revision = ?, account = ?, inventory = ?, inventory_due = ? \
     WHERE tenant = ? AND id = ? IF revision = ?",
);

/// The devices of a cluster, their accounts sealed with the keys of a ring.
#[derive(Clone, Debug)]
pub struct ScyllaDevices {
    scylla: Scylla,
    keys: KeyRing,
}

/// A device's row.
struct DeviceRow {
    revision: Stamp,
    ordinal: Option<u32>,
    account: Vec<u8>,
    inventory: Vec<u8>,
    due: i64,
    done: Option<i64>,
}

/// What came of a claim of a name.
enum Claim {
    Ours,
    /// Another's; whether it has its ordinal is not known.
    Taken,
    /// Another's, which has its ordinal.
    Complete,
}

impl ScyllaDevices {
    /// The devices of a cluster.
    pub fn new(scylla: Scylla, keys: KeyRing) -> Self {
        Self { scylla, keys }
    }

    async fn device_row(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        id: &DevId,
    ) -> Result<Option<DeviceRow>, StoreError> {
        type Columns = (i64, Option<i32>, Vec<u8>, Vec<u8>, i64, Option<i64>);
        let row: Option<Columns> = self.scylla.row(operation, &LOAD, (&*tenant.0, id.as_str())).await?;
        row.map(|(revision, ordinal, account, inventory, due, done)| {
            let ordinal = ordinal.map(|ordinal| from_int(operation, ordinal)).transpose()?;
            let revision = Stamp::from_bigint(revision);
            Ok(DeviceRow { revision, ordinal, account, inventory, due, done })
        })
        .transpose()
    }

    fn decode(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        named: (DevId, u32),
        row: &DeviceRow,
    ) -> Result<Device, StoreError> {
        decode_device(operation, &self.keys, tenant, named, &row.account, &row.inventory)
    }

    /// The ordinal of a device whose row says that a writer died.
    async fn repair(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        id: &DevId,
        row: &DeviceRow,
    ) -> Result<u32, StoreError> {
        if let Some(ordinal) = row.ordinal {
            let due = Due { id: id.as_str(), ordinal, inventory: &row.inventory, count: row.due };
            self.write_inventory(operation, tenant, &due).await?;
            return Ok(ordinal);
        }
        let names = std::slice::from_ref(id);
        let given = self.give_ordinals(operation, tenant, names, &HashMap::new(), None).await?;
        given.get(id).copied().ok_or_else(|| StoreError::corrupt(operation, "device got no ordinal"))
    }

    async fn claim(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        device: &Device,
        inventory: &[u8],
    ) -> Result<Claim, StoreError> {
        let account = encode_account(operation, &self.keys, tenant, device)?;
        let stamp = Stamp::first(operation)?;
        let id = device.id.as_str();
        let values = (&*tenant.0, id, stamp.as_bigint(), account, inventory, 1_i64);
        match self.scylla.lwt(operation, &CLAIM, values).await? {
            Lwt::Applied => Ok(Claim::Ours),
            Lwt::NotApplied(row) if row.int("ordinal").is_some() => Ok(Claim::Complete),
            Lwt::NotApplied(_) => Ok(Claim::Taken),
            Lwt::Unknown(unknown) => match self.what_became(operation, tenant, id, stamp, None).await? {
                Done::Ours => Ok(Claim::Ours),
                Done::Never | Done::Overwritten => Ok(Claim::Taken),
                // The caller adds again.
                Done::NotYet => Err(unknown.error),
            },
        }
    }

    async fn what_became(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        id: &str,
        stamp: Stamp,
        before: Option<Stamp>,
    ) -> Result<Done, StoreError> {
        let row: Option<(Option<i64>,)> = self.scylla.row(operation, &REVISION, (&*tenant.0, id)).await?;
        let found = row.and_then(|(revision,)| revision).map(Stamp::from_bigint);
        Ok(stamp.judge(before, found))
    }

    async fn add_batch(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        devices: &[Device],
    ) -> Result<Vec<Option<u32>>, StoreError> {
        let unmoved = self.sequence(operation, tenant).await?.revision;
        let inventories: HashMap<&str, Vec<u8>> =
            devices.iter().rev().map(|device| (device.id.as_str(), encode_inventory(device))).collect();
        let mut named = HashSet::new();
        let firsts: Vec<usize> =
            (0..devices.len()).filter(|&at| named.insert(devices[at].id.as_str())).collect();
        let claims = stream::iter(firsts).map(|at| {
            let device = &devices[at];
            let inventory = inventories.get(device.id.as_str()).map_or(&[][..], Vec::as_slice);
            async move { Ok::<_, StoreError>((at, self.claim(operation, tenant, device, inventory).await?)) }
        });
        let claims: Vec<(usize, Claim)> = claims.buffer_unordered(AT_ONCE).try_collect().await?;
        let (mut ours, mut claimed, mut names) = (HashSet::new(), inventories, Vec::new());
        for (at, claim) in claims {
            let id = &devices[at].id;
            if matches!(claim, Claim::Ours) {
                ours.insert(at);
            } else {
                claimed.remove(id.as_str());
            }
            if !matches!(claim, Claim::Complete) {
                names.push((at, id.clone()));
            }
        }
        // Ordinals in the order of the devices.
        names.sort_unstable_by_key(|(at, _)| *at);
        let is_all_ours = names.len() == ours.len();
        let names: Vec<DevId> = names.into_iter().map(|(_, id)| id).collect();
        let unmoved = is_all_ours.then_some(unmoved);
        let given = self.give_ordinals(operation, tenant, &names, &claimed, unmoved).await?;
        let answer = devices.iter().enumerate();
        Ok(answer.map(|(at, device)| given.get(&device.id).filter(|_| ours.contains(&at)).copied()).collect())
    }
}

#[async_trait]
impl DeviceStore for ScyllaDevices {
    async fn add(&self, tenant: &TenantId, devices: &[Device]) -> Result<Vec<Option<u32>>, StoreError> {
        let mut ordinals = Vec::with_capacity(devices.len());
        for batch in devices.chunks(BATCH) {
            ordinals.extend(self.add_batch("add devices", tenant, batch).await?);
        }
        Ok(ordinals)
    }

    async fn load(&self, tenant: &TenantId, id: &DevId) -> Result<Option<Versioned<Device>>, StoreError> {
        const OPERATION: &str = "load device";
        let Some(row) = self.device_row(OPERATION, tenant, id).await? else { return Ok(None) };
        let ordinal = match row.ordinal {
            Some(ordinal) if row.done == Some(row.due) => ordinal,
            _ => self.repair(OPERATION, tenant, id, &row).await?,
        };
        let value = self.decode(OPERATION, tenant, (id.clone(), ordinal), &row)?;
        Ok(Some(Versioned { value, revision: Revision(row.revision.0) }))
    }

    async fn name(&self, tenant: &TenantId, ordinal: u32) -> Result<Option<DevId>, StoreError> {
        Ok(self.names(tenant, &[ordinal]).await?.pop().flatten())
    }

    async fn names(&self, tenant: &TenantId, ordinals: &[u32]) -> Result<Vec<Option<DevId>>, StoreError> {
        self.names_of("find devices by ordinal", tenant, ordinals).await
    }

    async fn put(
        &self,
        tenant: &TenantId,
        expected: Revision,
        device: &Device,
    ) -> Result<Revision, StoreError> {
        const OPERATION: &str = "put device";
        let row = self.device_row(OPERATION, tenant, &device.id).await?;
        let Some((row, ordinal)) = row.and_then(|row| row.ordinal.map(|ordinal| (row, ordinal))) else {
            return Err(StoreError::conflict(OPERATION));
        };
        if row.revision.0 != expected.0 {
            return Err(StoreError::conflict(OPERATION));
        }
        let stamp = row.revision.next(OPERATION)?;
        let (new, old, id) = (stamp.as_bigint(), row.revision.as_bigint(), device.id.as_str());
        let count = stamp.count().cast_signed();
        let account = encode_account(OPERATION, &self.keys, tenant, device)?;
        let inventory = encode_inventory(device);
        let is_changed = inventory != row.inventory;
        let was_it_done = || self.what_became(OPERATION, tenant, id, stamp, Some(row.revision));
        let applied = if is_changed {
            let values = (new, account, &inventory, count, &*tenant.0, id, old);
            self.scylla.lwt_resolved(OPERATION, &PUT_ALL, values, was_it_done).await?
        } else {
            let values = (new, account, &*tenant.0, id, old);
            self.scylla.lwt_resolved(OPERATION, &PUT_ACCOUNT, values, was_it_done).await?
        };
        if !applied {
            return Err(StoreError::conflict(OPERATION));
        }
        if is_changed {
            let due = Due { id, ordinal, inventory: &inventory, count };
            // The device is written: who hears of an error here loads it again, and that carries this through.
            self.write_inventory(OPERATION, tenant, &due)
                .await
                .map_err(|error| StoreError::timed_out(OPERATION, error))?;
        }
        Ok(Revision(stamp.0))
    }

    async fn list(
        &self,
        tenant: &TenantId,
        after: Option<&DevId>,
        limit: usize,
    ) -> Result<Vec<Device>, StoreError> {
        const OPERATION: &str = "list devices";
        let from = match after {
            None => 0,
            Some(after) => {
                let row = self.device_row(OPERATION, tenant, after).await?;
                // One that has no ordinal yet is behind all that have.
                let Some(ordinal) = row.and_then(|row| row.ordinal) else { return Ok(Vec::new()) };
                ordinal.saturating_add(1)
            }
        };
        self.scan_devices(OPERATION, tenant, from, limit).await
    }

    async fn scan(&self, tenant: &TenantId, from: u32, limit: usize) -> Result<Vec<Device>, StoreError> {
        self.scan_devices("scan devices", tenant, from, limit).await
    }

    async fn scan_inventory(
        &self,
        tenant: &TenantId,
        from: u32,
        limit: usize,
    ) -> Result<Vec<InventoryRow>, StoreError> {
        self.scan_rows("scan inventory", tenant, from, limit).await
    }

    async fn sealed(&self, tenant: &TenantId, from: u32, limit: usize) -> Result<SealedPage, StoreError> {
        self.sealed_page("look at sealed accounts", tenant, from, limit).await
    }

    async fn count(&self, tenant: &TenantId) -> Result<u32, StoreError> {
        const OPERATION: &str = "count devices";
        let sequence = self.sequence(OPERATION, tenant).await?;
        if sequence.pending.is_some() {
            // Who hears of an ordinal must find its device.
            self.give_ordinals(OPERATION, tenant, &[], &HashMap::new(), None).await?;
        }
        Ok(sequence.next)
    }
}
