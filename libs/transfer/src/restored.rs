//! Putting right what came out of a backup, before it is used.
//!
//! A backup is of the past, and devices have gone on since. Some things of the past would break a promise if they were
//! taken up where they stood, and copies of a cluster's tables are of instants that lie apart:
//!
//! - a nonce that a device has used meanwhile would accept the same digest a second time, so all nonces are forgotten: each
//!   device is challenged at its next visit, at the cost of one message;
//! - what a device was when it was last read is of the past too, so each is asked anew at that visit;
//! - an attempt whose Exec may have left meanwhile would send it again, so every attempt in flight is moved to where no Exec
//!   is sent any more: the device's State and version say what became of it, and the campaign decides on another attempt;
//! - a campaign that somebody paused or stopped meanwhile would go on, so every one that runs is paused until someone has
//!   looked and resumes it;
//! - a campaign's checkpoint may have read further than its ledger now goes, and a job may be gone whose end the ledger does
//!   not have, so each checkpoint is made anew from the ledger, and such an attempt ends as one whose Exec was lost.

mod campaigns;
mod devices;

use jiff::Timestamp;

use self::campaigns::Started;
use crate::{Side, TransferError};

/// Devices that are worked on at the same time: they share their syncs.
const AT_ONCE: usize = 256;

/// What was put right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Devices that are challenged, and asked what they are, at their next visit.
    pub devices: u64,
    /// Attempts in flight that send no Exec any more.
    pub attempts: u64,
    /// Attempts that the ledger has in flight and of which there is no job: they have ended as exec-lost.
    pub lost: u64,
    /// Campaigns that were paused.
    pub campaigns: u64,
}

/// Puts right a side that was restored from what was kept, at `taken` where that is known. Nothing else may work on it
/// meanwhile. To do it twice is to do it once.
///
/// # Errors
///
/// [`TransferError`]: a store failed, or holds something that cannot be read. The same call goes on then.
pub async fn settle(side: &Side, taken: Option<Timestamp>, now: Timestamp) -> Result<Settled, TransferError> {
    let mut settled = Settled { devices: devices::make_ask_again(side).await?, ..Settled::default() };
    for listed in side.stores.campaigns.list(&side.tenant).await? {
        let Some(started) = Started::read(side, listed.value.id).await? else { continue };
        started.settle(&mut settled, taken, now).await?;
    }
    Ok(settled)
}
