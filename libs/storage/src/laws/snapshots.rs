use dm_tree::{Change, Format, Leaf, TreeDelta};

use super::{RACERS, assert_kind, at, dev_id, fresh_tenant, race};
use crate::{ErrorKind, SnapshotStore};

fn text(value: &str) -> Leaf {
    Leaf { format: Format::Chr, mime: None, value: value.as_bytes().into() }
}

fn put(uri: &str, value: &str) -> Change {
    Change::Leaf { uri: uri.into(), leaf: text(value) }
}

fn interior(uri: &str, type_: Option<&str>) -> Change {
    Change::Interior { uri: uri.into(), type_: type_.map(Into::into) }
}

fn remove(uri: &str) -> Change {
    Change::Remove { uri: uri.into() }
}

/// A small phone, in the order of addresses, as reading it answers.
fn phone(firmware: &str) -> TreeDelta {
    let picture =
        Leaf { format: Format::Bin, mime: Some("image/png".into()), value: vec![0x89; 5000].into() };
    vec![
        interior(".", None),
        interior("DevDetail", None),
        put("DevDetail/FwV", firmware),
        interior("DevInfo", Some("urn:oma:mo:oma-dm-devinfo:1.0")),
        put("DevInfo/DevId", "IMEI:1"),
        put("DevInfo/Man", ""),
        interior("Ext", None),
        Change::Leaf { uri: "Ext/Picture".into(), leaf: picture },
    ]
}

/// The laws of [`SnapshotStore`].
pub async fn snapshot_store_laws(store: &dyn SnapshotStore) {
    a_tree_is_read_as_applied(store).await;
    changes_do_what_they_say(store).await;
    an_unchanged_tree_costs_only_its_time(store).await;
    history_tells_every_tree(store).await;
    a_diff_makes_one_tree_the_other(store).await;
    equal_trees_are_one(store).await;
    racing_changes_all_arrive(store).await;
    a_tree_has_bounds(store).await;
    tenants_are_apart(store).await;
}

async fn a_tree_is_read_as_applied(store: &dyn SnapshotStore) {
    let (tenant, device) = (fresh_tenant("tree-read"), dev_id("IMEI:1"));
    assert!(store.current(&tenant, &device).await.unwrap().is_none());
    assert!(store.history(&tenant, &device, 10).await.unwrap().is_empty());
    assert!(store.as_of(&tenant, &device, at(100)).await.unwrap().is_none());
    let phone = phone("1.0");
    let applied = store.apply(&tenant, &device, at(0), &phone).await.unwrap();
    assert_eq!((applied.since, applied.seen), (at(0), at(0)));
    assert_eq!(store.current(&tenant, &device).await.unwrap(), Some(applied));
    assert_eq!(store.read(&tenant, applied.root, ".").await.unwrap(), phone, "a tree is read as applied");
    assert_eq!(
        store.read(&tenant, applied.root, "DevInfo").await.unwrap(),
        phone[3..6],
        "and so is a part of it"
    );
    assert_eq!(store.read(&tenant, applied.root, "DevInfo/Man").await.unwrap(), phone[5..6]);
    assert!(store.read(&tenant, applied.root, "DevInfo/Mod").await.unwrap().is_empty());
    for change in &phone {
        let (uri, want) = match change {
            Change::Leaf { uri, leaf } => (uri, Some(leaf.clone())),
            Change::Interior { uri, .. } => (uri, None),
            _ => continue,
        };
        assert_eq!(store.leaf(&tenant, applied.root, uri).await.unwrap(), want, "leaf {uri}");
    }
    assert_eq!(store.leaf(&tenant, applied.root, "DevInfo/Man/x").await.unwrap(), None);
}

async fn changes_do_what_they_say(store: &dyn SnapshotStore) {
    let cases: [(&str, TreeDelta, TreeDelta); 8] = [
        (
            "interior nodes are implied",
            vec![put("A/B/c", "1")],
            vec![interior("A", None), interior("A/B", None), put("A/B/c", "1")],
        ),
        (
            "the last value stands",
            vec![put("A/c", "1"), put("A/c", "2")],
            vec![interior("A", None), put("A/c", "2")],
        ),
        (
            "a type stays until another comes",
            vec![interior("A", Some("t")), interior("A", None)],
            vec![interior("A", Some("t"))],
        ),
        (
            "a leaf stands in place of a subtree",
            vec![put("A/B/c", "1"), put("A/B", "2")],
            vec![interior("A", None), put("A/B", "2")],
        ),
        (
            "a subtree stands in place of a leaf",
            vec![put("A/B", "2"), put("A/B/c", "1")],
            vec![interior("A", None), interior("A/B", None), put("A/B/c", "1")],
        ),
        (
            "children that are not named are gone",
            vec![
                put("A/b", "1"),
                put("A/c", "2"),
                Change::Children { uri: "A".into(), names: vec!["c".into(), "unseen".into()] },
            ],
            vec![interior("A", None), put("A/c", "2")],
        ),
        (
            "a removed node is gone with all below",
            vec![put("A/B/c", "1"), put("A/d", "2"), remove("A/B")],
            vec![interior("A", None), put("A/d", "2")],
        ),
        (
            "removing what is not there is nothing",
            vec![put("A/c", "1"), remove("A/x"), remove("B/y/z"), remove("A/c/d")],
            vec![interior("A", None), put("A/c", "1")],
        ),
    ];
    let tenant = fresh_tenant("tree-changes");
    for (number, (claim, delta, want)) in cases.into_iter().enumerate() {
        let device = dev_id(&format!("IMEI:{number}"));
        let applied = store.apply(&tenant, &device, at(0), &delta).await.unwrap();
        let read = store.read(&tenant, applied.root, ".").await.unwrap();
        assert_eq!(read[0], interior(".", None));
        assert_eq!(read[1..], want, "{claim}");
        let device = dev_id(&format!("IMEI:{number}-stepwise"));
        for change in delta {
            store.apply(&tenant, &device, at(0), &vec![change]).await.unwrap();
        }
        let stepwise = store.current(&tenant, &device).await.unwrap().unwrap();
        assert_eq!(stepwise.root, applied.root, "{claim}, also in steps");
    }
}

async fn an_unchanged_tree_costs_only_its_time(store: &dyn SnapshotStore) {
    let (tenant, device) = (fresh_tenant("tree-same"), dev_id("IMEI:1"));
    let first = store.apply(&tenant, &device, at(0), &phone("1.0")).await.unwrap();
    let again = store.apply(&tenant, &device, at(60), &vec![put("DevDetail/FwV", "1.0")]).await.unwrap();
    assert_eq!((again.root, again.since, again.seen), (first.root, at(0), at(60)));
    let earlier = store.apply(&tenant, &device, at(30), &TreeDelta::new()).await.unwrap();
    assert_eq!(earlier, again, "time does not go back");
    assert_eq!(store.history(&tenant, &device, 10).await.unwrap(), [again], "an equal tree is the same tree");
}

async fn history_tells_every_tree(store: &dyn SnapshotStore) {
    let (tenant, device) = (fresh_tenant("tree-history"), dev_id("IMEI:1"));
    let mut want = Vec::new();
    for (second, firmware) in [(0, "1.0"), (10, "2.0"), (20, "1.0"), (30, "3.0")] {
        let applied = store.apply(&tenant, &device, at(second), &phone(firmware)).await.unwrap();
        let seen = store.apply(&tenant, &device, at(second + 5), &phone(firmware)).await.unwrap();
        assert_eq!((seen.root, seen.since), (applied.root, at(second)));
        want.insert(0, seen);
    }
    // Another device whose name begins with this one's.
    store.apply(&tenant, &dev_id("IMEI:11"), at(0), &phone("9.9")).await.unwrap();
    assert_eq!(store.history(&tenant, &device, 10).await.unwrap(), want, "history is whole, newest first");
    assert_eq!(store.history(&tenant, &device, 2).await.unwrap(), want[..2]);
    for (second, index) in [(0, 3), (9, 3), (10, 2), (19, 2), (20, 1), (29, 1), (30, 0), (99, 0)] {
        let found = store.as_of(&tenant, &device, at(second)).await.unwrap();
        assert_eq!(found, Some(want[index]), "the tree as of second {second}");
    }
    assert_eq!(store.as_of(&tenant, &device, at(-1)).await.unwrap(), None, "there was none before the first");
    assert_eq!(want[3].root, want[1].root, "a tree that comes back has the id it had");
    let once = store.apply(&tenant, &device, at(40), &phone("4.0")).await.unwrap();
    let twice = store.apply(&tenant, &device, at(40), &phone("5.0")).await.unwrap();
    let history = store.history(&tenant, &device, 3).await.unwrap();
    assert_eq!(history[0], twice);
    assert_eq!(history[1].root, once.root, "two changes in one instant are both kept");
}

async fn a_diff_makes_one_tree_the_other(store: &dyn SnapshotStore) {
    let (tenant, device) = (fresh_tenant("tree-diff"), dev_id("IMEI:1"));
    let deltas: [TreeDelta; 6] = [
        phone("1.0"),
        vec![put("DevDetail/FwV", "2.0"), put("Z/new", "1")],
        vec![remove("DevInfo/Man"), interior("DevInfo", Some("other")), put("A/first", "0")],
        vec![remove("Ext"), put("Ext", "now a leaf")],
        vec![remove("DevInfo"), interior("DevInfo", None)],
        vec![remove(".")],
    ];
    let mut roots = Vec::new();
    for (second, delta) in (0..).zip(&deltas) {
        roots.push(store.apply(&tenant, &device, at(second), delta).await.unwrap().root);
    }
    let narrow = store.diff(&tenant, roots[0], roots[1]).await.unwrap();
    assert_eq!(narrow, [put("DevDetail/FwV", "2.0"), interior("Z", None), put("Z/new", "1")]);
    for (a, from) in roots.iter().enumerate() {
        for (b, to) in roots.iter().enumerate() {
            let diff = store.diff(&tenant, *from, *to).await.unwrap();
            assert_eq!(diff.is_empty(), from == to, "equal trees differ in nothing");
            let copy = dev_id(&format!("copy {a} {b}"));
            let tree = store.read(&tenant, *from, ".").await.unwrap();
            assert_eq!(store.apply(&tenant, &copy, at(0), &tree).await.unwrap().root, *from);
            let made = store.apply(&tenant, &copy, at(1), &diff).await.unwrap();
            assert_eq!(made.root, *to, "the difference of trees {a} and {b} makes one the other: {diff:?}");
        }
    }
}

async fn equal_trees_are_one(store: &dyn SnapshotStore) {
    let tenant = fresh_tenant("tree-equal");
    let mut backwards = phone("1.0");
    backwards.reverse();
    let one = store.apply(&tenant, &dev_id("IMEI:1"), at(0), &phone("1.0")).await.unwrap();
    let other = store.apply(&tenant, &dev_id("IMEI:2"), at(9), &backwards).await.unwrap();
    assert_eq!(one.root, other.root, "equal trees have one id, however they were learned");
}

async fn racing_changes_all_arrive(store: &dyn SnapshotStore) {
    let (tenant, device) = (fresh_tenant("tree-race"), dev_id("IMEI:1"));
    let deltas: Vec<TreeDelta> = (0..RACERS).map(|racer| vec![put(&format!("A/{racer}"), "here")]).collect();
    for result in race(deltas.iter().map(|delta| store.apply(&tenant, &device, at(0), delta)).collect()).await
    {
        result.unwrap();
    }
    let head = store.current(&tenant, &device).await.unwrap().unwrap();
    let leaves = store.read(&tenant, head.root, "A").await.unwrap();
    assert_eq!(leaves.len(), 1 + RACERS, "no racing change is lost");
}

async fn a_tree_has_bounds(store: &dyn SnapshotStore) {
    let (tenant, device) = (fresh_tenant("tree-bounds"), dev_id("IMEI:1"));
    let before = store.apply(&tenant, &device, at(0), &phone("1.0")).await.unwrap();
    let large = Leaf { format: Format::Bin, mime: None, value: vec![0; 64 << 20].into() };
    let cases: [(&str, TreeDelta); 5] = [
        ("depth", vec![put(&"a/".repeat(5000)[..9999], "1")]),
        ("a name", vec![put(&"n".repeat(10_000), "1")]),
        ("a value", vec![Change::Leaf { uri: "big".into(), leaf: large }]),
        ("children", (0..70_000).map(|number| put(&format!("A/{number}"), "")).collect()),
        ("no empty name", vec![put("A//b", "1")]),
    ];
    for (what, delta) in cases {
        assert_kind(store.apply(&tenant, &device, at(9), &delta).await, ErrorKind::TooLarge, what);
    }
    assert_eq!(
        store.current(&tenant, &device).await.unwrap(),
        Some(before),
        "what is refused changes nothing"
    );
}

async fn tenants_are_apart(store: &dyn SnapshotStore) {
    let (tenant, other) = (fresh_tenant("tree-a"), fresh_tenant("tree-b"));
    let device = dev_id("IMEI:1");
    let secret = store.apply(&tenant, &device, at(0), &phone("1.0")).await.unwrap();
    assert!(store.current(&other, &device).await.unwrap().is_none());
    assert!(store.history(&other, &device, 10).await.unwrap().is_empty());
    assert!(store.as_of(&other, &device, at(9)).await.unwrap().is_none());
    let stolen = store.read(&other, secret.root, ".").await;
    assert!(stolen.is_err(), "a root of another tenant opens nothing");
    assert!(store.leaf(&other, secret.root, "DevInfo/DevId").await.is_err());
}
