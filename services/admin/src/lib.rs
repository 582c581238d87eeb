#![doc = include_str!("../README.md")]

pub mod api;
mod artifacts;
mod auth;
mod backup;
mod body;
mod campaigns;
mod devices;
mod extract;
mod guard;
mod health;
mod log_level;
mod problem;
mod router;
mod secrets;
mod serve;
mod state;

pub use auth::{TOKEN_FILE, Token, TokenError};
pub use problem::Problem;
pub use serve::run;
pub use state::Services;
