#![doc = include_str!("../README.md")]

mod client;
mod roster;

pub use client::{Client, ClientError, ClientOptions, Reply, TlsOptions};
pub use dm_sim::{Auth, DeviceIdentity, Encoding, FaultPlan, Mix};
pub use roster::{roster, roster_of, write_csv};
