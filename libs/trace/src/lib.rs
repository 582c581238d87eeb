#![doc = include_str!("../README.md")]

mod context;
mod keep;
mod late;
mod scope;
mod span;
#[cfg(test)]
mod tests;

pub use context::{BadTraceparent, Traceparent};
pub use keep::{Finished, Kind, Sink, Value, begin, install, is_on};
pub use late::{Late, late};
pub use scope::{current, within};
pub use span::Span;
