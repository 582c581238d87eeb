//! Devices, their credentials, and the inventory that campaigns choose by.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use dm_protocol::{Account, DevId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{NotifyAddress, Revision, StoreError, TenantId, Versioned, seal::SealedPage};

/// One device as stored. The account is sealed at rest by the backend and opened on reading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its name.
    pub id: DevId,
    /// Dense number within the tenant, from 0, given by the store when the device is added and never reused:
    /// what campaign bitmaps count by.
    pub ordinal: u32,
    /// Its credentials and nonces.
    pub account: Account,
    /// Free labels.
    pub tags: BTreeSet<String>,
    /// When it was added.
    pub added: Timestamp,
    /// When a session of it last authenticated.
    pub last_seen: Option<Timestamp>,
    /// What it said of itself.
    pub inventory: Inventory,
    /// Where its FUMO node is, once found.
    pub fumo_root: Option<String>,
    /// When DevDetail was last read whole.
    pub dev_detail_read: Option<Timestamp>,
    /// Where it can be asked to come; `None`: it comes by itself only.
    pub notify_address: Option<NotifyAddress>,
}

/// The few values of a tree that every question asks for; kept beside the account so that choosing devices reads no tree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// `./DevInfo/Man`
    pub maker: String,
    /// `./DevInfo/Mod`
    pub model: String,
    /// `./DevDetail/FwV`
    pub firmware: String,
    /// `./DevDetail/SwV`
    pub software: String,
    /// `./DevDetail/HwV`
    pub hardware: String,
    /// `./DevInfo/DmV`
    pub dm_version: String,
    /// `./DevInfo/Lang`
    pub language: String,
    /// More leaves that the settings name, by normalised address.
    pub more: BTreeMap<String, String>,
}

/// What campaigns choose a device by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryRow {
    /// Its ordinal.
    pub ordinal: u32,
    /// Its name.
    pub id: DevId,
    /// Its labels.
    pub tags: BTreeSet<String>,
    /// What it said of itself.
    pub inventory: Inventory,
}

impl From<Device> for InventoryRow {
    fn from(device: Device) -> Self {
        Self { ordinal: device.ordinal, id: device.id, tags: device.tags, inventory: device.inventory }
    }
}

/// Devices by name and by ordinal.
#[async_trait]
pub trait DeviceStore: Send + Sync {
    /// Adds devices that are not known yet, in one durable step a call, and gives each its ordinal (the one in
    /// the record given is ignored). The answer is in the order of `devices`: `None` where the name was taken.
    async fn add(&self, tenant: &TenantId, devices: &[Device]) -> Result<Vec<Option<u32>>, StoreError>;

    /// One device by name.
    async fn load(&self, tenant: &TenantId, id: &DevId) -> Result<Option<Versioned<Device>>, StoreError>;

    /// One device's name by ordinal.
    async fn name(&self, tenant: &TenantId, ordinal: u32) -> Result<Option<DevId>, StoreError>;

    /// Names by ordinal, in the order asked for. A backend that has to travel for each asks for many at once.
    async fn names(&self, tenant: &TenantId, ordinals: &[u32]) -> Result<Vec<Option<DevId>>, StoreError> {
        let mut names = Vec::with_capacity(ordinals.len());
        for &ordinal in ordinals {
            names.push(self.name(tenant, ordinal).await?);
        }
        Ok(names)
    }

    /// Writes a device, durably, if nobody has since `expected`. Name and ordinal do not change.
    async fn put(
        &self,
        tenant: &TenantId,
        expected: Revision,
        device: &Device,
    ) -> Result<Revision, StoreError>;

    /// Up to `limit` devices after `after`, in an order of the store's own that all pages agree on.
    async fn list(
        &self,
        tenant: &TenantId,
        after: Option<&DevId>,
        limit: usize,
    ) -> Result<Vec<Device>, StoreError>;

    /// Up to `limit` devices in the order of their ordinals, from `from` on.
    async fn scan(&self, tenant: &TenantId, from: u32, limit: usize) -> Result<Vec<Device>, StoreError>;

    /// The same as [`DeviceStore::scan`] without the accounts: what campaigns choose members by. A backend that keeps
    /// the inventory apart opens no sealed record for it.
    async fn scan_inventory(
        &self,
        tenant: &TenantId,
        from: u32,
        limit: usize,
    ) -> Result<Vec<InventoryRow>, StoreError> {
        Ok(self.scan(tenant, from, limit).await?.into_iter().map(InventoryRow::from).collect())
    }

    /// What the secrets of up to `limit` devices from the ordinal `from` on are sealed with, in the order of ordinals.
    /// [`DeviceStore::put`] seals with the newest key; [`crate::seal::reseal`] does that for all that have another.
    async fn sealed(&self, tenant: &TenantId, from: u32, limit: usize) -> Result<SealedPage, StoreError>;

    /// How many devices the tenant has, which is also the next ordinal.
    async fn count(&self, tenant: &TenantId) -> Result<u32, StoreError>;
}
