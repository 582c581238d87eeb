#![doc = include_str!("../README.md")]

mod download;
mod faults;
mod fumo;
mod identity;
pub mod model;
mod seed;

pub use download::{Download, Head, Outcome};
pub use faults::FaultPlan;
pub use fumo::{ExecCount, Fate, Fumo, Order, PendingAlert};
pub use identity::{Auth, DeviceIdentity, Mix, SERVER_ID};
pub use seed::Chance;
pub use syncml::Encoding;
