//! Why bytes are not a message.

use crate::StatusCode;

/// Why bytes are not a message. Every variant names the octet at which it was noticed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// An element that cannot stand there.
    #[error("expected {expected} at byte {at}, got <{got}>")]
    UnexpectedElement {
        /// Where it stands.
        at: usize,
        /// What should have stood there.
        expected: &'static str,
        /// Its name.
        got: Box<str>,
    },
    /// The bytes are not well-formed XML, or not what we accept of it.
    #[error("expected {expected} at byte {at}, got {got}")]
    Malformed {
        /// Where they go wrong.
        at: usize,
        /// What should have stood there.
        expected: &'static str,
        /// What stands there.
        got: Box<str>,
    },
    /// The bytes are not well-formed WBXML.
    #[error(transparent)]
    Wbxml(#[from] wbxml::Error),
    /// Something is larger than the [`crate::Limits`] allow.
    #[error("expected at most {max} {what} at byte {at}, got more")]
    TooLarge {
        /// Where the bound was passed.
        at: usize,
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// A character set that we do not read.
    #[error("expected UTF-8 at byte {at}, got {got}")]
    UnsupportedCharset {
        /// Where it is named or shows.
        at: usize,
        /// What it is.
        got: Box<str>,
    },
}

impl DecodeError {
    /// The octet at which the message went wrong.
    #[must_use]
    pub fn at(&self) -> usize {
        match self {
            Self::UnexpectedElement { at, .. }
            | Self::Malformed { at, .. }
            | Self::TooLarge { at, .. }
            | Self::UnsupportedCharset { at, .. } => *at,
            Self::Wbxml(error) => error.at(),
        }
    }

    /// What a Status would say.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::UnexpectedElement { .. } | Self::Malformed { .. } | Self::Wbxml(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::TooLarge { .. } => StatusCode::REQUEST_ENTITY_TOO_LARGE,
            Self::UnsupportedCharset { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE_OR_FORMAT,
        }
    }

    /// What HTTP says, where there is no message that could carry a Status: 400, 413 or 415.
    #[must_use]
    pub const fn http_status(&self) -> u16 {
        self.status().0
    }
}
