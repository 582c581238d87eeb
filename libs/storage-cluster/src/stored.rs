//! Stored forms: an octet of version, then postcard. Every version that was ever written can be read for ever.

use campaign::{CampaignId, Job, JobEvent, Phase};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use storage::{Release, StoreError};

/// The version that every record is written in today.
const VERSION: u8 = 1;
/// Octets of a block's events at most, unpacked: what claims more is damaged.
const BODY_MAX: usize = 64 << 20;

/// Why stored octets cannot be read.
#[derive(Debug, thiserror::Error)]
enum StoredError {
    #[error("expected a record of version {VERSION}, got {0:?}")]
    Version(Option<u8>),
    #[error("record is broken")]
    Broken(#[source] postcard::Error),
    #[error("expected events packed by lz4 of at most {BODY_MAX} octets")]
    Packed,
}

/// A job as it was released: what its row is told by `dm.jobs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Released {
    pub(crate) job: Job,
    /// When the event of the release happened: jobs wait in its order.
    #[serde(with = "jiff::fmt::serde::timestamp::nanosecond::required")]
    pub(crate) at: Timestamp,
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

pub(crate) fn encode<T: Serialize + ?Sized>(record: &T) -> Vec<u8> {
    // Our records have known lengths and a growing buffer under them: there is nothing to fail.
    postcard::to_extend(record, vec![VERSION]).unwrap_or_else(|error| unreachable!("{error}"))
}

pub(crate) fn decode<T: DeserializeOwned>(operation: &'static str, stored: &[u8]) -> Result<T, StoreError> {
    let decoded = match stored.split_first() {
        Some((&VERSION, body)) => postcard::from_bytes(body).map_err(StoredError::Broken),
        first => Err(StoredError::Version(first.map(|(&version, _)| version))),
    };
    decoded.map_err(|error| StoreError::corrupt(operation, error))
}

/// The events of a block, packed.
pub(crate) fn encode_body(entries: &[Entry]) -> Vec<u8> {
    let plain = encode(entries);
    let mut body = vec![VERSION];
    body.extend_from_slice(&lz4_flex::block::compress_prepend_size(&plain));
    body
}

pub(crate) fn decode_body(operation: &'static str, body: &[u8]) -> Result<Vec<Entry>, StoreError> {
    let corrupt = |error| StoreError::corrupt(operation, error);
    let packed = match body.split_first() {
        Some((&VERSION, packed)) => packed,
        first => return Err(corrupt(StoredError::Version(first.map(|(&version, _)| version)))),
    };
    let (size, packed) =
        lz4_flex::block::uncompressed_size(packed).map_err(|_| corrupt(StoredError::Packed))?;
    if size > BODY_MAX {
        return Err(corrupt(StoredError::Packed));
    }
    let plain = lz4_flex::block::decompress(packed, size).map_err(|_| corrupt(StoredError::Packed))?;
    decode(operation, &plain)
}

#[cfg(test)]
mod tests;
