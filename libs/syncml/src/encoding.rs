//! Which of the two forms a message is in.

use serde::{Deserialize, Serialize};

/// The form of a message on the wire. A session keeps to the one its first message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Encoding {
    /// `application/vnd.syncml.dm+xml`
    Xml,
    /// `application/vnd.syncml.dm+wbxml`
    Wbxml,
}

/// The body is not a DM message by its media type, nor by its first octet where no type says what it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected application/vnd.syncml.dm+xml or application/vnd.syncml.dm+wbxml, got {got}")]
pub struct UnsupportedMediaType {
    /// The media type, or what the first octet was.
    pub got: Box<str>,
}

impl Encoding {
    /// Decides by the `Content-Type`, or by the first octet where it is missing or says nothing.
    ///
    /// Types are compared without regard to case and to parameters. Without one, `<` or a byte order mark
    /// is XML and 0x00 to 0x03 is WBXML.
    ///
    /// # Errors
    ///
    /// [`UnsupportedMediaType`] for any other type, and for a body that begins otherwise. Answer it with
    /// HTTP 415.
    pub fn of(content_type: Option<&str>, body: &[u8]) -> Result<Self, UnsupportedMediaType> {
        let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if media_type.is_empty() || media_type.eq_ignore_ascii_case("application/octet-stream") {
            return Self::sniff(body);
        }
        [Self::Xml, Self::Wbxml]
            .into_iter()
            .find(|encoding| media_type.eq_ignore_ascii_case(encoding.media_type()))
            .ok_or_else(|| UnsupportedMediaType { got: media_type.chars().take(80).collect() })
    }

    /// What goes into `Content-Type`.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Xml => "application/vnd.syncml.dm+xml",
            Self::Wbxml => "application/vnd.syncml.dm+wbxml",
        }
    }

    fn sniff(body: &[u8]) -> Result<Self, UnsupportedMediaType> {
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
        // Some XML begins with an empty line or a tab, although a declaration would have to come first.
        match body.iter().find(|octet| !octet.is_ascii_whitespace()) {
            Some(b'<') => Ok(Self::Xml),
            _ if matches!(body, [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..]) => Ok(Self::Xml),
            _ if matches!(body, [0x00..=0x03, ..]) => Ok(Self::Wbxml),
            Some(octet) => {
                Err(UnsupportedMediaType { got: format!("a body that begins with 0x{octet:02x}").into() })
            }
            None => Err(UnsupportedMediaType { got: "an empty body".into() }),
        }
    }
}

impl std::fmt::Display for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Xml => "xml",
            Self::Wbxml => "wbxml",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decides_by_the_media_type_and_else_by_the_first_octet() {
        const XML: Option<Encoding> = Some(Encoding::Xml);
        const WBXML: Option<Encoding> = Some(Encoding::Wbxml);
        for (content_type, body, want) in [
            (Some("application/vnd.syncml.dm+xml"), &b""[..], XML),
            (Some(" Application/Vnd.SyncML.DM+XML ; charset=\"utf-8\""), b"\x02", XML),
            (Some("application/vnd.syncml.dm+wbxml;verproto=DM/1.2"), b"<", WBXML),
            (Some("text/xml"), b"<SyncML/>", None),
            (Some("application/vnd.syncml.dm+xmlx"), b"<SyncML/>", None),
            (Some("application/octet-stream"), b"<SyncML/>", XML),
            (Some("application/octet-stream; x=y"), b"\x02\xA4\x01", WBXML),
            (Some(""), b"\xEF\xBB\xBF<SyncML/>", XML),
            (None, b"\r\n\t<SyncML/>", XML),
            (None, b"\xFF\xFE<\0", XML),
            (None, b"\x00", WBXML),
            (None, b"\x03\x01", WBXML),
            (None, b"\x04", None),
            (None, b"{}", None),
            (None, b"", None),
        ] {
            assert_eq!(Encoding::of(content_type, body).ok(), want, "{content_type:?} {body:02x?}");
        }
    }
}
