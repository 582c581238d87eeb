//! Stored forms: an octet of version, then postcard. Every version that was ever written can be read for ever;
//! the `tests/golden/` of each crate that stores has a sample of each.

use serde::{Deserialize, Serialize};

use crate::StoreError;

/// The version that records are written in today, unless their own file says otherwise.
pub const VERSION: u8 = 1;

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
enum RecordError {
    #[error("expected a record of version {want}, got version {got}")]
    Version { want: u8, got: u8 },
    #[error("expected a record, got no octets")]
    Empty,
    #[error("record is broken")]
    Broken(#[source] postcard::Error),
}

/// Octets of most records, so that their buffer need not grow.
const OCTETS_USUAL: usize = 192;

/// A record's stored form.
pub fn encode<T: Serialize + ?Sized>(record: &T) -> Vec<u8> {
    encode_as(VERSION, record)
}

/// A record's stored form in a version of its own.
pub fn encode_as<T: Serialize + ?Sized>(version: u8, record: &T) -> Vec<u8> {
    let mut stored = Vec::with_capacity(OCTETS_USUAL);
    stored.push(version);
    append(stored, record)
}

/// A record's form without a version, behind what stands in `octets` already.
pub fn append<T: Serialize + ?Sized>(octets: Vec<u8>, record: &T) -> Vec<u8> {
    // Our records have known lengths and a growing buffer under them: there is nothing to fail.
    postcard::to_extend(record, octets).unwrap_or_else(|error| unreachable!("{error}"))
}

/// A record from its stored form, from which it may borrow.
///
/// # Errors
///
/// [`crate::ErrorKind::Corrupt`] for another version than [`VERSION`], and for octets that are no such record.
pub fn decode<'a, T: Deserialize<'a>>(operation: &'static str, stored: &'a [u8]) -> Result<T, StoreError> {
    decode_as(operation, VERSION, stored)
}

/// A record from its stored form, if that is of this version.
///
/// # Errors
///
/// As [`decode`] has them.
pub fn decode_as<'a, T: Deserialize<'a>>(
    operation: &'static str,
    want: u8,
    stored: &'a [u8],
) -> Result<T, StoreError> {
    let body = body(operation, want, stored)?;
    postcard::from_bytes(body).map_err(|error| StoreError::corrupt(operation, RecordError::Broken(error)))
}

/// What stands behind the version, if that is the one.
///
/// # Errors
///
/// [`crate::ErrorKind::Corrupt`] for another version.
pub fn body<'a>(operation: &'static str, want: u8, stored: &'a [u8]) -> Result<&'a [u8], StoreError> {
    let error = match stored.split_first() {
        Some((&got, body)) if got == want => return Ok(body),
        Some((&got, _)) => RecordError::Version { want, got },
        None => RecordError::Empty,
    };
    Err(StoreError::corrupt(operation, error))
}

/// Instants as seconds and nanoseconds: a third of their text, and exact. For `#[serde(with = "…")]`.
pub mod instant {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    /// Writes an instant.
    ///
    /// # Errors
    ///
    /// Those of the format.
    pub fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        (at.as_second(), at.subsec_nanosecond()).serialize(to)
    }

    /// Reads an instant.
    ///
    /// # Errors
    ///
    /// Those of the format, and where the numbers are no instant.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let (seconds, nanoseconds) = Deserialize::deserialize(from)?;
        Timestamp::new(seconds, nanoseconds).map_err(D::Error::custom)
    }

    /// The same where there may be none.
    pub mod option {
        use super::{Deserialize, Deserializer, Error, Serialize, Serializer, Timestamp};

        /// Writes an instant that there may be.
        ///
        /// # Errors
        ///
        /// Those of the format.
        pub fn serialize<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
            at.map(|at| (at.as_second(), at.subsec_nanosecond())).serialize(to)
        }

        /// Reads an instant that there may be.
        ///
        /// # Errors
        ///
        /// Those of the format, and where the numbers are no instant.
        pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
            let at: Option<(i64, i32)> = Deserialize::deserialize(from)?;
            at.map(|(seconds, nanoseconds)| Timestamp::new(seconds, nanoseconds).map_err(D::Error::custom))
                .transpose()
        }
    }
}

/// A number alone.
#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(crate) struct Number(pub(crate) u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_another_version_is_refused_by_name() {
        for (want, stored, says) in [
            (1, &[2, 0][..], "expected a record of version 1, got version 2"),
            (2, &[1, 0], "expected a record of version 2, got version 1"),
            (1, &[], "expected a record, got no octets"),
            (1, &[1], "record is broken"),
        ] {
            let error = decode_as::<u64>("read sample", want, stored).unwrap_err();
            assert_eq!(error.kind, crate::ErrorKind::Corrupt);
            assert_eq!(error.source.expect("a corrupt record says why").to_string(), says);
        }
    }
}
