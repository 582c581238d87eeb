//! Elements as XML: no declaration, no white space between them, one namespace declaration on the root and
//! one on each child of `Meta`, as devices write it themselves.

use base64::{Engine, prelude::BASE64_STANDARD};

use super::Sink;
use crate::{Data, chars, tag::Tag};

pub(super) struct XmlSink<'b> {
    pub(super) out: &'b mut Vec<u8>,
}

impl XmlSink<'_> {
    #[inline]
    fn markup(&mut self, markup: &str) {
        self.out.extend_from_slice(markup.as_bytes());
    }

    /// Text with what XML gives a meaning to written as entities, and what it cannot carry as U+FFFD.
    #[inline]
    fn characters(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = first_special(rest.as_bytes()) {
            let (plain, from_special) = rest.split_at(at);
            self.markup(plain);
            let mut chars = from_special.chars();
            self.special(chars.next().unwrap_or_default());
            rest = chars.as_str();
        }
        self.markup(rest);
    }

    #[cold]
    fn special(&mut self, char: char) {
        match char {
            '&' => self.markup("&amp;"),
            '<' => self.markup("&lt;"),
            '>' => self.markup("&gt;"),
            // A reader would turn it into a line feed, and the octets would not add up to Size.
            '\r' => self.markup("&#13;"),
            _ if chars::is_legal(char) => self.markup(char.encode_utf8(&mut [0; 4])),
            _ => self.markup("\u{FFFD}"),
        }
    }
}

/// Where the first of them is. Sixty-four octets are looked at without an early way out, so that the compiler
/// takes many at once: large objects are long and have none.
#[inline]
fn first_special(octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    for chunk in octets.chunks(64) {
        if chunk.iter().fold(false, |found, &octet| found | is_special(octet)) {
            return chunk.iter().position(|&octet| is_special(octet)).map(|within| at + within);
        }
        at += chunk.len();
    }
    None
}

/// Octets that may begin a character that does not go as it is. 0xEF begins U+FFFE and U+FFFF.
#[inline]
const fn is_special(octet: u8) -> bool {
    (octet == b'&')
        | (octet == b'<')
        | (octet == b'>')
        | (octet == 0xEF)
        | (octet < 0x20) & (octet != b'\t') & (octet != b'\n')
}

impl Sink for XmlSink<'_> {
    const CARRIES_BYTES: bool = false;

    fn begin(&mut self, ver_dtd: &str) {
        self.markup(match ver_dtd {
            "1.0" => "<SyncML xmlns=\"SYNCML:SYNCML1.0\">",
            "1.1" => "<SyncML xmlns=\"SYNCML:SYNCML1.1\">",
            _ => "<SyncML xmlns=\"SYNCML:SYNCML1.2\">",
        });
    }

    #[inline]
    fn start(&mut self, tag: Tag) {
        self.markup(tag.start_tag());
    }

    #[inline]
    fn end(&mut self, tag: Tag) {
        self.markup(tag.end_tag());
    }

    #[inline]
    fn empty(&mut self, tag: Tag) {
        self.markup(tag.empty_tag());
    }

    #[inline]
    fn text(&mut self, tag: Tag, text: &str) {
        self.start(tag);
        self.characters(text);
        self.end(tag);
    }

    fn data(&mut self, data: &Data<'_>, _is_opaque: bool) {
        self.start(Tag::Data);
        match data {
            Data::Text(text) if chars::all_legal(text) => self.characters(text),
            octets => self.markup(&BASE64_STANDARD.encode(octets.as_bytes())),
        }
        self.end(Tag::Data);
    }
}
