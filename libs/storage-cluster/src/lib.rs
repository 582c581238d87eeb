#![doc = include_str!("../README.md")]

mod backoff;
pub mod devices;
mod history;
pub mod hot;
pub mod job_rows;
mod jobs;
#[cfg(any(test, feature = "testing"))]
pub mod laws;
mod ledger;
pub mod ledger_blocks;
pub mod marks;
pub mod payload;
mod ports;
mod stored;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod topics;
mod triggers;

pub use jobs::{ClusterJobs, EventsOwnership, EventsWorker, JobsWorker};
pub use ports::{Draw, Ports, draw_from_system};
pub use triggers::{ClusterTriggers, Join};
