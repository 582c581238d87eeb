#![doc = include_str!("../README.md")]

mod account;
pub mod auth;
pub mod device;
mod id;
pub mod server;

pub use account::{Account, ClientAuth, Nonces, Scheme, ServerAuth};
pub use id::{DevId, DevIdError};
