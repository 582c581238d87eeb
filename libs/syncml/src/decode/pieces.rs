//! Text that may come in pieces.

use std::borrow::Cow;

/// Puts text together and copies only from the second piece on.
#[derive(Debug, Default)]
pub(super) struct Pieces<'a> {
    text: Cow<'a, [u8]>,
}

impl<'a> Pieces<'a> {
    /// Appends a piece of the input. Gives the octets that this made us copy.
    #[inline]
    pub(super) fn push(&mut self, piece: &'a [u8]) -> usize {
        if self.text.is_empty() {
            self.text = Cow::Borrowed(piece);
            return 0;
        }
        self.push_copied(piece)
    }

    /// Appends what the input does not have in this form.
    pub(super) fn push_copied(&mut self, piece: &[u8]) -> usize {
        if piece.is_empty() {
            return 0;
        }
        let already = if matches!(self.text, Cow::Borrowed(_)) { self.text.len() } else { 0 };
        self.text.to_mut().extend_from_slice(piece);
        already + piece.len()
    }

    pub(super) fn push_char(&mut self, char: char) -> usize {
        self.push_copied(char.encode_utf8(&mut [0; 4]).as_bytes())
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn into_inner(self) -> Cow<'a, [u8]> {
        self.text
    }
}
