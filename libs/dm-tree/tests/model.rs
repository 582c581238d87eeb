//! The tree against a map, by any list of operations.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::{collections::BTreeMap, sync::Arc};

use dm_tree::{Access, Acl, AclCommand, Actor, Input, Node, Rules, Tree, Uri, UriLimits};
use jiff::Timestamp;
use proptest::{collection::vec, prelude::*, sample::select};

const OPS: Actor<'_> = Actor { server_id: "ops", now: Timestamp::UNIX_EPOCH };

#[derive(Clone, Debug)]
enum Op {
    Add(String, Option<String>),
    Replace(String, String),
    Delete(String),
    Copy(String, String),
    Rename(String, String),
}

// What a leaf is worth; `None` for an interior node.
type Model = BTreeMap<String, Option<String>>;

fn address() -> impl Strategy<Value = String> {
    vec(select(&["a", "b", "c"][..]), 1..4).prop_map(|segments| segments.join("/"))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (address(), proptest::option::of("[a-z]{0,3}")).prop_map(|(uri, value)| Op::Add(uri, value)),
        (address(), "[a-z]{0,3}").prop_map(|(uri, value)| Op::Replace(uri, value)),
        address().prop_map(Op::Delete),
        (address(), address()).prop_map(|(from, to)| Op::Copy(from, to)),
        (address(), select(&["a", "b", "c"][..])).prop_map(|(uri, name)| Op::Rename(uri, name.to_owned())),
    ]
}

fn open_tree() -> Tree {
    let mut tree = Tree::new(Arc::new(Rules::default()));
    let root = Node::interior().permanent(Access::DATA).with_acl(Acl::open());
    tree.install(".", root, Timestamp::UNIX_EPOCH).unwrap();
    tree
}

fn run(tree: &mut Tree, op: &Op) -> u16 {
    let result = match op {
        Op::Add(uri, Some(value)) => {
            tree.add(OPS, uri, Input { data: Some(value.as_bytes()), ..Input::default() })
        }
        Op::Add(uri, None) => tree.add(OPS, uri, Input { format: Some("node"), ..Input::default() }),
        Op::Replace(uri, value) => {
            tree.replace(OPS, uri, Input { data: Some(value.as_bytes()), ..Input::default() })
        }
        Op::Delete(uri) => tree.delete(OPS, uri),
        Op::Copy(from, to) => tree.copy(OPS, from, to),
        Op::Rename(uri, name) => {
            let input = Input { data: Some(name.as_bytes()), ..Input::default() };
            tree.replace(OPS, &format!("{uri}?prop=Name"), input)
        }
    };
    result.map_or_else(|error| error.status(), |()| 200)
}

fn expect(model: &mut Model, op: &Op) -> u16 {
    match op {
        Op::Add(uri, value) => add(model, uri, value.clone()),
        Op::Replace(uri, value) => match model.get_mut(uri) {
            None => 404,
            Some(None) => 405,
            Some(Some(old)) => {
                *old = value.clone();
                200
            }
        },
        Op::Delete(uri) => {
            if !model.contains_key(uri) {
                return 404;
            }
            let below = format!("{uri}/");
            model.retain(|at, _| at != uri && !at.starts_with(&below));
            200
        }
        Op::Copy(from, to) => match model.get(from).cloned() {
            None => 404,
            Some(None) => 403,
            Some(value) => match model.get_mut(to) {
                None => add(model, to, value),
                Some(None) => 403,
                Some(old) => {
                    *old = value;
                    200
                }
            },
        },
        Op::Rename(uri, name) => rename(model, uri, name),
    }
}

fn add(model: &mut Model, uri: &str, value: Option<String>) -> u16 {
    if model.contains_key(uri) {
        return 418;
    }
    let ends: Vec<usize> = uri.match_indices('/').map(|(at, _)| at).collect();
    if ends.iter().any(|end| matches!(model.get(&uri[..*end]), Some(Some(_)))) {
        return 405;
    }
    for end in ends {
        model.entry(uri[..end].to_owned()).or_insert(None);
    }
    model.insert(uri.to_owned(), value);
    200
}

fn rename(model: &mut Model, uri: &str, name: &str) -> u16 {
    if !model.contains_key(uri) {
        return 404;
    }
    let target = uri.rsplit_once('/').map_or(name.to_owned(), |(parent, _)| format!("{parent}/{name}"));
    if target == uri {
        return 200;
    }
    if model.contains_key(&target) {
        return 418;
    }
    let below = format!("{uri}/");
    let moved: Vec<_> = model
        .iter()
        .filter(|(at, _)| *at == uri || at.starts_with(&below))
        .map(|(at, value)| (format!("{target}{}", &at[uri.len()..]), at.clone(), value.clone()))
        .collect();
    for (new, old, value) in moved {
        model.remove(&old);
        model.insert(new, value);
    }
    200
}

fn picture(tree: &Tree) -> Model {
    let nodes = tree.walk().filter(|(uri, _)| uri != ".");
    nodes.map(|(uri, node)| (uri, node.as_leaf().map(|leaf| leaf.as_str().unwrap().to_owned()))).collect()
}

proptest! {
    #[test]
    fn a_tree_is_a_map_of_addresses(ops in vec(op(), 0..40)) {
        let (mut tree, mut model) = (open_tree(), Model::new());
        for op in &ops {
            let before = tree.clone();
            let want = expect(&mut model, op);
            prop_assert_eq!(run(&mut tree, op), want, "{:?}", op);
            prop_assert_eq!(picture(&tree), model.clone(), "after {:?}", op);
            if want != 200 {
                prop_assert_eq!(&tree, &before, "a refused {:?} leaves no trace", op);
            }
        }
        prop_assert_eq!(tree.count(), model.len() + 1);
    }

    #[test]
    fn a_kept_clone_undoes_everything(first in vec(op(), 0..20), second in vec(op(), 0..20)) {
        let mut tree = open_tree();
        for op in &first {
            run(&mut tree, op);
        }
        let (kept, picture_before) = (tree.clone(), picture(&tree));
        for op in &second {
            run(&mut tree, op);
        }
        prop_assert_eq!(picture(&kept), picture_before, "changes of the one never show in the other");
    }

    #[test]
    fn the_list_in_force_is_that_of_the_nearest_node_with_one(
        lists in vec((address(), select(&["Get=*", "Get=ops", "Replace=ops&Get=b", "Add=b"][..])), 0..6),
        asked in address(),
    ) {
        let mut tree = open_tree();
        let mut own = BTreeMap::from([(String::from("."), Acl::open())]);
        for (uri, list) in &lists {
            if tree.node(uri).is_none() {
                let acl = Acl::parse(list).unwrap();
                tree.install(uri, Node::interior().with_acl(acl.clone()), OPS.now).unwrap();
                own.insert(uri.clone(), acl);
            }
        }
        let mut at = Some(Uri::parse(&asked, &UriLimits::default()).unwrap());
        let want = loop {
            let uri = at.unwrap();
            if let Some(acl) = own.get(uri.as_str()) {
                break acl.clone();
            }
            at = uri.parent();
        };
        prop_assert_eq!(tree.acl_in_force(&asked), &want);
        if tree.node(&asked).is_some() {
            let may = tree.get(OPS, &asked).is_ok();
            prop_assert_eq!(may, want.allows(AclCommand::Get, OPS.server_id));
        }
    }

    #[test]
    fn a_get_gives_what_was_put(value in vec(any::<u8>(), 0..64), format in select(&["bin", "chr", "int", "xml"][..])) {
        let mut tree = open_tree();
        tree.add(OPS, "./a", Input { data: Some(b"x"), ..Input::default() }).unwrap();
        tree.replace(OPS, "./a", Input { format: Some(format), data: Some(&value), type_: None }).unwrap();
        let got = tree.get(OPS, "./a").unwrap();
        prop_assert_eq!(got[0].value.as_deref(), Some(&*value));
        // And by a document, whatever the octets are.
        let document = tree.get(OPS, "./a?list=TNDS").unwrap().remove(0).value.unwrap();
        let type_ = Some(dm_tree::TNDS_XML);
        tree.add(OPS, "./b", Input { format: Some("xml"), type_, data: Some(&document) }).unwrap();
        prop_assert_eq!(&tree.leaf("b/a").unwrap().value, &tree.leaf("a").unwrap().value);
    }

    #[test]
    fn no_text_breaks_a_parser(text in any::<String>(), markup in "[<>/&;A-Za-z \"=!\\[\\]-]{0,80}") {
        for text in [&text, &markup] {
            let _ = Uri::parse(text, &UriLimits::CAUTIOUS);
            let _ = dm_tree::GetTarget::parse(text, &UriLimits::default());
            let _ = dm_tree::Document::parse(text);
            let _ = dm_tree::Document::parse(&format!("<MgmtTree><Node>{text}"));
            if let Ok(acl) = Acl::parse(text) {
                prop_assert_eq!(Acl::parse(&acl.to_string()), Ok(acl));
            }
            let segment = dm_tree::escape_segment(text);
            let back = dm_tree::unescape_segment(&segment);
            prop_assert_eq!(back.as_deref(), Some(&**text));
        }
    }
}
