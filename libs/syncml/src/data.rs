//! The content of `Data`, as text or as octets.

use std::borrow::Cow;

use crate::Data;

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
    /// [`Data::Bytes`], since no encoding carries a NUL in text, but they give their text without the NULs at
    /// its end.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bytes(bytes) => {
                let end = bytes.iter().rposition(|&octet| octet != 0).map_or(0, |last| last + 1);
                std::str::from_utf8(&bytes[..end]).ok().filter(|text| is_text(text))
            }
        }
    }

    /// Octets as they came in OPAQUE: text if they are UTF-8 without a NUL, else octets.
    ///
    /// Whatever stands for a value is the same value, however it was sent: text that came as OPAQUE equals
    /// text that came inline. What begins with 0x00 to 0x03, as an embedded WBXML document does, is never text.
    #[must_use]
    pub fn from_octets(octets: Cow<'a, [u8]>) -> Self {
        match octets {
            Cow::Borrowed(octets) => match simdutf8::basic::from_utf8(octets) {
                Ok(text) => Self::from_text(Cow::Borrowed(text)),
                Err(_) => Self::Bytes(Cow::Borrowed(octets)),
            },
            Cow::Owned(octets) => match String::from_utf8(octets) {
                Ok(text) => Self::from_text(Cow::Owned(text)),
                Err(error) => Self::Bytes(Cow::Owned(error.into_bytes())),
            },
        }
    }

    /// Text, unless it holds a NUL, or begins as an embedded WBXML document does: then its octets.
    #[must_use]
    pub fn from_text(text: Cow<'a, str>) -> Self {
        if is_text(&text) { Self::Text(text) } else { Self::Bytes(into_bytes(text)) }
    }

    /// The same, for text that is known to be without a NUL.
    pub(crate) fn from_text_without_nul(text: Cow<'a, str>) -> Self {
        if begins_as_text(&text) { Self::Text(text) } else { Self::Bytes(into_bytes(text)) }
    }
}

fn is_text(text: &str) -> bool {
    begins_as_text(text) && memchr::memchr(0, text.as_bytes()).is_none()
}

fn begins_as_text(text: &str) -> bool {
    !matches!(text.as_bytes(), [0..=3, ..])
}

fn into_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
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
