//! Reading a tree.

use dm_tree::{Change, Leaf, TreeDelta};

use super::{
    MerkleError, Pages, child_uri, names,
    node::{Interior, Node},
};
use crate::SnapshotId;

/// The leaf at an address, if there is one.
///
/// # Errors
///
/// [`MerkleError`] when a page cannot be read.
pub fn leaf(pages: &dyn Pages, root: SnapshotId, uri: &str) -> Result<Option<Leaf>, MerkleError> {
    match find(pages, root, uri)? {
        Some(Node::Leaf(leaf)) => leaf.load(pages).map(Some),
        _ => Ok(None),
    }
}

/// The subtree at an address as the changes that would build it, in the order of addresses. Empty where there is none.
///
/// # Errors
///
/// [`MerkleError`] when a page cannot be read.
pub fn read(pages: &dyn Pages, root: SnapshotId, uri: &str) -> Result<TreeDelta, MerkleError> {
    let mut delta = TreeDelta::new();
    if let Some(node) = find(pages, root, uri)? {
        let names = names(uri)?;
        let uri = if names.is_empty() { ".".to_owned() } else { names.join("/") };
        build(pages, &node, &uri, &mut delta)?;
    }
    Ok(delta)
}

pub(super) fn find(pages: &dyn Pages, root: SnapshotId, uri: &str) -> Result<Option<Node>, MerkleError> {
    let mut node = Node::Interior(Interior::load(pages, root)?);
    for name in names(uri)? {
        let child = match node.as_interior_mut(pages)? {
            Some(interior) => interior.children.remove(name),
            None => None,
        };
        let Some(child) = child else { return Ok(None) };
        node = child;
    }
    Ok(Some(node))
}

/// The changes that build a node and all below it.
pub(super) fn build(
    pages: &dyn Pages,
    node: &Node,
    uri: &str,
    delta: &mut TreeDelta,
) -> Result<(), MerkleError> {
    match node {
        Node::Leaf(leaf) => {
            delta.push(Change::Leaf { uri: uri.to_owned(), leaf: leaf.load(pages)? });
            Ok(())
        }
        Node::Page(page) => build_interior(pages, &Interior::load(pages, page.id)?, uri, delta),
        Node::Interior(interior) => build_interior(pages, interior, uri, delta),
    }
}

fn build_interior(
    pages: &dyn Pages,
    interior: &Interior,
    uri: &str,
    delta: &mut TreeDelta,
) -> Result<(), MerkleError> {
    delta.push(Change::Interior { uri: uri.to_owned(), type_: interior.type_.clone() });
    for (name, node) in &interior.children {
        build(pages, node, &child_uri(uri, name), delta)?;
    }
    Ok(())
}
