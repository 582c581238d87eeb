//! Elements as WBXML: version 1.2, a numeric public identifier, no string table, text inline.

use super::Sink;
use crate::{Data, chars, tag::Tag};

pub(super) struct WbxmlSink<'b> {
    pub(super) out: wbxml::Writer<'b>,
}

impl Sink for WbxmlSink<'_> {
    const CARRIES_BYTES: bool = true;

    fn begin(&mut self, ver_dtd: &str) {
        self.out.header(match ver_dtd {
            "1.0" => 0x0FD1,
            "1.1" => 0x0FD3,
            _ => 0x1201,
        });
        self.start(Tag::SyncML);
    }

    #[inline]
    fn start(&mut self, tag: Tag) {
        let (page, token) = tag.token();
        self.out.start(page, token);
    }

    #[inline]
    fn end(&mut self, _tag: Tag) {
        self.out.end();
    }

    #[inline]
    fn empty(&mut self, tag: Tag) {
        let (page, token) = tag.token();
        self.out.empty(page, token);
    }

    #[inline]
    fn text(&mut self, tag: Tag, text: &str) {
        if text.is_empty() {
            return self.empty(tag);
        }
        self.start(tag);
        if chars::all_legal(text) {
            self.out.text(text);
        } else {
            self.out.text(&chars::replace_illegal(text));
        }
        self.end(tag);
    }

    fn data(&mut self, data: &Data<'_>, is_opaque: bool) {
        match data {
            _ if data.as_bytes().is_empty() => return self.empty(Tag::Data),
            Data::Text(text) if !is_opaque && memchr::memchr(0, text.as_bytes()).is_none() => {
                self.start(Tag::Data);
                self.out.text(text);
            }
            octets => {
                self.start(Tag::Data);
                self.out.opaque(octets.as_bytes());
            }
        }
        self.end(Tag::Data);
    }
}
