//! The content of `Data`, as text or as octets.

use std::borrow::Cow;

use crate::{Data, chars};

impl<'a> Data<'a> {
    /// The octets as they are transported, whichever kind they are.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// The text, or `None` for octets that are none.
    ///
    /// Some clients count the NUL that ends a C string into the length they state. Such octets are still
    /// [`Data::Bytes`], since XML cannot carry them, but they give their text without the NULs at its end.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bytes(bytes) => {
                let end = bytes.iter().rposition(|&octet| octet != 0).map_or(0, |last| last + 1);
                std::str::from_utf8(&bytes[..end]).ok().filter(|text| chars::all_legal(text))
            }
        }
    }

    /// Octets as they came in OPAQUE: text if both encodings can carry them as such, else octets.
    ///
    /// Whatever stands for a value is the same value, however it was sent: text that came as OPAQUE equals
    /// text that came inline. An embedded WBXML document is never text, since it begins with 0x00 to 0x03.
    #[must_use]
    pub fn from_octets(octets: Cow<'a, [u8]>) -> Self {
        match octets {
            Cow::Borrowed(octets) => match std::str::from_utf8(octets) {
                Ok(text) => Self::from_text(Cow::Borrowed(text)),
                Err(_) => Self::Bytes(Cow::Borrowed(octets)),
            },
            Cow::Owned(octets) => match String::from_utf8(octets) {
                Ok(text) => Self::from_text(Cow::Owned(text)),
                Err(error) => Self::Bytes(Cow::Owned(error.into_bytes())),
            },
        }
    }

    /// Text, unless it holds characters that XML cannot carry (a NUL, say): then its octets.
    #[must_use]
    pub fn from_text(text: Cow<'a, str>) -> Self {
        if chars::all_legal(&text) {
            return Self::Text(text);
        }
        Self::Bytes(match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        })
    }
}

impl<'a> From<&'a str> for Data<'a> {
    fn from(text: &'a str) -> Self {
        Self::from_text(Cow::Borrowed(text))
    }
}

impl From<String> for Data<'_> {
    fn from(text: String) -> Self {
        Self::from_text(Cow::Owned(text))
    }
}
