#![doc = include_str!("../README.md")]

mod ask;
mod carry;
mod error;
mod live;
mod mailbox;
mod metrics;
mod operations;
mod owner;
mod owners;
mod process;
mod reporting;
mod reports;
mod select;
mod service;
mod starting;
mod views;

pub use error::ServiceError;
pub use metrics::CampaignMetrics;
pub use process::{Clock, Entropy, Process, system_clock, system_entropy};
pub use reports::{
    DeviceReport, DeviceRow, DevicesPage, OutcomeRow, Status, Summary, Verification, WaveStatus,
};
pub use service::CampaignService;
pub use storage::Stores;
