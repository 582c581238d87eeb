//! The header of a document (WBXML 1.3, section 5.4).

use crate::{Error, integer::mb_u_int32};

/// Numbers of character sets (IANA MIBenum) that documents name.
pub mod charset {
    /// Not stated.
    pub const UNKNOWN: u32 = 0;
    /// US-ASCII.
    pub const ASCII: u32 = 3;
    /// ISO-8859-1.
    pub const LATIN_1: u32 = 4;
    /// UTF-8.
    pub const UTF_8: u32 = 106;
}

/// How a document names its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicId<'a> {
    /// A registered number; 1 means that it is unknown.
    Number(u32),
    /// The formal public identifier, from the string table.
    ///
    /// Some encoders leave out the NUL after it when it is the last string of the table; it then runs to
    /// the table's end.
    Text(&'a [u8]),
}

/// What stands before the body of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// 0x01 is WBXML 1.1, 0x02 is 1.2, 0x03 is 1.3.
    pub version: u8,
    /// The document's type.
    pub public_id: PublicId<'a>,
    /// IANA MIBenum of the character set; see [`charset`].
    pub charset: u32,
    /// The string table.
    pub strings: &'a [u8],
}

impl<'a> Header<'a> {
    /// Reads the header; gives it and the position of the body.
    ///
    /// # Errors
    ///
    /// When the document ends within the header, the string table is longer than the document, or the
    /// public identifier lies outside the string table.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, usize), Error> {
        let &version = bytes.first().ok_or(Error::UnexpectedEnd { at: 0, expected: "the WBXML version" })?;
        if version > 0x03 {
            return Err(Error::UnexpectedToken {
                at: 0,
                expected: "a WBXML version 1.0 to 1.3",
                got: version,
            });
        }
        let (number, at) = mb_u_int32(bytes, 1)?;
        // WBXML 1.0 to 1.3 alike: zero says that the identifier is a string of the table.
        let (text_offset, at) = if number == 0 {
            mb_u_int32(bytes, at).map(|(offset, at)| (Some(offset), at))?
        } else {
            (None, at)
        };
        // The character set came with WBXML 1.1.
        let (charset, at) = if version == 0 { (charset::UNKNOWN, at) } else { mb_u_int32(bytes, at)? };
        let (length, at) = mb_u_int32(bytes, at)?;
        let strings = slice(bytes, at, length, "a string table")?;
        let public_id = match text_offset {
            None => PublicId::Number(number),
            Some(offset) => PublicId::Text(string_at(strings, offset).ok_or(Error::OffsetBeyondTable {
                at: 1,
                offset,
                length: strings.len(),
            })?),
        };
        Ok((Self { version, public_id, charset, strings }, at + strings.len()))
    }
}

/// The octets of something that states its length.
pub(crate) fn slice<'a>(
    bytes: &'a [u8],
    at: usize,
    length: u32,
    what: &'static str,
) -> Result<&'a [u8], Error> {
    let left = bytes.get(at..).unwrap_or_default();
    usize::try_from(length).ok().and_then(|length| left.get(..length)).ok_or(Error::LengthBeyondEnd {
        at,
        what,
        length,
        left: left.len(),
    })
}

/// The string at `offset` of the table: up to its NUL, or to the end of a table that lacks the last NUL.
pub(crate) fn string_at(strings: &[u8], offset: u32) -> Option<&[u8]> {
    let tail = strings.get(usize::try_from(offset).ok()?..).filter(|tail| !tail.is_empty())?;
    Some(memchr::memchr(0, tail).map_or(tail, |end| &tail[..end]))
}
