//! What a row of a job means.

use campaign::{Job, JobEvent};
use jiff::Timestamp;
use storage::{Revision, StoreError, Versioned, records};

use crate::{
    job_rows::{AttemptKey, JobRow},
    stored::{Released, State},
};

/// What became of an attempt.
pub(super) enum Found {
    /// It waits or runs; the time of its release.
    Open(Versioned<Job>, Timestamp),
    /// Something was noted of it and it has not come.
    Unreleased,
    /// It is over.
    Over(State),
}

impl Found {
    pub(super) fn of(operation: &'static str, row: &JobRow) -> Result<Self, StoreError> {
        let released =
            row.released.as_deref().map(|stored| Released::decode(operation, stored)).transpose()?;
        let released = released.map(|(released, _)| released);
        let Some(written) = &row.written else {
            return Ok(released.map_or(Self::Unreleased, |Released { job, at }| {
                Self::Open(Versioned { value: job, revision: revision(row.key, 0) }, at)
            }));
        };
        Ok(match records::decode(operation, &written.state)? {
            State::Open(job) => {
                // The release of a job that has run for very long may be forgotten; its place in the order is then that of its last move.
                let at = released.map_or(job.since, |released| released.at);
                Self::Open(Versioned { value: job, revision: revision(row.key, written.revision) }, at)
            }
            over => Self::Over(over),
        })
    }
}

/// Revisions of an attempt begin above all of the attempts before it, so that a write that expects a revision of an
/// earlier attempt can never pass.
pub(super) fn revision(key: AttemptKey, revision: u32) -> Revision {
    Revision(u64::from(key.attempt) << 32 | u64::from(revision))
}

/// The attempt and the revision of its row.
pub(super) fn parse_revision(revision: Revision) -> Option<(u16, u32)> {
    let attempt = u16::try_from(revision.0 >> 32).ok().filter(|&attempt| attempt > 0)?;
    u32::try_from(revision.0 & u64::from(u32::MAX)).ok().map(|revision| (attempt, revision))
}

/// The events of the last write that are not known to be in their topic, with its revision.
pub(super) fn unpublished(
    operation: &'static str,
    row: &JobRow,
) -> Result<Option<(u32, Vec<JobEvent>)>, StoreError> {
    Ok(last_events(operation, row)?.filter(|(revision, _)| row.published < *revision))
}

/// The events of the last write, with its revision.
pub(super) fn last_events(
    operation: &'static str,
    row: &JobRow,
) -> Result<Option<(u32, Vec<JobEvent>)>, StoreError> {
    match &row.written {
        Some(written) if !written.events.is_empty() => {
            Ok(Some((written.revision, records::decode(operation, &written.events)?)))
        }
        _ => Ok(None),
    }
}
