#![doc = include_str!("../README.md")]

mod artifacts;
mod campaigns;
mod connection;
mod devices;
mod error;
mod examine;
pub mod gc;
#[cfg(test)]
mod golden;
mod job_rows;
mod ledger_blocks;
pub(crate) mod lwt;
mod requests;
pub mod schema;
mod settings;
mod snapshots;
mod starts;
pub(crate) mod statement;
mod tls;

pub use connection::Scylla;
pub use devices::ScyllaDevices;
pub use error::ScyllaError;
pub use examine::Examined;
pub use job_rows::{JobKeep, ScyllaRows};
pub use ledger_blocks::ScyllaBlocks;
pub use service_kit::settings::{Replication, ScyllaSettings};
pub use settings::check;
pub use snapshots::{SnapshotOptions, Snapshots};
