//! The tasks that carry jobs to devices' rows, and events to ledgers.

mod drive;
mod events;
mod jobs;

pub use self::{events::EventsWorker, jobs::JobsWorker};
