//! From a message to bytes.
//!
//! The order of elements is the DTD's and is written once, over a [`Sink`] of elements; XML and WBXML are two
//! sinks.

mod commands;
mod header;
mod wbxml;
mod xml;

use crate::{Command, Data, Encoding, Message, SyncHdr, tag::Tag};

/// Appends a whole message to `out`.
///
/// Nothing that a message can hold makes this fail. What an encoding cannot carry is written thus:
///
/// - [`Data::Bytes`] in XML: in base64, with `Format` `b64` in the item's `Meta` (which then also repeats the
///   rest of the command's, since it wins over it). So is text in `Data` with characters that XML cannot carry.
/// - such characters elsewhere, a NUL in an address say: as U+FFFD, in both encodings alike.
///
/// ```
/// use syncml::{Encoding, Limits, Message, decode, encode};
///
/// let mut message = Message::default();
/// message.hdr.ver_dtd = "1.2".into();
/// let mut out = Vec::new();
/// encode(Encoding::Wbxml, &message, &mut out);
/// assert!(out.starts_with(&[0x02, 0xA4, 0x01, 0x6A, 0x00]));
/// assert_eq!(decode(Encoding::Wbxml, &out, &Limits::default())?, message);
/// # Ok::<(), syncml::DecodeError>(())
/// ```
pub fn encode(encoding: Encoding, message: &Message<'_>, out: &mut Vec<u8>) {
    let mut writer = Writer::begin(encoding, &message.hdr, out);
    for command in &message.body.commands {
        writer.push(command);
    }
    writer.finish(message.body.is_final);
}

/// Writes a message command by command, and knows at each step how large it is.
///
/// To keep a peer's `MaxMsgSize`, take a [`Writer::mark`], push a command, and [roll back](Writer::rollback)
/// when [`Writer::size_if_finished`] is too much. If `out` is never finished it holds half a message.
///
/// ```
/// use syncml::{Command, Encoding, SyncHdr, Writer};
///
/// let mut out = Vec::new();
/// let mut writer = Writer::begin(Encoding::Xml, &SyncHdr::default(), &mut out);
/// let mark = writer.mark();
/// writer.push(&Command::Alert(syncml::Alert::default()));
/// if writer.size_if_finished(true) > 100 {
///     writer.rollback(mark);
/// }
/// let size = writer.size_if_finished(true);
/// writer.finish(true);
/// assert_eq!(out.len(), size);
/// ```
#[derive(Debug)]
pub struct Writer<'b> {
    encoding: Encoding,
    out: &'b mut Vec<u8>,
    /// Where the message begins in `out`.
    begins_at: usize,
    /// The code page that is selected; WBXML only.
    page: u8,
}

/// A place in a message that is being written, to come back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    length: usize,
    page: u8,
}

impl<'b> Writer<'b> {
    /// Appends the header of a message, and begins its body.
    ///
    /// Namespace and public identifier follow `VerDTD`: those of SyncML 1.1 for `1.1`, of 1.0 for `1.0`, and
    /// of 1.2 for anything else.
    pub fn begin(encoding: Encoding, hdr: &SyncHdr<'_>, out: &'b mut Vec<u8>) -> Self {
        let begins_at = out.len();
        let mut writer = Self { encoding, out, begins_at, page: 0 };
        match encoding {
            Encoding::Xml => header::begin(&mut writer.xml(), hdr),
            Encoding::Wbxml => writer.with_wbxml(|sink| header::begin(sink, hdr)),
        }
        writer
    }

    /// Appends a command.
    pub fn push(&mut self, command: &Command<'_>) {
        match self.encoding {
            Encoding::Xml => commands::command(&mut self.xml(), command),
            Encoding::Wbxml => self.with_wbxml(|sink| commands::command(sink, command)),
        }
    }

    /// The place where the next command goes.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { length: self.out.len(), page: self.page }
    }

    /// Takes back what was pushed since `mark`, which must be of this writer.
    pub fn rollback(&mut self, mark: Mark) {
        debug_assert!(
            mark.length <= self.out.len() && mark.length >= self.begins_at,
            "the mark is of another writer"
        );
        self.out.truncate(mark.length);
        self.page = mark.page;
    }

    /// The octets of the message if it were finished now.
    #[must_use]
    pub fn size_if_finished(&self, is_final: bool) -> usize {
        let end = match (self.encoding, is_final) {
            (Encoding::Xml, false) => XML_END.len(),
            (Encoding::Xml, true) => XML_FINAL.len() + XML_END.len(),
            (Encoding::Wbxml, false) => 2,
            // `Final` stands on page 0, which may have to be selected first.
            (Encoding::Wbxml, true) => 3 + if self.page == 0 { 0 } else { 2 },
        };
        self.out.len() - self.begins_at + end
    }

    /// Ends the message.
    pub fn finish(mut self, is_final: bool) {
        match self.encoding {
            Encoding::Xml => header::finish(&mut self.xml(), is_final),
            Encoding::Wbxml => self.with_wbxml(|sink| header::finish(sink, is_final)),
        }
    }

    fn xml(&mut self) -> xml::XmlSink<'_> {
        xml::XmlSink { out: self.out }
    }

    fn with_wbxml(&mut self, write: impl FnOnce(&mut wbxml::WbxmlSink<'_>)) {
        let mut sink = wbxml::WbxmlSink { out: ::wbxml::Writer::resume(self.out, self.page) };
        write(&mut sink);
        self.page = sink.out.page();
    }
}

const XML_FINAL: &str = Tag::Final.empty_tag();
const XML_END: &str = "</SyncBody></SyncML>";

/// What elements are written to.
trait Sink {
    /// Whether [`Data::Bytes`] goes as it is.
    const CARRIES_BYTES: bool;

    /// Begins the root element of a document of this `VerDTD`.
    fn begin(&mut self, ver_dtd: &str);

    /// Begins an element that has children.
    fn start(&mut self, tag: Tag);

    /// Ends the innermost element.
    fn end(&mut self, tag: Tag);

    /// Writes an element without content.
    fn empty(&mut self, tag: Tag);

    /// Writes an element with text in it.
    fn text(&mut self, tag: Tag, text: &str);

    /// Writes `Data`; `is_opaque` where devices expect it as OPAQUE.
    fn data(&mut self, data: &Data<'_>, is_opaque: bool);

    /// Writes an element with text in it, if there is any.
    fn some(&mut self, tag: Tag, text: Option<&str>) {
        if let Some(text) = text {
            self.text(tag, text);
        }
    }

    /// Writes an element with text in it, unless that is empty.
    fn unless_empty(&mut self, tag: Tag, text: &str) {
        if !text.is_empty() {
            self.text(tag, text);
        }
    }

    /// Writes an element that means something by being there.
    fn flag(&mut self, tag: Tag, is_set: bool) {
        if is_set {
            self.empty(tag);
        }
    }

    /// Writes an element with a decimal number in it.
    fn number(&mut self, tag: Tag, number: u64) {
        let mut digits = [0; 20];
        self.text(tag, decimal(number, &mut digits));
    }
}

/// The decimal form of `number`, without an allocation.
fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &str {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return std::str::from_utf8(&digits[at..]).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_numbers_in_decimal() {
        for number in [0, 1, 9, 10, 407, 1_048_576, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string());
        }
    }
}
