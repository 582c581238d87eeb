#![doc = include_str!("../README.md")]

mod carry;
mod error;
mod owner;
mod reports;
mod select;
mod service;
mod stores;

pub use error::ServiceError;
pub use reports::{
    DeviceReport, DeviceRow, DevicesPage, OutcomeRow, Status, Summary, Verification, WaveStatus,
};
pub use service::CampaignService;
pub use stores::{Clock, Stores, system_clock};
