//! Entries of a device's history: each event of it once, however often it is written.

use campaign::{CampaignId, JobEvent};
use jiff::Timestamp;
use storage::{StoreError, records};

use crate::job_rows::{AttemptKey, HistoryRow};

/// Numbers of entries by where they come from: a write of a job, by its revision and place in it; or the ledger, by the offset.
const PLACES: u64 = 1 << 16;
const FROM_LEDGER: u64 = 1 << 62;

pub(crate) fn of_release(key: AttemptKey, event: &JobEvent) -> HistoryRow {
    row(key, 0, event)
}

pub(crate) fn of_write(key: AttemptKey, revision: u32, events: &[JobEvent]) -> Vec<HistoryRow> {
    let first = u64::from(revision) * PLACES;
    (first..).zip(events).map(|(number, event)| row(key, number, event)).collect()
}

pub(crate) fn of_ledger(campaign: CampaignId, offset: u64, event: &JobEvent) -> HistoryRow {
    row(AttemptKey { campaign, attempt: event.attempt }, FROM_LEDGER | offset, event)
}

pub(crate) fn read(operation: &'static str, row: &HistoryRow) -> Result<(CampaignId, JobEvent), StoreError> {
    Ok((row.key.campaign, records::decode(operation, &row.event)?))
}

fn row(key: AttemptKey, number: u64, event: &JobEvent) -> HistoryRow {
    HistoryRow { at_ns: nanoseconds(event.at), key, number, event: records::encode(event) }
}

/// Until the year 2262; what is later stands there.
fn nanoseconds(at: Timestamp) -> i64 {
    let at = at.as_nanosecond();
    i64::try_from(at).unwrap_or(if at < 0 { i64::MIN } else { i64::MAX })
}
