//! What can go wrong, and what of it a caller of a store can act on.

use std::time::Duration;

use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError, SchemaAgreementError};
use storage::{ErrorKind, StoreError};

/// Why a cluster cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScyllaError {
    /// The settings cannot be used.
    #[error("{0}")]
    Settings(String),
    /// A certificate or key cannot be used.
    #[error("cannot use {file}")]
    Certificate {
        /// Which file.
        file: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No node answers, or none lets us in.
    #[error("cannot connect to {contact_points}")]
    Connect {
        /// Whom we asked.
        contact_points: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No node answered in time.
    #[error("no answer from {contact_points} within {within:?}")]
    ConnectDeadline {
        /// Whom we asked.
        contact_points: String,
        /// How long we waited.
        within: Duration,
    },
    /// The keyspace is not there.
    #[error("keyspace {0} is not there: run `flotilla schema apply`")]
    NoKeyspace(String),
    /// The tables are of an older binary.
    #[error("schema lacks migrations {0:?}: run `flotilla schema apply`")]
    SchemaOlder(Vec<u32>),
    /// The tables are of a newer binary.
    #[error("schema has migrations {0:?} that this binary does not know: run a newer one")]
    SchemaNewer(Vec<u32>),
    /// A migration that was applied is not the one in this binary.
    #[error("migration {version} was applied as {applied}, and this binary has {ours}")]
    SchemaDiffers {
        /// Which.
        version: u32,
        /// The checksum of what was applied.
        applied: String,
        /// The checksum of ours.
        ours: String,
    },
    /// Another process applies migrations and does not end.
    #[error("migrations are being applied by {0}, and it has not ended")]
    SchemaLocked(String),
    /// A statement of a migration failed.
    #[error("cannot apply `{statement}`")]
    Migration {
        /// The beginning of the statement.
        statement: String,
        /// Why.
        #[source]
        source: Box<ExecutionError>,
    },
    /// The nodes do not agree on the schema.
    #[error("the nodes do not agree on the schema")]
    SchemaAgreement(#[source] Box<SchemaAgreementError>),
    /// A statement failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a failed request means to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It was not done.
    Undone,
    /// Perhaps it was done; its coordinator has given up, so nothing more comes of it by itself.
    InDoubt,
    /// Perhaps it was done, or will still be: its coordinator may not have given up.
    InFlight,
}

/// What came of a request that failed, at the worst.
pub(crate) fn failed(error: &ExecutionError) -> Failed {
    match error {
        ExecutionError::LastAttemptError(attempt) => match attempt {
            RequestAttemptError::DbError(error, _) => match error {
                DbError::SyntaxError
                | DbError::Invalid
                | DbError::AlreadyExists { .. }
                | DbError::FunctionFailure { .. }
                | DbError::AuthenticationError
                | DbError::Unauthorized
                | DbError::ConfigError
                | DbError::Unavailable { .. }
                | DbError::IsBootstrapping
                | DbError::Unprepared { .. }
                | DbError::ProtocolError
                | DbError::RateLimitReached { .. } => Failed::Undone,
                // An overloaded coordinator may have told some replicas before it gave up.
                _ => Failed::InDoubt,
            },
            RequestAttemptError::SerializationError(_)
            | RequestAttemptError::CqlRequestSerialization(_)
            | RequestAttemptError::UnableToAllocStreamId
            | RequestAttemptError::RepreparedIdChanged { .. }
            | RequestAttemptError::RepreparedIdMissingInBatch => Failed::Undone,
            _ => Failed::InFlight,
        },
        ExecutionError::RequestTimeout(_) => Failed::InFlight,
        ExecutionError::BadQuery(_)
        | ExecutionError::EmptyPlan
        | ExecutionError::PrepareError(_)
        | ExecutionError::ConnectionPoolError(_) => Failed::Undone,
        _ => Failed::InFlight,
    }
}

/// A read that failed.
pub(crate) fn read_failed(operation: &'static str, error: ExecutionError) -> StoreError {
    StoreError::unavailable(operation, error)
}

/// A write that failed: [`ErrorKind::TimedOut`] where it is not known whether it was done.
pub(crate) fn write_failed(operation: &'static str, error: ExecutionError) -> StoreError {
    let kind = match failed(&error) {
        Failed::Undone => ErrorKind::Unavailable,
        Failed::InDoubt | Failed::InFlight => ErrorKind::TimedOut,
    };
    StoreError { kind, operation, source: Some(error.into()) }
}

/// A statement that no node would prepare: nothing was done.
pub(crate) fn prepare_failed(operation: &'static str, error: PrepareError) -> StoreError {
    StoreError::unavailable(operation, error)
}

#[cfg(test)]
mod tests {
    use scylla::errors::WriteType;
    use scylla::frame::types::Consistency;

    use super::*;

    #[test]
    fn a_write_is_refused_only_where_it_cannot_have_been_done() {
        let timeout = |write_type| DbError::WriteTimeout {
            consistency: Consistency::LocalQuorum,
            received: 1,
            required: 2,
            write_type,
        };
        let unavailable =
            DbError::Unavailable { consistency: Consistency::LocalQuorum, required: 2, alive: 1 };
        for (error, want) in [
            (timeout(WriteType::Simple), Failed::InDoubt),
            (timeout(WriteType::Cas), Failed::InDoubt),
            (DbError::Overloaded, Failed::InDoubt),
            (DbError::Other(0x1700), Failed::InDoubt),
            (unavailable, Failed::Undone),
            (DbError::Invalid, Failed::Undone),
        ] {
            let error = ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, String::new()));
            assert_eq!(failed(&error), want, "{error}");
            let kind = write_failed("write", error).kind;
            let timed_out = kind == ErrorKind::TimedOut;
            assert_eq!(timed_out, want == Failed::InDoubt);
        }
        let late = ExecutionError::RequestTimeout(Duration::from_secs(1));
        assert_eq!(failed(&late), Failed::InFlight);
        assert_eq!(read_failed("read", late).kind, ErrorKind::Unavailable);
    }
}
