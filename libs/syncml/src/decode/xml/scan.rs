//! The octets of an XML document, from one piece of markup to the next.

use memchr::{memchr, memchr2, memchr3, memmem};

use super::unknown_reference;
use crate::DecodeError;

/// A position in a document.
pub(super) struct Scanner<'a> {
    text: &'a str,
    /// Where `text` begins in the message: after a byte order mark.
    base: usize,
    position: usize,
}

/// What comes next in the content of an element.
pub(super) enum Text<'a> {
    /// Characters as they stand there.
    Plain(&'a str),
    /// The character that a reference stands for.
    Reference(char),
    /// A `<`, which is not taken yet.
    Markup,
}

impl<'a> Scanner<'a> {
    /// Stands at the beginning of `bytes`, which must be UTF-8.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if matches!(bytes, [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..]) {
            return Err(DecodeError::UnsupportedCharset { at: 0, got: "UTF-16".into() });
        }
        let base = if bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        let text = simdutf8::basic::from_utf8(&bytes[base..]).map_err(|_| not_utf8(bytes))?;
        Ok(Self { text, base, position: 0 })
    }

    /// The octet of the message that is read next.
    pub(super) fn at(&self) -> usize {
        self.base + self.position
    }

    /// The same, for [`Self::slice`].
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// The document from one position to another.
    pub(super) fn slice(&self, from: usize, to: usize) -> &'a str {
        self.text.get(from..to).unwrap_or_default()
    }

    /// Moves to the next `<`, over text that means nothing.
    #[inline]
    pub(super) fn skip_to_markup(&mut self) -> Result<(), DecodeError> {
        let rest = self.rest();
        if rest.first() != Some(&b'<') {
            self.position += memchr(b'<', rest).ok_or_else(|| self.ended("an end tag"))?;
        }
        Ok(())
    }

    /// The octet after the `<` that is next.
    #[inline]
    pub(super) fn after_bracket(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position + 1).copied()
    }

    /// The text of an element that has nothing but text in it, up to its end tag, which is not taken.
    #[inline]
    pub(super) fn whole_text(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        let end = memchr2(b'<', b'&', rest)?;
        self.take_before_end_tag(end)
    }

    /// The same, for text without a NUL in it.
    pub(super) fn whole_text_without_nul(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        let end = memchr3(b'<', b'&', 0, rest)?;
        self.take_before_end_tag(end)
    }

    #[inline]
    fn take_before_end_tag(&mut self, length: usize) -> Option<&'a str> {
        let from = self.position;
        let to = from + length;
        if self.text.as_bytes().get(to..to + 2) != Some(b"</") {
            return None;
        }
        self.position = to;
        self.text.get(from..to)
    }

    /// The next piece of content.
    pub(super) fn text(&mut self) -> Result<Text<'a>, DecodeError> {
        let from = self.position;
        match self.rest().first() {
            Some(b'<') => return Ok(Text::Markup),
            Some(b'&') => {
                if let Some(name) = self.reference() {
                    return resolve(name)
                        .map(Text::Reference)
                        .ok_or_else(|| unknown_reference(self.at(), name));
                }
                // An ampersand that nobody escaped is one: `MINDT=5&DR=1` in the options of a user interaction.
                self.position += 1;
            }
            _ => {}
        }
        let length = memchr2(b'<', b'&', self.rest()).ok_or_else(|| self.ended("an end tag"))?;
        self.position += length;
        Ok(Text::Plain(self.slice(from, self.position)))
    }

    /// Takes `&name;`, if that is what stands here.
    fn reference(&mut self) -> Option<&'a str> {
        let from = self.position + 1;
        let after = self.text.as_bytes().get(from..)?;
        let length = memchr3(b';', b'&', b'<', after).filter(|&end| after[end] == b';')?;
        self.position = from + length + 1;
        Some(self.slice(from, from + length))
    }

    /// Takes a start tag; gives its name, and whether it has the element's end in it.
    #[inline]
    pub(super) fn start_tag(&mut self) -> Result<(&'a str, bool), DecodeError> {
        let from = self.position + 1;
        let bytes = self.text.as_bytes();
        let after = bytes.get(from..).unwrap_or_default();
        let length = after.iter().position(|&octet| ends_name(octet)).unwrap_or(after.len());
        let end = from + length;
        let name = self.slice(from, end);
        if name.is_empty() {
            return Err(self.unexpected("the name of an element", from));
        }
        let is_empty = match bytes.get(end..) {
            Some([b'>', ..]) => {
                self.position = end + 1;
                false
            }
            Some([b'/', b'>', ..]) => {
                self.position = end + 2;
                true
            }
            Some([b' ' | b'\t' | b'\n' | b'\r', ..]) => {
                self.position = end;
                self.skip_to_end_of_tag()?
            }
            _ => return Err(self.unexpected("the end of a tag, or white space", end)),
        };
        Ok((name, is_empty))
    }

    /// Passes over attributes; gives whether the tag ends with `/>`.
    fn skip_to_end_of_tag(&mut self) -> Result<bool, DecodeError> {
        let bytes = self.text.as_bytes();
        let mut at = self.position;
        // What nearly every child of Meta has there, and nearly nothing else has.
        if let Some(after) = bytes.get(at..).and_then(|rest| rest.strip_prefix(b" xmlns="))
            && let [quote @ (b'"' | b'\''), after @ ..] = after
            && let Some([end, b'>', ..]) = after.strip_prefix(b"syncml:metinf")
            && end == quote
        {
            self.position = at + METINF_ATTRIBUTE.len() + 1;
            return Ok(false);
        }
        loop {
            at += memchr3(b'>', b'"', b'\'', bytes.get(at..).unwrap_or_default())
                .ok_or_else(|| self.ended("the end of a tag"))?;
            match bytes.get(at) {
                Some(b'>') => break,
                Some(&quote) => {
                    let value = bytes.get(at + 1..).unwrap_or_default();
                    at += memchr(quote, value)
                        .ok_or_else(|| self.ended("the end of an attribute's value"))?
                        + 2;
                }
                None => {}
            }
        }
        self.position = at + 1;
        Ok(bytes[at - 1] == b'/')
    }

    /// Takes the end tag of the element `name`.
    #[inline]
    pub(super) fn end_tag(&mut self, name: &str) -> Result<(), DecodeError> {
        let from = self.position + 2;
        let after = self.text.as_bytes().get(from..).unwrap_or_default();
        let Some(after) = after.strip_prefix(name.as_bytes()) else {
            return Err(self.unexpected("the end tag of the innermost element", from));
        };
        let end = from + name.len();
        if after.first() == Some(&b'>') {
            self.position = end + 1;
            return Ok(());
        }
        let blank = after.iter().take_while(|octet| is_blank(**octet)).count();
        if after.get(blank) != Some(&b'>') {
            return Err(self.unexpected("the end of an end tag", end));
        }
        self.position = end + blank + 1;
        Ok(())
    }

    /// Takes what begins with `<!` or `<?` inside of the root element. Gives the text of a CDATA section.
    #[cold]
    pub(super) fn other_markup(&mut self) -> Result<Option<&'a str>, DecodeError> {
        let rest = self.rest();
        if rest.starts_with(b"<![CDATA[") {
            return self.take_until(9, b"]]>", "the end of a CDATA section").map(Some);
        }
        if rest.starts_with(b"<!--") {
            return self.take_until(4, b"-->", "the end of a comment").map(|_| None);
        }
        if rest.starts_with(b"<?") && rest.get(2).is_some_and(|&octet| octet != b'?' && !ends_name(octet)) {
            return self.take_until(2, b"?>", "the end of a processing instruction").map(|_| None);
        }
        Err(self.unexpected("a comment, a CDATA section or a processing instruction", self.position))
    }

    fn take_until(
        &mut self,
        opening: usize,
        closing: &[u8],
        what: &'static str,
    ) -> Result<&'a str, DecodeError> {
        let from = self.position + opening;
        let after = self.text.as_bytes().get(from..).unwrap_or_default();
        let length = memmem::find(after, closing).ok_or_else(|| self.ended(what))?;
        self.position = from + length + closing.len();
        Ok(self.slice(from, from + length))
    }

    /// Passes over what stands before the root element.
    pub(super) fn prolog(&mut self) -> Result<(), DecodeError> {
        loop {
            self.position += self.rest().iter().take_while(|octet| is_blank(**octet)).count();
            let rest = self.rest();
            if rest.starts_with(b"<!--") || rest.starts_with(b"<?") {
                self.other_markup()?;
            } else if rest.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"<!DOCTYPE")) {
                self.doctype()?;
            } else if rest.first() == Some(&b'<') {
                return Ok(());
            } else {
                return Err(self.unexpected("<SyncML>", self.position));
            }
        }
    }

    fn doctype(&mut self) -> Result<(), DecodeError> {
        let from = self.position;
        self.skip_to_end_of_tag()?;
        // A subset has brackets, and nothing else that may stand here has.
        match memchr(b'[', self.slice(from, self.position).as_bytes()) {
            Some(at) => Err(DecodeError::Malformed {
                at: self.base + from + at,
                expected: "no DOCTYPE, or one without an internal subset",
                got: "an internal subset".into(),
            }),
            None => Ok(()),
        }
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.position..).unwrap_or_default()
    }

    #[cold]
    fn ended(&self, expected: &'static str) -> DecodeError {
        let at = self.base + self.text.len();
        DecodeError::Malformed { at, expected, got: "the end of the message".into() }
    }

    #[cold]
    fn unexpected(&self, expected: &'static str, position: usize) -> DecodeError {
        let got = self.text.get(position..).unwrap_or_default();
        if got.is_empty() {
            return self.ended(expected);
        }
        // Up to the end of the tag, if it stands in one.
        let end = got.get(1..).and_then(|rest| rest.find(['<', '>'])).map_or(got.len(), |end| end + 1);
        super::malformed(self.base + position, expected, &got[..end])
    }
}

/// The character that an entity or a character reference stands for.
///
/// A NUL or another control character is not XML, but it is met, and it hurts nobody here.
fn resolve(name: &str) -> Option<char> {
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "apos" => Some('\''),
        "quot" => Some('"'),
        _ => {
            let number = name.strip_prefix('#')?;
            let (digits, radix) = number.strip_prefix('x').map_or((number, 10), |hex| (hex, 16));
            let code = u32::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+'))?;
            char::from_u32(code)
        }
    }
}

/// The namespace of MetInf, as it is declared on an element.
const METINF_ATTRIBUTE: &[u8] = b" xmlns='syncml:metinf'";

/// Which octets end a name: a table, since every octet of every name is asked.
const ENDS_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let ends = b"></<\"' \t\n\r";
    let mut at = 0;
    while at < ends.len() {
        table[ends[at] as usize] = true;
        at += 1;
    }
    table
};

#[inline]
const fn ends_name(octet: u8) -> bool {
    ENDS_NAME[octet as usize]
}

#[inline]
const fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\n' | b'\r')
}

#[cold]
fn not_utf8(bytes: &[u8]) -> DecodeError {
    let at = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    let got = bytes.get(at).map_or_else(String::new, |octet| format!("octet 0x{octet:02x}"));
    DecodeError::Malformed { at, expected: "UTF-8", got: got.into() }
}
