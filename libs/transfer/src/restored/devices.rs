//! Devices of the past.

use dm_protocol::DevId;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use storage::{Device, ErrorKind, StoreError};

use super::AT_ONCE;
use crate::{Side, TransferError};

/// Devices read at once.
const DEVICES: usize = 1000;

/// At its next visit each device is challenged, and asked what it is. Answers for how many that is another visit than usual.
pub(super) async fn make_ask_again(side: &Side) -> Result<u64, TransferError> {
    let Side { tenant, stores, .. } = side;
    let (mut from, mut changed) = (0, 0);
    loop {
        let devices = stores.devices.scan(tenant, from, DEVICES).await?;
        let Some(last) = devices.last() else { return Ok(changed) };
        from = last.ordinal + 1;
        let known: Vec<_> = devices.into_iter().filter(is_known).map(|device| device.id).collect();
        changed += known.len() as u64;
        stream::iter(known)
            .map(|id| forget(side, id))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
    }
}

fn is_known(device: &Device) -> bool {
    let nonces = &device.account.nonces;
    nonces.client.is_some() || nonces.client_previous.is_some() || device.dev_detail_read.is_some()
}

/// The nonce that the device gave stays: it may be the right one still, and if not, the device says so and gives another.
async fn forget(side: &Side, id: DevId) -> Result<(), StoreError> {
    let Side { tenant, stores, .. } = side;
    loop {
        let Some(found) = stores.devices.load(tenant, &id).await? else { return Ok(()) };
        let mut device = found.value;
        device.account.nonces.client = None;
        device.account.nonces.client_previous = None;
        device.dev_detail_read = None;
        match stores.devices.put(tenant, found.revision, &device).await {
            Err(error) if error.kind == ErrorKind::Conflict => {}
            put => return put.map(drop),
        }
    }
}
