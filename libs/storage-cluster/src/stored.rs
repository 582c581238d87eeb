//! What is stored of jobs and ledgers, in the form that [`storage::records`] has. Every version that was ever written can be
//! read for ever.

use campaign::{CampaignId, Job, JobEvent, Phase};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use storage::{Release, StoreError, records, trace::Traceparent};

/// Octets of a block's events at most, unpacked: what claims more is damaged.
const BODY_MAX: usize = 64 << 20;

/// Why the events of a block cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[error("expected events packed by lz4 of at most {BODY_MAX} octets")]
struct PackedError;

/// A job as it was released: what its row is told by `dm.jobs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Released {
    pub(crate) job: Job,
    /// When the event of the release happened: jobs wait in its order.
    #[serde(with = "jiff::fmt::serde::timestamp::nanosecond::required")]
    pub(crate) at: Timestamp,
}

impl Released {
    /// As its row has it. The trace that it was released in, where one is kept, stands behind it, where a release of this
    /// program that knows nothing of it passes over it.
    pub(crate) fn encode(&self, cause: Option<Traceparent>) -> Vec<u8> {
        let stored = records::encode(self);
        match cause.filter(|cause| cause.is_sampled) {
            Some(cause) => records::append(stored, &cause),
            None => stored,
        }
    }

    /// Reads both.
    pub(crate) fn decode(
        operation: &'static str,
        stored: &[u8],
    ) -> Result<(Self, Option<Traceparent>), StoreError> {
        let corrupt = |error| StoreError::corrupt(operation, error);
        let body = records::body(operation, records::VERSION, stored)?;
        let (released, rest): (Self, _) = postcard::take_from_bytes(body).map_err(corrupt)?;
        let cause = if rest.is_empty() { None } else { Some(postcard::from_bytes(rest).map_err(corrupt)?) };
        Ok((released, cause))
    }
}

/// What a conditional write left of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum State {
    /// It goes on.
    Open(Job),
    /// It has ended; the events of the write say how.
    Ended,
    /// Its campaign's owner ended it without ever having seen it; the ledger says how.
    Missing,
    /// A later attempt of the same campaign has come in its place.
    Superseded,
}

/// An entry of a block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) event: JobEvent,
    pub(crate) source: Source,
}

/// Where an entry comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Source {
    /// The campaign's owner said so.
    Owner,
    /// The owner released a job.
    Released {
        phase: Phase,
        since: Option<StoredInstant>,
        /// Until when its device is to be asked to come.
        trigger_until: Option<StoredInstant>,
    },
    /// A write of a job's row, by its revision within the attempt.
    Session { revision: u32 },
    /// The owner ended an attempt that had no job.
    Missing,
}

/// An instant, exact.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredInstant(
    #[serde(with = "jiff::fmt::serde::timestamp::nanosecond::required")] pub(crate) Timestamp,
);

impl Entry {
    pub(crate) fn release(release: &Release) -> Self {
        let Release { job, event, trigger_until, .. } = release;
        let since = (job.since != event.at).then_some(StoredInstant(job.since));
        let source =
            Source::Released { phase: job.phase, since, trigger_until: trigger_until.map(StoredInstant) };
        Self { event: event.clone(), source }
    }

    /// The release that the entry records, if it is one.
    pub(crate) fn as_release(&self, campaign: CampaignId) -> Option<Release> {
        let Source::Released { phase, since, trigger_until } = &self.source else { return None };
        let device = self.event.device.clone()?;
        let event = self.event.clone();
        let since = since.map_or(event.at, |since| since.0);
        let job = Job { campaign, ordinal: event.ordinal, attempt: event.attempt, phase: *phase, since };
        let trigger_until = trigger_until.map(|until| until.0);
        Some(Release { device, job, event, trigger_until })
    }
}

/// What a block is about, for the next writer: without it, all events would have to be read at each claim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Notes {
    /// By attempt: the ordinals that were released or ended as missing, as a bitmap.
    pub(crate) released: Vec<(u16, Vec<u8>)>,
    /// Ordinal, attempt, and the last revision whose events are in this block or before it.
    pub(crate) heard: Vec<(u32, u16, u32)>,
}

/// The events of a block, packed.
pub(crate) fn encode_body(entries: &[Entry]) -> Vec<u8> {
    let plain = records::encode(entries);
    let mut body = vec![records::VERSION];
    body.extend_from_slice(&lz4_flex::block::compress_prepend_size(&plain));
    body
}

pub(crate) fn decode_body(operation: &'static str, body: &[u8]) -> Result<Vec<Entry>, StoreError> {
    let corrupt = || StoreError::corrupt(operation, PackedError);
    let packed = records::body(operation, records::VERSION, body)?;
    let (size, packed) = lz4_flex::block::uncompressed_size(packed).map_err(|_| corrupt())?;
    if size > BODY_MAX {
        return Err(corrupt());
    }
    let plain = lz4_flex::block::decompress(packed, size).map_err(|_| corrupt())?;
    records::decode(operation, &plain)
}

#[cfg(test)]
mod tests;
