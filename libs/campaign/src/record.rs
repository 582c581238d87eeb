//! A campaign's state as it is stored, and what sessions must know of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Job, PauseCause, Phase, Plan, codec, codec::CodecError};

/// Where a campaign is as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Run {
    /// Created; nobody is a member yet.
    #[default]
    Draft,
    /// Devices are given work.
    Running,
    /// No device is given work; what is in flight goes on.
    Paused(PauseCause),
    /// No device is given work any more; what is in flight ends.
    Stopping {
        /// It ends at once, as cancelled.
        hard: bool,
    },
    /// Every member is in its last state.
    Finished,
    /// The same, after a stop.
    Stopped,
}

impl Run {
    /// Its name in answers and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Running => "running",
            Self::Paused(_) => "paused",
            Self::Stopping { .. } => "stopping",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
        }
    }

    /// Nothing will change any more.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Finished | Self::Stopped)
    }

    /// A session may work on a job in this phase. What has begun is carried through; what only waits is begun only
    /// while the campaign runs. This one question at dispatch is what makes a pause take effect at once.
    pub fn may_work_on(&self, phase: Phase) -> bool {
        match self {
            Self::Running => true,
            Self::Stopping { hard: true } | Self::Draft => false,
            Self::Paused(_) | Self::Stopping { hard: false } => phase.exec_may_have_left(),
            // A job that is still there belongs to an attempt that the ledger has not seen end.
            Self::Finished | Self::Stopped => false,
        }
    }
}

/// What a session must know of a campaign to work on a job of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// What the campaign is.
    pub plan: Plan,
    /// Where it is.
    pub run: Run,
}

impl View {
    /// Reads it from the campaign's stored definition and state.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when one of them cannot be read.
    pub fn decode(definition: &[u8], state: &[u8]) -> Result<Self, CodecError> {
        Ok(Self { plan: Plan::decode(definition)?, run: StoredState::decode_run(state)? })
    }

    /// A session may work on this job now.
    pub fn may_work_on(&self, job: &Job) -> bool {
        self.run.may_work_on(job.phase)
    }
}

/// Who started a campaign, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// When: the instant that timers count from.
    #[serde(with = "jiff::fmt::serde::timestamp::nanosecond::required")]
    pub at: Timestamp,
    /// Who.
    pub by: String,
}

/// The changing part of a campaign's record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredState {
    /// Where the campaign was at the checkpoint.
    pub run: Run,
    /// When it was created.
    #[serde(with = "jiff::fmt::serde::timestamp::nanosecond::optional")]
    pub created: Option<Timestamp>,
    /// Its start; `None` for a draft. Written in one step with the members, and the ledger begins after it.
    pub start: Option<Start>,
    /// Counters at the checkpoint, so that a list of campaigns reads no ledger.
    pub counts: crate::Counts,
    /// The ledger's offset that the checkpoint has read to.
    pub offset: u64,
    /// What `Campaign::checkpoint` wrote; empty before the first.
    pub checkpoint: Vec<u8>,
}

impl StoredState {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(1, self)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when it is of another version, or cut, or damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(1, "campaign state", bytes)
    }

    /// Reads all but the checkpoint, which stands last and may be megabytes; `bytes` may be cut within it.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when it is of another version, or cut before the checkpoint, or damaged.
    pub fn decode_head(bytes: &[u8]) -> Result<Self, CodecError> {
        let Head { run, created, start, counts, offset } = codec::decode_first(1, "campaign state", bytes)?;
        Ok(Self { run, created, start, counts, offset, checkpoint: Vec::new() })
    }

    /// Reads only where the campaign was, which stands first: sessions ask for it often, and the checkpoint after it
    /// may be megabytes.
    fn decode_run(bytes: &[u8]) -> Result<Run, CodecError> {
        codec::decode_first(1, "campaign state", bytes)
    }
}

/// [`StoredState`] up to its checkpoint, field by field.
#[derive(Deserialize)]
struct Head {
    run: Run,
    #[serde(with = "jiff::fmt::serde::timestamp::nanosecond::optional")]
    created: Option<Timestamp>,
    start: Option<Start>,
    counts: crate::Counts,
    offset: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_state_is_read_without_its_checkpoint() {
        let start = Start { at: Timestamp::UNIX_EPOCH, by: "ann".into() };
        let state = StoredState {
            run: Run::Stopping { hard: true },
            created: Some(Timestamp::UNIX_EPOCH),
            start: Some(start),
            offset: 300,
            checkpoint: vec![7; 1000],
            ..StoredState::default()
        };
        let bytes = state.encode();
        let want = StoredState { checkpoint: Vec::new(), ..state };
        for cut in [0, 1, 999, 1000] {
            assert_eq!(StoredState::decode_head(&bytes[..bytes.len() - cut]), Ok(want.clone()));
        }
        assert!(StoredState::decode_head(&bytes[..4]).is_err());
    }
}
