//! Stored forms: one octet of version, then postcard.

use serde::{Serialize, de::DeserializeOwned};

/// Why stored octets cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Written by another version of the program.
    #[error("expected version {expected} of the stored {what}, got {got:?}")]
    Version {
        /// What was read.
        what: &'static str,
        /// The version this program reads.
        expected: u8,
        /// The first octet; `None` where there is none.
        got: Option<u8>,
    },
    /// Cut or damaged.
    #[error("the stored {what} is cut or damaged")]
    Malformed {
        /// What was read.
        what: &'static str,
    },
}

pub(crate) fn encode<T: Serialize>(version: u8, value: &T) -> Vec<u8> {
    // Writing to memory fails only for types that postcard cannot write at all; the golden samples prove it can.
    postcard::to_extend(value, vec![version]).unwrap_or_default()
}

/// Reads a whole value.
pub(crate) fn decode<T: DeserializeOwned>(
    version: u8,
    what: &'static str,
    bytes: &[u8],
) -> Result<T, CodecError> {
    match take(version, what, bytes)? {
        (value, []) => Ok(value),
        _ => Err(CodecError::Malformed { what }),
    }
}

/// Reads the first field of a value, and not what follows.
pub(crate) fn decode_first<T: DeserializeOwned>(
    version: u8,
    what: &'static str,
    bytes: &[u8],
) -> Result<T, CodecError> {
    take(version, what, bytes).map(|(value, _)| value)
}

fn take<'a, T: DeserializeOwned>(
    version: u8,
    what: &'static str,
    bytes: &'a [u8],
) -> Result<(T, &'a [u8]), CodecError> {
    match bytes.split_first() {
        Some((&got, rest)) if got == version => {
            postcard::take_from_bytes(rest).map_err(|_| CodecError::Malformed { what })
        }
        first => Err(CodecError::Version { what, expected: version, got: first.map(|(&got, _)| got) }),
    }
}
