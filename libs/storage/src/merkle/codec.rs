//! The octets of pages.
//!
//! ```text
//! page:      1 | interior
//! interior:  type | count | (name | node)*          names in order
//! node:      0 interior                             inline
//!            1 id(20) nodes bytes                   a page of its own
//!            2 + 4 * format + flags ...             a leaf: flag 1 = media type follows, flag 2 = value by id
//! value:     2 | octets                             a large value
//! ```
//!
//! `type` is a length plus one, 0 for none; numbers are LEB128.

use dm_tree::Format;

use super::{
    MerkleError,
    node::{Interior, Node, PageRef, Size, StoredLeaf, Value},
};
use crate::SnapshotId;

const PAGE: u8 = 1;
const VALUE: u8 = 2;
const INTERIOR: u8 = 0;
const PAGE_REF: u8 = 1;
const LEAF: u8 = 2;
const HAS_MIME: u8 = 1;
const BY_ID: u8 = 2;
/// Deeper than any limit lets a tree be; only a broken page is.
const DEPTH_MAX: usize = 256;

/// The formats by the number they are stored with, for ever.
const FORMATS: [Format; 11] = [
    Format::B64,
    Format::Bin,
    Format::Bool,
    Format::Chr,
    Format::Int,
    Format::Node,
    Format::Null,
    Format::Xml,
    Format::Date,
    Format::Time,
    Format::Float,
];

/// The octets of the page of an interior node whose encoding is `body`.
pub(super) fn page(body: &[u8]) -> Vec<u8> {
    [&[PAGE], body].concat()
}

pub(super) fn encode_value(value: &[u8]) -> Vec<u8> {
    [&[VALUE], value].concat()
}

pub(super) fn decode_value(octets: &[u8]) -> Result<&[u8], MerkleError> {
    octets.strip_prefix(&[VALUE]).ok_or(MerkleError::Broken { at: 0, expected: "a value" })
}

pub(super) fn encode_head(out: &mut Vec<u8>, type_: Option<&str>, children: usize) {
    encode_optional(out, type_);
    encode_number(out, children as u64);
}

pub(super) fn encode_name(out: &mut Vec<u8>, name: &str) {
    encode_number(out, name.len() as u64);
    out.extend_from_slice(name.as_bytes());
}

pub(super) fn encode_inline(out: &mut Vec<u8>, body: &[u8]) {
    out.push(INTERIOR);
    out.extend_from_slice(body);
}

pub(super) fn encode_ref(out: &mut Vec<u8>, page: &PageRef) {
    out.push(PAGE_REF);
    out.extend_from_slice(&page.id.0);
    encode_number(out, page.size.nodes.into());
    encode_number(out, page.size.bytes.into());
}

pub(super) fn encode_leaf(out: &mut Vec<u8>, leaf: &StoredLeaf) {
    let number = FORMATS.iter().position(|&format| format == leaf.format).unwrap_or_default() as u8;
    let mime_flag = if leaf.mime.is_some() { HAS_MIME } else { 0 };
    let value_flag = if matches!(leaf.value, Value::Page { .. }) { BY_ID } else { 0 };
    out.push(LEAF + 4 * number + mime_flag + value_flag);
    if let Some(mime) = &leaf.mime {
        encode_name(out, mime);
    }
    match &leaf.value {
        Value::Inline(value) => {
            encode_number(out, value.len() as u64);
            out.extend_from_slice(value);
        }
        Value::Page { id, bytes } => {
            out.extend_from_slice(&id.0);
            encode_number(out, (*bytes).into());
        }
    }
}

fn encode_optional(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        None => out.push(0),
        Some(text) => {
            encode_number(out, text.len() as u64 + 1);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

pub(super) fn encode_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The interior node that a page holds; pages below it are not loaded.
pub(super) fn decode_page(octets: &[u8]) -> Result<Interior, MerkleError> {
    let mut reader = Reader { octets, at: 0 };
    if reader.octet()? != PAGE {
        return Err(MerkleError::Broken { at: 0, expected: "a page" });
    }
    let interior = reader.interior(0)?;
    if reader.at == octets.len() { Ok(interior) } else { Err(reader.broken("the end of the page")) }
}

/// The pages that a page names: subtrees, and large values.
///
/// # Errors
///
/// [`MerkleError::Broken`]
pub fn refs(octets: &[u8]) -> Result<Vec<SnapshotId>, MerkleError> {
    let mut refs = Vec::new();
    if octets.first() != Some(&VALUE) {
        refs_of_interior(&decode_page(octets)?, &mut refs);
    }
    Ok(refs)
}

pub(super) fn refs_of_node(node: &Node, refs: &mut Vec<SnapshotId>) {
    match node {
        Node::Interior(interior) => refs_of_interior(interior, refs),
        Node::Page(page) => refs.push(page.id),
        Node::Leaf(StoredLeaf { value: Value::Page { id, .. }, .. }) => refs.push(*id),
        Node::Leaf(_) => {}
    }
}

fn refs_of_interior(interior: &Interior, refs: &mut Vec<SnapshotId>) {
    for node in interior.children.values() {
        refs_of_node(node, refs);
    }
}

struct Reader<'a> {
    octets: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn broken(&self, expected: &'static str) -> MerkleError {
        MerkleError::Broken { at: self.at, expected }
    }

    fn interior(&mut self, depth: usize) -> Result<Interior, MerkleError> {
        if depth > DEPTH_MAX {
            return Err(self.broken("a tree less deep"));
        }
        let type_ = match self.number()? {
            0 => None,
            length => Some(self.text(length - 1)?.into()),
        };
        let count = self.number()?;
        let mut children = std::collections::BTreeMap::new();
        for _ in 0..count {
            let length = self.number()?;
            let name = self.text(length)?.into();
            let node = self.node(depth + 1)?;
            children.insert(name, node);
        }
        Ok(Interior { type_, children })
    }

    fn node(&mut self, depth: usize) -> Result<Node, MerkleError> {
        match self.octet()? {
            INTERIOR => Ok(Node::Interior(self.interior(depth)?)),
            PAGE_REF => {
                let id = self.id()?;
                let size = Size { nodes: self.number_u32()?, bytes: self.number_u32()? };
                Ok(Node::Page(PageRef { id, size }))
            }
            tag => Ok(Node::Leaf(self.leaf(tag - LEAF)?)),
        }
    }

    fn leaf(&mut self, tag: u8) -> Result<StoredLeaf, MerkleError> {
        let format = FORMATS.get(usize::from(tag / 4)).ok_or_else(|| self.broken("a known format"))?;
        let mime = if tag & HAS_MIME == 0 {
            None
        } else {
            let length = self.number()?;
            Some(self.text(length)?.into())
        };
        let value = if tag & BY_ID == 0 {
            let length = self.number()?;
            Value::Inline(self.take(length)?.into())
        } else {
            Value::Page { id: self.id()?, bytes: self.number_u32()? }
        };
        Ok(StoredLeaf { format: *format, mime, value })
    }

    fn id(&mut self) -> Result<SnapshotId, MerkleError> {
        let octets = self.take(20)?;
        octets.try_into().map(SnapshotId).map_err(|_| self.broken("an id"))
    }

    fn octet(&mut self) -> Result<u8, MerkleError> {
        Ok(self.take(1)?[0])
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], MerkleError> {
        let taken = usize::try_from(length)
            .ok()
            .and_then(|length| self.octets[self.at..].get(..length))
            .ok_or_else(|| self.broken("more octets"))?;
        self.at += taken.len();
        Ok(taken)
    }

    fn text(&mut self, length: u64) -> Result<&'a str, MerkleError> {
        let octets = self.take(length)?;
        std::str::from_utf8(octets).map_err(|_| self.broken("UTF-8"))
    }

    fn number_u32(&mut self) -> Result<u32, MerkleError> {
        let number = self.number()?;
        u32::try_from(number).map_err(|_| self.broken("a number of 32 bits"))
    }

    fn number(&mut self) -> Result<u64, MerkleError> {
        let mut number = 0;
        for shift in (0..63).step_by(7) {
            let octet = self.octet()?;
            number |= u64::from(octet & 0x7f) << shift;
            if octet < 0x80 {
                return Ok(number);
            }
        }
        Err(self.broken("a number"))
    }
}
