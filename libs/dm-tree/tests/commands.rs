//! Every command with every error it can have.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::sync::Arc;

use dm_tree::{Access, Acl, Actor, Format, Input, Leaf, Node, Rules, Tree, UriLimits};
use jiff::Timestamp;

const OPS: &str = "ops.example.net";
const OTHER: &str = "other.example.net";

fn actor(server_id: &str) -> Actor<'_> {
    Actor { server_id, now: Timestamp::from_second(1_700_000_000).unwrap() }
}

fn text(value: &str) -> Input<'_> {
    Input { data: Some(value.as_bytes()), ..Input::default() }
}

fn of_format<'a>(format: &'a str, value: &'a str) -> Input<'a> {
    Input { format: Some(format), ..text(value) }
}

const FOLDER: Input<'_> = Input { format: Some("node"), type_: None, data: None };

/// A tree with one of everything: what any server may touch, what only OPS may, and what nobody may.
fn tree() -> Tree {
    let now = Timestamp::UNIX_EPOCH;
    let rules = Rules {
        uri: UriLimits { depth_max: 6, total_chars_max: 64, segment_chars_max: 16 },
        value_octets_max: 32,
        nodes_max: 24,
        ..Rules::default()
    };
    let acl = |text| Acl::parse(text).unwrap();
    let leaf = |value| Node::leaf(Leaf::text(value));
    let mut tree = Tree::new(Arc::new(rules));
    for (uri, node) in [
        ("DevInfo", Node::interior().permanent(Access::GET).with_type("urn:oma:mo:oma-dm-devinfo:1.0")),
        ("DevInfo/DevId", leaf("IMEI:1").permanent(Access::GET)),
        ("Inbox", Node::interior().permanent(Access::ADD | Access::GET)),
        ("Open", Node::interior().with_acl(Acl::open())),
        ("Open/Leaf", leaf("old")),
        ("Open/Fixed", leaf("fixed").permanent(Access::DATA)),
        ("Open/Octets", Node::leaf(Leaf::new(Format::Bin, &[0, 1, 2]))),
        ("Open/Text64", Node::leaf(Leaf::new(Format::B64, b"AAEC"))),
        ("Open/ReadOnly", leaf("r").with_access(Access::GET)),
        ("Open/Secret", leaf("s").with_access(Access::REPLACE | Access::DELETE)),
        ("Open/Run", Node::interior().with_access(Access::GET | Access::EXEC)),
        ("Open/Empty", Node::interior()),
        ("Ours", Node::interior().with_acl(acl("Get=*&Add=*&Replace=ops.example.net"))),
        ("Ours/Leaf", leaf("ours")),
        ("Ours/Run", Node::interior().with_access(Access::GET | Access::EXEC)),
        ("Ours/Theirs", leaf("x").with_acl(acl("Get=other.example.net&Replace=other.example.net"))),
    ] {
        tree.install(uri, node, now).unwrap();
    }
    tree
}

#[test]
fn add_answers() {
    let long = "x".repeat(33);
    let long = text(&long);
    let whole = Input { data: None, ..text("") };
    let b64 = |value| of_format("b64", value);
    for (server, uri, input, want) in [
        (OPS, "./Open/New", text("v"), 200),
        (OPS, "./Open/A/B/C", text("v"), 200),
        (OPS, "./Open/New", FOLDER, 200),
        (OPS, "./Open/New", of_format("NULL", ""), 200),
        (OPS, "./Open/New", Input { format: Some("null"), ..whole }, 200),
        (OPS, "./Open/New", b64("AAEC"), 200),
        (OPS, "./Open/New", b64("?"), 500),
        (OPS, "./Open/New", of_format("colour", "v"), 415),
        (OPS, "./Open/New", whole, 412),
        (OPS, "./Open/New", of_format("node", "v"), 412),
        (OPS, "./Open/New", long, 413),
        (OPS, "./Open/Leaf", text("v"), 418),
        (OPS, ".", FOLDER, 418),
        (OPS, "./Open/Leaf/Below", text("v"), 405),
        (OPS, "./Open/Leaf/Below/More", text("v"), 405),
        (OPS, "./DevInfo/New", text("v"), 405),
        (OPS, "./Open/New?prop=Title", text("v"), 405),
        (OPS, "./Open/A/B/C/D/E/F", text("v"), 414),
        (OPS, "./Open/12345678901234567", text("v"), 414),
        (OPS, "./Open/", text("v"), 500),
        (OTHER, "./Ours/New", text("v"), 200),
        (OTHER, "./New", text("v"), 200),
    ] {
        let mut tree = tree();
        let before = tree.clone();
        let result = tree.add(actor(server), uri, input);
        assert_eq!(
            result.as_ref().map_or_else(dm_tree::TreeError::status, |()| 200),
            want,
            "Add {uri} {input:?}"
        );
        assert_eq!(tree == before, result.is_err(), "Add {uri} {input:?} leaves a trace only if it did it");
    }
    let mut tree = tree();
    tree.replace(actor(OPS), "./Open?prop=ACL", text("Get=*&Replace=*")).unwrap();
    assert_eq!(tree.add(actor(OPS), "./Open/New", text("v")).map_err(|e| e.status()), Err(425));
}

#[test]
fn a_parent_that_cannot_be_made_is_named() {
    let mut tree = tree();
    let error = tree.add(actor(OPS), "./Open/Leaf/A/B", text("v")).unwrap_err();
    assert_eq!((error.status(), error.culprit()), (405, Some("Open/Leaf/A")));
    let rules = Rules { implicit_add: false, ..Rules::default() };
    let mut plain = Tree::new(Arc::new(rules));
    let error = plain.add(actor(OPS), "./A/B", text("v")).unwrap_err();
    assert_eq!((error.status(), error.culprit()), (404, None));
}

#[test]
fn a_full_tree_takes_no_more() {
    let mut tree = tree();
    let mut made = 0;
    let error = loop {
        match tree.add(actor(OPS), &format!("./Open/N{made}"), text("v")) {
            Ok(()) => made += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error.status(), tree.count()), (420, 24));
    let before = tree.clone();
    assert_eq!(tree.add(actor(OPS), "./Open/A/B", text("v")).map_err(|e| e.status()), Err(420));
    assert_eq!(tree, before);
}

#[test]
fn an_interior_node_made_without_replace_on_its_parent_lets_its_maker_in() {
    let mut tree = tree();
    tree.add(actor(OTHER), "./Ours/A/Leaf", text("v")).unwrap();
    let acl = tree.node("Ours/A").unwrap().acl().unwrap().to_string();
    assert_eq!(acl, "Add=other.example.net&Delete=other.example.net&Get=*&Replace=other.example.net");
    assert!(tree.node("Ours/A/Leaf").unwrap().acl().is_none());
    tree.add(actor(OPS), "./Ours/B", FOLDER).unwrap();
    assert!(tree.node("Ours/B").unwrap().acl().is_none(), "who may replace the parent needs no list");
}

#[test]
fn replace_answers() {
    let long = "x".repeat(33);
    let long = text(&long);
    for (server, uri, input, want) in [
        (OPS, "./Open/Leaf", text("new"), 200),
        (OPS, "./Open/Leaf", of_format("int", "7"), 200),
        (OPS, "./Open/Leaf", Input { type_: Some("image/png"), ..text("p") }, 200),
        (OPS, "./Open/Fixed", text("new"), 200),
        (OPS, "./Open/Fixed", Input { type_: Some("text/plain"), ..of_format("chr", "new") }, 200),
        (OPS, "./Open/Fixed", of_format("int", "7"), 405),
        (OPS, "./Open/Fixed", Input { type_: Some("image/png"), ..text("p") }, 405),
        (OPS, "./Open/Octets", of_format("b64", "AAE"), 200),
        (OPS, "./Open/Octets", of_format("b64", "A"), 500),
        (OPS, "./Open/Text64", of_format("b64", "AAE="), 200),
        (OPS, "./Open/Leaf", of_format("colour", "v"), 415),
        (OPS, "./Open/Leaf", FOLDER, 405),
        (OPS, "./Open/Leaf", Input::default(), 412),
        (OPS, "./Open/Leaf", long, 413),
        (OPS, "./Open/None", text("v"), 404),
        (OPS, "./None/At/All", text("v"), 404),
        (OPS, "./Open", text("v"), 405),
        (OPS, "./Open/ReadOnly", text("v"), 405),
        (OPS, "./DevInfo/DevId", text("v"), 405),
        (OTHER, "./Ours/Leaf", text("v"), 425),
        (OPS, "./Ours/Leaf", text("v"), 200),
        (OPS, "./Ours/Theirs", text("v"), 425),
        (OTHER, "./Ours/Theirs", text("v"), 200),
        (OPS, "./Open/123456789012345678", text("v"), 414),
        (OPS, "./Open/Leaf?list=Struct", text("v"), 405),
        // properties
        (OPS, "./Open/Leaf?prop=Title", text("A title"), 200),
        (OPS, "./Open/Leaf?prop=Name", text("Moved"), 200),
        (OPS, "./Open/Leaf?prop=Name", text("Leaf"), 200),
        (OPS, "./Open/Leaf?prop=Name", text("Fixed"), 418),
        (OPS, "./Open/Leaf?prop=Name", text("a/b"), 500),
        (OPS, "./Open/Leaf?prop=Name", text(""), 500),
        (OPS, "./Open/Leaf?prop=Name", text("12345678901234567"), 414),
        (OPS, "./Open/Fixed?prop=Name", text("Moved"), 405),
        (OPS, ".?prop=Name", text("Moved"), 405),
        (OPS, "./Open/Leaf?prop=Size", text("7"), 405),
        (OPS, "./Open/Leaf?prop=Format", text("int"), 405),
        (OPS, "./Open/Leaf?prop=Colour", text("red"), 406),
        (OPS, "./Open/None?prop=Title", text("t"), 404),
        (OPS, "./Open/None?prop=Size", text("7"), 404),
        (OTHER, "./Ours/Leaf?prop=Title", text("t"), 425),
        (OTHER, "./Ours/Leaf?prop=Name", text("t"), 425),
    ] {
        let mut tree = tree();
        let before = tree.clone();
        let got = tree.replace(actor(server), uri, input).map_or_else(|e| e.status(), |()| 200);
        assert_eq!(got, want, "Replace {uri} {input:?} by {server}");
        assert!(got == 200 || tree == before, "Replace {uri} {input:?} leaves a trace only if it did it");
    }
}

#[test]
fn a_list_is_changed_by_whom_the_rules_say() {
    for (server, uri, list, want) in [
        // an interior node: its own Replace, or the parent's
        (OPS, "./Ours?prop=ACL", "Get=*", 200),
        (OTHER, "./Ours?prop=ACL", "Get=*", 425),
        (OPS, "./Ours/Run?prop=ACL", "Get=*", 200),
        // a leaf: the parent's alone
        (OPS, "./Ours/Theirs?prop=ACL", "Get=*", 200),
        (OTHER, "./Ours/Theirs?prop=ACL", "Get=*", 425),
        (OPS, "./Ours/Leaf?prop=ACL", "", 200),
        // the root
        (OPS, ".?prop=ACL", "Add=*&Get=*", 425),
        (OPS, "./Open/Leaf?prop=ACL", "Get=", 500),
        (OPS, "./Open/None?prop=ACL", "Get=*", 404),
        // the access type does not bind the list
        (OPS, "./Open/ReadOnly?prop=ACL", "Get=*", 200),
    ] {
        let mut tree = tree();
        let got = tree.replace(actor(server), uri, text(list)).map_or_else(|e| e.status(), |()| 200);
        assert_eq!(got, want, "Replace {uri} by {server}");
    }
    let mut tree = tree();
    tree.install(".", Node::interior().permanent(Access::DATA).with_acl(Acl::open()), Timestamp::UNIX_EPOCH)
        .unwrap();
    assert!(tree.node("Ours/Leaf").is_some(), "putting the root keeps what is below");
    assert_eq!(tree.replace(actor(OPS), ".?prop=ACL", text("")).map_err(|e| e.status()), Err(405));
    assert!(tree.replace(actor(OPS), ".?prop=ACL", text("Add=*&Get=*")).is_ok());
}

#[test]
fn octets_arrive_decoded_and_base64_by_nature_stays() {
    let mut tree = tree();
    tree.add(actor(OPS), "./Open/New", of_format("b64", "AAEC\r\nAw==")).unwrap();
    assert_eq!(tree.leaf("Open/New"), Some(&Leaf::new(Format::Bin, &[0, 1, 2, 3])));
    tree.replace(actor(OPS), "./Open/Octets", of_format("b64", "/w==")).unwrap();
    assert_eq!(tree.leaf("Open/Octets"), Some(&Leaf::new(Format::Bin, &[255])));
    tree.replace(actor(OPS), "./Open/Text64", of_format("b64", "/w==")).unwrap();
    assert_eq!(tree.leaf("Open/Text64"), Some(&Leaf::new(Format::B64, b"/w==")));
}

#[test]
fn delete_answers() {
    for (server, uri, want) in [
        (OPS, "./Open/Leaf", 200),
        (OPS, "./Open/Empty", 200),
        (OPS, "./Open", 200),
        (OPS, "./Open/None", 404),
        (OPS, ".", 405),
        (OPS, "./DevInfo", 405),
        (OPS, "./Open/Fixed", 405),
        (OPS, "./Open/ReadOnly", 405),
        (OPS, "./Open/Leaf?prop=Title", 405),
        (OPS, "./Ours/Leaf", 425),
        (OPS, "./Open/123456789012345678", 414),
    ] {
        let mut tree = tree();
        let before = tree.clone();
        let got = tree.delete(actor(server), uri).map_or_else(|e| e.status(), |()| 200);
        assert_eq!(got, want, "Delete {uri}");
        assert_eq!(tree != before, got == 200, "Delete {uri}");
        assert!(got != 200 || tree.node(uri).is_none(), "Delete {uri}");
    }
}

#[test]
fn get_answers() {
    for (server, uri, want) in [
        (OPS, "./DevInfo/DevId", Ok("IMEI:1")),
        (OPS, "DevInfo/DevId", Ok("IMEI:1")),
        (OPS, "./DevInfo", Ok("DevId")),
        (OPS, ".", Ok("DevInfo/Inbox/Open/Ours")),
        (OPS, "./Open/Empty", Ok("")),
        (OPS, "./Open/None", Err(404)),
        (OPS, "./Open/Secret", Err(405)),
        (OPS, "./Inbox", Err(405)),
        (OPS, "./Inbox/Any", Err(405)),
        (OPS, "./Inbox?list=Struct", Err(405)),
        (OPS, "./Ours/Theirs", Err(425)),
        (OTHER, "./Ours/Theirs", Ok("x")),
        (OPS, "./Open/123456789012345678", Err(414)),
        (OPS, "./Open//Leaf", Err(500)),
        // properties
        (OPS, "./DevInfo?prop=Type", Ok("urn:oma:mo:oma-dm-devinfo:1.0")),
        (OPS, "./DevInfo?prop=Format", Ok("node")),
        (OPS, "./DevInfo/DevId?prop=Type", Ok("text/plain")),
        (OPS, "./DevInfo/DevId?prop=Size", Ok("6")),
        (OPS, "./Open/Octets?prop=Format", Ok("bin")),
        (OPS, "./Open/Octets?prop=Size", Ok("3")),
        (OPS, "./DevInfo?prop=Size", Err(406)),
        (OPS, "./DevInfo/DevId?prop=ACL", Ok("")),
        (OPS, ".?prop=ACL", Ok("Add=*&Get=*")),
        (OPS, ".?prop=Name", Ok("")),
        (OPS, "./DevInfo/DevId?prop=Name", Ok("DevId")),
        (OPS, "./DevInfo/DevId?prop=TStamp", Ok("19700101T000000Z")),
        (OPS, "./DevInfo/DevId?prop=VerNo", Ok("0")),
        (OPS, "./DevInfo/DevId?prop=Title", Ok("")),
        (OPS, "./DevInfo/DevId?prop=Colour", Err(406)),
        (OPS, "./Ours/Theirs?prop=Name", Err(425)),
        (OPS, "./None?prop=Name", Err(404)),
        (OPS, "./DevInfo?list=Colours", Err(406)),
    ] {
        let got = tree().get(actor(server), uri).map_err(|e| e.status());
        let got = got.map(|readings| {
            assert_eq!(readings.len(), 1, "Get {uri}");
            String::from_utf8(readings[0].value.clone().unwrap()).unwrap()
        });
        assert_eq!(got.as_deref().map_err(|e| *e), want, "Get {uri} by {server}");
    }
}

#[test]
fn a_change_moves_the_time_stamp_and_the_version() {
    let mut tree = tree();
    tree.replace(actor(OPS), "./Open/Leaf", text("new")).unwrap();
    tree.replace(actor(OPS), "./Open/Leaf?prop=Title", text("t")).unwrap();
    let node = tree.node("Open/Leaf").unwrap();
    assert_eq!((&*node.tstamp(), node.ver_no()), ("20231114T221320Z", 2));
    for _ in 0..65_534 {
        tree.replace(actor(OPS), "./Open/Leaf", text("new")).unwrap();
    }
    assert_eq!(tree.node("Open/Leaf").unwrap().ver_no(), 0, "the version wraps");
}

#[test]
fn a_list_has_what_the_server_may_read_and_nothing_else() {
    let tree = tree();
    let names = |uri| -> Vec<String> {
        tree.get(actor(OPS), uri).unwrap().into_iter().map(|reading| reading.uri).collect()
    };
    assert_eq!(names("./Ours?list=Struct"), ["./Ours", "./Ours/Leaf", "./Ours/Run"]);
    let all = names(".?list=Struct");
    assert!(all.contains(&"./DevInfo/DevId".to_owned()));
    assert!(!all.iter().any(|uri| uri.starts_with("./Inbox") || uri.ends_with("Secret")), "{all:?}");
    let values = tree.get(actor(OPS), "./Open?list=StructData").unwrap();
    for reading in values {
        let want = tree.leaf(&reading.uri).map(|leaf| leaf.value.to_vec());
        assert_eq!(reading.value, want, "{}", reading.uri);
    }
    assert!(tree.get(actor(OPS), "./Open?list=Struct").unwrap().iter().all(|r| r.value.is_none()));
}

#[test]
fn a_device_without_lists_says_so() {
    let rules = Rules { lists: false, tnds: false, ..Rules::default() };
    let tree = Tree::new(Arc::new(rules));
    for uri in [".?list=Struct", ".?list=StructData", ".?list=TNDS"] {
        assert_eq!(tree.get(actor(OPS), uri).map_err(|e| e.status()), Err(406), "{uri}");
    }
}

#[test]
fn copy_answers() {
    for (server, source, target, want) in [
        (OPS, "./Open/Leaf", "./Open/New", 200),
        (OPS, "./Open/Leaf", "./Open/A/New", 200),
        (OPS, "./Open/Leaf", "./Open/Octets", 200),
        (OPS, "./Open/Leaf", "./Open/Fixed", 200),
        (OPS, "./Open/Octets", "./Open/Fixed", 405),
        (OPS, "./Open/Empty", "./Open/New", 403),
        (OPS, "./Open/Leaf", "./Open/Empty", 403),
        (OPS, "./Open/ReadOnly", "./Open/New", 405),
        (OPS, "./Open/Leaf", "./Open/ReadOnly", 405),
        (OPS, "./Open/None", "./Open/New", 404),
        (OPS, "./Ours/Theirs", "./Open/New", 425),
        (OTHER, "./Open/Leaf", "./Ours/Leaf", 425),
        (OPS, "./Open/Leaf", "./Open/123456789012345678", 414),
        (OPS, "./Open/Leaf?prop=Name", "./Open/New", 405),
    ] {
        let mut tree = tree();
        let before = tree.clone();
        let got = tree.copy(actor(server), source, target).map_or_else(|e| e.status(), |()| 200);
        assert_eq!(got, want, "Copy {source} to {target}");
        if got == 200 {
            assert_eq!(tree.leaf(target), before.leaf(source), "Copy {source} to {target}");
            tree.replace(actor(OPS), target, text("changed")).unwrap();
            assert_eq!(tree.leaf(source), before.leaf(source), "a copy is independent");
        } else {
            assert_eq!(tree, before, "Copy {source} to {target}");
        }
    }
}

#[test]
fn exec_answers() {
    for (server, uri, want) in [
        (OPS, "./Open/Run", 200),
        (OTHER, "./Ours/Run", 425),
        (OPS, "./Open/Leaf", 405),
        (OPS, "./Open/None", 404),
        (OPS, "./Open/Run?prop=Name", 405),
        (OPS, "./Open/123456789012345678", 414),
    ] {
        let got = tree().check_exec(actor(server), uri).map_or_else(|e| e.status(), |_| 200);
        assert_eq!(got, want, "Exec {uri} by {server}");
    }
}

#[test]
fn a_server_that_goes_leaves_no_right_behind() {
    let mut tree = tree();
    let only = Node::leaf(Leaf::text("")).with_acl(Acl::parse("Get=ops.example.net").unwrap());
    tree.install("Open/Only", only, Timestamp::UNIX_EPOCH).unwrap();
    let root = Node::interior().permanent(Access::DATA);
    tree.install(".", root.with_acl(Acl::parse("Add=*&Get=ops.example.net").unwrap()), Timestamp::UNIX_EPOCH)
        .unwrap();
    tree.remove_server(OPS);
    assert_eq!(tree.root().acl().unwrap().to_string(), "Add=*&Get=*", "the root's goes back to everyone");
    assert_eq!(tree.node("Ours").unwrap().acl().unwrap().to_string(), "Add=*&Get=*");
    assert!(tree.node("Open/Only").unwrap().acl().is_none(), "a list with nothing left inherits");
    assert!(tree.walk().all(|(_, node)| node.acl().is_none_or(|acl| !acl.to_string().contains(OPS))));
}

#[test]
fn the_device_itself_is_bound_by_no_right() {
    let mut tree = tree();
    let now = Timestamp::from_second(60).unwrap();
    tree.set("./DevInfo/DevId", b"IMEI:2", now).unwrap();
    assert_eq!(tree.text("DevInfo/DevId"), Some("IMEI:2"));
    assert_eq!(tree.node("DevInfo/DevId").unwrap().ver_no(), 1);
    tree.set("./DevInfo/DevId", b"IMEI:2", now).unwrap();
    assert_eq!(tree.node("DevInfo/DevId").unwrap().ver_no(), 1, "the same value is no change");
    assert!(tree.set("./DevInfo", b"", now).is_err());
    assert!(tree.install("./DevInfo/DevId/Below", Node::interior(), now).is_err());
    assert!(tree.remove("./DevInfo/DevId").is_some());
    assert!(tree.remove("./DevInfo/DevId").is_none() && tree.remove(".").is_none());
}

#[test]
fn devices_of_one_model_share_what_they_have_in_common() {
    let model = tree();
    let mut device = model.clone();
    device.set("DevInfo/DevId", b"IMEI:2", Timestamp::UNIX_EPOCH).unwrap();
    let shared = |uri| std::ptr::eq(model.node(uri).unwrap(), device.node(uri).unwrap());
    assert!(shared("Open") && shared("Ours/Leaf"), "what did not change is one and the same");
    assert!(!shared("DevInfo") && !shared("DevInfo/DevId"));
}

#[test]
fn a_stored_tree_comes_back_equal() {
    let tree = tree();
    let stored = postcard::to_allocvec(&tree).unwrap();
    assert_eq!(postcard::from_bytes::<Tree>(&stored), Ok(tree));
}
