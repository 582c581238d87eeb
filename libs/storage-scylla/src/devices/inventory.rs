//! Reading many devices: by partitions of the inventory, some at once.

use std::collections::BTreeMap;

use dm_protocol::DevId;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use storage::{Device, InventoryRow, StoreError, TenantId, records, seal::SealedPage};

use super::{
    DeviceRow, ScyllaDevices,
    ordinals::{AT_ONCE, BLOCK},
    record::{InventoryRecord, dev_id, from_int, sealing},
};
use crate::statement::Cql;

/// Partitions read at once by one call.
const BLOCKS_AT_ONCE: usize = 8;
/// Ordinals up to which a partition is asked for each; for more it is read whole. Scylla refuses more than 100.
const ORDINALS_EACH_MAX: usize = 64;

const ROWS: Cql = Cql::read(
    "SELECT ordinal, id, record FROM inventory WHERE tenant = ? AND block = ? AND ordinal >= ? LIMIT ?",
);
const NAMES: Cql = Cql::read("SELECT ordinal, id FROM inventory WHERE tenant = ? AND block = ?");
const NAMES_EACH: Cql =
    Cql::read("SELECT ordinal, id FROM inventory WHERE tenant = ? AND block = ? AND ordinal IN ?");

/// A row of the inventory as it is stored.
type StoredRow = (i32, String, Vec<u8>);

impl ScyllaDevices {
    /// Up to `limit` rows from an ordinal on. It ends at the first partition that is not full: ordinals are dense.
    async fn stored_rows(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        from: u32,
        limit: usize,
    ) -> Result<Vec<StoredRow>, StoreError> {
        let Ok(from) = i32::try_from(from) else { return Ok(Vec::new()) };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let asked = limit.saturating_add(i64::from(from)).min(i64::from(i32::MAX));
        let end = i32::try_from(asked).unwrap_or(i32::MAX);
        if end <= from {
            return Ok(Vec::new());
        }
        let blocks = from / BLOCK..=(end - 1) / BLOCK;
        let mut pages = stream::iter(blocks)
            .map(|block| async move {
                let start = from.max(block * BLOCK);
                let stop = end.min((block * BLOCK).saturating_add(BLOCK));
                let values = (&*tenant.0, block, start, stop - start);
                let rows: Vec<StoredRow> = self.scylla.rows(operation, &ROWS, values).await?;
                let is_full = i32::try_from(rows.len()) == Ok(stop - start);
                Ok::<_, StoreError>((rows, is_full))
            })
            .buffered(BLOCKS_AT_ONCE);
        let mut all = Vec::new();
        while let Some((rows, is_full)) = pages.try_next().await? {
            all.extend(rows);
            if !is_full {
                break;
            }
        }
        Ok(all)
    }

    pub(super) async fn scan_rows(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        from: u32,
        limit: usize,
    ) -> Result<Vec<InventoryRow>, StoreError> {
        let rows = self.stored_rows(operation, tenant, from, limit).await?;
        rows.into_iter()
            .map(|(ordinal, id, record)| {
                let record: InventoryRecord<'_> = records::decode(operation, &record)?;
                Ok(InventoryRow {
                    ordinal: from_int(operation, ordinal)?,
                    id: dev_id(operation, &id)?,
                    tags: record.tags.into_owned(),
                    inventory: record.inventory.into_owned(),
                })
            })
            .collect()
    }

    /// The rows of devices in the order of ordinals.
    async fn device_rows(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        from: u32,
        limit: usize,
    ) -> Result<Vec<(u32, DevId, DeviceRow)>, StoreError> {
        let rows = self.stored_rows(operation, tenant, from, limit).await?;
        stream::iter(rows)
            .map(|(ordinal, id, _)| async move {
                let (ordinal, id) = (from_int(operation, ordinal)?, dev_id(operation, &id)?);
                let row = self.device_row(operation, tenant, &id).await?;
                let missing = || StoreError::corrupt(operation, "a device has an inventory and no account");
                Ok((ordinal, id, row.ok_or_else(missing)?))
            })
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    pub(super) async fn scan_devices(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        from: u32,
        limit: usize,
    ) -> Result<Vec<Device>, StoreError> {
        let rows = self.device_rows(operation, tenant, from, limit).await?;
        rows.into_iter()
            .map(|(ordinal, id, row)| self.decode(operation, tenant, (id, ordinal), &row))
            .collect()
    }

    pub(super) async fn sealed_page(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        from: u32,
        limit: usize,
    ) -> Result<SealedPage, StoreError> {
        let mut page = SealedPage::default();
        for (ordinal, id, row) in self.device_rows(operation, tenant, from, limit).await? {
            let sealing = sealing(operation, &self.keys, tenant, &id, &row.account)?;
            page.devices.push((ordinal, id, sealing));
        }
        let is_full = page.devices.len() == limit;
        page.next = page.devices.last().filter(|_| is_full).and_then(|(last, ..)| last.checked_add(1));
        Ok(page)
    }

    pub(super) async fn names_of(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        ordinals: &[u32],
    ) -> Result<Vec<Option<DevId>>, StoreError> {
        let mut blocks: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for ordinal in ordinals.iter().filter_map(|&ordinal| i32::try_from(ordinal).ok()) {
            blocks.entry(ordinal / BLOCK).or_default().push(ordinal);
        }
        let pages = stream::iter(blocks).map(|(block, mut each)| async move {
            each.sort_unstable();
            each.dedup();
            if each.len() > ORDINALS_EACH_MAX {
                return self.scylla.rows(operation, &NAMES, (&*tenant.0, block)).await;
            }
            self.scylla.rows(operation, &NAMES_EACH, (&*tenant.0, block, each)).await
        });
        let rows: Vec<Vec<(i32, String)>> = pages.buffer_unordered(BLOCKS_AT_ONCE).try_collect().await?;
        let mut names = BTreeMap::new();
        for (ordinal, id) in rows.into_iter().flatten() {
            names.insert(from_int(operation, ordinal)?, dev_id(operation, &id)?);
        }
        Ok(ordinals.iter().map(|ordinal| names.get(ordinal).cloned()).collect())
    }
}
