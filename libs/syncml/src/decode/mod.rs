//! From bytes to a message.
//!
//! The grammar is written once, over a [`Source`] of elements; XML and WBXML are two sources.

mod commands;
mod header;
#[cfg(any(test, fuzzing))]
mod oracle;
mod pieces;
mod wbxml;
mod xml;

use std::str::FromStr;

use crate::{Data, DecodeError, Encoding, Limits, Message, Str, SyncBody, chars, tag::Tag};

/// Decodes one message.
///
/// Children are taken in any order, elements that are not known (or stand where they mean nothing) are
/// skipped whole, and of an element that may stand once the last one counts. White space around everything
/// but the content of `Data` is trimmed, and control characters in it become U+FFFD. What follows the root element is ignored. A message without SyncHdr,
/// or a command without its CmdID, is still a message: whoever handles it answers that.
///
/// # Errors
///
/// [`DecodeError`] when the bytes are not a message of that encoding, or pass one of the `limits`.
///
/// ```
/// use syncml::{Encoding, Limits, decode};
///
/// let xml = b"<SyncML><SyncHdr><MsgID>1</MsgID></SyncHdr><SyncBody><Final/></SyncBody></SyncML>";
/// let message = decode(Encoding::Xml, xml, &Limits::default())?;
/// assert!(message.hdr.msg_id == 1 && message.body.is_final);
/// # Ok::<(), syncml::DecodeError>(())
/// ```
pub fn decode<'a>(encoding: Encoding, bytes: &'a [u8], limits: &Limits) -> Result<Message<'a>, DecodeError> {
    if bytes.len() > limits.message_bytes_max {
        let max = limits.message_bytes_max;
        return Err(DecodeError::TooLarge { at: max, what: "octets of a message", max });
    }
    match encoding {
        Encoding::Xml => Decoder::new(xml::XmlSource::new(bytes, limits)?, limits).message(),
        Encoding::Wbxml => Decoder::new(wbxml::WbxmlSource::new(bytes, limits)?, limits).message(),
    }
}

/// What quick-xml makes of it, for those who compare.
///
/// # Errors
///
/// As [`decode`], in other words and sometimes at another octet.
#[cfg(any(test, fuzzing))]
#[cfg_attr(test, allow(unreachable_pub, reason = "it is public for the fuzz targets"))]
pub fn decode_by_quick_xml<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Message<'a>, DecodeError> {
    Decoder::new(oracle::Oracle::new(bytes, limits)?, limits).message()
}

/// Elements, one after the other.
///
/// After [`Source::child`] gave an element, exactly one of the other calls (or `child` until it gives `None`)
/// takes the reader past its end.
trait Source<'a> {
    /// The root element.
    fn root(&mut self) -> Result<Tag, DecodeError>;

    /// The next child of the innermost open element, which becomes open; or `None` when there is none and the
    /// innermost open element has ended. Text between the children means nothing and is passed over.
    fn child(&mut self) -> Result<Option<Tag>, DecodeError>;

    /// The text of the innermost open element, cleaned, up to its end. Children are skipped.
    fn text(&mut self) -> Result<Str<'a>, DecodeError>;

    /// The text of a `NextNonce`, in base64.
    fn nonce(&mut self) -> Result<Str<'a>, DecodeError> {
        self.text()
    }

    /// The content of the innermost open element as it stands, up to its end.
    fn data(&mut self) -> Result<Data<'a>, DecodeError>;

    /// Passes over the innermost open element.
    fn skip(&mut self) -> Result<(), DecodeError>;

    /// The octet that is read next.
    fn at(&self) -> usize;
}

/// The grammar (wire.md 2.2), over whatever gives the elements.
struct Decoder<'l, S> {
    src: S,
    limits: &'l Limits,
    commands: usize,
    items: usize,
}

impl<'a, 'l, S: Source<'a>> Decoder<'l, S> {
    fn new(src: S, limits: &'l Limits) -> Self {
        Self { src, limits, commands: 0, items: 0 }
    }

    fn message(mut self) -> Result<Message<'a>, DecodeError> {
        let root = self.src.root()?;
        if root != Tag::SyncML {
            return Err(DecodeError::UnexpectedElement {
                at: self.src.at(),
                expected: "<SyncML>",
                got: root.name().into(),
            });
        }
        let mut message = Message { hdr: crate::SyncHdr::default(), body: SyncBody::default() };
        while let Some(tag) = self.src.child()? {
            match tag {
                Tag::SyncHdr => message.hdr = self.sync_hdr()?,
                Tag::SyncBody => message.body = self.sync_body()?,
                _ => self.src.skip()?,
            }
        }
        Ok(message)
    }

    /// An element that is empty and means something by being there.
    fn flag(&mut self) -> Result<bool, DecodeError> {
        self.src.skip()?;
        Ok(true)
    }

    /// A decimal number; `None` where the element is empty.
    fn number<T: FromStr>(&mut self, expected: &'static str) -> Result<Option<T>, DecodeError> {
        let text = self.src.text()?;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| malformed(self.src.at(), expected, &text))
    }

    /// The text of `LocURI` inside of the innermost open element (SourceParent, TargetParent).
    fn loc_uri(&mut self) -> Result<Str<'a>, DecodeError> {
        Ok(self.location()?.loc_uri)
    }

    /// Text that should be `Data`'s, where octets would make no sense.
    fn data_text(&mut self) -> Result<Str<'a>, DecodeError> {
        self.src.text()
    }

    /// One more of what may repeat.
    fn count_item(&mut self) -> Result<(), DecodeError> {
        self.items += 1;
        self.check(self.items, self.limits.items_max, "items")
    }

    fn check(&self, count: usize, max: usize, what: &'static str) -> Result<(), DecodeError> {
        if count > max { Err(DecodeError::TooLarge { at: self.src.at(), what, max }) } else { Ok(()) }
    }
}

/// What came, short enough for an error and for a log line.
fn malformed(at: usize, expected: &'static str, got: &str) -> DecodeError {
    const SHOWN_CHARS: usize = 40;
    let mut shown = chars::replace_illegal(&got.chars().take(SHOWN_CHARS).collect::<String>());
    if shown.len() < got.len() {
        shown.push('…');
    }
    DecodeError::Malformed { at, expected, got: format!("{shown:?}").into() }
}
