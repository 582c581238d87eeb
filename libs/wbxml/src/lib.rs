#![doc = include_str!("../README.md")]

mod error;
mod header;
mod integer;
mod reader;
mod token;
mod writer;

pub use error::Error;
pub use header::{Header, PublicId, charset};
pub use integer::{mb_u_int32, push_mb_u_int32};
pub use reader::{Name, Reader, Token};
pub use writer::Writer;
