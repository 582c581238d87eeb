#![doc = include_str!("../README.md")]

mod client;
mod html;
mod options;
mod plot;
mod progress;
pub mod proxy;
pub mod report;
mod roster;
mod run;
mod tally;
mod triggers;
mod visit;

pub use client::{Client, ClientError, ClientOptions, Download, Reply, TlsOptions};
pub use dm_sim::{Auth, DeviceIdentity, Encoding, FaultPlan, Mix, Timing};
pub use options::{Fleet, Until};
pub use progress::Progress;
pub use report::FleetReport;
pub use roster::{roster, roster_of, write_csv};
pub use run::{FleetError, run};
