//! Why a store could not do it.

/// What the caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Someone else wrote first: load again and decide again.
    Conflict,
    /// The store cannot be reached now: answer "retry later".
    Unavailable,
    /// It is not known whether the write happened.
    TimedOut,
    /// What is stored cannot be read.
    Corrupt,
    /// A bound of the store.
    TooLarge,
    /// What was named is not there.
    Missing,
}

impl ErrorKind {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed-out",
            Self::Corrupt => "corrupt",
            Self::TooLarge => "too-large",
            Self::Missing => "missing",
        }
    }
}

/// An operation of a store that failed.
#[derive(Debug, thiserror::Error)]
#[error("could not {operation}: {kind:?}")]
pub struct StoreError {
    /// What the caller can do.
    pub kind: ErrorKind,
    /// What was tried, such as `put session`.
    pub operation: &'static str,
    /// Why.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// A lost compare-and-set.
    pub fn conflict(operation: &'static str) -> Self {
        Self { kind: ErrorKind::Conflict, operation, source: None }
    }

    /// What was named is not there.
    pub fn missing(operation: &'static str) -> Self {
        Self { kind: ErrorKind::Missing, operation, source: None }
    }

    /// Something stored cannot be read.
    pub fn corrupt(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind: ErrorKind::Corrupt, operation, source: Some(source.into()) }
    }

    /// The store, or something below it, did not do it.
    pub fn unavailable(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind: ErrorKind::Unavailable, operation, source: Some(source.into()) }
    }

    /// It is not known whether the write happened.
    pub fn timed_out(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind: ErrorKind::TimedOut, operation, source: Some(source.into()) }
    }

    /// A bound of the store was reached; `source` says which.
    pub fn too_large(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind: ErrorKind::TooLarge, operation, source: Some(source.into()) }
    }
}
