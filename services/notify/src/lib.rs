#![doc = include_str!("../README.md")]

mod bearer;
mod campaigns;
mod gateway;
mod metrics;
mod pace;
mod service;
mod session_id;

pub use bearer::SendError;
pub use metrics::{Outcome, TriggerMetrics};
pub use service::{NotifyError, run};
pub use session_id::session_id;
