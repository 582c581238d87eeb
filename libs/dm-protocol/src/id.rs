//! The name of a management client.

use std::{fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, Visitor},
};

/// The name of one management client: `./DevInfo/DevId`, which is also `SyncHdr/Source/LocURI` of its messages,
/// such as `IMEI:490154203237518` or `urn:uuid:…`. From 1 to 128 characters, without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct DevId(Arc<str>);

impl DevId {
    /// Checks and takes a name.
    ///
    /// # Errors
    ///
    /// A sentence that says what was expected and what came.
    pub fn parse(text: &str) -> Result<Self, DevIdError> {
        let length = text.chars().count();
        if !(1..=128).contains(&length) {
            return Err(DevIdError::Length(length));
        }
        if let Some(at) = text.find(char::is_control) {
            return Err(DevIdError::Control(at));
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Made of the text as it is read, without a copy in between.
impl<'de> Deserialize<'de> for DevId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = DevId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a device id")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<DevId, E> {
                Ok(DevId(text.into()))
            }
        }

        from.deserialize_str(Text)
    }
}

impl fmt::Display for DevId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no device's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DevIdError {
    /// Empty or too long.
    #[error("expected a device id of 1 to 128 characters, got {0}")]
    Length(usize),
    /// It has a control character.
    #[error("expected a device id without control characters, got one at byte {0}")]
    Control(usize),
}
