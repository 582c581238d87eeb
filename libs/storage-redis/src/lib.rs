#![doc = include_str!("../README.md")]

mod connection;
mod devices;
mod examine;
mod keys;
mod limits;
mod marks;
mod revision;
mod script;
mod sessions;
mod settings;

pub use connection::Redis;
pub use examine::{Examined, Info};
pub use service_kit::settings::RedisSettings;
pub use settings::{SettingsError, check};
