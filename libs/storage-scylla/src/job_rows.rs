//! Rows of jobs. They are moved by conditional writes, and what came of one whose answer was lost is the caller's to
//! find out by [`JobRows::confirm`]: it knows its writes by what it drew for them.

use std::time::Duration;

use async_trait::async_trait;
use campaign::CampaignId;
use scylla::value::CqlValue;
use storage::StoreError;
use storage_cluster::{
    job_rows::{AttemptKey, DeviceKey, Expect, HistoryRow, JobRow, JobRows, Written},
    topics::JOBS_STAY_MAX,
};

use crate::{Scylla, ScyllaError, lwt::Lwt, statement::Cql};

/// How long rows of jobs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobKeep {
    /// An attempt as it was released, for as long as nothing is written of it: longer than any job waits for its device.
    pub released: Duration,
    /// How much longer its end is kept: longer than a release can stand in its topic and come again, so that nothing that
    /// has ended comes back.
    pub replay: Duration,
    /// Devices' histories.
    pub history: Duration,
}

impl Default for JobKeep {
    /// 90 days for jobs and 30 more for their ends; 400 for history.
    fn default() -> Self {
        const DAY: u64 = 24 * 60 * 60;
        Self {
            released: Duration::from_secs(90 * DAY),
            replay: JOBS_STAY_MAX,
            history: Duration::from_secs(400 * DAY),
        }
    }
}

const RELEASE: Cql = Cql::write(
    "BEGIN UNLOGGED BATCH \
     UPDATE device_job USING TTL ? SET released = ? \
     WHERE tenant = ? AND device = ? AND part = 0 AND at_ns = 0 AND campaign = ? AND attempt = ? AND number = 0; \
     INSERT INTO device_job (tenant, device, part, at_ns, campaign, attempt, number, event) \
     VALUES (?, ?, 1, ?, ?, ?, ?, ?) USING TTL ?; \
     APPLY BATCH",
);
const READ: Cql = Cql::read(
    "SELECT campaign, attempt, released, revision, writer, state, events, published FROM device_job \
     WHERE tenant = ? AND device = ? AND part = 0",
);
const CONFIRM: Cql = Cql::serial_read(
    "SELECT campaign, attempt, released, revision, writer, state, events, published FROM device_job \
     WHERE tenant = ? AND device = ? AND part = 0 AND at_ns = 0 AND campaign = ? AND attempt = ? AND number = 0",
);
// By the revision as its own time, the highest one stays, in whatever order they come.
const NOTE_PUBLISHED: Cql = Cql::write(
    "UPDATE device_job USING TTL ? AND TIMESTAMP ? SET published = ? \
     WHERE tenant = ? AND device = ? AND part = 0 AND at_ns = 0 AND campaign = ? AND attempt = ? AND number = 0",
);
const ADD_HISTORY: Cql = Cql::write(
    "INSERT INTO device_job (tenant, device, part, at_ns, campaign, attempt, number, event) \
     VALUES (?, ?, 1, ?, ?, ?, ?, ?) USING TTL ?",
);
const HISTORY: Cql = Cql::read(
    "SELECT at_ns, campaign, attempt, number, event FROM device_job \
     WHERE tenant = ? AND device = ? AND part = 1 LIMIT ?",
);

/// Entries of the history that a conditional write can bring with it: what sessions write has one or two.
const HISTORY_MAX: usize = 3;

macro_rules! history_row {
    () => {
        "INSERT INTO device_job (tenant, device, part, at_ns, campaign, attempt, number, event) \
         VALUES (?, ?, 1, ?, ?, ?, ?, ?) USING TTL ?; "
    };
}

/// A conditional write with each number of entries of the history.
macro_rules! writes {
    ($condition:literal) => {
        [
            Cql::conditional(concat!("BEGIN BATCH ", writes!(@update $condition), "APPLY BATCH")),
            Cql::conditional(concat!("BEGIN BATCH ", writes!(@update $condition), history_row!(), "APPLY BATCH")),
            Cql::conditional(concat!(
                "BEGIN BATCH ", writes!(@update $condition), history_row!(), history_row!(), "APPLY BATCH"
            )),
            Cql::conditional(concat!(
                "BEGIN BATCH ", writes!(@update $condition), history_row!(), history_row!(), history_row!(),
                "APPLY BATCH"
            )),
        ]
    };
    (@update $condition:literal) => {
        concat!(
            "UPDATE device_job USING TTL ? SET revision = ?, writer = ?, state = ?, events = ? \
             WHERE tenant = ? AND device = ? AND part = 0 AND at_ns = 0 AND campaign = ? AND attempt = ? \
             AND number = 0 IF ",
            $condition,
            "; "
        )
    };
}

const WRITE_RELEASED: [Cql; HISTORY_MAX + 1] = writes!("revision = null AND released != null");
const WRITE_ABSENT: [Cql; HISTORY_MAX + 1] = writes!("revision = null AND released = null");
const WRITE_REVISION: [Cql; HISTORY_MAX + 1] = writes!("revision = ?");

type Row =
    (i64, i32, Option<Vec<u8>>, Option<i32>, Option<i64>, Option<Vec<u8>>, Option<Vec<u8>>, Option<i32>);

/// Rows of jobs in a keyspace.
#[derive(Clone, Debug)]
pub struct ScyllaRows {
    scylla: Scylla,
    released_secs: i32,
    ended_secs: i32,
    history_secs: i32,
}

impl ScyllaRows {
    /// The rows of this keyspace.
    ///
    /// # Errors
    ///
    /// [`ScyllaError::Settings`] where something is to be kept for no time, or for longer than 20 years.
    pub fn new(scylla: Scylla, keep: &JobKeep) -> Result<Self, ScyllaError> {
        Ok(Self {
            scylla,
            released_secs: seconds(keep.released)?,
            ended_secs: seconds(keep.released.saturating_add(keep.replay))?,
            history_secs: seconds(keep.history)?,
        })
    }

    fn history_values(&self, device: &DeviceKey, row: &HistoryRow) -> [CqlValue; 8] {
        [
            text(&device.tenant.0),
            text(device.device.as_str()),
            CqlValue::BigInt(row.at_ns),
            CqlValue::BigInt(row.key.campaign.0.cast_signed()),
            CqlValue::Int(row.key.attempt.into()),
            CqlValue::BigInt(row.number.cast_signed()),
            CqlValue::Blob(row.event.clone()),
            CqlValue::Int(self.history_secs),
        ]
    }
}

/// What CQL takes as a time to live: 20 years at most.
fn seconds(keep: Duration) -> Result<i32, ScyllaError> {
    const MAX: i32 = 630_720_000;
    let secs = i32::try_from(keep.as_secs()).ok().filter(|secs| (1..=MAX).contains(secs));
    secs.ok_or_else(|| {
        ScyllaError::Settings(format!("expected to keep jobs for 1 to {MAX} seconds, got {}", keep.as_secs()))
    })
}

fn text(value: &str) -> CqlValue {
    CqlValue::Text(value.to_owned())
}

fn job_row(operation: &'static str, row: Row) -> Result<JobRow, StoreError> {
    let (campaign, attempt, released, revision, writer, state, events, published) = row;
    let corrupt = |what: &'static str| StoreError::corrupt(operation, what);
    let attempt = u16::try_from(attempt).map_err(|_| corrupt("attempt is out of range"))?;
    let key = AttemptKey { campaign: CampaignId(campaign.cast_unsigned()), attempt };
    let written = match (revision, writer, state) {
        (Some(revision), Some(writer), Some(state)) => Some(Written {
            revision: revision.cast_unsigned(),
            writer: writer.cast_unsigned(),
            state,
            events: events.unwrap_or_default(),
        }),
        (None, None, None) => None,
        _ => return Err(corrupt("a part of a conditional write is missing")),
    };
    let published = published.map_or(0, i32::cast_unsigned);
    Ok(JobRow { key, released, written, published })
}

#[async_trait]
impl JobRows for ScyllaRows {
    async fn release(
        &self,
        device: &DeviceKey,
        key: AttemptKey,
        released: &[u8],
        history: &HistoryRow,
    ) -> Result<(), StoreError> {
        let mut values = vec![
            CqlValue::Int(self.released_secs),
            CqlValue::Blob(released.to_vec()),
            text(&device.tenant.0),
            text(device.device.as_str()),
            CqlValue::BigInt(key.campaign.0.cast_signed()),
            CqlValue::Int(key.attempt.into()),
        ];
        values.extend(self.history_values(device, history));
        self.scylla.write("write released job", &RELEASE, values).await
    }

    async fn read(&self, device: &DeviceKey) -> Result<Vec<JobRow>, StoreError> {
        const OPERATION: &str = "read jobs of a device";
        let values = (&*device.tenant.0, device.device.as_str());
        let rows: Vec<Row> = self.scylla.rows(OPERATION, &READ, values).await?;
        rows.into_iter().map(|row| job_row(OPERATION, row)).collect()
    }

    async fn confirm(&self, device: &DeviceKey, key: AttemptKey) -> Result<Option<JobRow>, StoreError> {
        const OPERATION: &str = "confirm job";
        let campaign = key.campaign.0.cast_signed();
        let values = (&*device.tenant.0, device.device.as_str(), campaign, i32::from(key.attempt));
        let row: Option<Row> = self.scylla.row(OPERATION, &CONFIRM, values).await?;
        row.map(|row| job_row(OPERATION, row)).transpose()
    }

    async fn write(
        &self,
        device: &DeviceKey,
        key: AttemptKey,
        expect: Expect,
        written: &Written,
        ended: bool,
        history: &[HistoryRow],
    ) -> Result<bool, StoreError> {
        const OPERATION: &str = "write job";
        let (with, rest) = history.split_at(history.len().min(HISTORY_MAX));
        let (statements, expected) = match expect {
            Expect::Released => (&WRITE_RELEASED, None),
            Expect::Absent => (&WRITE_ABSENT, None),
            Expect::Revision(revision) => (&WRITE_REVISION, Some(revision)),
        };
        let mut values = vec![
            CqlValue::Int(if ended { self.ended_secs } else { 0 }),
            CqlValue::Int(written.revision.cast_signed()),
            CqlValue::BigInt(written.writer.cast_signed()),
            CqlValue::Blob(written.state.clone()),
            CqlValue::Blob(written.events.clone()),
            text(&device.tenant.0),
            text(device.device.as_str()),
            CqlValue::BigInt(key.campaign.0.cast_signed()),
            CqlValue::Int(key.attempt.into()),
        ];
        values.extend(expected.map(|revision| CqlValue::Int(revision.cast_signed())));
        for row in with {
            values.extend(self.history_values(device, row));
        }
        match self.scylla.lwt(OPERATION, &statements[with.len()], values).await? {
            Lwt::Applied => {}
            Lwt::NotApplied(_) => return Ok(false),
            Lwt::Unknown(unknown) => return Err(unknown.error),
        }
        if let Err(error) = self.add_history(device, rest).await {
            // The job is written, and its events are on their way to the ledger: that is what counts.
            tracing::warn!(%error, device = %device.device, "a part of a device's history was not written");
        }
        Ok(true)
    }

    async fn note_published(
        &self,
        device: &DeviceKey,
        key: AttemptKey,
        revision: u32,
    ) -> Result<(), StoreError> {
        let values = (
            self.ended_secs,
            i64::from(revision),
            revision.cast_signed(),
            &*device.tenant.0,
            device.device.as_str(),
            key.campaign.0.cast_signed(),
            i32::from(key.attempt),
        );
        self.scylla.write("note published events", &NOTE_PUBLISHED, values).await
    }

    async fn add_history(&self, device: &DeviceKey, history: &[HistoryRow]) -> Result<(), StoreError> {
        for row in history {
            let values = Vec::from(self.history_values(device, row));
            self.scylla.write("write history of a device", &ADD_HISTORY, values).await?;
        }
        Ok(())
    }

    async fn history(&self, device: &DeviceKey, limit: usize) -> Result<Vec<HistoryRow>, StoreError> {
        const OPERATION: &str = "read history of a device";
        let limit = i32::try_from(limit.max(1)).unwrap_or(i32::MAX);
        let values = (&*device.tenant.0, device.device.as_str(), limit);
        let rows: Vec<(i64, i64, i32, i64, Vec<u8>)> = self.scylla.rows(OPERATION, &HISTORY, values).await?;
        let row = |(at_ns, campaign, attempt, number, event): (i64, i64, i32, i64, Vec<u8>)| {
            let attempt = u16::try_from(attempt)
                .map_err(|_| StoreError::corrupt(OPERATION, "attempt is out of range"))?;
            let key = AttemptKey { campaign: CampaignId(campaign.cast_unsigned()), attempt };
            Ok(HistoryRow { at_ns, key, number: number.cast_unsigned(), event })
        };
        rows.into_iter().map(row).collect()
    }
}
