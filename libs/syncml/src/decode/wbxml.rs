//! Elements from WBXML.

mod markup;

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};
use wbxml::{Name, Reader, Token, charset};

use super::{Source, pieces::Pieces};
use crate::{Data, DecodeError, Limits, Str, chars, limits::DEPTH_CAP, tag::Tag};

pub(super) struct WbxmlSource<'a> {
    reader: Reader<'a>,
    is_latin_1: bool,
    depth: usize,
    depth_max: usize,
    text_bytes_max: usize,
    copied_bytes: usize,
    copied_bytes_max: usize,
    /// The innermost open element was written without content, so its end has no token.
    at_empty: bool,
}

impl<'a> WbxmlSource<'a> {
    pub(super) fn new(bytes: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
        let reader = Reader::new(bytes)?;
        let is_latin_1 = match reader.header().charset {
            charset::UNKNOWN | charset::ASCII | charset::UTF_8 => false,
            charset::LATIN_1 => true,
            other => {
                let got = format!("the character set with the number {other}").into();
                return Err(DecodeError::UnsupportedCharset { at: 0, got });
            }
        };
        Ok(Self {
            reader,
            is_latin_1,
            depth: 0,
            depth_max: limits.depth_max.min(DEPTH_CAP),
            text_bytes_max: limits.text_bytes_max,
            copied_bytes: 0,
            copied_bytes_max: limits.copied_bytes_max,
            at_empty: false,
        })
    }

    #[inline]
    fn token(&mut self) -> Result<Token<'a>, DecodeError> {
        self.reader.next_token()?.ok_or_else(|| self.ended())
    }

    #[cold]
    fn ended(&self) -> DecodeError {
        wbxml::Error::UnexpectedEnd { at: self.at(), expected: "the END of an element" }.into()
    }

    /// An element has begun. SyncML has no attributes; what some devices write there says nothing.
    #[inline]
    fn open(&mut self, has_attributes: bool, has_content: bool) -> Result<(), DecodeError> {
        if has_attributes {
            while self.token()? != Token::AttributesEnd {}
        }
        self.at_empty = !has_content;
        self.depth += 1;
        if self.depth > self.depth_max {
            return Err(DecodeError::TooLarge { at: self.at(), what: "open elements", max: self.depth_max });
        }
        Ok(())
    }

    fn spend(&mut self, copied: usize) -> Result<(), DecodeError> {
        self.copied_bytes += copied;
        if self.copied_bytes > self.copied_bytes_max {
            let max = self.copied_bytes_max;
            return Err(DecodeError::TooLarge { at: self.at(), what: "octets of text put together", max });
        }
        Ok(())
    }

    /// Adds a token to text, if it is any. Octets are taken as they are.
    #[inline]
    fn push(&mut self, pieces: &mut Pieces<'a>, token: Token<'a>) -> Result<(), DecodeError> {
        let copied = match token {
            Token::Text(text) if self.is_latin_1 && !text.is_ascii() => {
                let text: String = text.iter().map(|&octet| char::from(octet)).collect();
                pieces.push_copied(text.as_bytes())
            }
            Token::Text(octets) | Token::Opaque(octets) => pieces.push(octets),
            Token::Entity(code) => match char::from_u32(code) {
                Some(char) => pieces.push_char(char),
                None => {
                    return Err(DecodeError::Malformed {
                        at: self.at(),
                        expected: "a character's code point",
                        got: format!("{code:#x}").into(),
                    });
                }
            },
            // No extension token means anything in SyncML.
            _ => 0,
        };
        if copied > 0 { self.spend(copied) } else { Ok(()) }
    }

    /// The text of the innermost open element, with its end, where it is in one piece and needs no decoding.
    #[inline]
    fn whole_text(&mut self) -> Option<&'a [u8]> {
        if self.at_empty || self.is_latin_1 {
            return None;
        }
        let octets = self.reader.take_whole_text()?;
        self.depth -= 1;
        Some(octets)
    }

    #[inline]
    fn refuse_more_than(&self, length: usize) -> Result<(), DecodeError> {
        if length > self.text_bytes_max {
            let max = self.text_bytes_max;
            return Err(DecodeError::TooLarge { at: self.at(), what: "octets of text", max });
        }
        Ok(())
    }

    /// The next child where neither a plain start nor an end is next: a switch of pages, mostly.
    fn child_after_others(&mut self) -> Result<Option<Tag>, DecodeError> {
        loop {
            match self.token()? {
                Token::Element { name, has_attributes, has_content } => {
                    self.open(has_attributes, has_content)?;
                    return Ok(Some(tag_of(name)));
                }
                Token::End => {
                    self.depth -= 1;
                    return Ok(None);
                }
                _ => {}
            }
        }
    }

    /// All text of the innermost open element, up to its end, and whether some of it was OPAQUE.
    fn pieces(&mut self) -> Result<(Cow<'a, [u8]>, bool), DecodeError> {
        let (mut pieces, mut is_opaque) = (Pieces::default(), false);
        if self.at_empty {
            self.skip()?;
            return Ok((Cow::Borrowed(b""), false));
        }
        loop {
            match self.token()? {
                Token::End => break,
                Token::Element { has_attributes, has_content, .. } => {
                    self.open(has_attributes, has_content)?;
                    self.skip()?;
                }
                token => {
                    is_opaque |= matches!(token, Token::Opaque(_));
                    self.push(&mut pieces, token)?;
                    self.refuse_more_than(pieces.len())?;
                }
            }
        }
        self.depth -= 1;
        Ok((pieces.into_inner(), is_opaque))
    }

    #[inline]
    fn utf8(&self, octets: Cow<'a, [u8]>) -> Result<Str<'a>, DecodeError> {
        match octets {
            Cow::Borrowed(octets) => {
                std::str::from_utf8(octets).map(Cow::Borrowed).map_err(|error| self.not_utf8(error, octets))
            }
            Cow::Owned(octets) => String::from_utf8(octets)
                .map(Cow::Owned)
                .map_err(|error| self.not_utf8(error.utf8_error(), error.as_bytes())),
        }
    }

    #[cold]
    fn not_utf8(&self, error: std::str::Utf8Error, octets: &[u8]) -> DecodeError {
        let octet = octets.get(error.valid_up_to()).copied().unwrap_or_default();
        DecodeError::Malformed {
            at: self.at(),
            expected: "UTF-8",
            got: format!("octet 0x{octet:02x}").into(),
        }
    }
}

impl<'a> Source<'a> for WbxmlSource<'a> {
    fn root(&mut self) -> Result<Tag, DecodeError> {
        let Token::Element { name, has_attributes, has_content } = self.token()? else {
            return Err(DecodeError::Malformed {
                at: self.at(),
                expected: "<SyncML>",
                got: "no element".into(),
            });
        };
        self.open(has_attributes, has_content)?;
        Ok(tag_of(name))
    }

    #[inline]
    fn child(&mut self) -> Result<Option<Tag>, DecodeError> {
        if self.at_empty {
            self.at_empty = false;
            self.depth -= 1;
            return Ok(None);
        }
        if let Some((page, token, has_content)) = self.reader.take_element() {
            self.open(false, has_content)?;
            return Ok(Some(Tag::of_token(page, token)));
        }
        if self.reader.take_end() {
            self.depth -= 1;
            return Ok(None);
        }
        self.child_after_others()
    }

    #[inline]
    fn text(&mut self) -> Result<Str<'a>, DecodeError> {
        if let Some(octets) = self.whole_text() {
            self.refuse_more_than(octets.len())?;
            return match std::str::from_utf8(octets) {
                Ok(text) => Ok(chars::clean_borrowed(text)),
                Err(error) => Err(self.not_utf8(error, octets)),
            };
        }
        let (octets, _) = self.pieces()?;
        self.utf8(octets).map(chars::clean)
    }

    /// A nonce comes as base64 text, or as its own octets in OPAQUE; some peers put the base64 text there.
    fn nonce(&mut self) -> Result<Str<'a>, DecodeError> {
        let (octets, is_opaque) = self.pieces()?;
        if is_opaque && !is_base64_of_a_nonce(&octets) {
            return Ok(Cow::Owned(BASE64_STANDARD.encode(&octets)));
        }
        self.utf8(octets).map(chars::clean)
    }

    fn data(&mut self) -> Result<Data<'a>, DecodeError> {
        if let Some(octets) = self.whole_text() {
            return Ok(Data::from_octets(Cow::Borrowed(octets)));
        }
        let mut pieces = Pieces::default();
        if self.at_empty {
            self.skip()?;
            return Ok(Data::Text(Cow::Borrowed("")));
        }
        loop {
            match self.token()? {
                Token::End => break,
                token @ Token::Element { .. } => return self.markup(pieces, token),
                token => self.push(&mut pieces, token)?,
            }
        }
        self.depth -= 1;
        Ok(Data::from_octets(pieces.into_inner()))
    }

    fn skip(&mut self) -> Result<(), DecodeError> {
        if self.whole_text().is_some() {
            return Ok(());
        }
        let outside = self.depth - 1;
        if self.at_empty {
            self.at_empty = false;
            self.depth = outside;
            return Ok(());
        }
        while self.depth > outside {
            match self.token()? {
                Token::Element { has_attributes, has_content, .. } => {
                    self.open(has_attributes, has_content)?;
                    if self.at_empty {
                        self.at_empty = false;
                        self.depth -= 1;
                    }
                }
                Token::End => self.depth -= 1,
                _ => {}
            }
        }
        Ok(())
    }

    fn at(&self) -> usize {
        self.reader.at()
    }
}

#[inline]
fn tag_of(name: Name<'_>) -> Tag {
    match name {
        Name::Token { page, token } => Tag::of_token(page, token),
        Name::Literal(name) => Tag::of_name(name),
    }
}

/// The shortest nonce that a peer sends in base64 inside OPAQUE is taken to be of twelve octets, unless it
/// ends with padding, which no raw nonce does by chance.
fn is_base64_of_a_nonce(octets: &[u8]) -> bool {
    (octets.len() >= 16 || octets.ends_with(b"=")) && BASE64_STANDARD.decode(octets).is_ok()
}
