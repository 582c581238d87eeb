//! The form of a hot record: a version and postcard, sealed; and what of it the durable row keeps.

use std::{borrow::Cow, collections::BTreeSet};

use dm_protocol::{Account, ClientAuth, DevId, Nonces, ServerAuth};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use storage::{
    Device, Inventory, NotifyAddress, Revision, StoreError, TenantId,
    records::{self, instant},
};
use zeroize::Zeroizing;

use super::CachedDevices;
use crate::hot::HotRecord;

/// Octets of most devices. A buffer that grows leaves what it held, unlike one that is wiped at its end.
const PLAIN_USUAL: usize = 512;

#[derive(Serialize, Deserialize)]
struct Record<'a> {
    account: Cow<'a, Account>,
    tags: Cow<'a, BTreeSet<String>>,
    #[serde(with = "instant")]
    added: Timestamp,
    #[serde(with = "instant::option")]
    last_seen: Option<Timestamp>,
    inventory: Cow<'a, Inventory>,
    fumo_root: Option<Cow<'a, str>>,
    #[serde(with = "instant::option")]
    dev_detail_read: Option<Timestamp>,
    notify_address: Option<Cow<'a, NotifyAddress>>,
}

/// What the durable row keeps exactly. Two devices of one digest need not be told apart there.
#[derive(Serialize)]
struct Durable<'a> {
    client: &'a ClientAuth,
    server: &'a Option<ServerAuth>,
    /// Of a device that was never seen: they have not been used.
    nonces: Option<&'a Nonces>,
    tags: &'a BTreeSet<String>,
    #[serde(with = "instant")]
    added: Timestamp,
    /// Which of the device's hours it was last seen in.
    seen: Option<i64>,
    inventory: &'a Inventory,
    fumo_root: &'a Option<String>,
    #[serde(with = "instant::option")]
    dev_detail_read: Option<Timestamp>,
    notify_address: &'a Option<NotifyAddress>,
}

/// A sealed record opens only for the device it was sealed for.
fn bound_to(tenant: &TenantId, device: &DevId) -> Vec<u8> {
    // Neither has a zero octet.
    [b"hot device\0", tenant.0.as_bytes(), b"\0", device.as_str().as_bytes()].concat()
}

impl CachedDevices {
    /// The digest of what the row keeps.
    pub(super) fn digest(&self, device: &Device) -> [u8; 16] {
        let Device { account, inventory, fumo_root, last_seen, .. } = device;
        let seen = last_seen.map(|seen| {
            let grain = i64::try_from(self.seen_grain.as_secs()).unwrap_or(i64::MAX).max(1);
            // Each device has its own hours, so that a fleet does not write all its rows when a new one begins.
            let phase = i64::from(spread(device.id.as_str())) % grain;
            seen.as_second().saturating_add(phase).div_euclid(grain)
        });
        let durable = Durable {
            client: &account.client,
            server: &account.server,
            nonces: last_seen.is_none().then_some(&account.nonces),
            tags: &device.tags,
            added: device.added,
            seen,
            inventory,
            fumo_root,
            dev_detail_read: device.dev_detail_read,
            notify_address: &device.notify_address,
        };
        let plain = Zeroizing::new(records::append(Vec::with_capacity(PLAIN_USUAL), &durable));
        self.keys.fingerprint(&plain)
    }

    pub(super) fn seal(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        device: &Device,
    ) -> Result<Vec<u8>, StoreError> {
        let record = Record {
            account: Cow::Borrowed(&device.account),
            tags: Cow::Borrowed(&device.tags),
            added: device.added,
            last_seen: device.last_seen,
            inventory: Cow::Borrowed(&device.inventory),
            fumo_root: device.fumo_root.as_deref().map(Cow::Borrowed),
            dev_detail_read: device.dev_detail_read,
            notify_address: device.notify_address.as_ref().map(Cow::Borrowed),
        };
        let mut plain = Vec::with_capacity(PLAIN_USUAL);
        plain.push(records::VERSION);
        let plain = Zeroizing::new(records::append(plain, &record));
        let sealed = self.keys.seal(&plain, &bound_to(tenant, &device.id));
        sealed.map_err(|error| StoreError::unavailable(operation, error))
    }

    pub(super) fn record(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        device: &Device,
        durable: Revision,
    ) -> Result<HotRecord, StoreError> {
        let sealed = self.seal(operation, tenant, device)?;
        Ok(HotRecord { digest: self.digest(device), durable, ordinal: device.ordinal, sealed })
    }

    pub(super) fn open(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        id: &DevId,
        hot: &HotRecord,
    ) -> Result<Device, StoreError> {
        let opened = self.keys.open(&hot.sealed, &bound_to(tenant, id));
        let plain = opened.map_err(|error| StoreError::corrupt(operation, error))?;
        let record: Record<'_> = records::decode(operation, &plain)?;
        Ok(Device {
            id: id.clone(),
            ordinal: hot.ordinal,
            account: record.account.into_owned(),
            tags: record.tags.into_owned(),
            added: record.added,
            last_seen: record.last_seen,
            inventory: record.inventory.into_owned(),
            fumo_root: record.fumo_root.map(Cow::into_owned),
            dev_detail_read: record.dev_detail_read,
            notify_address: record.notify_address.map(Cow::into_owned),
        })
    }
}

/// A number of a name, the same in every process (FNV-1a).
fn spread(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, octet| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193))
}
