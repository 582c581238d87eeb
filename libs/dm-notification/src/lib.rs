#![doc = include_str!("../README.md")]

mod digest;
mod error;
mod notification;
pub mod push;
mod received;

pub use digest::ServerKey;
pub use error::{BuildError, ParseError};
pub use notification::{Initiator, Notification, UiMode, Version};
pub use received::Received;

/// The media type of a notification.
pub const MEDIA_TYPE: &str = "application/vnd.syncml.notification";
