//! What changes one tree into another.

use std::borrow::Cow;

use dm_tree::{Change, TreeDelta};

use super::{
    MerkleError, Pages, child_uri,
    node::{Interior, Node},
    read::build,
};
use crate::SnapshotId;

/// The changes that turn the tree of `from` into that of `to`, in the order of addresses. Equal pages are not
/// even loaded, so the time follows the difference.
///
/// # Errors
///
/// [`MerkleError`] when a page cannot be read.
pub fn diff(pages: &dyn Pages, from: SnapshotId, to: SnapshotId) -> Result<TreeDelta, MerkleError> {
    let mut delta = TreeDelta::new();
    if from != to {
        let (from, to) = (Interior::load(pages, from)?, Interior::load(pages, to)?);
        diff_interior(pages, &from, &to, ".", &mut delta)?;
    }
    Ok(delta)
}

fn diff_interior(
    pages: &dyn Pages,
    from: &Interior,
    to: &Interior,
    uri: &str,
    delta: &mut TreeDelta,
) -> Result<(), MerkleError> {
    if from.type_ != to.type_ {
        if to.type_.is_none() {
            // A change can set a type and cannot take it away: the node is built anew.
            delta.push(Change::Remove { uri: uri.to_owned() });
            return build(pages, &Node::Interior(to.clone()), uri, delta);
        }
        delta.push(Change::Interior { uri: uri.to_owned(), type_: to.type_.clone() });
    }
    let mut old = from.children.iter().peekable();
    for (name, new) in &to.children {
        while let Some((gone, _)) = old.next_if(|(known, _)| *known < name) {
            delta.push(Change::Remove { uri: child_uri(uri, gone) });
        }
        let uri = child_uri(uri, name);
        match old.next_if(|(known, _)| *known == name) {
            Some((_, known)) => diff_node(pages, known, new, &uri, delta)?,
            None => build(pages, new, &uri, delta)?,
        }
    }
    for (gone, _) in old {
        delta.push(Change::Remove { uri: child_uri(uri, gone) });
    }
    Ok(())
}

fn diff_node(
    pages: &dyn Pages,
    from: &Node,
    to: &Node,
    uri: &str,
    delta: &mut TreeDelta,
) -> Result<(), MerkleError> {
    if from == to {
        return Ok(());
    }
    match (interior(pages, from)?, interior(pages, to)?) {
        (Some(from), Some(to)) => diff_interior(pages, &from, &to, uri, delta),
        // A leaf stands in place of what was there, and so does an interior node in place of a leaf.
        _ => build(pages, to, uri, delta),
    }
}

fn interior<'n>(pages: &dyn Pages, node: &'n Node) -> Result<Option<Cow<'n, Interior>>, MerkleError> {
    match node {
        Node::Leaf(_) => Ok(None),
        Node::Interior(interior) => Ok(Some(Cow::Borrowed(interior))),
        Node::Page(page) => Interior::load(pages, page.id).map(|interior| Some(Cow::Owned(interior))),
    }
}
