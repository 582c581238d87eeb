//! Addresses of nodes (DM TND 1.2, section 6).

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use crate::error::UriError;

// "Unlimited" all the same must not let a peer exhaust the stack of whoever walks a tree.
const DEPTH_MAX: u16 = 128;

/// What a device says in `./DevDetail/URI`: limits in characters or segments, `0` meaning none
/// (but 128 segments are the most in any case).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UriLimits {
    /// `MaxDepth`: segments of an address.
    pub depth_max: u16,
    /// `MaxTotLen`: characters of an address, with its query.
    pub total_chars_max: u16,
    /// `MaxSegLen`: characters of one segment.
    pub segment_chars_max: u16,
}

impl UriLimits {
    /// What to assume of a device that has not said.
    pub const CAUTIOUS: Self = Self { depth_max: 8, total_chars_max: 127, segment_chars_max: 32 };
}

/// The address of a node, normalised: no leading `./`, no query, the root is `.`.
///
/// Escapes are normalised too (`%7e` is `~`, `%2f` stays as `%2F`), so that equal addresses are equal texts.
///
/// ```
/// use dm_tree::{Uri, UriLimits};
///
/// let uri = Uri::parse("./DevInfo/DevId", &UriLimits::default())?;
/// assert_eq!(uri.as_str(), "DevInfo/DevId");
/// assert_eq!(uri.to_string(), "./DevInfo/DevId");
/// assert_eq!(uri.parent().as_ref().map(Uri::as_str), Some("DevInfo"));
/// # Ok::<(), dm_tree::UriError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Uri(Box<str>);

/// The specification's name of an address in a message.
pub type LocUri = Uri;

impl Uri {
    /// The address of the root, `.`.
    pub fn root() -> Self {
        Self(".".into())
    }

    /// Reads an address as a server writes it.
    ///
    /// # Errors
    ///
    /// [`UriError`], whose status is 414 past a limit and 500 for what is no address; a query is one of those.
    pub fn parse(text: &str, limits: &UriLimits) -> Result<Self, UriError> {
        if text.is_empty() {
            return Err(UriError::Empty);
        }
        let chars = text.chars().count();
        if over(chars, limits.total_chars_max) {
            return Err(UriError::TooLong { max: limits.total_chars_max, chars });
        }
        if text == "." {
            return Ok(Self::root());
        }
        let body = text.strip_prefix("./").unwrap_or(text);
        let offset = text.len() - body.len();
        if text.ends_with('/') {
            return Err(UriError::TrailingSlash);
        }
        let mut out = String::with_capacity(body.len());
        let mut at = offset;
        for (index, segment) in body.split('/').enumerate() {
            let max = if limits.depth_max == 0 { DEPTH_MAX } else { limits.depth_max.min(DEPTH_MAX) };
            if index >= usize::from(max) {
                return Err(UriError::TooDeep { max });
            }
            if index > 0 {
                out.push('/');
            }
            push_segment(&mut out, segment, at, limits)?;
            at += segment.len() + 1;
        }
        Ok(Self(out.into()))
    }

    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        &*self.0 == "."
    }

    /// The names from the root down; none for the root itself.
    pub fn segments(&self) -> impl Iterator<Item = &str> + Clone {
        segments(&self.0)
    }

    /// The last segment; `None` for the root.
    pub fn name(&self) -> Option<&str> {
        self.segments().last()
    }

    /// The address one level up; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(self.0.rsplit_once('/').map_or_else(Self::root, |(parent, _)| Self(parent.into())))
    }

    /// The address of a child. The name must be a segment already: see [`escape_segment`].
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self(join(&self.0, name).into())
    }

    /// Whether `self` is `other` or below it.
    pub fn is_within(&self, other: &Self) -> bool {
        other.is_root()
            || self.0.strip_prefix(&*other.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    pub(crate) fn from_normalised(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Uri {
    /// As it is written in messages: `./A/B`, or `.` for the root.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str(".") } else { write!(f, "./{}", self.0) }
    }
}

/// The normalised form of an address that a device reports: `./A/B`, `/A/B` and `A/B` are `A/B`; the root is `.`.
///
/// Nothing is refused and a query is kept: a server has to live with what devices say.
pub fn normalise(text: &str) -> &str {
    let text = text.trim();
    let body = text.strip_prefix("./").unwrap_or(text).trim_matches('/');
    if body.is_empty() { "." } else { body }
}

/// The form of an address in messages: `./A/B`, or `.` for the root. Takes any form that [`normalise`] takes.
pub fn full(text: &str) -> String {
    match normalise(text) {
        "." => ".".to_owned(),
        body if body.starts_with('?') => format!(".{body}"),
        body if body.starts_with(".?") => body.to_owned(),
        body => format!("./{body}"),
    }
}

/// The segments of a normalised address; none for the root.
pub(crate) fn segments(normalised: &str) -> impl Iterator<Item = &str> + Clone {
    normalised.split('/').filter(|s| !s.is_empty() && *s != ".")
}

/// Joins a normalised address and a segment.
pub(crate) fn join(parent: &str, name: &str) -> String {
    if parent == "." || parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
}

/// Makes a segment of any name: what may not stand in one is percent-encoded, octet by octet of its UTF-8.
///
/// ```
/// assert_eq!(dm_tree::escape_segment("a b/ż"), "a%20b%2F%C5%BC");
/// ```
pub fn escape_segment(name: &str) -> Cow<'_, str> {
    if name.bytes().all(is_pchar) && !matches!(name, "." | "..") {
        return Cow::Borrowed(name);
    }
    let dots = matches!(name, "." | "..");
    let mut out = String::with_capacity(name.len() + 8);
    for octet in name.bytes() {
        if is_pchar(octet) && !dots {
            out.push(char::from(octet));
        } else {
            push_escaped(&mut out, octet);
        }
    }
    Cow::Owned(out)
}

/// Undoes [`escape_segment`]. `None` where an escape is broken or the octets are no UTF-8.
pub fn unescape_segment(segment: &str) -> Option<Cow<'_, str>> {
    if !segment.contains('%') {
        return Some(Cow::Borrowed(segment));
    }
    let mut out = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&octet, tail)) = rest.split_first() {
        if octet == b'%' {
            out.push(escaped_octet(tail)?);
            rest = tail.get(2..)?;
        } else {
            out.push(octet);
            rest = tail;
        }
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// Checks one segment and normalises its escapes.
pub(crate) fn parse_segment(segment: &str, limits: &UriLimits) -> Result<String, UriError> {
    let mut out = String::with_capacity(segment.len());
    push_segment(&mut out, segment, 0, limits)?;
    Ok(out)
}

fn push_segment(out: &mut String, segment: &str, at: usize, limits: &UriLimits) -> Result<(), UriError> {
    if segment.is_empty() {
        return Err(UriError::EmptySegment { at });
    }
    let start = out.len();
    let chars = segment.chars().count();
    if over(chars, limits.segment_chars_max) {
        return Err(UriError::SegmentTooLong { max: limits.segment_chars_max, chars, at });
    }
    let bytes = segment.as_bytes();
    let mut index = 0;
    while let Some(&octet) = bytes.get(index) {
        if octet == b'%' {
            let decoded =
                bytes.get(index + 1..).and_then(escaped_octet).ok_or(UriError::Escape { at: at + index })?;
            if is_unreserved(decoded) {
                out.push(char::from(decoded));
            } else {
                push_escaped(out, decoded);
            }
            index += 3;
        } else if is_pchar(octet) {
            out.push(char::from(octet));
            index += 1;
        } else {
            return Err(UriError::Character { octet, at: at + index });
        }
    }
    // Looked for after the escapes: `%2E%2E` is a step by dots too.
    if matches!(out.get(start..), Some("." | "..")) {
        return Err(UriError::Dots { at });
    }
    Ok(())
}

fn over(value: usize, max: u16) -> bool {
    max != 0 && value > usize::from(max)
}

fn escaped_octet(after_percent: &[u8]) -> Option<u8> {
    let high = char::from(*after_percent.first()?).to_digit(16)?;
    let low = char::from(*after_percent.get(1)?).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

fn push_escaped(out: &mut String, octet: u8) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    out.extend(['%', HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 15)]]);
}

// RFC 2396, section 3.3, without the parameters' semicolon.
fn is_pchar(octet: u8) -> bool {
    is_unreserved(octet) || b":@&=+$,".contains(&octet)
}

fn is_unreserved(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-_!~*'().".contains(&octet)
}
