//! Devices. What every visit changes (nonces, last seen) is one small record; what campaigns choose by is
//! another, keyed by ordinal, which a visit writes only when it changed.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashSet},
    ops::Bound,
};

use async_trait::async_trait;
use dm_protocol::{Account, DevId};
use fjall::Slice;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Embedded, Inner, commit::Batch, engine::Space, keys};
use crate::{
    Device, DeviceStore, Inventory, InventoryRow, NotifyAddress, Revision, StoreError, TenantId, Versioned,
    records::{self, Number, instant},
    seal::SealedPage,
};

/// Rows above which a read leaves the runtime's thread.
const READ_IN_PLACE_MAX: usize = 256;

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct AccountRecord<'a> {
    pub(super) revision: u64,
    pub(super) ordinal: u32,
    #[serde(with = "instant::option")]
    pub(super) last_seen: Option<Timestamp>,
    pub(super) sealed: &'a [u8],
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct InventoryRecord<'a> {
    pub(super) id: Cow<'a, DevId>,
    pub(super) tags: Cow<'a, BTreeSet<String>>,
    #[serde(with = "instant")]
    pub(super) added: Timestamp,
    pub(super) inventory: Cow<'a, Inventory>,
    pub(super) fumo_root: Option<Cow<'a, str>>,
    #[serde(with = "instant::option")]
    pub(super) dev_detail_read: Option<Timestamp>,
    /// Version 2 has it behind the rest; what has none is written as version 1.
    #[serde(skip)]
    pub(super) notify_address: Option<Cow<'a, NotifyAddress>>,
}

impl<'a> InventoryRecord<'a> {
    fn of(device: &'a Device) -> Self {
        Self {
            id: Cow::Borrowed(&device.id),
            tags: Cow::Borrowed(&device.tags),
            added: device.added,
            inventory: Cow::Borrowed(&device.inventory),
            fumo_root: device.fumo_root.as_deref().map(Cow::Borrowed),
            dev_detail_read: device.dev_detail_read,
            notify_address: device.notify_address.as_ref().map(Cow::Borrowed),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        match &self.notify_address {
            None => records::encode(self),
            Some(address) => records::encode_as(WITH_ADDRESS, &(self, address)),
        }
    }
}

impl InventoryRecord<'static> {
    pub(super) fn decode(operation: &'static str, stored: &[u8]) -> Result<Self, StoreError> {
        if stored.first() != Some(&WITH_ADDRESS) {
            return records::decode(operation, stored);
        }
        let (mut record, address): (Self, Cow<'_, NotifyAddress>) =
            records::decode_as(operation, WITH_ADDRESS, stored)?;
        record.notify_address = Some(address);
        Ok(record)
    }
}

/// The version of the inventory of a device that can be asked to come.
const WITH_ADDRESS: u8 = 2;

impl Inner {
    fn seal(
        &self,
        operation: &'static str,
        key: &[u8],
        device: &Device,
        revision: u64,
        ordinal: u32,
    ) -> Result<Vec<u8>, StoreError> {
        let plain = Zeroizing::new(records::encode(&device.account));
        let sealed =
            self.keys.seal(&plain, key).map_err(|error| StoreError::unavailable(operation, error))?;
        let last_seen = device.last_seen;
        Ok(records::encode(&AccountRecord { revision, ordinal, last_seen, sealed: &sealed }))
    }

    fn unseal(
        &self,
        operation: &'static str,
        key: &[u8],
        record: &AccountRecord<'_>,
    ) -> Result<Account, StoreError> {
        let plain =
            self.keys.open(record.sealed, key).map_err(|error| StoreError::corrupt(operation, error))?;
        records::decode(operation, &plain)
    }

    /// A whole device from its two records.
    fn device(
        &self,
        operation: &'static str,
        key: &[u8],
        account: &AccountRecord<'_>,
        inventory: InventoryRecord<'_>,
    ) -> Result<Device, StoreError> {
        Ok(Device {
            id: inventory.id.into_owned(),
            ordinal: account.ordinal,
            account: self.unseal(operation, key, account)?,
            tags: inventory.tags.into_owned(),
            added: inventory.added,
            last_seen: account.last_seen,
            inventory: inventory.inventory.into_owned(),
            fumo_root: inventory.fumo_root.map(Cow::into_owned),
            dev_detail_read: inventory.dev_detail_read,
            notify_address: inventory.notify_address.map(Cow::into_owned),
        })
    }

    fn inventory_record(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        ordinal: u32,
    ) -> Result<InventoryRecord<'static>, StoreError> {
        let key = keys::ordinal(operation, tenant, ordinal)?;
        let stored = self.engine.read(operation, Space::Inventory, &key)?.ok_or_else(|| {
            StoreError::corrupt(operation, format!("no inventory for the device of ordinal {ordinal}"))
        })?;
        InventoryRecord::decode(operation, &stored)
    }

    /// Whether a device may have an address: false only where it surely has none. Reads no more than an octet of it.
    pub(super) fn may_be_reached(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        ordinal: u32,
    ) -> Result<bool, StoreError> {
        let key = keys::ordinal(operation, tenant, ordinal)?;
        let stored = self.engine.read(operation, Space::Inventory, &key)?;
        Ok(stored.is_none_or(|stored| stored.first() == Some(&WITH_ADDRESS)))
    }

    fn device_count(&self, operation: &'static str, tenant: &[u8]) -> Result<u32, StoreError> {
        let Some(stored) = self.engine.read(operation, Space::Meta, &keys::with(tenant, DEVICE_COUNT))?
        else {
            return Ok(0);
        };
        let Number(count) = records::decode(operation, &stored)?;
        u32::try_from(count).map_err(|error| StoreError::corrupt(operation, error))
    }

    fn add_devices(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        devices: &[Device],
    ) -> Result<(Batch, Vec<Option<u32>>), StoreError> {
        let tenant_key = keys::tenant(operation, tenant)?;
        let mut count = self.device_count(operation, &tenant_key)?;
        let mut batch = Batch::default();
        let mut ordinals = Vec::with_capacity(devices.len());
        let mut added = HashSet::new();
        for device in devices {
            let key = keys::device(operation, tenant, &device.id)?;
            if added.contains(&device.id) || self.engine.has(operation, Space::Accounts, &key)? {
                ordinals.push(None);
                continue;
            }
            let ordinal = count;
            count = count
                .checked_add(1)
                .ok_or_else(|| StoreError::too_large(operation, "all ordinals of the tenant are given"))?;
            let inventory_key = keys::with(&tenant_key, &ordinal.to_be_bytes());
            batch.put(Space::Inventory, inventory_key, InventoryRecord::of(device).encode());
            let account = self.seal(operation, &key, device, 1, ordinal)?;
            batch.put(Space::Accounts, key, account);
            added.insert(&device.id);
            ordinals.push(Some(ordinal));
        }
        if !added.is_empty() {
            let count_key = keys::with(&tenant_key, DEVICE_COUNT);
            batch.put(Space::Meta, count_key, records::encode(&Number(count.into())));
        }
        Ok((batch, ordinals))
    }

    fn list_devices(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        after: Option<&DevId>,
        limit: usize,
    ) -> Result<Vec<Device>, StoreError> {
        let prefix = keys::tenant(operation, tenant)?;
        let after = after.map(|after| keys::device(operation, tenant, after)).transpose()?;
        let from = after.as_deref().map_or(Bound::Included(prefix.as_slice()), Bound::Excluded);
        let mut devices = Vec::new();
        for row in self.engine.scan(operation, Space::Accounts, &prefix, from).take(limit) {
            let (key, stored) = row?;
            let account: AccountRecord<'_> = records::decode(operation, &stored)?;
            let inventory = self.inventory_record(operation, tenant, account.ordinal)?;
            devices.push(self.device(operation, &key, &account, inventory)?);
        }
        Ok(devices)
    }

    fn scan_records(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        from: u32,
        limit: usize,
    ) -> Result<Vec<(u32, InventoryRecord<'static>)>, StoreError> {
        let prefix = keys::tenant(operation, tenant)?;
        let from = keys::with(&prefix, &from.to_be_bytes());
        let rows = self.engine.scan(operation, Space::Inventory, &prefix, Bound::Included(&from));
        rows.take(limit)
            .map(|row| {
                let (key, stored) = row?;
                let ordinal = keys::last_u32(&key)
                    .ok_or_else(|| StoreError::corrupt(operation, "key ends in no ordinal"))?;
                Ok((ordinal, InventoryRecord::decode(operation, &stored)?))
            })
            .collect()
    }

    fn sealed_page(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        from: u32,
        limit: usize,
    ) -> Result<SealedPage, StoreError> {
        let mut page = SealedPage::default();
        for (ordinal, inventory) in self.scan_records(operation, tenant, from, limit)? {
            let key = keys::device(operation, tenant, &inventory.id)?;
            let stored = self.account(operation, &key)?;
            let account: AccountRecord<'_> = records::decode(operation, &stored)?;
            let sealing = self.keys.key_of(account.sealed, &key);
            let sealing = sealing.map_err(|error| StoreError::corrupt(operation, error))?;
            page.devices.push((ordinal, inventory.id.into_owned(), sealing));
        }
        let is_full = page.devices.len() == limit;
        page.next = page.devices.last().filter(|_| is_full).and_then(|(last, ..)| last.checked_add(1));
        Ok(page)
    }

    /// The account of a device whose inventory is there.
    fn account(&self, operation: &'static str, key: &[u8]) -> Result<Slice, StoreError> {
        let stored = self.engine.read(operation, Space::Accounts, key)?;
        stored.ok_or_else(|| StoreError::corrupt(operation, "a device has an inventory and no account"))
    }

    fn scan_devices(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        from: u32,
        limit: usize,
    ) -> Result<Vec<Device>, StoreError> {
        let mut devices = Vec::new();
        for (_, inventory) in self.scan_records(operation, tenant, from, limit)? {
            let key = keys::device(operation, tenant, &inventory.id)?;
            let stored = self.account(operation, &key)?;
            let account = records::decode(operation, &stored)?;
            devices.push(self.device(operation, &key, &account, inventory)?);
        }
        Ok(devices)
    }
}

/// The name of the count of devices among a tenant's counters.
const DEVICE_COUNT: &[u8] = b"/devices";

#[async_trait]
impl DeviceStore for Embedded {
    async fn add(&self, tenant: &TenantId, devices: &[Device]) -> Result<Vec<Option<u32>>, StoreError> {
        const OPERATION: &str = "add devices";
        // Ordinals are dense, so who adds to a tenant waits until who came before has written.
        let adding = self.0.tenant_locks.lock(&keys::with(tenant.0.as_bytes(), DEVICE_COUNT)).await;
        let (mut batch, ordinals) = if devices.len() <= 8 {
            self.0.add_devices(OPERATION, tenant, devices)?
        } else {
            let (tenant, devices) = (tenant.clone(), devices.to_vec());
            self.blocking(OPERATION, move |inner| inner.add_devices(OPERATION, &tenant, &devices)).await?
        };
        batch.hold([adding]);
        self.0.committer.commit(OPERATION, batch).await?;
        Ok(ordinals)
    }

    async fn load(&self, tenant: &TenantId, id: &DevId) -> Result<Option<Versioned<Device>>, StoreError> {
        const OPERATION: &str = "load device";
        let key = keys::device(OPERATION, tenant, id)?;
        let Some(stored) = self.0.engine.read(OPERATION, Space::Accounts, &key)? else {
            return Ok(None);
        };
        let account: AccountRecord<'_> = records::decode(OPERATION, &stored)?;
        let inventory = self.0.inventory_record(OPERATION, tenant, account.ordinal)?;
        let value = self.0.device(OPERATION, &key, &account, inventory)?;
        Ok(Some(Versioned { value, revision: Revision(account.revision) }))
    }

    async fn name(&self, tenant: &TenantId, ordinal: u32) -> Result<Option<DevId>, StoreError> {
        const OPERATION: &str = "find device by ordinal";
        let key = keys::ordinal(OPERATION, tenant, ordinal)?;
        let stored = self.0.engine.read(OPERATION, Space::Inventory, &key)?;
        stored.map(|stored| Ok(InventoryRecord::decode(OPERATION, &stored)?.id.into_owned())).transpose()
    }

    async fn put(
        &self,
        tenant: &TenantId,
        expected: Revision,
        device: &Device,
    ) -> Result<Revision, StoreError> {
        const OPERATION: &str = "put device";
        let key = keys::device(OPERATION, tenant, &device.id)?;
        let guard = self.0.device_locks.lock(&key).await;
        let Some(stored) = self.0.engine.read(OPERATION, Space::Accounts, &key)? else {
            return Err(StoreError::conflict(OPERATION));
        };
        let known: AccountRecord<'_> = records::decode(OPERATION, &stored)?;
        if known.revision != expected.0 {
            return Err(StoreError::conflict(OPERATION));
        }
        let revision = known.revision + 1;
        let mut batch = Batch::default();
        let inventory_key = keys::ordinal(OPERATION, tenant, known.ordinal)?;
        let inventory = InventoryRecord::of(device).encode();
        let unchanged = self.0.engine.read(OPERATION, Space::Inventory, &inventory_key)?;
        if unchanged.is_none_or(|unchanged| *unchanged != *inventory) {
            batch.put(Space::Inventory, inventory_key, inventory);
        }
        let account = self.0.seal(OPERATION, &key, device, revision, known.ordinal)?;
        batch.put(Space::Accounts, key, account);
        batch.hold([guard]);
        self.0.committer.commit(OPERATION, batch).await?;
        Ok(Revision(revision))
    }

    async fn list(
        &self,
        tenant: &TenantId,
        after: Option<&DevId>,
        limit: usize,
    ) -> Result<Vec<Device>, StoreError> {
        const OPERATION: &str = "list devices";
        if limit <= READ_IN_PLACE_MAX {
            return self.0.list_devices(OPERATION, tenant, after, limit);
        }
        let (tenant, after) = (tenant.clone(), after.cloned());
        let list = move |inner: &Inner| inner.list_devices(OPERATION, &tenant, after.as_ref(), limit);
        self.blocking(OPERATION, list).await
    }

    async fn scan(&self, tenant: &TenantId, from: u32, limit: usize) -> Result<Vec<Device>, StoreError> {
        const OPERATION: &str = "scan devices";
        if limit <= READ_IN_PLACE_MAX {
            return self.0.scan_devices(OPERATION, tenant, from, limit);
        }
        let tenant = tenant.clone();
        self.blocking(OPERATION, move |inner| inner.scan_devices(OPERATION, &tenant, from, limit)).await
    }

    async fn scan_inventory(
        &self,
        tenant: &TenantId,
        from: u32,
        limit: usize,
    ) -> Result<Vec<InventoryRow>, StoreError> {
        const OPERATION: &str = "scan inventory";
        let tenant = tenant.clone();
        let scan = move |inner: &Inner| {
            let rows = inner.scan_records(OPERATION, &tenant, from, limit)?;
            Ok(rows
                .into_iter()
                .map(|(ordinal, record)| InventoryRow {
                    ordinal,
                    id: record.id.into_owned(),
                    tags: record.tags.into_owned(),
                    inventory: record.inventory.into_owned(),
                })
                .collect())
        };
        if limit <= READ_IN_PLACE_MAX { scan(&self.0) } else { self.blocking(OPERATION, scan).await }
    }

    async fn sealed(&self, tenant: &TenantId, from: u32, limit: usize) -> Result<SealedPage, StoreError> {
        const OPERATION: &str = "look at sealed accounts";
        let tenant = tenant.clone();
        self.blocking(OPERATION, move |inner| inner.sealed_page(OPERATION, &tenant, from, limit)).await
    }

    async fn count(&self, tenant: &TenantId) -> Result<u32, StoreError> {
        const OPERATION: &str = "count devices";
        self.0.device_count(OPERATION, &keys::tenant(OPERATION, tenant)?)
    }
}
