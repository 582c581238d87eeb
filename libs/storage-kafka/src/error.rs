//! Errors of Kafka, as what the caller can do about them.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use storage::{ErrorKind, StoreError};

use crate::Problem;

/// Why Kafka cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The settings are at fault: trying again does not help.
    #[error("expected {expected} in {key}, got {got}")]
    Settings {
        /// Which setting.
        key: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        got: String,
    },
    /// The client library refuses a setting.
    #[error("the settings of Kafka cannot be used")]
    Client(#[source] KafkaError),
    /// No broker answers, or none that is ready: trying again may help.
    #[error("could not {operation} at {bootstrap}")]
    Unreachable {
        /// What was tried.
        operation: &'static str,
        /// Where.
        bootstrap: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The topics are not as the settings ask.
    #[error("the topics are not as the settings ask:{}", list(.0))]
    Setup(Vec<Problem>),
}

impl ConnectError {
    /// Trying again, with nothing changed, may help.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// The error of an operation that did not begin, or is known not to have been done, unless its code says otherwise.
pub(crate) fn store_error(operation: &'static str, error: KafkaError) -> StoreError {
    StoreError { kind: kind(&error), operation, source: Some(Box::new(error)) }
}

fn kind(error: &KafkaError) -> ErrorKind {
    match error.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => ErrorKind::TooLarge,
        Some(Code::MessageTimedOut | Code::OperationTimedOut | Code::RequestTimedOut) => ErrorKind::TimedOut,
        Some(Code::UnknownPartition) => ErrorKind::Missing,
        Some(code) if is_fenced(code) => ErrorKind::Conflict,
        _ => ErrorKind::Unavailable,
    }
}

/// The group goes on without this member: its partitions are another's, or will be.
pub(crate) fn is_fenced(code: Code) -> bool {
    matches!(
        code,
        Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::FencedInstanceId
            | Code::AssignmentLost
            | Code::StaleMemberEpoch
            | Code::FencedMemberEpoch
    )
}

/// What ran out of time, so that it is not known whether it was done.
pub(crate) fn timed_out(operation: &'static str) -> StoreError {
    StoreError { kind: ErrorKind::TimedOut, operation, source: None }
}

/// A task of the runtime did not end by itself: it is shutting down.
pub(crate) fn cut_off(operation: &'static str, error: tokio::task::JoinError) -> StoreError {
    StoreError::unavailable(operation, error)
}
