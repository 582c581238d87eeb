#![doc = include_str!("../README.md")]

pub mod alert;
mod chars;
mod data;
mod decode;
mod encode;
mod encoding;
mod error;
pub mod json;
mod limits;
mod message;
mod owned;
mod status;
mod tag;

pub use decode::decode;
#[cfg(fuzzing)]
pub use decode::decode_by_quick_xml;
pub use encode::{Mark, Writer, encode};
pub use encoding::{Encoding, UnsupportedMediaType};
pub use error::DecodeError;
pub use limits::Limits;
pub use message::*;
