#![doc = include_str!("../README.md")]

mod tree;
pub mod visit;

pub use tree::tree;
