#![doc = include_str!("../README.md")]

mod device;
mod download;
mod faults;
mod fumo;
mod identity;
mod link;
pub mod model;
mod note;
mod seed;
mod talk;

pub use device::{Action, Setup, SimDevice, Timing};
pub use download::{Download, Head, Outcome};
pub use faults::FaultPlan;
pub use fumo::{ExecCount, Fate, Fumo, Order, PendingAlert};
pub use identity::{Auth, DeviceIdentity, Mix, SERVER_ID};
pub use link::{Delivery, Link, LinkFaults};
pub use note::{Fault, Note, Triggered};
pub use seed::Chance;
pub use syncml::Encoding;
