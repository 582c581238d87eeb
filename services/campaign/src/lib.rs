#![doc = include_str!("../README.md")]

mod carry;
mod clock;
mod error;
mod owner;
mod reports;
mod select;
mod service;

pub use clock::{Clock, system_clock};
pub use error::ServiceError;
pub use reports::{
    DeviceReport, DeviceRow, DevicesPage, OutcomeRow, Status, Summary, Verification, WaveStatus,
};
pub use service::CampaignService;
pub use storage::Stores;
