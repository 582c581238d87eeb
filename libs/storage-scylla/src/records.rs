//! Stored forms: an octet of version, then postcard. Every version that was ever written can be read for ever;
//! `tests/golden/` has a sample of each.

use serde::{Deserialize, Serialize};
use storage::StoreError;

/// The version that every record is written in today.
pub(crate) const VERSION: u8 = 1;

#[derive(Debug, thiserror::Error)]
enum RecordError {
    #[error("expected a record of version {VERSION}, got version {0}")]
    Version(u8),
    #[error("expected a record, got no octets")]
    Empty,
    #[error("record is broken")]
    Broken(#[source] postcard::Error),
}

/// A record's stored form.
pub(crate) fn encode<T: Serialize + ?Sized>(record: &T) -> Vec<u8> {
    // Our records have known lengths and a growing buffer under them: there is nothing to fail.
    postcard::to_extend(record, vec![VERSION]).unwrap_or_else(|error| unreachable!("{error}"))
}

/// A record from its stored form, from which it may borrow.
pub(crate) fn decode<'a, T: Deserialize<'a>>(
    operation: &'static str,
    stored: &'a [u8],
) -> Result<T, StoreError> {
    let record = match stored.split_first() {
        Some((&VERSION, body)) => postcard::from_bytes(body).map_err(RecordError::Broken),
        Some((&version, _)) => Err(RecordError::Version(version)),
        None => Err(RecordError::Empty),
    };
    record.map_err(|error| StoreError::corrupt(operation, error))
}

/// Instants as seconds and nanoseconds: a third of their text, and exact.
pub(crate) mod instant {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        (at.as_second(), at.subsec_nanosecond()).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let (seconds, nanoseconds) = Deserialize::deserialize(from)?;
        Timestamp::new(seconds, nanoseconds).map_err(D::Error::custom)
    }

    /// The same where there may be none.
    pub(crate) mod option {
        use super::{Deserialize, Deserializer, Error, Serialize, Serializer, Timestamp};

        pub(crate) fn serialize<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
            at.map(|at| (at.as_second(), at.subsec_nanosecond())).serialize(to)
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
            let at: Option<(i64, i32)> = Deserialize::deserialize(from)?;
            at.map(|(seconds, nanoseconds)| Timestamp::new(seconds, nanoseconds).map_err(D::Error::custom))
                .transpose()
        }
    }
}
