#![doc = include_str!("../README.md")]

pub mod job_rows;
pub mod ledger_blocks;
#[cfg(feature = "testing")]
pub mod testing;
pub mod topics;
