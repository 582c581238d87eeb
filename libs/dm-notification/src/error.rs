//! What is wrong with a notification.

/// Why a notification cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The header has an octet for the length.
    #[error("expected a server id of 1 to 255 octets, got {0}")]
    ServerId(usize),
    /// Devices begin their sessions with the id, and zero is none.
    #[error("expected a session id from 1 to 65535, got 0")]
    SessionId,
}

/// Why octets are no notification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// They end too early.
    #[error("expected {expected} at byte {at}, got the end")]
    Short {
        /// What was to come.
        expected: &'static str,
        /// Where the octets end.
        at: usize,
    },
    /// The server id has no octet.
    #[error("expected a server id of 1 to 255 octets at byte {at}, got none")]
    NoServerId {
        /// Where its length stands.
        at: usize,
    },
    /// The server id is no text.
    #[error("expected a server id of UTF-8 at byte {at}, got other octets")]
    ServerId {
        /// The first octet at fault.
        at: usize,
    },
    /// The session id is none.
    #[error("expected a session id from 1 to 65535 at byte {at}, got 0")]
    SessionId {
        /// Where it stands.
        at: usize,
    },
    /// An octet of a push's header is another.
    #[error("expected {expected} at byte {at}, got 0x{got:02x}")]
    Unexpected {
        /// What was to come.
        expected: &'static str,
        /// Where.
        at: usize,
        /// What came.
        got: u8,
    },
}
