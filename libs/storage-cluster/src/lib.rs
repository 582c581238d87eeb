#![doc = include_str!("../README.md")]

pub mod job_rows;
#[cfg(feature = "testing")]
pub mod laws;
pub mod ledger_blocks;
pub mod payload;
#[cfg(feature = "testing")]
pub mod testing;
pub mod topics;
