//! Putting right what came out of a backup, before it is used.
//!
//! A backup is of the past, and devices have gone on since. Three things of the past would break a promise if they were
//! taken up where they stood:
//!
//! - a nonce that a device has used meanwhile would accept the same digest a second time, so all nonces are forgotten: each
//!   device is challenged at its next visit, at the cost of one message;
//! - an attempt whose Exec may have left meanwhile would send it again, so every attempt in flight is moved to where no Exec
//!   is sent any more: the device's State and version say what became of it, and the campaign decides on another attempt;
//! - a campaign that somebody paused or stopped meanwhile would go on, so every one that runs is paused until someone has
//!   looked and resumes it.

use std::collections::{BTreeSet, HashMap};

use campaign::{CampaignId, EventKind, JobEvent, PauseCause};
use dm_protocol::DevId;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use storage::{Device, ErrorKind, StoreError};

use crate::{Side, TransferError, export::note};

/// Devices read at once.
const DEVICES: usize = 1000;
/// Of those, how many are written at the same time: they share their syncs.
const AT_ONCE: usize = 256;
/// Events read at once.
const EVENTS: usize = 4096;
/// Who pauses campaigns.
const BY: &str = "restore";

/// What was put right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Devices whose nonces were forgotten.
    pub devices: u64,
    /// Attempts in flight that send no Exec any more.
    pub attempts: u64,
    /// Campaigns that were paused.
    pub campaigns: u64,
}

/// Puts right a side that was restored from what was kept, at `taken` where that is known. Nothing else may work on it meanwhile. To do it twice
/// is to do it once.
///
/// # Errors
///
/// [`TransferError`]: a store failed, or holds something that cannot be read. The same call goes on then.
pub async fn settle(side: &Side, taken: Option<Timestamp>, now: Timestamp) -> Result<Settled, TransferError> {
    let mut settled = Settled { devices: forget_nonces(side).await?, ..Settled::default() };
    for listed in side.stores.campaigns.list(&side.tenant).await? {
        let record = listed.value;
        let (runs, devices) = read_ledger(side, record.id).await?;
        for device in devices {
            settled.attempts += hold_attempts(side, record.id, &device, now).await?;
        }
        if runs {
            let of = taken.map(|taken| format!(" of {taken}")).unwrap_or_default();
            let reason = format!("restored from a backup{of}: look what happened since, then resume or stop");
            let cause = PauseCause::Operator { by: BY.to_owned(), reason };
            let event = JobEvent::campaign(now, EventKind::Paused { cause });
            let jobs = &side.stores.jobs;
            let epoch = jobs.claim(&side.tenant, record.id).await?;
            jobs.append(&side.tenant, record.id, epoch, &[event]).await?;
            settled.campaigns += 1;
        }
    }
    Ok(settled)
}

async fn forget_nonces(side: &Side) -> Result<u64, TransferError> {
    let Side { tenant, stores, .. } = side;
    let (mut from, mut forgotten) = (0, 0);
    loop {
        let devices = stores.devices.scan(tenant, from, DEVICES).await?;
        let Some(last) = devices.last() else { return Ok(forgotten) };
        from = last.ordinal + 1;
        let with_nonce: Vec<_> = devices.into_iter().filter(has_nonce).map(|device| device.id).collect();
        forgotten += with_nonce.len() as u64;
        stream::iter(with_nonce)
            .map(|id| forget_nonce(side, id))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
    }
}

fn has_nonce(device: &Device) -> bool {
    let nonces = &device.account.nonces;
    nonces.client.is_some() || nonces.client_previous.is_some()
}

/// The nonce that the device gave stays: it may be the right one still, and if not, the device says so and gives another.
async fn forget_nonce(side: &Side, id: DevId) -> Result<(), StoreError> {
    let Side { tenant, stores, .. } = side;
    loop {
        let Some(found) = stores.devices.load(tenant, &id).await? else { return Ok(()) };
        let mut device = found.value;
        device.account.nonces.client = None;
        device.account.nonces.client_previous = None;
        match stores.devices.put(tenant, found.revision, &device).await {
            Err(error) if error.kind == ErrorKind::Conflict => {}
            put => return put.map(drop),
        }
    }
}

/// Whether the campaign gives work, and which devices have an attempt in flight.
async fn read_ledger(side: &Side, id: CampaignId) -> Result<(bool, BTreeSet<DevId>), TransferError> {
    let (mut runs, mut in_flight, mut from) = (false, HashMap::new(), 0);
    loop {
        let events = side.stores.jobs.events(&side.tenant, id, from, EVENTS).await?;
        let Some(&(last, _)) = events.last() else { break };
        for (_, event) in &events {
            note(&mut in_flight, event);
            runs = match event.kind {
                EventKind::Started { .. } | EventKind::Resumed { .. } => true,
                EventKind::Paused { .. } | EventKind::Stopped { .. } | EventKind::Finished => false,
                _ => runs,
            };
        }
        from = last;
    }
    Ok((runs, in_flight.into_keys().collect()))
}

/// Moves a device's attempts to where no Exec is sent any more, as a visit does after an Exec.
async fn hold_attempts(
    side: &Side,
    id: CampaignId,
    device: &DevId,
    now: Timestamp,
) -> Result<u64, TransferError> {
    let Side { tenant, stores, .. } = side;
    let mut held = 0;
    for found in stores.jobs.pending(tenant, device).await? {
        let job = found.value;
        if job.campaign != id {
            continue;
        }
        let moved = job.assume_exec_left(device, now);
        if moved.events.is_empty() {
            continue;
        }
        stores.jobs.update(tenant, device, id, found.revision, moved.job.as_ref(), &moved.events).await?;
        held += 1;
    }
    Ok(held)
}
