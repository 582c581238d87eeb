//! Revisions. Redis may be emptied, or go back to an older state, at any time; a revision that was given before must not be
//! given again then, or a stale write would pass. So they are not counted: they are the time, and some chance.

use std::time::{SystemTime, UNIX_EPOCH};

use storage::{Revision, StoreError};

/// Random bits below the microseconds: two processes that write in the same one still differ.
const RANDOM_BITS: u32 = 12;

/// A revision that was never given before, above `last`.
pub(crate) fn fresh(operation: &'static str, last: Option<Revision>) -> Result<Revision, StoreError> {
    let mut random = [0; 2];
    getrandom::fill(&mut random).map_err(|error| StoreError::unavailable(operation, error))?;
    let random = u64::from(u16::from_le_bytes(random)) & ((1 << RANDOM_BITS) - 1);
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Enough microseconds until the year 2112 in an i64 too, which some stores count in.
    let micros = u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX >> RANDOM_BITS);
    let now = (micros << RANDOM_BITS) | random;
    // Behind a clock that went back, some chance still.
    let floor = last.map_or(0, |last| last.0.saturating_add(1 + random));
    Ok(Revision(now.max(floor)))
}
