#![doc = include_str!("../README.md")]

mod message;

pub use message::*;
