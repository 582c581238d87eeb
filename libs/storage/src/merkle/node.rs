//! A tree as far as it is loaded.

use std::collections::BTreeMap;

use dm_tree::{Format, Leaf};

use super::{INLINE_BYTES, MerkleError, Pages, codec, id_of};
use crate::SnapshotId;

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Leaf(StoredLeaf),
    Interior(Interior),
    /// An interior node that is a page of its own and is not loaded.
    Page(PageRef),
}

/// An interior node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Interior {
    pub(super) type_: Option<Box<str>>,
    pub(super) children: BTreeMap<Box<str>, Node>,
}

/// A page as another page names it, with what counts against the limits, so that they hold without loading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageRef {
    pub(super) id: SnapshotId,
    pub(super) size: Size,
}

/// How large a subtree is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) nodes: u32,
    pub(super) bytes: u32,
}

impl Size {
    pub(super) fn add(&mut self, other: Self) {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// A leaf, its value perhaps elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredLeaf {
    pub(super) format: Format,
    pub(super) mime: Option<Box<str>>,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Inline(Box<[u8]>),
    Page { id: SnapshotId, bytes: u32 },
}

impl Interior {
    /// The interior node that is a page.
    pub(super) fn load(pages: &dyn Pages, id: SnapshotId) -> Result<Self, MerkleError> {
        let octets = pages.load(id)?.ok_or(MerkleError::Missing(id))?;
        codec::decode_page(&octets)
    }
}

impl Node {
    pub(super) fn interior(type_: Option<Box<str>>) -> Self {
        Self::Interior(Interior { type_, children: BTreeMap::new() })
    }

    /// The interior node itself, loaded where it was not; `None` for a leaf.
    pub(super) fn as_interior_mut(
        &mut self,
        pages: &dyn Pages,
    ) -> Result<Option<&mut Interior>, MerkleError> {
        if let Self::Page(page) = self {
            *self = Self::Interior(Interior::load(pages, page.id)?);
        }
        match self {
            Self::Interior(interior) => Ok(Some(interior)),
            Self::Leaf(_) | Self::Page(_) => Ok(None),
        }
    }
}

impl StoredLeaf {
    /// A leaf as it is stored, and the page of its value where it is large.
    pub(super) fn of(leaf: &Leaf) -> (Self, Option<(SnapshotId, Vec<u8>)>) {
        let (value, page) = if leaf.value.len() <= INLINE_BYTES {
            (Value::Inline(leaf.value.clone()), None)
        } else {
            let octets = codec::encode_value(&leaf.value);
            let id = id_of(&octets);
            let bytes = u32::try_from(leaf.value.len()).unwrap_or(u32::MAX);
            (Value::Page { id, bytes }, Some((id, octets)))
        };
        (Self { format: leaf.format, mime: leaf.mime.clone(), value }, page)
    }

    /// The leaf, its value loaded.
    pub(super) fn load(&self, pages: &dyn Pages) -> Result<Leaf, MerkleError> {
        let value = match &self.value {
            Value::Inline(value) => value.clone(),
            Value::Page { id, .. } => {
                let octets = pages.load(*id)?.ok_or(MerkleError::Missing(*id))?;
                codec::decode_value(&octets)?.into()
            }
        };
        Ok(Leaf { format: self.format, mime: self.mime.clone(), value })
    }
}
