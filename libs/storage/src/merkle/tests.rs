use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use dm_tree::{Change, Format, Leaf, TreeDelta};
use proptest::prelude::*;

use super::*;

/// Pages in memory, packed as a store packs them, that count how often they are asked.
#[derive(Default)]
struct Memory {
    pages: RefCell<BTreeMap<SnapshotId, Vec<u8>>>,
    loads: Cell<usize>,
}

impl Pages for Memory {
    fn load(&self, id: SnapshotId) -> Result<Option<Vec<u8>>, StoreError> {
        self.loads.set(self.loads.get() + 1);
        Ok(self.pages.borrow().get(&id).cloned())
    }
}

impl Memory {
    /// Applies, stores, and answers the root and how many pages were new.
    fn apply(&self, root: Option<SnapshotId>, delta: &[Change]) -> (SnapshotId, usize) {
        let applied = apply(self, root, delta, &Limits::default()).unwrap();
        let mut pages = self.pages.borrow_mut();
        let before = pages.len();
        pages.extend(applied.pages.into_iter().map(|page| (page.id, page.octets)));
        (applied.root, pages.len() - before)
    }
}

fn put(uri: &str, value: &str) -> Change {
    let leaf = Leaf { format: Format::Chr, mime: None, value: value.as_bytes().into() };
    Change::Leaf { uri: uri.into(), leaf }
}

/// A tree of many pages: ten branches of three thousand octets and more, under two levels.
fn large_tree() -> TreeDelta {
    let leaves = (0..10).flat_map(|branch| (0..200).map(move |leaf| (branch, leaf)));
    leaves
        .map(|(branch, leaf)| put(&format!("A/B{branch}/leaf{leaf}"), &format!("a value of branch {branch}")))
        .collect()
}

#[test]
fn a_change_loads_and_writes_only_the_pages_on_its_way() {
    let store = Memory::default();
    let (root, pages) = store.apply(None, &large_tree());
    assert!(pages > 10, "the tree has a page a branch, got {pages}");
    store.loads.set(0);
    let (changed, new) = store.apply(Some(root), &[put("A/B3/leaf7", "another")]);
    assert_ne!(changed, root);
    assert!(store.loads.get() <= 3, "loaded {} pages", store.loads.get());
    assert!(new <= 3, "wrote {new} pages");
}

#[test]
fn an_unchanged_tree_writes_nothing() {
    let store = Memory::default();
    let (root, _) = store.apply(None, &large_tree());
    let same = apply(&store, Some(root), &large_tree(), &Limits::default()).unwrap();
    assert_eq!((same.root, same.pages.len()), (root, 0));
}

#[test]
fn equal_subtrees_are_stored_once() {
    let store = Memory::default();
    let (_, first) = store.apply(None, &large_tree());
    let mut other = large_tree();
    other.push(put("A/B3/leaf7", "another"));
    let (_, second) = store.apply(None, &other);
    assert!(second <= 3, "of {first} pages the second tree added {second}");
    let mut moved = TreeDelta::new();
    for change in large_tree() {
        let Change::Leaf { uri, leaf } = change else { continue };
        moved.push(Change::Leaf { uri: format!("Elsewhere/{uri}"), leaf });
    }
    let (_, moved) = store.apply(None, &moved);
    assert!(moved <= 2, "also at another address, got {moved} new pages");
}

#[test]
fn the_time_of_a_diff_follows_the_difference() {
    let store = Memory::default();
    let (from, _) = store.apply(None, &large_tree());
    let (to, _) = store.apply(Some(from), &[put("A/B3/leaf7", "another")]);
    store.loads.set(0);
    assert_eq!(diff(&store, from, to).unwrap(), [put("A/B3/leaf7", "another")]);
    assert!(store.loads.get() <= 6, "loaded {} pages of two trees", store.loads.get());
    store.loads.set(0);
    assert!(diff(&store, from, from).unwrap().is_empty());
    assert_eq!(store.loads.get(), 0);
}

#[test]
fn limits_count_what_is_not_loaded() {
    let store = Memory::default();
    let (root, _) = store.apply(None, &large_tree());
    let nodes = 2000 + 12;
    for (nodes_max, fits) in [(nodes + 1, true), (nodes, false)] {
        let limits = Limits { nodes_max, ..Limits::default() };
        let more = apply(&store, Some(root), &[put("A/more", "1")], &limits);
        assert_eq!(more.is_ok(), fits, "{nodes_max} nodes at most");
    }
    let octets = 2000 * 22;
    let limits = Limits { tree_bytes_max: octets, ..Limits::default() };
    let error = apply(&store, Some(root), &[put("A/more", "1")], &limits).unwrap_err();
    assert!(matches!(error, MerkleError::Limit { what: "octets of a tree", .. }), "{error}");
}

#[test]
fn a_page_is_read_back_from_what_it_adds_to_its_base() {
    let page = |own: &str| -> Vec<u8> {
        let leaves = (0..100).map(|leaf| put(&format!("Node/leaf{leaf}"), "common value"));
        let delta: TreeDelta = leaves.chain([put("Node/leaf50", own)]).collect();
        let applied = apply(&Memory::default(), None, &delta, &Limits::default()).unwrap();
        applied.pages.last().unwrap().octets.clone()
    };
    let (base, other) = (page("IMEI:1"), page("IMEI:2"));
    let id = id_of(&base);
    let stored = pack::delta(&other, id, &base).unwrap();
    assert!(stored.len() < 100, "a page of {} octets adds {}", other.len(), stored.len());
    let pack::Stored::Delta { base: named, packed } = pack::parse(&stored).unwrap() else {
        panic!("a delta")
    };
    assert_eq!(named, id);
    assert_eq!(pack::unpack(packed, &base).unwrap(), other);
    assert_eq!(pack::parse(&pack::whole(&base)).unwrap(), pack::Stored::Whole(&base));
    let unlike: Vec<u8> = (0..100_u8).flat_map(|it| *blake3::hash(&[it]).as_bytes()).collect();
    assert_eq!(pack::delta(&unlike, id, &base), None, "what is unlike its base is stored whole");
}

/// Pages behind a network: every fetch is one round trip.
struct Remote(Mutex<(Kept, usize)>);

type Kept = BTreeMap<SnapshotId, Arc<[u8]>>;

#[async_trait::async_trait]
impl ahead::FetchPages for Remote {
    async fn fetch(&self, ids: &[SnapshotId]) -> Result<Vec<(SnapshotId, Arc<[u8]>)>, StoreError> {
        let mut remote = self.0.lock().unwrap();
        remote.1 += 1;
        Ok(ids.iter().filter_map(|id| Some((*id, Arc::clone(remote.0.get(id)?)))).collect())
    }
}

impl Remote {
    fn of(store: &Memory) -> Self {
        let pages = store.pages.borrow();
        Self(Mutex::new((pages.iter().map(|(id, octets)| (*id, octets.as_slice().into())).collect(), 0)))
    }

    /// Round trips since the last call.
    fn trips(&self) -> usize {
        std::mem::take(&mut self.0.lock().unwrap().1)
    }
}

/// Runs what waits for nothing.
fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn a_fetch_ahead_is_one_round_trip_a_level() {
    let store = Memory::default();
    let (from, _) = store.apply(None, &large_tree());
    let changes: TreeDelta = (0..10).map(|branch| put(&format!("A/B{branch}/leaf7"), "another")).collect();
    let (to, _) = store.apply(Some(from), &changes);
    let remote = Remote::of(&store);
    let applied = now(ahead::apply(&remote, Some(from), &changes, &Limits::default())).unwrap();
    assert_eq!(applied.root, to);
    assert!(remote.trips() <= 3, "ten branches are fetched together");
    assert_eq!(now(ahead::read(&remote, to, ".")).unwrap(), read(&store, to, ".").unwrap());
    assert!(remote.trips() <= 3);
    assert_eq!(now(ahead::diff(&remote, from, to)).unwrap(), changes);
    assert!(remote.trips() <= 3);
    assert_eq!(now(ahead::leaf(&remote, to, "A/B3/leaf7")).unwrap(), leaf(&store, to, "A/B3/leaf7").unwrap());
    assert!(remote.trips() <= 3);
}

#[test]
fn what_is_answered_to_be_stored_is_what_the_tree_before_lacks() {
    let store = Memory::default();
    let (root, _) = store.apply(None, &large_tree());
    let remote = Remote::of(&store);
    let change = [put("A/B3/leaf7", "another")];
    let applied = now(ahead::apply(&remote, Some(root), &change, &Limits::default())).unwrap();
    assert!(applied.pages.len() <= 3, "{} pages for one leaf", applied.pages.len());
    // A tree made anew names all of its pages, also those that are there.
    let again = now(ahead::apply(&remote, None, &large_tree(), &Limits::default())).unwrap();
    assert!(again.pages.len() > 10);
    let known: BTreeSet<SnapshotId> = applied.pages.iter().map(|page| page.id).collect();
    for page in &applied.pages {
        for id in refs(&page.octets).unwrap() {
            assert!(
                known.contains(&id) || store.pages.borrow().contains_key(&id),
                "a page names none but known"
            );
        }
    }
}

#[test]
fn a_page_that_is_not_there_is_asked_for_once() {
    let remote = Remote::of(&Memory::default());
    let error = now(ahead::read(&remote, SnapshotId([7; 20]), ".")).unwrap_err();
    assert!(matches!(error, MerkleError::Missing(SnapshotId([7, ..]))), "{error}");
    assert_eq!(remote.trips(), 1);
}

/// The tree as the plainest thing that could be: leaves and interior nodes by address.
type Model = BTreeMap<Vec<String>, Option<Vec<u8>>>;

fn model_names(uri: &str) -> Vec<String> {
    if uri == "." { Vec::new() } else { uri.split('/').map(str::to_owned).collect() }
}

fn model_remove(model: &mut Model, names: &[String]) {
    model.retain(|key, _| !key.starts_with(names));
}

fn model_interior(model: &mut Model, names: &[String]) {
    for depth in 0..=names.len() {
        let node = model.entry(names[..depth].to_vec()).or_insert(None);
        *node = None;
    }
}

fn model_apply(model: &mut Model, change: &Change) {
    match change {
        Change::Leaf { uri, leaf } => {
            let names = model_names(uri);
            model_remove(model, &names);
            model_interior(model, &names[..names.len() - 1]);
            model.insert(names, Some(leaf.value.to_vec()));
        }
        Change::Interior { uri, .. } => model_interior(model, &model_names(uri)),
        Change::Children { uri, names } => {
            let at = model_names(uri);
            model_interior(model, &at);
            let kept = |key: &Vec<String>| {
                key.len() <= at.len()
                    || !key.starts_with(&at)
                    || names.iter().any(|it| **it == *key[at.len()])
            };
            model.retain(|key, _| kept(key));
        }
        Change::Remove { uri } => {
            model_remove(model, &model_names(uri));
            model.insert(Vec::new(), None);
        }
    }
}

fn model_of(delta: &[Change]) -> Model {
    let mut model = Model::new();
    for change in delta {
        match change {
            Change::Leaf { uri, leaf } => model.insert(model_names(uri), Some(leaf.value.to_vec())),
            Change::Interior { uri, .. } => model.insert(model_names(uri), None),
            other => panic!("reading a tree gives no {other:?}"),
        };
    }
    model
}

fn any_uri() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "ä d"]), 1..5)
        .prop_map(|names| names.join("/"))
}

fn any_change() -> impl Strategy<Value = Change> {
    // Lengths around what stands in a page, what is a page of its own, and what makes a subtree one.
    let value = (prop::sample::select(vec![0, 5, 511, 512, 513, 2000, 5000]), any::<u8>())
        .prop_map(|(length, octet)| vec![octet; length].into_boxed_slice());
    prop_oneof![
        5 => (any_uri(), value).prop_map(|(uri, value)| {
            Change::Leaf { uri, leaf: Leaf { format: Format::Bin, mime: None, value } }
        }),
        1 => any_uri().prop_map(|uri| Change::Interior { uri, type_: None }),
        1 => any_uri().prop_map(|uri| Change::Children { uri, names: vec!["a".into(), "ä d".into()] }),
        1 => any_uri().prop_map(|uri| Change::Remove { uri }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_tree_is_what_its_changes_make_it(
        deltas in prop::collection::vec(prop::collection::vec(any_change(), 1..12), 1..5),
    ) {
        let store = Memory::default();
        let mut model = Model::from([(Vec::new(), None)]);
        let mut roots = Vec::new();
        for delta in &deltas {
            for change in delta {
                model_apply(&mut model, change);
            }
            let (root, _) = store.apply(roots.last().copied(), delta);
            let tree = read(&store, root, ".").unwrap();
            prop_assert_eq!(model_of(&tree), model.clone());
            // Equal trees have equal ids, however they came to be.
            prop_assert_eq!(store.apply(None, &tree).0, root);
            roots.push(root);
        }
        let remote = Remote::of(&store);
        let mut before = None;
        for (delta, root) in deltas.iter().zip(&roots) {
            let applied = now(ahead::apply(&remote, before, delta, &Limits::default())).unwrap();
            prop_assert_eq!(applied.root, *root);
            prop_assert_eq!(now(ahead::read(&remote, *root, "a")).unwrap(), read(&store, *root, "a").unwrap());
            before = Some(*root);
        }
        for from in &roots {
            for to in &roots {
                let difference = diff(&store, *from, *to).unwrap();
                prop_assert_eq!(&now(ahead::diff(&remote, *from, *to)).unwrap(), &difference);
                prop_assert_eq!(store.apply(Some(*from), &difference).0, *to);
            }
        }
    }

    #[test]
    fn any_octets_are_a_page_or_an_error(mut octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = codec::decode_page(&octets);
        let _ = pack::parse(&octets);
        let _ = pack::unpack(&octets, b"base");
        octets.insert(0, 1);
        let _ = codec::decode_page(&octets);
    }
}
