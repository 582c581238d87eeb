//! Changing a tree: only the pages on the way to what changes are loaded and written anew.

use std::collections::BTreeSet;

use dm_tree::{Change, Format, Leaf};
use xxhash_rust::xxh3::Xxh3;

use super::{
    Limits, MerkleError, PAGE_BYTES, Pages, child_uri, codec, id_of, names,
    node::{Interior, Node, PageRef, Size, StoredLeaf, Value},
};
use crate::SnapshotId;

/// A tree after its changes.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Its id.
    pub root: SnapshotId,
    /// The pages it has that may not be stored yet, those below first. Some may be: the store knows.
    pub pages: Vec<NewPage>,
}

/// A page to store.
#[derive(Clone, Debug)]
pub struct NewPage {
    /// Its id.
    pub id: SnapshotId,
    /// Its octets.
    pub octets: Vec<u8>,
    /// By what pages much like it are found: one of the same nodes first, then one of the same place and the
    /// same first names. `None` for a value.
    pub likeness: Option<[u128; 2]>,
}

/// Applies changes, in their order, to the tree of `root` (`None`: the empty tree).
///
/// A leaf or an interior node implies the interior nodes above it, and stands in place of what was there.
/// [`Change::Children`] forgets children that are not named; of those named that are unknown nothing can be
/// stored until they are seen.
///
/// # Errors
///
/// [`MerkleError::Limit`] and [`MerkleError::Address`] when the changes are at fault; nothing is to be stored then.
pub fn apply(
    pages: &dyn Pages,
    root: Option<SnapshotId>,
    changes: &[Change],
    limits: &Limits,
) -> Result<Applied, MerkleError> {
    let tree = root.map_or_else(|| Ok(Interior::default()), |root| Interior::load(pages, root))?;
    let mut writer = Writer { pages, limits, tree: Node::Interior(tree), values: Vec::new() };
    for change in changes {
        writer.change(change)?;
    }
    let mut new = writer.values;
    let Node::Interior(tree) = writer.tree else {
        return Err(MerkleError::Address(".".to_owned()));
    };
    let encoded = encode(&tree, ".", &mut new);
    check("nodes", limits.nodes_max as usize, encoded.size.nodes as usize)?;
    check("octets of a tree", limits.tree_bytes_max as usize, encoded.size.bytes as usize)?;
    let root_id = push_page(&tree, ".", &encoded.body, &mut new);
    if Some(root_id) == root {
        new.clear();
    }
    Ok(Applied { root: root_id, pages: new })
}

fn check(what: &'static str, max: usize, got: usize) -> Result<(), MerkleError> {
    if got > max { Err(MerkleError::Limit { what, max, got }) } else { Ok(()) }
}

struct Writer<'a> {
    pages: &'a dyn Pages,
    limits: &'a Limits,
    tree: Node,
    values: Vec<NewPage>,
}

impl Writer<'_> {
    fn change(&mut self, change: &Change) -> Result<(), MerkleError> {
        match change {
            Change::Leaf { uri, leaf } => self.put_leaf(uri, leaf),
            Change::Interior { uri, type_ } => {
                if let Some(type_) = type_ {
                    check("octets of a type", self.limits.name_bytes_max, type_.len())?;
                }
                let interior = self.make_interior(uri)?;
                if type_.is_some() {
                    interior.type_.clone_from(type_);
                }
                Ok(())
            }
            Change::Children { uri, names } => {
                let names: BTreeSet<&str> = names.iter().map(|name| &**name).collect();
                let interior = self.make_interior(uri)?;
                interior.children.retain(|name, _| names.contains(&**name));
                Ok(())
            }
            Change::Remove { uri } => self.remove(uri),
        }
    }

    fn put_leaf(&mut self, uri: &str, leaf: &Leaf) -> Result<(), MerkleError> {
        if leaf.format == Format::Node {
            self.make_interior(uri)?;
            return Ok(());
        }
        check("octets of a value", self.limits.value_bytes_max, leaf.value.len())?;
        check(
            "octets of a media type",
            self.limits.name_bytes_max,
            leaf.mime.as_ref().map_or(0, |m| m.len()),
        )?;
        let names = self.checked_names(uri)?;
        let Some((last, above)) = names.split_last() else {
            return Err(MerkleError::Address(uri.to_owned()));
        };
        let (stored, value_page) = StoredLeaf::of(leaf);
        let limits = self.limits;
        let parent = self.walk(above)?;
        parent.children.insert((*last).into(), Node::Leaf(stored));
        check("children", limits.children_max, parent.children.len())?;
        if let Some((id, octets)) = value_page {
            self.values.push(NewPage { id, octets, likeness: None });
        }
        Ok(())
    }

    fn make_interior(&mut self, uri: &str) -> Result<&mut Interior, MerkleError> {
        let names = self.checked_names(uri)?;
        self.walk(&names)
    }

    fn remove(&mut self, uri: &str) -> Result<(), MerkleError> {
        let names = names(uri)?;
        let Some((last, above)) = names.split_last() else {
            self.tree = Node::interior(None);
            return Ok(());
        };
        let mut node = &mut self.tree;
        for name in above {
            let next = match node.as_interior_mut(self.pages)? {
                Some(interior) => interior.children.get_mut(*name),
                None => None,
            };
            let Some(next) = next else { return Ok(()) };
            node = next;
        }
        if let Some(interior) = node.as_interior_mut(self.pages)? {
            interior.children.remove(*last);
        }
        Ok(())
    }

    fn checked_names<'u>(&self, uri: &'u str) -> Result<Vec<&'u str>, MerkleError> {
        let names = names(uri)?;
        check("names in an address", self.limits.depth_max, names.len())?;
        for name in &names {
            check("octets of a name", self.limits.name_bytes_max, name.len())?;
        }
        Ok(names)
    }

    /// The interior node at an address, made where it was not.
    fn walk(&mut self, names: &[&str]) -> Result<&mut Interior, MerkleError> {
        let (pages, limits) = (self.pages, self.limits);
        let mut interior = match &mut self.tree {
            Node::Interior(interior) => interior,
            Node::Leaf(_) | Node::Page(_) => return Err(MerkleError::Address(".".to_owned())),
        };
        for name in names {
            let full = interior.children.len() >= limits.children_max;
            if full && !interior.children.contains_key(*name) {
                check("children", limits.children_max, interior.children.len() + 1)?;
            }
            let child = interior.children.entry((*name).into()).or_insert_with(|| Node::interior(None));
            if matches!(child, Node::Leaf(_)) {
                *child = Node::interior(None);
            }
            interior = child
                .as_interior_mut(pages)?
                .ok_or(MerkleError::Broken { at: 0, expected: "an interior node" })?;
        }
        Ok(interior)
    }
}

struct Encoded {
    body: Vec<u8>,
    size: Size,
}

/// An interior node's octets. What is large below it becomes pages, which go to `new`.
fn encode(interior: &Interior, uri: &str, new: &mut Vec<NewPage>) -> Encoded {
    let mut body = Vec::with_capacity(256);
    let mut size = Size { nodes: 1, bytes: 0 };
    codec::encode_head(&mut body, interior.type_.as_deref(), interior.children.len());
    for (name, node) in &interior.children {
        codec::encode_name(&mut body, name);
        match node {
            Node::Leaf(leaf) => {
                codec::encode_leaf(&mut body, leaf);
                let elsewhere = if let Value::Page { bytes, .. } = leaf.value { bytes } else { 0 };
                size.add(Size { nodes: 1, bytes: elsewhere });
            }
            Node::Page(page) => {
                codec::encode_ref(&mut body, page);
                size.add(page.size);
            }
            Node::Interior(child) => {
                let child_uri = child_uri(uri, name);
                let encoded = encode(child, &child_uri, new);
                if encoded.body.len() > PAGE_BYTES {
                    let id = push_page(child, &child_uri, &encoded.body, new);
                    codec::encode_ref(&mut body, &PageRef { id, size: encoded.size });
                    size.add(encoded.size);
                } else {
                    codec::encode_inline(&mut body, &encoded.body);
                    // Its octets are counted with ours.
                    let inline = encoded.body.len() as u32;
                    size.add(Size {
                        nodes: encoded.size.nodes,
                        bytes: encoded.size.bytes.saturating_sub(inline),
                    });
                }
            }
        }
    }
    size.add(Size { nodes: 0, bytes: u32::try_from(body.len()).unwrap_or(u32::MAX) });
    Encoded { body, size }
}

fn push_page(interior: &Interior, uri: &str, body: &[u8], new: &mut Vec<NewPage>) -> SnapshotId {
    let octets = codec::page(body);
    let id = id_of(&octets);
    new.push(NewPage { id, octets, likeness: Some(likeness(interior, uri)) });
    id
}

/// What pages that are much like each other have in common: all names and kinds of nodes; or, failing that,
/// the address and the names of the first level.
fn likeness(interior: &Interior, uri: &str) -> [u128; 2] {
    let mut nodes = Xxh3::new();
    hash_names(interior, &mut nodes);
    let mut place = Xxh3::new();
    place.update(uri.as_bytes());
    for name in interior.children.keys() {
        place.update(b"/");
        place.update(name.as_bytes());
    }
    [nodes.digest128(), place.digest128()]
}

fn hash_names(interior: &Interior, hash: &mut Xxh3) {
    for (name, node) in &interior.children {
        hash.update(name.as_bytes());
        match node {
            Node::Leaf(leaf) => hash.update(&[0, leaf.format as u8]),
            Node::Page(_) => hash.update(&[1]),
            Node::Interior(child) => {
                hash.update(&[2]);
                hash_names(child, hash);
                hash.update(&[3]);
            }
        }
    }
}
