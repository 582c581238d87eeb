//! Which key each device's secrets are sealed with, and sealing them anew with the newest, a page at a time: whoever
//! asks keeps the place, so that it can go on after anything, and asking twice does nothing twice.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{KeyId, SealError};
use crate::{DeviceStore, ErrorKind, StoreError, TenantId};

/// Tries of one device against others who write it.
const TRIES: usize = 8;

/// What a secret is sealed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sealing {
    /// The key.
    pub key: KeyId,
    /// False for the form of before the keys had ids.
    pub is_current_form: bool,
}

/// What the secrets of some devices are sealed with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SealedPage {
    /// In the order of ordinals.
    pub devices: Vec<(u32, dm_protocol::DevId, Sealing)>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<u32>,
}

/// What a page of [`reseal`] or [`sealing`] came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// How many devices were looked at, by the key that they were found sealed with.
    pub found: BTreeMap<KeyId, u64>,
    /// How many of them were sealed anew.
    pub resealed: u64,
    /// Where the next page begins; `None`: that was the last.
    pub next: Option<u32>,
}

/// What the keys came to, tried on some devices.
#[derive(Debug, Default)]
pub struct Tried {
    /// How many of their secrets were opened.
    pub opened: u32,
    /// Why one of them was not.
    pub refused: Option<StoreError>,
}

/// Tries the keys on the secrets of the oldest and the newest device: they tell whether the ring is that of the store.
///
/// # Errors
///
/// The store's, where it is not for a key.
pub async fn try_keys(devices: &dyn DeviceStore, tenant: &TenantId) -> Result<Tried, StoreError> {
    let mut tried = Tried::default();
    let Some(newest) = devices.count(tenant).await?.checked_sub(1) else { return Ok(tried) };
    for ordinal in BTreeSet::from([0, newest]) {
        match devices.scan(tenant, ordinal, 1).await {
            Ok(found) => tried.opened += u32::from(!found.is_empty()),
            Err(error) => match &error.source {
                Some(source) if source.is::<SealError>() => tried.refused = Some(error),
                _ => return Err(error),
            },
        }
    }
    Ok(tried)
}

/// Counts up to `limit` devices from the ordinal `from` on by the key that they are sealed with.
///
/// # Errors
///
/// The store's.
pub async fn sealing(
    devices: &dyn DeviceStore,
    tenant: &TenantId,
    from: u32,
    limit: usize,
) -> Result<Resealed, StoreError> {
    let page = devices.sealed(tenant, from, limit).await?;
    let mut found = BTreeMap::new();
    for (_, _, sealing) in &page.devices {
        *found.entry(sealing.key).or_default() += 1;
    }
    Ok(Resealed { found, resealed: 0, next: page.next })
}

/// Seals those of up to `limit` devices from the ordinal `from` on anew that are not sealed with `newest`, which is the
/// key that the store seals with.
///
/// # Errors
///
/// The store's; the same page can be asked for again.
pub async fn reseal(
    devices: &dyn DeviceStore,
    tenant: &TenantId,
    newest: KeyId,
    from: u32,
    limit: usize,
) -> Result<Resealed, StoreError> {
    let page = devices.sealed(tenant, from, limit).await?;
    let mut done = Resealed { next: page.next, ..Resealed::default() };
    for (_, id, sealing) in page.devices {
        *done.found.entry(sealing.key).or_default() += 1;
        if (sealing != Sealing { key: newest, is_current_form: true })
            && write_again(devices, tenant, &id).await?
        {
            done.resealed += 1;
        }
    }
    Ok(done)
}

/// Writes a device as it is, which seals it anew. False: it is gone.
async fn write_again(
    devices: &dyn DeviceStore,
    tenant: &TenantId,
    id: &dm_protocol::DevId,
) -> Result<bool, StoreError> {
    for _ in 0..TRIES {
        let Some(device) = devices.load(tenant, id).await? else { return Ok(false) };
        match devices.put(tenant, device.revision, &device.value).await {
            // Whoever was faster may not have the newest key yet, so this looks again.
            Err(error) if error.kind == ErrorKind::Conflict => {}
            written => return written.map(|_| true),
        }
    }
    Err(StoreError::conflict("seal device anew"))
}
