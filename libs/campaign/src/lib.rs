#![doc = include_str!("../README.md")]

mod event;
mod job;
mod outcome;

pub use event::{EventKind, EventView, JobEvent, PauseCause};
pub use job::{CampaignId, CampaignIdError, Job, Phase};
pub use outcome::{Outcome, OutcomeKind, TimedPhase, Verdict};
