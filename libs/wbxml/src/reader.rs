//! A document as a sequence of tokens.

use crate::{
    Error, Header,
    header::{slice, string_at},
    integer::mb_u_int32,
    token,
};

/// What an element or an attribute is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// A token of a code page.
    Token {
        /// The code page that is selected.
        page: u8,
        /// Of an element without its two upper bits; of an attribute all of it.
        token: u8,
    },
    /// A name from the string table; empty where the reference leads nowhere, as some encoders write it.
    Literal(&'a [u8]),
}

/// One step through a document. Text is not decoded: the header says which character set it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// An element begins. If it has attributes they come first, closed by [`Token::AttributesEnd`]; if it
    /// has content that comes next, closed by [`Token::End`]. An element without content has no `End`.
    Element {
        /// What it is called.
        name: Name<'a>,
        /// Attributes follow.
        has_attributes: bool,
        /// Content and an `End` follow.
        has_content: bool,
    },
    /// The innermost open element with content ends.
    End,
    /// An attribute begins. Text and [`Token::AttributeValue`] that follow are pieces of its value.
    Attribute(Name<'a>),
    /// A piece of an attribute's value, as a token of a code page.
    AttributeValue {
        /// The attribute code page that is selected.
        page: u8,
        /// 0x80 and up.
        token: u8,
    },
    /// The attributes of an element end.
    AttributesEnd,
    /// A piece of text, inline or from the string table.
    Text(&'a [u8]),
    /// A character, by its UCS code point.
    Entity(u32),
    /// Octets of stated length.
    Opaque(&'a [u8]),
    /// An extension token, which means something to one document type only.
    Extension {
        /// `EXT_I_0` to `EXT_I_2`, `EXT_T_0` to `EXT_T_2`, `EXT_0` to `EXT_2`.
        token: u8,
        /// The inline string of the first three.
        text: &'a [u8],
        /// The integer of the next three.
        value: u32,
    },
}

/// Walks a document token by token; nothing is copied and nothing is remembered of what was passed.
///
/// The two code page registers are kept as the format wants it: a page stays selected until it is switched
/// again, also across the end of an element. Processing instructions are passed over.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    header: Header<'a>,
    at: usize,
    tag_page: u8,
    attribute_page: u8,
    in_attributes: bool,
}

impl<'a> Reader<'a> {
    /// Reads the header of `bytes` and stands before the root element.
    ///
    /// # Errors
    ///
    /// See [`Header::parse`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        let (header, at) = Header::parse(bytes)?;
        Ok(Self { bytes, header, at, tag_page: 0, attribute_page: 0, in_attributes: false })
    }

    /// The document's header.
    #[must_use]
    pub fn header(&self) -> &Header<'a> {
        &self.header
    }

    /// The octet that is read next.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// The next token, or `None` at the end of the octets.
    ///
    /// The reader does not count elements: whoever reads knows when the root has ended, and may ignore what
    /// follows (some devices append NUL octets, which would read as half a page switch).
    ///
    /// # Errors
    ///
    /// When a token is cut off, or refers to what is not there.
    pub fn next_token(&mut self) -> Result<Option<Token<'a>>, Error> {
        loop {
            let Some(&octet) = self.bytes.get(self.at) else { return Ok(None) };
            self.at += 1;
            if self.in_attributes {
                if let Some(found) = self.attribute_token(octet)? {
                    return Ok(Some(found));
                }
            } else if let Some(found) = self.content_token(octet)? {
                return Ok(Some(found));
            }
        }
    }

    /// The octets of an element that has one inline string or one piece of opaque data in it and nothing else,
    /// with its end; or `None`, and nothing is taken. It is how nearly all text is written.
    ///
    /// To be asked after [`Token::Element`] with content and without attributes.
    #[inline]
    pub fn take_whole_text(&mut self) -> Option<&'a [u8]> {
        let content = self.bytes.get(self.at..)?;
        let (text, length) = match content {
            [token::STR_I, text @ ..] => {
                let end = memchr::memchr(0, text)?;
                (&text[..end], end + 2)
            }
            // Lengths that need a second octet are long enough not to hurry.
            &[token::OPAQUE, length, ref octets @ ..] if length < 0x80 => {
                let length = usize::from(length);
                (octets.get(..length)?, length + 2)
            }
            _ => return None,
        };
        if content.get(length) != Some(&token::END) || self.in_attributes {
            return None;
        }
        self.at += length + 1;
        Some(text)
    }

    /// Takes the start of an element without attributes, if that is what comes next: its code page, its token,
    /// and whether it has content. Else nothing is taken.
    #[inline]
    pub fn take_element(&mut self) -> Option<(u8, u8, bool)> {
        let &octet = self.bytes.get(self.at)?;
        if octet >= token::HAS_ATTRIBUTES || octet & token::TAG_MASK < token::FIRST_TAG || self.in_attributes
        {
            return None;
        }
        self.at += 1;
        Some((self.tag_page, octet & token::TAG_MASK, octet & token::HAS_CONTENT != 0))
    }

    /// Takes an END of an element, if that is what comes next.
    #[inline]
    pub fn take_end(&mut self) -> bool {
        let is_end = self.bytes.get(self.at) == Some(&token::END) && !self.in_attributes;
        self.at += usize::from(is_end);
        is_end
    }

    #[inline]
    fn content_token(&mut self, octet: u8) -> Result<Option<Token<'a>>, Error> {
        Ok(Some(match octet {
            token::END => Token::End,
            token::STR_I => Token::Text(self.inline_string()?),
            token::SWITCH_PAGE => {
                self.tag_page = self.octet("a code page")?;
                return Ok(None);
            }
            token::PI => {
                self.skip_instruction()?;
                return Ok(None);
            }
            token::LITERAL | token::LITERAL_C | token::LITERAL_A | token::LITERAL_AC => {
                let name = self.literal()?;
                self.element(name, octet)
            }
            _ => match self.common_token(octet)? {
                Some(found) => found,
                None => {
                    let name = Name::Token { page: self.tag_page, token: octet & token::TAG_MASK };
                    self.element(name, octet)
                }
            },
        }))
    }

    fn attribute_token(&mut self, octet: u8) -> Result<Option<Token<'a>>, Error> {
        Ok(Some(match octet {
            token::END => {
                self.in_attributes = false;
                Token::AttributesEnd
            }
            token::SWITCH_PAGE => {
                self.attribute_page = self.octet("a code page")?;
                return Ok(None);
            }
            token::STR_I => Token::Text(self.inline_string()?),
            token::LITERAL => Token::Attribute(self.literal()?),
            token::PI | token::LITERAL_C | token::LITERAL_A | token::LITERAL_AC => {
                return Err(Error::UnexpectedToken {
                    at: self.at - 1,
                    expected: "an attribute or its value",
                    got: octet,
                });
            }
            _ => match self.common_token(octet)? {
                Some(found) => found,
                None if octet < 0x80 => {
                    Token::Attribute(Name::Token { page: self.attribute_page, token: octet })
                }
                None => Token::AttributeValue { page: self.attribute_page, token: octet },
            },
        }))
    }

    /// The tokens that mean the same in content and in attributes.
    #[inline]
    fn common_token(&mut self, octet: u8) -> Result<Option<Token<'a>>, Error> {
        Ok(Some(match octet {
            token::ENTITY => Token::Entity(self.integer()?),
            token::STR_T => Token::Text(self.table_string()?),
            token::OPAQUE => {
                let length = self.integer()?;
                let octets = slice(self.bytes, self.at, length, "opaque data")?;
                self.at += octets.len();
                Token::Opaque(octets)
            }
            token::EXT_I_0..=token::EXT_I_2 => {
                Token::Extension { token: octet, text: self.inline_string()?, value: 0 }
            }
            token::EXT_T_0..=token::EXT_T_2 => {
                Token::Extension { token: octet, text: &[], value: self.integer()? }
            }
            token::EXT_0..=token::EXT_2 => Token::Extension { token: octet, text: &[], value: 0 },
            _ => return Ok(None),
        }))
    }

    fn element(&mut self, name: Name<'a>, octet: u8) -> Token<'a> {
        let has_attributes = octet & token::HAS_ATTRIBUTES != 0;
        self.in_attributes = has_attributes;
        Token::Element { name, has_attributes, has_content: octet & token::HAS_CONTENT != 0 }
    }

    /// A processing instruction is an attribute with its value, closed by END; no document type here uses it.
    fn skip_instruction(&mut self) -> Result<(), Error> {
        self.in_attributes = true;
        while self.in_attributes {
            if self.next_token()?.is_none() {
                return Err(self.ended("the end of a processing instruction"));
            }
        }
        Ok(())
    }

    fn inline_string(&mut self) -> Result<&'a [u8], Error> {
        let tail = self.bytes.get(self.at..).unwrap_or_default();
        let end = memchr::memchr(0, tail).ok_or_else(|| self.ended("the NUL that ends an inline string"))?;
        self.at += end + 1;
        Ok(&tail[..end])
    }

    fn table_string(&mut self) -> Result<&'a [u8], Error> {
        let at = self.at;
        let offset = self.integer()?;
        let strings = self.header.strings;
        string_at(strings, offset).ok_or(Error::OffsetBeyondTable { at, offset, length: strings.len() })
    }

    fn literal(&mut self) -> Result<Name<'a>, Error> {
        let offset = self.integer()?;
        Ok(Name::Literal(string_at(self.header.strings, offset).unwrap_or_default()))
    }

    fn integer(&mut self) -> Result<u32, Error> {
        let (value, at) = mb_u_int32(self.bytes, self.at)?;
        self.at = at;
        Ok(value)
    }

    fn octet(&mut self, expected: &'static str) -> Result<u8, Error> {
        let &octet = self.bytes.get(self.at).ok_or_else(|| self.ended(expected))?;
        self.at += 1;
        Ok(octet)
    }

    fn ended(&self, expected: &'static str) -> Error {
        Error::UnexpectedEnd { at: self.bytes.len(), expected }
    }
}

#[cfg(test)]
mod tests;
