//! Trees whose pages come over a network: they are fetched ahead, so that what works on them stays plain code.
//!
//! A call fetches the pages on its way level by level, all of a level at once, into memory, and then runs the same
//! function that the embedded store runs. How it foresees the pages is a guess that is nearly always right; where it
//! is not, the function says which page is missing, that one is fetched, and the function runs again. So what
//! decides about a tree is written once, and a fetch costs one round trip a level: two or three for a phone.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use async_trait::async_trait;
use dm_tree::{Change, Leaf, TreeDelta};

use super::{Applied, Limits, MerkleError, Pages, codec, names, node::Node, read::find};
use crate::{SnapshotId, StoreError};

/// Octets of pages that one call holds at most: two of the largest trees, and room.
const BYTES_MAX: usize = 64 << 20;
/// Pages asked for at once.
const BATCH_MAX: usize = 64;

/// Where pages are that take a while to come.
#[async_trait]
pub trait FetchPages: Send + Sync {
    /// The octets of pages, in any order. Those that are not there are left out.
    ///
    /// # Errors
    ///
    /// Whatever the store beneath says.
    async fn fetch(&self, ids: &[SnapshotId]) -> Result<Vec<(SnapshotId, Arc<[u8]>)>, StoreError>;
}

/// [`super::apply`], its pages fetched ahead. The pages it answers are those that the tree of `root` does not have: each of
/// them is to be stored, even if it seems to be there.
///
/// # Errors
///
/// Those of [`super::apply`], and [`MerkleError::Store`].
pub async fn apply(
    fetch: &dyn FetchPages,
    root: Option<SnapshotId>,
    changes: &[Change],
    limits: &Limits,
) -> Result<Applied, MerkleError> {
    let mut ahead = Ahead::new(fetch);
    if let Some(root) = root {
        let ways: Vec<Vec<&str>> = changes.iter().filter_map(way_of).collect();
        ahead.fetch_ways(root, &ways).await?;
    }
    let mut applied = ahead.run(|pages| super::apply(pages, root, changes, limits)).await?;
    // All that was fetched is below the root.
    applied.pages.retain(|page| !matches!(ahead.pages.get(&page.id), Some(Some(_))));
    Ok(applied)
}

/// [`super::leaf`], its pages fetched ahead.
///
/// # Errors
///
/// Those of [`super::leaf`], and [`MerkleError::Store`].
pub async fn leaf(fetch: &dyn FetchPages, root: SnapshotId, uri: &str) -> Result<Option<Leaf>, MerkleError> {
    // One page a level, and then perhaps the value's: there is nothing to foresee.
    Ahead::new(fetch).run(|pages| super::leaf(pages, root, uri)).await
}

/// [`super::read`], its pages fetched ahead.
///
/// # Errors
///
/// Those of [`super::read`], and [`MerkleError::Store`].
pub async fn read(fetch: &dyn FetchPages, root: SnapshotId, uri: &str) -> Result<TreeDelta, MerkleError> {
    let mut ahead = Ahead::new(fetch);
    if let Some(node) = ahead.run(|pages| find(pages, root, uri)).await? {
        let mut below = Vec::new();
        codec::refs_of_node(&node, &mut below);
        ahead.fetch_below(below).await?;
    }
    ahead.run(|pages| super::read(pages, root, uri)).await
}

/// [`super::diff`], its pages fetched ahead.
///
/// # Errors
///
/// Those of [`super::diff`], and [`MerkleError::Store`].
pub async fn diff(
    fetch: &dyn FetchPages,
    from: SnapshotId,
    to: SnapshotId,
) -> Result<TreeDelta, MerkleError> {
    let mut ahead = Ahead::new(fetch);
    let (mut old, mut new) = (BTreeSet::from([from]), BTreeSet::from([to]));
    while !(old.is_empty() && new.is_empty()) {
        // A page that both have on one level is most likely at one address, and then not even looked at.
        let wanted = old.symmetric_difference(&new).copied().collect();
        ahead.fetch(wanted).await?;
        let (only_old, only_new) = (&old - &new, &new - &old);
        (old, new) = (ahead.refs_of(&only_old)?, ahead.refs_of(&only_new)?);
    }
    loop {
        match super::diff(&ahead, from, to) {
            // A subtree that moved is told whole.
            Err(MerkleError::Missing(id)) if !ahead.pages.contains_key(&id) => {
                ahead.fetch_below(vec![id]).await?;
            }
            done => return done,
        }
    }
}

/// The names down to the last node whose children a change needs to know; `None` for an address that is refused later.
fn way_of(change: &Change) -> Option<Vec<&str>> {
    let (uri, above) = match change {
        Change::Leaf { uri, .. } | Change::Remove { uri } => (uri, true),
        Change::Interior { uri, .. } | Change::Children { uri, .. } => (uri, false),
    };
    let mut names = names(uri).ok()?;
    if above {
        names.pop();
    }
    Some(names)
}

/// The pages of one call.
struct Ahead<'f> {
    fetch: &'f dyn FetchPages,
    /// `None`: it is known not to be there.
    pages: HashMap<SnapshotId, Option<Arc<[u8]>>>,
    bytes: usize,
}

impl Pages for Ahead<'_> {
    fn load(&self, id: SnapshotId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.pages.get(&id).and_then(Option::as_ref).map(|octets| octets.to_vec()))
    }
}

impl<'f> Ahead<'f> {
    fn new(fetch: &'f dyn FetchPages) -> Self {
        Self { fetch, pages: HashMap::new(), bytes: 0 }
    }

    /// Runs `work` until it misses no page. Each time it has at least one more, and there are at most [`BYTES_MAX`] of them.
    async fn run<T: Send>(
        &mut self,
        work: impl Fn(&Self) -> Result<T, MerkleError> + Send,
    ) -> Result<T, MerkleError> {
        loop {
            match work(self) {
                Err(MerkleError::Missing(id)) if !self.pages.contains_key(&id) => {
                    self.fetch(vec![id]).await?;
                }
                done => return done,
            }
        }
    }

    async fn fetch(&mut self, mut ids: Vec<SnapshotId>) -> Result<(), MerkleError> {
        ids.retain(|id| !self.pages.contains_key(id));
        for batch in ids.chunks(BATCH_MAX) {
            self.pages.extend(batch.iter().map(|id| (*id, None)));
            for (id, octets) in self.fetch.fetch(batch).await? {
                self.bytes += octets.len();
                self.pages.insert(id, Some(octets));
            }
            if self.bytes > BYTES_MAX {
                let what = "octets of pages in one call";
                return Err(MerkleError::Limit { what, max: BYTES_MAX, got: self.bytes });
            }
        }
        Ok(())
    }

    /// Fetches the interior nodes on the ways from the root.
    async fn fetch_ways(&mut self, root: SnapshotId, ways: &[Vec<&str>]) -> Result<(), MerkleError> {
        self.fetch(vec![root]).await?;
        let Some(Some(octets)) = self.pages.get(&root) else { return Err(MerkleError::Missing(root)) };
        let mut tree = Node::Interior(codec::decode_page(octets)?);
        loop {
            let mut wanted = BTreeSet::new();
            for way in ways {
                wanted.extend(self.first_unknown(&mut tree, way)?);
            }
            if wanted.is_empty() {
                return Ok(());
            }
            self.fetch(wanted.into_iter().collect()).await?;
        }
    }

    /// The first page on a way that was not fetched yet.
    fn first_unknown(&self, node: &mut Node, way: &[&str]) -> Result<Option<SnapshotId>, MerkleError> {
        if let Node::Page(page) = node
            && !self.pages.contains_key(&page.id)
        {
            return Ok(Some(page.id));
        }
        let Some(interior) = node.as_interior_mut(self)? else { return Ok(None) };
        let Some((name, rest)) = way.split_first() else { return Ok(None) };
        match interior.children.get_mut(*name) {
            Some(child) => self.first_unknown(child, rest),
            None => Ok(None),
        }
    }

    /// Fetches pages and all below them.
    async fn fetch_below(&mut self, ids: Vec<SnapshotId>) -> Result<(), MerkleError> {
        let mut level: BTreeSet<SnapshotId> = ids.into_iter().collect();
        let mut seen = level.clone();
        while !level.is_empty() {
            self.fetch(level.iter().copied().collect()).await?;
            level = &self.refs_of(&level)? - &seen;
            seen.extend(&level);
        }
        Ok(())
    }

    /// The pages that these, which were fetched, name.
    fn refs_of(&self, ids: &BTreeSet<SnapshotId>) -> Result<BTreeSet<SnapshotId>, MerkleError> {
        let mut refs = BTreeSet::new();
        for octets in ids.iter().filter_map(|id| self.pages.get(id)).flatten() {
            refs.extend(codec::refs(octets)?);
        }
        Ok(refs)
    }
}
