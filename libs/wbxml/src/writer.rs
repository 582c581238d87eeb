//! Writing tokens.

use crate::{integer::push_mb_u_int32, token};

/// Appends tokens to a buffer and selects code pages when they are needed, not before.
///
/// It writes no string table and no attributes: the devices that read what we write have no use for either.
#[derive(Debug)]
pub struct Writer<'b> {
    out: &'b mut Vec<u8>,
    page: u8,
}

impl<'b> Writer<'b> {
    /// Goes on at the end of `out`, where code page `page` is selected.
    pub fn resume(out: &'b mut Vec<u8>, page: u8) -> Self {
        Self { out, page }
    }

    /// Appends a header: WBXML 1.2, the given public identifier, UTF-8, no string table.
    pub fn header(&mut self, public_id: u32) {
        self.out.push(0x02);
        push_mb_u_int32(self.out, public_id);
        push_mb_u_int32(self.out, crate::charset::UTF_8);
        push_mb_u_int32(self.out, 0);
        self.page = 0;
    }

    /// The code page that is selected.
    #[must_use]
    pub fn page(&self) -> u8 {
        self.page
    }

    /// Begins an element that will have content and a [`Self::end`].
    #[inline]
    pub fn start(&mut self, page: u8, tag: u8) {
        self.select(page);
        self.out.push(tag | token::HAS_CONTENT);
    }

    /// Appends an element without content, which has no end.
    #[inline]
    pub fn empty(&mut self, page: u8, tag: u8) {
        self.select(page);
        self.out.push(tag);
    }

    /// Ends the innermost element.
    #[inline]
    pub fn end(&mut self) {
        self.out.push(token::END);
    }

    /// Appends an inline string. It ends at its first NUL for whoever reads it, so it should hold none.
    #[inline]
    pub fn text(&mut self, text: &str) {
        debug_assert!(!text.as_bytes().contains(&0), "an inline string cannot hold a NUL");
        self.out.push(token::STR_I);
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(0);
    }

    /// Appends octets with their length. More than `u32::MAX` octets cannot be stated and are cut there.
    #[inline]
    pub fn opaque(&mut self, octets: &[u8]) {
        let length = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        self.out.push(token::OPAQUE);
        push_mb_u_int32(self.out, length);
        self.out.extend_from_slice(&octets[..length as usize]);
    }

    #[inline]
    fn select(&mut self, page: u8) {
        if self.page != page {
            self.out.extend_from_slice(&[token::SWITCH_PAGE, page]);
            self.page = page;
        }
    }
}
