//! What can be wrong with a document.

/// Why a document cannot be read further. Every variant names the octet at which it was noticed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The document ends in the middle of something.
    #[error("expected {expected} at byte {at}, got the end of the document")]
    UnexpectedEnd {
        /// Where more octets were needed.
        at: usize,
        /// What should have stood there.
        expected: &'static str,
    },
    /// A multi-byte integer does not fit 32 bits.
    #[error("expected a multi-byte integer of at most 32 bits at byte {at}, got more")]
    IntegerOverflow {
        /// Where the integer begins.
        at: usize,
    },
    /// A length runs past the end of the document.
    #[error("expected {what} of {length} octets at byte {at}, got only {left}")]
    LengthBeyondEnd {
        /// Where its octets begin.
        at: usize,
        /// Whose length it is.
        what: &'static str,
        /// The length stated.
        length: u32,
        /// The octets that are left.
        left: usize,
    },
    /// A reference points outside the string table.
    #[error("expected an offset into a string table of {length} octets at byte {at}, got {offset}")]
    OffsetBeyondTable {
        /// Where the reference stands.
        at: usize,
        /// The offset.
        offset: u32,
        /// The table's length.
        length: usize,
    },
    /// A token that cannot stand there.
    #[error("expected {expected} at byte {at}, got token 0x{got:02x}")]
    UnexpectedToken {
        /// Where the token stands.
        at: usize,
        /// What should have stood there.
        expected: &'static str,
        /// The token.
        got: u8,
    },
}

impl Error {
    /// The octet at which the document went wrong.
    #[must_use]
    pub fn at(&self) -> usize {
        match self {
            Self::UnexpectedEnd { at, .. }
            | Self::IntegerOverflow { at }
            | Self::LengthBeyondEnd { at, .. }
            | Self::OffsetBeyondTable { at, .. }
            | Self::UnexpectedToken { at, .. } => *at,
        }
    }
}
