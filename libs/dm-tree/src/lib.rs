#![doc = include_str!("../README.md")]

mod change;
mod format;

pub use change::{Change, TreeDelta};
pub use format::{Format, Leaf};
