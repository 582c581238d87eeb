//! The stored forms of a device: what every visit changes, and what campaigns choose by.

use std::{borrow::Cow, collections::BTreeSet};

use dm_protocol::{Account, DevId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use storage::{
    Device, Inventory, KeyRing, NotifyAddress, StoreError, TenantId,
    records::{self, instant},
    seal::Sealing,
};

/// Octets of the name of a tenant, and of a device (128 characters of four), at most.
const TENANT_MAX: usize = 255;
const DEVICE_MAX: usize = 512;

/// What every visit changes: the column `account`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AccountRecord<'a> {
    #[serde(with = "instant::option")]
    pub(crate) last_seen: Option<Timestamp>,
    /// The account, encoded and sealed.
    pub(crate) sealed: &'a [u8],
}

/// What campaigns choose by, and what changes as rarely: the columns `inventory` and `record`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct InventoryRecord<'a> {
    pub(crate) tags: Cow<'a, BTreeSet<String>>,
    #[serde(with = "instant")]
    pub(crate) added: Timestamp,
    pub(crate) inventory: Cow<'a, Inventory>,
    pub(crate) fumo_root: Option<Cow<'a, str>>,
    #[serde(with = "instant::option")]
    pub(crate) dev_detail_read: Option<Timestamp>,
    pub(crate) notify_address: Option<Cow<'a, NotifyAddress>>,
}

/// The stored form of the inventory of a device.
pub(super) fn encode_inventory(device: &Device) -> Vec<u8> {
    records::encode(&InventoryRecord {
        tags: Cow::Borrowed(&device.tags),
        added: device.added,
        inventory: Cow::Borrowed(&device.inventory),
        fumo_root: device.fumo_root.as_deref().map(Cow::Borrowed),
        dev_detail_read: device.dev_detail_read,
        notify_address: device.notify_address.as_ref().map(Cow::Borrowed),
    })
}

/// The stored form of the account of a device, sealed for this device alone.
pub(super) fn encode_account(
    operation: &'static str,
    keys: &KeyRing,
    tenant: &TenantId,
    device: &Device,
) -> Result<Vec<u8>, StoreError> {
    let plain = zeroize::Zeroizing::new(records::encode(&device.account));
    let bound_to = place(operation, tenant, &device.id)?;
    let sealed = keys.seal(&plain, &bound_to).map_err(|error| StoreError::unavailable(operation, error))?;
    Ok(records::encode(&AccountRecord { last_seen: device.last_seen, sealed: &sealed }))
}

/// A device from its two records.
pub(super) fn decode_device(
    operation: &'static str,
    keys: &KeyRing,
    tenant: &TenantId,
    (id, ordinal): (DevId, u32),
    account: &[u8],
    inventory: &[u8],
) -> Result<Device, StoreError> {
    let account: AccountRecord<'_> = records::decode(operation, account)?;
    let inventory: InventoryRecord<'_> = records::decode(operation, inventory)?;
    let bound_to = place(operation, tenant, &id)?;
    let plain =
        keys.open(account.sealed, &bound_to).map_err(|error| StoreError::corrupt(operation, error))?;
    let opened: Account = records::decode(operation, &plain)?;
    Ok(Device {
        id,
        ordinal,
        account: opened,
        tags: inventory.tags.into_owned(),
        added: inventory.added,
        last_seen: account.last_seen,
        inventory: inventory.inventory.into_owned(),
        fumo_root: inventory.fumo_root.map(Cow::into_owned),
        dev_detail_read: inventory.dev_detail_read,
        notify_address: inventory.notify_address.map(Cow::into_owned),
    })
}

/// What an account is sealed with.
pub(super) fn sealing(
    operation: &'static str,
    keys: &KeyRing,
    tenant: &TenantId,
    id: &DevId,
    account: &[u8],
) -> Result<Sealing, StoreError> {
    let account: AccountRecord<'_> = records::decode(operation, account)?;
    let bound_to = place(operation, tenant, id)?;
    keys.key_of(account.sealed, &bound_to).map_err(|error| StoreError::corrupt(operation, error))
}

/// What an account is bound to: the tenant, its length before it, and the device.
fn place(operation: &'static str, tenant: &TenantId, id: &DevId) -> Result<Vec<u8>, StoreError> {
    let (tenant, id) = (tenant.0.as_bytes(), id.as_str().as_bytes());
    let (Ok(length), true) = (u8::try_from(tenant.len()), id.len() <= DEVICE_MAX) else {
        let reason = format!(
            "expected at most {TENANT_MAX} octets of tenant and {DEVICE_MAX} of device, got {} and {}",
            tenant.len(),
            id.len()
        );
        return Err(StoreError::too_large(operation, reason));
    };
    Ok([&[length], tenant, id].concat())
}

/// A name as it came from a row.
pub(super) fn dev_id(operation: &'static str, text: &str) -> Result<DevId, StoreError> {
    DevId::parse(text).map_err(|error| StoreError::corrupt(operation, error))
}

/// An ordinal as CQL has it.
pub(super) fn to_int(operation: &'static str, ordinal: u32) -> Result<i32, StoreError> {
    i32::try_from(ordinal)
        .map_err(|_| StoreError::too_large(operation, "all ordinals of the tenant are given"))
}

/// An ordinal from a row.
pub(super) fn from_int(operation: &'static str, stored: i32) -> Result<u32, StoreError> {
    u32::try_from(stored).map_err(|error| StoreError::corrupt(operation, error))
}
