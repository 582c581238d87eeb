#![doc = include_str!("../README.md")]

pub mod devices;
pub mod hot;
pub mod job_rows;
#[cfg(any(test, feature = "testing"))]
pub mod laws;
pub mod ledger_blocks;
pub mod marks;
pub mod payload;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod topics;
