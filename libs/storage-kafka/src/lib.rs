#![doc = include_str!("../README.md")]

mod config;
mod connect;
mod consumer;
mod dead;
mod error;
mod lag;
mod metrics;
mod producer;
mod rights;
mod topics;

pub use connect::Kafka;
pub use consumer::KafkaConsumer;
pub use dead::{DeadLetter, Which};
pub use error::ConnectError;
pub use metrics::describe;
pub use service_kit::settings::KafkaSettings;
pub use topics::{Applied, Problem, TopicPlan};
