//! Ordinals: dense, each given once, also when processes race or die.
//!
//! A device is claimed first, by inserting its row without an ordinal. Then one row of the tenant, `device_sequence`,
//! takes the names in: in one conditional write it moves on by as many ordinals as there are names and keeps the names
//! as `pending`. From then on it is decided who has which ordinal; writing that into the devices can be done by
//! anyone, any number of times. Whoever finds a pending batch carries it through before anything else, so only the
//! last can be unfinished. A device that was claimed by a process that died before it got so far has no ordinal and is
//! in no batch: it is given one by the next that loads it or tries to add it.

use std::{collections::HashMap, time::Duration};

use dm_protocol::DevId;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use storage::{StoreError, TenantId, records};

use super::{
    ScyllaDevices,
    record::{from_int, to_int},
};
use crate::{
    lwt::{Lwt, Stamp},
    statement::Cql,
};

/// Tries against others who add to the same tenant.
const TRIES: u32 = 200;
/// Devices read or written at once by one call.
pub(super) const AT_ONCE: usize = 64;

const READ: Cql = Cql::serial_read("SELECT revision, next, pending FROM device_sequence WHERE tenant = ?");
const CREATE: Cql = Cql::conditional(
    "INSERT INTO device_sequence (tenant, revision, next, pending) VALUES (?, ?, ?, ?) IF NOT EXISTS",
);
const MOVE: Cql = Cql::conditional(
    "UPDATE device_sequence SET revision = ?, next = ?, pending = ? WHERE tenant = ? IF revision = ?",
);
const ROW: Cql = Cql::read(
    "SELECT ordinal, inventory, inventory_due, inventory_done FROM device WHERE tenant = ? AND id = ?",
);
const ORDINAL: Cql = Cql::read("SELECT ordinal FROM device WHERE tenant = ? AND id = ?");
// Timestamps are counts of writes of the device: the later one wins, wherever and however late an earlier one lands.
const INVENTORY: Cql = Cql::write(
    "INSERT INTO inventory (tenant, block, ordinal, id, record) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?",
);
const DONE: Cql = Cql::write(
    "UPDATE device USING TIMESTAMP ? SET ordinal = ?, inventory_done = ? WHERE tenant = ? AND id = ?",
);

/// Names that have ordinals from `start` on.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Batch {
    pub(crate) start: u32,
    pub(crate) names: Vec<String>,
}

/// The row of a tenant.
#[derive(Debug)]
pub(super) struct Sequence {
    /// `None`: there is no row yet.
    pub(super) revision: Option<Stamp>,
    pub(super) next: u32,
    pub(super) pending: Option<Batch>,
}

/// What the row of a device says of its ordinal and its inventory: the ordinal, the stored form of the inventory, the
/// count of the write that it is of, and of the one that was last carried into the table of inventories.
type Known = (Option<i32>, Vec<u8>, i64, Option<i64>);

/// What is to be written of a device whose ordinal is decided.
pub(super) struct Due<'a> {
    pub(super) id: &'a str,
    pub(super) ordinal: u32,
    /// The stored form of the inventory, and the count of the write that it is of.
    pub(super) inventory: &'a [u8],
    pub(super) count: i64,
}

impl ScyllaDevices {
    pub(super) async fn sequence(
        &self,
        operation: &'static str,
        tenant: &TenantId,
    ) -> Result<Sequence, StoreError> {
        let row: Option<(i64, i32, Option<Vec<u8>>)> =
            self.scylla.row(operation, &READ, (&*tenant.0,)).await?;
        let Some((revision, next, pending)) = row else {
            return Ok(Sequence { revision: None, next: 0, pending: None });
        };
        // A null blob may come as an empty one.
        let pending = pending.filter(|stored| !stored.is_empty());
        Ok(Sequence {
            revision: Some(Stamp::from_bigint(revision)),
            next: from_int(operation, next)?,
            pending: pending.map(|stored| records::decode(operation, &stored)).transpose()?,
        })
    }

    /// Gives ordinals to claimed devices that have none, after carrying through what others left. `claimed` are the
    /// inventories of devices that this process has just claimed, so that they need not be read. `unmoved` is a
    /// revision of the sequence from before they were claimed: while it stands, nobody else can have given them one.
    pub(super) async fn give_ordinals(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        names: &[DevId],
        claimed: &HashMap<&str, Vec<u8>>,
        unmoved: Option<Option<Stamp>>,
    ) -> Result<HashMap<DevId, u32>, StoreError> {
        let mut given = HashMap::new();
        for attempt in 0..TRIES {
            let sequence = self.sequence(operation, tenant).await?;
            if let Some(pending) = &sequence.pending {
                self.carry_through(operation, tenant, pending, claimed).await?;
            }
            let mut left: Vec<&DevId> = names.iter().filter(|id| !given.contains_key(*id)).collect();
            if unmoved != Some(sequence.revision) {
                self.note_given(operation, tenant, &left, &mut given).await?;
                left.retain(|id| !given.contains_key(*id));
            }
            if left.is_empty() && sequence.pending.is_none() {
                return Ok(given);
            }
            let batch = (!left.is_empty()).then(|| Batch {
                start: sequence.next,
                names: left.iter().map(|id| id.as_str().to_owned()).collect(),
            });
            let moved = self.move_on(operation, tenant, &sequence, batch.as_ref()).await?;
            let Some(moved) = moved else {
                // Lost to another, or the answer was: the next look at the row says which.
                tokio::time::sleep(wait_after(attempt)).await;
                continue;
            };
            let Some(batch) = batch else { return Ok(given) };
            self.carry_through(operation, tenant, &batch, claimed).await?;
            given.extend(left.iter().zip(batch.start..).map(|(id, ordinal)| ((*id).clone(), ordinal)));
            // Where this fails the next who comes finds that all is written, and clears it.
            if let Err(error) = self.move_on(operation, tenant, &moved, None).await {
                tracing::debug!(operation, %error, "names stay pending");
            }
            return Ok(given);
        }
        Err(StoreError::unavailable(operation, format!("{TRIES} others were faster to add devices")))
    }

    /// Looks which of `names` have an ordinal.
    async fn note_given(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        names: &[&DevId],
        given: &mut HashMap<DevId, u32>,
    ) -> Result<(), StoreError> {
        let ids: Vec<DevId> = names.iter().map(|id| (*id).clone()).collect();
        let read = stream::iter(ids).map(|id| async move {
            let row: Option<(Option<i32>,)> =
                self.scylla.row(operation, &ORDINAL, (&*tenant.0, id.as_str())).await?;
            let ordinal = row.and_then(|(ordinal,)| ordinal);
            Ok::<_, StoreError>((id, ordinal.map(|it| from_int(operation, it)).transpose()?))
        });
        let read: Vec<(DevId, Option<u32>)> = read.buffer_unordered(AT_ONCE).try_collect().await?;
        given.extend(read.into_iter().filter_map(|(id, ordinal)| Some((id, ordinal?))));
        Ok(())
    }

    /// Moves the sequence on by a batch, or only clears what was pending. `None`: it was not as we knew it, or that is
    /// not known.
    pub(super) async fn move_on(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        from: &Sequence,
        batch: Option<&Batch>,
    ) -> Result<Option<Sequence>, StoreError> {
        let more = batch.map_or(0, |batch| u32::try_from(batch.names.len()).unwrap_or(u32::MAX));
        let next = from.next.saturating_add(more);
        let pending = batch.map(records::encode);
        let stamp = from.revision.unwrap_or(Stamp(0)).next(operation)?;
        let (stored_next, revision) = (to_int(operation, next)?, stamp.as_bigint());
        let moved = match from.revision {
            None => self.scylla.lwt(operation, &CREATE, (&*tenant.0, revision, stored_next, pending)).await?,
            Some(before) => {
                let values = (revision, stored_next, pending, &*tenant.0, before.as_bigint());
                self.scylla.lwt(operation, &MOVE, values).await?
            }
        };
        let applied = matches!(moved, Lwt::Applied);
        Ok(applied.then_some(Sequence { revision: Some(stamp), next, pending: None }))
    }

    /// Writes the ordinals and the inventories of a batch. Doing so twice is as doing it once.
    async fn carry_through(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        batch: &Batch,
        claimed: &HashMap<&str, Vec<u8>>,
    ) -> Result<(), StoreError> {
        let each: Vec<(usize, u32)> = (0..batch.names.len()).zip(batch.start..).collect();
        let writes = stream::iter(each).map(|(at, ordinal)| async move {
            let name = batch.names[at].as_str();
            if let Some(inventory) = claimed.get(name) {
                let due = Due { id: name, ordinal, inventory, count: 1 };
                return self.write_inventory(operation, tenant, &due).await;
            }
            let row: Option<Known> = self.scylla.row(operation, &ROW, (&*tenant.0, name)).await?;
            let Some((known, inventory, count, done)) = row else {
                return Err(StoreError::corrupt(
                    operation,
                    "an ordinal was given to a device that is not there",
                ));
            };
            if known.is_some() && done == Some(count) {
                return Ok(());
            }
            let due = Due { id: name, ordinal, inventory: &inventory, count };
            self.write_inventory(operation, tenant, &due).await
        });
        writes.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Writes what campaigns choose by, and then into the device that this is done. A crash in between leaves a device
    /// that says that it is not, and the next that loads it does it again.
    pub(super) async fn write_inventory(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        due: &Due<'_>,
    ) -> Result<(), StoreError> {
        let ordinal = to_int(operation, due.ordinal)?;
        let row = (&*tenant.0, block_of(ordinal), ordinal, due.id, due.inventory, due.count);
        self.scylla.write(operation, &INVENTORY, row).await?;
        let done = (due.count, ordinal, due.count, &*tenant.0, due.id);
        self.scylla.write(operation, &DONE, done).await
    }
}

/// Devices of a partition of the inventory.
pub(super) const BLOCK: i32 = 1000;

/// The partition of an ordinal.
pub(super) fn block_of(ordinal: i32) -> i32 {
    ordinal / BLOCK
}

/// Longer after each try, and different in each process.
fn wait_after(attempt: u32) -> Duration {
    let most = 10 << attempt.min(6);
    let random = getrandom::u32().unwrap_or(attempt);
    Duration::from_millis(u64::from(1 + random % most))
}
