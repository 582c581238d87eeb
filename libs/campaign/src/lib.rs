#![doc = include_str!("../README.md")]

mod job;

pub use job::{CampaignId, EventKind, Job, JobEvent, Phase};
