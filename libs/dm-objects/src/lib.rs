#![doc = include_str!("../README.md")]

pub mod agenda;
pub mod outcome;
