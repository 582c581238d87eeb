//! Devices with a hot record beside the durable row, so that an empty visit reads and writes no row.
//!
//! The row decides what a device is; the hot record follows it, and decides the nonces and the time of the last visit. A
//! write that changes what the row keeps goes to the row first, conditional on its revision. What is not known is read
//! again: a record that was lost is filled from the row, and a change that nobody finished is fenced off by writing the
//! row once more, so that it fails where it comes late.
//!
//! *Nonces.* With the hot record the nonces are lost, and with them the knowledge of which were used. The row therefore
//! never has one that was used: until a device has been seen it has those that the device was added with; from then on it
//! has octets that nobody was ever told, and so has every record that is filled from a row. No digest passes by them, the
//! one made with no nonce neither (an account *without* nonces would take that one, as that of a first contact); the next
//! session is challenged with a fresh nonce. Devices that use basic authentication notice nothing.

mod form;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use dm_protocol::{DevId, Nonces};
use storage::{
    Device, DeviceStore, ErrorKind, InventoryRow, KeyRing, Revision, StoreError, TenantId, Versioned,
    seal::SealedPage,
};

use crate::hot::{Claim, Hot, HotDevices, HotPut, HotRecord};

/// Looks at a record that is being changed, before whoever changes it is taken to have stopped.
const CHANGE_LOOKS: u32 = 50;
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Looks altogether, before the caller is told to come again.
const LOOKS_MAX: u32 = 200;

/// Devices in a durable store, and their hot records beside it.
#[derive(Clone)]
pub struct CachedDevices {
    durable: Arc<dyn DeviceStore>,
    hot: Arc<dyn HotDevices>,
    keys: KeyRing,
    seen_grain: Duration,
}

/// What a miss came to.
enum Filled {
    Device(Box<Versioned<Device>>),
    Unknown,
    /// Somebody else was there first.
    Again,
}

impl CachedDevices {
    /// Records are sealed with `keys`, which all processes share. The durable row's time of the last visit is at most `seen_grain` behind (an hour is a good choice); at least a
    /// second.
    pub fn new(
        durable: Arc<dyn DeviceStore>,
        hot: Arc<dyn HotDevices>,
        keys: KeyRing,
        seen_grain: Duration,
    ) -> Self {
        Self { durable, hot, keys, seen_grain: seen_grain.max(Duration::from_secs(1)) }
    }

    async fn fill(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        id: &DevId,
    ) -> Result<Filled, StoreError> {
        let Some(claim) = self.hot.claim_fill(tenant, id).await? else { return Ok(Filled::Again) };
        let found = self.durable.load(tenant, id).await;
        let Ok(Some(Versioned { value: mut device, revision: durable })) = found else {
            // The claim ends by itself, but strangers should leave nothing behind; what went wrong first is told.
            let abandoned = self.hot.abandon(tenant, id, claim).await;
            found?;
            abandoned?;
            return Ok(Filled::Unknown);
        };
        lose_nonces(operation, &mut device)?;
        let record = self.record(operation, tenant, &device, durable)?;
        Ok(match self.hot.fill(tenant, id, claim, &record).await? {
            Some(revision) => Filled::Device(Box::new(Versioned { value: device, revision })),
            None => Filled::Again,
        })
    }

    /// Ends the change of somebody who seems to have stopped. If that is not so, the row's new revision makes their write
    /// fail, or theirs makes this one fail.
    async fn take_over(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        id: &DevId,
        claim: Claim,
    ) -> Result<(), StoreError> {
        let Some(Versioned { value: mut device, revision }) = self.durable.load(tenant, id).await? else {
            return self.hot.abandon(tenant, id, claim).await;
        };
        lose_nonces(operation, &mut device)?;
        match self.durable.put(tenant, revision, &device).await {
            Ok(durable) => {
                let record = self.record(operation, tenant, &device, durable)?;
                self.hot.settle(tenant, id, claim, &record).await.map(drop)
            }
            Err(error) if error.kind == ErrorKind::Conflict => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes the row, and then the record in the place of the claim.
    async fn change(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        device: &Device,
        claim: Claim,
        durable: Revision,
        record: HotRecord,
    ) -> Result<Revision, StoreError> {
        let mut row = Device { ordinal: record.ordinal, ..device.clone() };
        lose_nonces(operation, &mut row)?;
        match self.durable.put(tenant, durable, &row).await {
            Ok(durable) => {
                let record = HotRecord { durable, ..record };
                let settled = self.hot.settle(tenant, &device.id, claim, &record).await?;
                // The row is written, and the nonces are not: they went with the claim.
                settled.ok_or_else(|| StoreError {
                    kind: ErrorKind::TimedOut,
                    operation,
                    source: Some("the hot record was lost while the row was written".into()),
                })
            }
            Err(error) => {
                // Somebody wrote the row without the record: it is filled again. After any other failure nobody knows
                // whether the row is yet to be written, so the claim stays, and who comes next fences that write off.
                if error.kind == ErrorKind::Conflict {
                    self.hot.abandon(tenant, &device.id, claim).await?;
                }
                Err(error)
            }
        }
    }

    /// Gives devices from the durable store what their hot records know better. Where those cannot be reached, the devices
    /// are answered as they are.
    async fn freshen(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        mut devices: Vec<Device>,
    ) -> Result<Vec<Device>, StoreError> {
        let ids: Vec<DevId> = devices.iter().map(|device| device.id.clone()).collect();
        let hot = self.hot.load_many(tenant, &ids).await.unwrap_or_default();
        let mut hot = hot.into_iter();
        for device in &mut devices {
            let known = match hot.next() {
                Some(Hot::Record(found)) => self.open(operation, tenant, &device.id, &found.value).ok(),
                _ => None,
            };
            match known {
                Some(known) => *device = known,
                None => lose_nonces(operation, device)?,
            }
        }
        Ok(devices)
    }
}

/// Of a device that has been seen, nobody knows which nonces were used: it gets one that nobody was told.
fn lose_nonces(operation: &'static str, device: &mut Device) -> Result<(), StoreError> {
    if device.last_seen.is_some() {
        let mut untold = vec![0; 16];
        getrandom::fill(&mut untold).map_err(|error| StoreError::unavailable(operation, error))?;
        device.account.nonces = Nonces { client: Some(untold), client_previous: None, server: None };
    }
    Ok(())
}

fn busy(operation: &'static str) -> StoreError {
    StoreError::unavailable(operation, "the device's record is being changed all the time")
}

#[async_trait]
impl DeviceStore for CachedDevices {
    async fn add(&self, tenant: &TenantId, devices: &[Device]) -> Result<Vec<Option<u32>>, StoreError> {
        self.durable.add(tenant, devices).await
    }

    async fn load(&self, tenant: &TenantId, id: &DevId) -> Result<Option<Versioned<Device>>, StoreError> {
        const OPERATION: &str = "load device";
        let mut seen: Option<(Claim, u32)> = None;
        for _ in 0..LOOKS_MAX {
            match self.hot.load(tenant, id).await? {
                Hot::Record(Versioned { value, revision }) => {
                    match self.open(OPERATION, tenant, id, &value) {
                        Ok(value) => return Ok(Some(Versioned { value, revision })),
                        Err(error) => {
                            tracing::warn!(device_id = %id, %error, "hot record dropped");
                            self.hot.forget(tenant, id, revision).await?;
                        }
                    }
                }
                Hot::Absent => match self.fill(OPERATION, tenant, id).await? {
                    Filled::Device(device) => return Ok(Some(*device)),
                    Filled::Unknown => return Ok(None),
                    Filled::Again => tokio::time::sleep(LOOK_EVERY).await,
                },
                Hot::Changing(claim) => {
                    let looks = seen.filter(|(same, _)| *same == claim).map_or(0, |(_, looks)| looks + 1);
                    seen = Some((claim, looks));
                    if looks >= CHANGE_LOOKS {
                        self.take_over(OPERATION, tenant, id, claim).await?;
                        seen = None;
                    } else {
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                }
            }
        }
        Err(busy(OPERATION))
    }

    async fn name(&self, tenant: &TenantId, ordinal: u32) -> Result<Option<DevId>, StoreError> {
        self.durable.name(tenant, ordinal).await
    }

    async fn names(&self, tenant: &TenantId, ordinals: &[u32]) -> Result<Vec<Option<DevId>>, StoreError> {
        self.durable.names(tenant, ordinals).await
    }

    async fn put(
        &self,
        tenant: &TenantId,
        expected: Revision,
        device: &Device,
    ) -> Result<Revision, StoreError> {
        const OPERATION: &str = "put device";
        let digest = self.digest(device);
        let sealed = self.seal(OPERATION, tenant, device)?;
        match self.hot.put(tenant, &device.id, expected, digest, &sealed).await? {
            HotPut::Written(revision) => Ok(revision),
            HotPut::Lost => Err(StoreError::conflict(OPERATION)),
            HotPut::Changes { claim, durable, ordinal } => {
                let record = HotRecord { digest, durable, ordinal, sealed };
                self.change(OPERATION, tenant, device, claim, durable, record).await
            }
        }
    }

    async fn list(
        &self,
        tenant: &TenantId,
        after: Option<&DevId>,
        limit: usize,
    ) -> Result<Vec<Device>, StoreError> {
        let devices = self.durable.list(tenant, after, limit).await?;
        self.freshen("list devices", tenant, devices).await
    }

    async fn scan(&self, tenant: &TenantId, from: u32, limit: usize) -> Result<Vec<Device>, StoreError> {
        let devices = self.durable.scan(tenant, from, limit).await?;
        self.freshen("scan devices", tenant, devices).await
    }

    async fn scan_inventory(
        &self,
        tenant: &TenantId,
        from: u32,
        limit: usize,
    ) -> Result<Vec<InventoryRow>, StoreError> {
        self.durable.scan_inventory(tenant, from, limit).await
    }

    /// Of the durable rows. Hot records are sealed anew whenever they are written, so to seal the rows anew with
    /// [`storage::seal::reseal`], give it the durable store: a write through here that changes nothing stays here.
    async fn sealed(&self, tenant: &TenantId, from: u32, limit: usize) -> Result<SealedPage, StoreError> {
        self.durable.sealed(tenant, from, limit).await
    }

    async fn count(&self, tenant: &TenantId) -> Result<u32, StoreError> {
        self.durable.count(tenant).await
    }
}
