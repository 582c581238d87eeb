//! Elements from XML.
//!
//! What we accept of XML: no DOCTYPE with an internal subset, no entities but the five and characters. Names
//! count without their prefix, and namespaces are not looked at. The declaration is not looked at either:
//! some devices name utf-16 over UTF-8 octets, so what is not UTF-8 shows by itself.
//!
//! The grammar asks for one thing at a time (a child, a text, an end), so this reads the octets directly for
//! what is asked and makes no events in between. What it gives is held against quick-xml's reader, which
//! stands behind the same [`Source`] in `oracle.rs`, by a property and by a fuzz target.

mod scan;

use std::borrow::Cow;

use super::{Source, malformed};
use crate::{Data, DecodeError, Limits, Str, chars, limits::DEPTH_CAP, tag::Tag};

use scan::{Scanner, Text};

pub(super) struct XmlSource<'a> {
    scan: Scanner<'a>,
    /// The names of the open elements, as they were written.
    open: Vec<&'a str>,
    depth_max: usize,
    text_bytes_max: usize,
    /// The innermost open element was written `<Name/>`; it is not in `open`.
    at_empty: bool,
}

/// What stands between two pieces of text.
enum Markup<'a> {
    Start(&'a str),
    End,
    /// A CDATA section.
    Characters(&'a str),
    /// A comment or an instruction.
    Nothing,
}

impl<'a> XmlSource<'a> {
    pub(super) fn new(bytes: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
        Ok(Self {
            scan: Scanner::new(bytes)?,
            open: Vec::with_capacity(16),
            depth_max: limits.depth_max.min(DEPTH_CAP),
            text_bytes_max: limits.text_bytes_max,
            at_empty: false,
        })
    }

    /// Takes the markup that begins here, with a `<`.
    #[inline]
    fn markup(&mut self) -> Result<Markup<'a>, DecodeError> {
        match self.scan.after_bracket() {
            Some(b'/') => {
                self.end_tag()?;
                Ok(Markup::End)
            }
            Some(b'!' | b'?') => Ok(self.scan.other_markup()?.map_or(Markup::Nothing, Markup::Characters)),
            _ => self.start_tag().map(Markup::Start),
        }
    }

    #[inline]
    fn start_tag(&mut self) -> Result<&'a str, DecodeError> {
        let (name, is_empty) = self.scan.start_tag()?;
        if self.open.len() >= self.depth_max {
            return Err(DecodeError::TooLarge { at: self.at(), what: "open elements", max: self.depth_max });
        }
        self.at_empty = is_empty;
        if !is_empty {
            self.open.push(name);
        }
        Ok(name)
    }

    #[inline]
    fn end_tag(&mut self) -> Result<(), DecodeError> {
        let name = self.open.pop().unwrap_or_default();
        self.scan.end_tag(name)
    }

    fn refuse_more_than(&self, length: usize) -> Result<(), DecodeError> {
        if length > self.text_bytes_max {
            let max = self.text_bytes_max;
            return Err(DecodeError::TooLarge { at: self.at(), what: "octets of text", max });
        }
        Ok(())
    }

    /// The rest of a text that is not in one piece.
    #[cold]
    fn text_in_pieces(&mut self) -> Result<Str<'a>, DecodeError> {
        let mut pieces = Cow::Borrowed("");
        loop {
            match self.scan.text()? {
                Text::Plain(text) => push(&mut pieces, text),
                Text::Reference(char) => pieces.to_mut().push(char),
                Text::Markup => match self.markup()? {
                    Markup::Characters(text) => push(&mut pieces, text),
                    Markup::Start(_) => self.skip()?,
                    Markup::End => return Ok(chars::clean(pieces)),
                    Markup::Nothing => {}
                },
            }
            self.refuse_more_than(pieces.len())?;
        }
    }

    /// The content of `Data`, from its beginning, where it is not in one piece.
    #[cold]
    fn data_in_pieces(&mut self) -> Result<Data<'a>, DecodeError> {
        let begins_at = self.scan.position();
        let (mut all, mut cdata) = (Cow::Borrowed(""), Cow::Borrowed(""));
        let (mut has_cdata, mut is_blank_around, mut has_children) = (false, true, false);
        let ends_at = loop {
            match self.scan.text()? {
                Text::Plain(text) => {
                    is_blank_around &= chars::trim(text).is_empty();
                    push(&mut all, text);
                }
                Text::Reference(char) => {
                    is_blank_around = false;
                    all.to_mut().push(char);
                }
                Text::Markup => {
                    let before = self.scan.position();
                    match self.markup()? {
                        Markup::Characters(text) => {
                            has_cdata = true;
                            push(&mut all, text);
                            push(&mut cdata, text);
                        }
                        Markup::Start(_) => {
                            has_children = true;
                            self.skip()?;
                        }
                        Markup::End => break before,
                        Markup::Nothing => {}
                    }
                }
            }
        };
        if has_children {
            // A document written into Data as it is: its markup is the value, and the line breaks that set it
            // off from the tags around it are none of it.
            return Ok(Data::from(chars::trim(self.scan.slice(begins_at, ends_at))));
        }
        // White space around a CDATA section was put there for looks.
        Ok(Data::from_text(if has_cdata && is_blank_around { cdata } else { all }))
    }
}

impl<'a> Source<'a> for XmlSource<'a> {
    fn root(&mut self) -> Result<Tag, DecodeError> {
        self.scan.prolog()?;
        let name = self.start_tag()?;
        match tag_of(name) {
            Tag::Unknown => Err(DecodeError::UnexpectedElement {
                at: self.at(),
                expected: "<SyncML>",
                got: name.chars().take(40).collect(),
            }),
            tag => Ok(tag),
        }
    }

    #[inline]
    fn child(&mut self) -> Result<Option<Tag>, DecodeError> {
        if self.at_empty {
            self.at_empty = false;
            return Ok(None);
        }
        loop {
            self.scan.skip_to_markup()?;
            match self.markup()? {
                Markup::Start(name) => return Ok(Some(tag_of(name))),
                Markup::End => return Ok(None),
                Markup::Characters(_) | Markup::Nothing => {}
            }
        }
    }

    #[inline]
    fn text(&mut self) -> Result<Str<'a>, DecodeError> {
        if self.at_empty {
            self.at_empty = false;
            return Ok(Cow::Borrowed(""));
        }
        let Some(text) = self.scan.whole_text() else { return self.text_in_pieces() };
        self.end_tag()?;
        self.refuse_more_than(text.len())?;
        Ok(chars::clean_borrowed(text))
    }

    fn data(&mut self) -> Result<Data<'a>, DecodeError> {
        if self.at_empty {
            self.at_empty = false;
            return Ok(Data::Text(Cow::Borrowed("")));
        }
        let Some(text) = self.scan.whole_text_without_nul() else { return self.data_in_pieces() };
        self.end_tag()?;
        Ok(Data::from_text_without_nul(Cow::Borrowed(text)))
    }

    fn skip(&mut self) -> Result<(), DecodeError> {
        if self.at_empty {
            self.at_empty = false;
            return Ok(());
        }
        let outside = self.open.len() - 1;
        while self.open.len() > outside {
            self.scan.skip_to_markup()?;
            self.markup()?;
            self.at_empty = false;
        }
        Ok(())
    }

    fn at(&self) -> usize {
        self.scan.at()
    }
}

/// The element of a name, which may have a prefix.
#[inline]
fn tag_of(name: &str) -> Tag {
    match Tag::of_name(name.as_bytes()) {
        Tag::Unknown => {
            name.split_once(':').map_or(Tag::Unknown, |(_, local)| Tag::of_name(local.as_bytes()))
        }
        tag => tag,
    }
}

/// Appends a piece; copies only from the second one on.
fn push<'a>(pieces: &mut Cow<'a, str>, text: &'a str) {
    if pieces.is_empty() {
        *pieces = Cow::Borrowed(text);
    } else {
        pieces.to_mut().push_str(text);
    }
}

/// An error for what a reference names.
#[cold]
fn unknown_reference(at: usize, name: &str) -> DecodeError {
    malformed(at, "one of the five entities or a character reference", name)
}

#[cfg(test)]
mod tests;
