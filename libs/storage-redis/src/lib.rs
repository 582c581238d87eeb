#![doc = include_str!("../README.md")]

mod connection;
mod keys;
mod revision;
mod script;
mod sessions;
mod settings;

pub use connection::Redis;
pub use settings::{ClientCertificate, RedisSettings, SettingsError};
