//! Elements from XML by quick-xml's reader: slower than `xml.rs`, and what that is held against.

use std::borrow::Cow;

use quick_xml::{Reader, events::Event};

use super::{Source, malformed};
use crate::{Data, DecodeError, Limits, Str, chars, limits::DEPTH_CAP, tag::Tag};

pub(super) struct Oracle<'a> {
    text: &'a [u8],
    /// Where `text` begins in the message: after a byte order mark.
    base: usize,
    reader: Reader<&'a [u8]>,
    depth: usize,
    depth_max: usize,
    text_bytes_max: usize,
    /// The innermost open element was written `<Name/>`, so its end has no event.
    at_empty: bool,
}

impl<'a> Oracle<'a> {
    pub(super) fn new(bytes: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
        if matches!(bytes, [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..]) {
            return Err(DecodeError::UnsupportedCharset { at: 0, got: "UTF-16".into() });
        }
        let base = if bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        let text = &bytes[base..];
        let mut reader = Reader::from_reader(text);
        let config = reader.config_mut();
        // `&DR=1` in the options of a user interaction, written by servers and clients alike.
        config.allow_dangling_amp = true;
        Ok(Self {
            text,
            base,
            reader,
            depth: 0,
            depth_max: limits.depth_max.min(DEPTH_CAP),
            text_bytes_max: limits.text_bytes_max,
            at_empty: false,
        })
    }

    #[inline]
    fn event(&mut self) -> Result<Event<'a>, DecodeError> {
        self.reader.read_event().map_err(|error| self.not_well_formed(&error))
    }

    #[cold]
    fn not_well_formed(&self, error: &quick_xml::Error) -> DecodeError {
        let at = usize::try_from(self.reader.error_position()).map_or(0, |at| at + self.base);
        if let quick_xml::Error::Encoding(_) = error {
            // The reader names the octet within a piece of text, not within the message.
            let valid_up_to =
                std::str::from_utf8(self.text).map_or_else(|error| error.valid_up_to(), str::len);
            return not_utf8(self.base + valid_up_to);
        }
        DecodeError::Malformed { at, expected: "well-formed XML", got: error.to_string().into() }
    }

    #[cold]
    fn ended(&self) -> DecodeError {
        DecodeError::Malformed { at: self.at(), expected: "an end tag", got: "the end of the message".into() }
    }

    fn position(&self) -> usize {
        usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX)
    }

    #[inline]
    fn open(&mut self) -> Result<(), DecodeError> {
        self.depth += 1;
        if self.depth > self.depth_max {
            return Err(DecodeError::TooLarge { at: self.at(), what: "open elements", max: self.depth_max });
        }
        Ok(())
    }

    /// The character that a reference stands for.
    fn resolve(&self, reference: &quick_xml::events::BytesRef<'_>) -> Result<char, DecodeError> {
        let name: &str = reference;
        let char = match name {
            "lt" => Some('<'),
            "gt" => Some('>'),
            "amp" => Some('&'),
            "apos" => Some('\''),
            "quot" => Some('"'),
            // A NUL or another control character is not XML, but it is met, and it hurts nobody here.
            _ => name.strip_prefix('#').and_then(|number| {
                let (digits, radix) = number.strip_prefix('x').map_or((number, 10), |hex| (hex, 16));
                let code = u32::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+'));
                code.and_then(char::from_u32)
            }),
        };
        char.ok_or_else(|| malformed(self.at(), "one of the five entities or a character reference", name))
    }

    fn refuse_subset(&self, doctype: &str) -> Result<(), DecodeError> {
        if doctype.contains('[') {
            return Err(DecodeError::Malformed {
                at: self.at(),
                expected: "no DOCTYPE, or one without an internal subset",
                got: "an internal subset".into(),
            });
        }
        Ok(())
    }
}

impl<'a> Source<'a> for Oracle<'a> {
    fn root(&mut self) -> Result<Tag, DecodeError> {
        loop {
            let tag = match self.event()? {
                Event::Start(start) => start,
                Event::Empty(start) => {
                    self.at_empty = true;
                    start
                }
                Event::DocType(doctype) => {
                    self.refuse_subset(&doctype)?;
                    continue;
                }
                Event::Text(text) if !chars::trim(&text).is_empty() => {
                    return Err(malformed(self.at(), "<SyncML>", &text));
                }
                Event::GeneralRef(_) | Event::CData(_) => {
                    return Err(malformed(self.at(), "<SyncML>", "text"));
                }
                Event::Eof => return Err(self.ended()),
                _ => continue,
            };
            self.depth = 1;
            let name = tag.local_name();
            return match Tag::of_name(name.as_ref().as_bytes()) {
                Tag::Unknown => Err(DecodeError::UnexpectedElement {
                    at: self.at(),
                    expected: "<SyncML>",
                    got: name.as_ref().chars().take(40).collect(),
                }),
                tag => Ok(tag),
            };
        }
    }

    #[inline]
    fn child(&mut self) -> Result<Option<Tag>, DecodeError> {
        if self.at_empty {
            self.at_empty = false;
            self.depth -= 1;
            return Ok(None);
        }
        loop {
            match self.event()? {
                Event::Start(start) => {
                    self.open()?;
                    return Ok(Some(Tag::of_name(start.local_name().as_ref().as_bytes())));
                }
                Event::Empty(start) => {
                    self.open()?;
                    self.at_empty = true;
                    return Ok(Some(Tag::of_name(start.local_name().as_ref().as_bytes())));
                }
                Event::End(_) => {
                    self.depth -= 1;
                    return Ok(None);
                }
                Event::Eof => return Err(self.ended()),
                _ => {}
            }
        }
    }

    fn text(&mut self) -> Result<Str<'a>, DecodeError> {
        let mut pieces = Cow::Borrowed("");
        if self.at_empty {
            self.skip()?;
            return Ok(Cow::Borrowed(""));
        }
        loop {
            match self.event()? {
                Event::Text(text) => push(&mut pieces, text.into_inner()),
                Event::CData(text) => push(&mut pieces, text.into_inner()),
                Event::GeneralRef(reference) => {
                    pieces.to_mut().push(self.resolve(&reference)?);
                }
                Event::Start(_) => {
                    self.open()?;
                    self.skip()?;
                }
                Event::End(_) => break,
                Event::Eof => return Err(self.ended()),
                _ => {}
            }
            if pieces.len() > self.text_bytes_max {
                let max = self.text_bytes_max;
                return Err(DecodeError::TooLarge { at: self.at(), what: "octets of text", max });
            }
        }
        self.depth -= 1;
        Ok(chars::clean(pieces))
    }

    fn data(&mut self) -> Result<Data<'a>, DecodeError> {
        if self.at_empty {
            self.skip()?;
            return Ok(Data::Text(Cow::Borrowed("")));
        }
        let begins_at = self.position();
        let (mut all, mut cdata) = (Cow::Borrowed(""), Cow::Borrowed(""));
        let (mut has_cdata, mut is_blank_around) = (false, true);
        let mut has_children = false;
        let ends_at = loop {
            let before = self.position();
            match self.event()? {
                Event::Text(text) => {
                    is_blank_around &= chars::trim(&text).is_empty();
                    push(&mut all, text.into_inner());
                }
                Event::CData(text) => {
                    has_cdata = true;
                    let text = text.into_inner();
                    push(&mut all, text.clone());
                    push(&mut cdata, text);
                }
                Event::GeneralRef(reference) => {
                    is_blank_around = false;
                    all.to_mut().push(self.resolve(&reference)?);
                }
                Event::Empty(_) => has_children = true,
                Event::Start(_) => {
                    has_children = true;
                    self.open()?;
                    self.skip()?;
                }
                Event::End(_) => break before,
                Event::Eof => return Err(self.ended()),
                _ => {}
            }
        };
        self.depth -= 1;
        if has_children {
            // A document written into Data as it is: its markup is the value, and the line breaks that set it
            // off from the tags around it are none of it.
            let markup = self.text.get(begins_at..ends_at).unwrap_or_default();
            let markup = std::str::from_utf8(markup)
                .map_err(|error| not_utf8(self.base + begins_at + error.valid_up_to()))?;
            return Ok(Data::from(chars::trim(markup)));
        }
        // White space around a CDATA section was put there for looks.
        Ok(Data::from_text(if has_cdata && is_blank_around { cdata } else { all }))
    }

    fn skip(&mut self) -> Result<(), DecodeError> {
        let outside = self.depth - 1;
        if self.at_empty {
            self.at_empty = false;
            self.depth = outside;
            return Ok(());
        }
        while self.depth > outside {
            match self.event()? {
                Event::Start(_) => self.open()?,
                Event::End(_) => self.depth -= 1,
                Event::Eof => return Err(self.ended()),
                _ => {}
            }
        }
        Ok(())
    }

    fn at(&self) -> usize {
        self.base.saturating_add(self.position())
    }
}

/// Appends a piece; copies only from the second one on.
#[inline]
fn push<'a>(pieces: &mut Cow<'a, str>, text: Cow<'a, str>) {
    if pieces.is_empty() {
        *pieces = text;
    } else {
        pieces.to_mut().push_str(&text);
    }
}

#[cold]
fn not_utf8(at: usize) -> DecodeError {
    DecodeError::Malformed { at, expected: "UTF-8", got: "other octets".into() }
}
