#![doc = include_str!("../README.md")]
// The helpers of statements come before the stores that use them all.
#![allow(dead_code)]

mod artifacts;
mod campaigns;
mod connection;
mod devices;
mod error;
pub mod gc;
mod job_rows;
mod ledger_blocks;
pub(crate) mod lwt;
mod records;
mod requests;
mod scan;
pub mod schema;
mod settings;
mod snapshots;
mod starts;
pub(crate) mod statement;
mod tls;

pub use connection::Scylla;
pub use devices::ScyllaDevices;
pub use error::ScyllaError;
pub use job_rows::{JobKeep, ScyllaRows};
pub use ledger_blocks::ScyllaBlocks;
pub use scan::{Pace, ScanPage, ScanPosition, ScanPositionError, TokenRange, token_ranges};
pub use settings::{Consistency, Replication, ScyllaSettings, SerialConsistency, TlsSettings};
pub use snapshots::{SnapshotOptions, Snapshots};
