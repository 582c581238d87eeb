//! Serialized trees: written, read, and put into a tree whole or not at all.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::sync::Arc;

use dm_tree::{
    Access, Acl, Actor, Document, Format, Input, Leaf, Node, Rules, TNDS_WBXML, TNDS_XML, TndsError, Tree,
};
use jiff::Timestamp;

const OPS: Actor<'_> = Actor { server_id: "ops.example.net", now: Timestamp::UNIX_EPOCH };

fn tree() -> Tree {
    let mut tree = Tree::new(Arc::new(Rules { value_octets_max: 4096, ..Rules::default() }));
    let now = Timestamp::UNIX_EPOCH;
    for (uri, node) in [
        ("Box", Node::interior().with_acl(Acl::open()).with_type("com.example/1.0/Box")),
        ("Box/Fixed", Node::leaf(Leaf::text("f")).permanent(Access::GET | Access::REPLACE)),
        ("Box/Text", Node::leaf(Leaf::text("a <b> & \"c\"\r\n"))),
        ("Box/Octets", Node::leaf(Leaf::new(Format::Bin, &[0, 255]))),
        ("Box/Sub", Node::interior()),
        ("Box/Sub/Leaf", Node::leaf(Leaf::new(Format::Int, b"7"))),
        ("Box/Secret", Node::leaf(Leaf::text("s")).with_access(Access::REPLACE | Access::DELETE)),
        ("Other", Node::interior().with_acl(Acl::open())),
        ("Inbox", Node::interior().permanent(Access::ADD)),
    ] {
        tree.install(uri, node, now).unwrap();
    }
    tree
}

fn input(document: &str) -> Input<'_> {
    Input { format: Some("xml"), type_: Some(TNDS_XML), data: Some(document.as_bytes()) }
}

fn document(nodes: &str) -> String {
    format!(r#"<MgmtTree xmlns="syncml:dmddf1.2"><VerDTD>1.2</VerDTD>{nodes}</MgmtTree>"#)
}

fn read(tree: &Tree, uri: &str) -> String {
    let readings = tree.get(OPS, uri).unwrap();
    assert_eq!(readings[0].type_.as_deref(), Some(TNDS_XML));
    String::from_utf8(readings[0].value.clone().unwrap()).unwrap()
}

#[test]
fn a_subtree_is_written_with_what_was_selected() {
    let tree = tree();
    assert_eq!(
        read(&tree, "./Box/Sub?list=TNDS+Type+Format+Value"),
        document(concat!(
            "<Node><NodeName>Sub</NodeName><RTProperties><Format><node/></Format><Type><DDFName/></Type></RTProperties>",
            "<Node><NodeName>Leaf</NodeName><RTProperties><Format><int/></Format>",
            "<Type><MIME>text/plain</MIME></Type></RTProperties><Value>7</Value></Node></Node>",
        ))
    );
    let all = read(&tree, "./Box?list=TNDS");
    assert!(all.contains("<ACL>Add=*&amp;Delete=*&amp;Exec=*&amp;Get=*&amp;Replace=*</ACL>"), "{all}");
    assert!(
        all.contains("<Value>a &lt;b&gt; &amp; \"c\"&#13;\n</Value>") && all.contains("<Value>AP8=</Value>")
    );
    assert!(!all.contains("Secret"), "what cannot be read is left out");
    let less = read(&tree, "./Box?list=TNDS-Value-ACL");
    assert!(!less.contains("<Value") && !less.contains("<ACL>") && less.contains("<VerNo>"), "{less}");
}

#[test]
fn what_was_written_reads_back() {
    let mut tree = tree();
    let text = read(&tree, "./Box?list=TNDS");
    let before = tree.clone();
    tree.remove("Box/Secret");
    tree.replace(OPS, "./Box", input(&text)).unwrap();
    for (uri, node) in before.walk().filter(|(uri, _)| uri != "Box/Secret") {
        let got = tree.node(&uri).unwrap();
        assert_eq!((got.as_leaf(), got.type_()), (node.as_leaf(), node.type_()), "{uri}");
    }
    // The same under another address: what is not there is added.
    tree.add(OPS, "./Other", input(&text)).unwrap();
    assert_eq!(tree.leaf("Other/Box/Octets"), before.leaf("Box/Octets"));
    assert_eq!(tree.leaf("Other/Box/Text"), before.leaf("Box/Text"));
}

#[test]
fn an_account_goes_in_through_the_inbox_with_its_lists() {
    let mut tree = tree();
    let text = document(concat!(
        "<Node><NodeName>backup</NodeName><RTProperties><ACL>Get=*&amp;Replace=ops.example.net</ACL>",
        "<Format><node/></Format><Type><DDFName>urn:oma:mo:oma-dm-dmacc:1.0</DDFName></Type></RTProperties>",
        "<Node><NodeName>ServerID</NodeName><Value>ops.example.net</Value></Node></Node>",
    ));
    tree.add(OPS, "./Inbox", input(&text)).unwrap();
    assert_eq!(tree.text("Inbox/backup/ServerID"), Some("ops.example.net"));
    let node = tree.node("Inbox/backup").unwrap();
    assert_eq!(node.acl().map(ToString::to_string).as_deref(), Some("Get=*&Replace=ops.example.net"));
    assert_eq!(node.type_(), Some("urn:oma:mo:oma-dm-dmacc:1.0"));
}

#[test]
fn nodes_find_their_place_by_path() {
    for (target, nodes, want) in [
        ("./Other", "<Node><NodeName>A</NodeName><Value>1</Value></Node>", "Other/A"),
        ("./Other", "<Node><NodeName>A</NodeName><Path>B/C</Path><Value>1</Value></Node>", "Other/B/C/A"),
        ("./Other", "<Node><NodeName>A</NodeName><Path>./B</Path><Value>1</Value></Node>", "Other/B/A"),
        ("./Other/New", "<Node><NodeName>New</NodeName><Value>1</Value></Node>", "Other/New"),
        ("./Other/New", "<Node><NodeName/><Value>1</Value></Node>", "Other/New"),
        ("./Other/New", "<Node><NodeName>A</NodeName><Value>1</Value></Node>", "Other/New/A"),
        (
            "./Other",
            "<Node><NodeName>A</NodeName></Node><Node><NodeName>B</NodeName><Path>A</Path><Value>1</Value></Node>",
            "Other/A/B",
        ),
        (
            "./Other/New",
            "<Node><NodeName>New</NodeName></Node><Node><NodeName>B</NodeName><Path>New</Path><Value>1</Value></Node>",
            "Other/New/B",
        ),
        (
            ".",
            "<Node><NodeName>Top</NodeName><Node><NodeName>A</NodeName><Value>1</Value></Node></Node>",
            "Top/A",
        ),
    ] {
        let mut tree = tree();
        tree.add(OPS, target, input(&document(nodes))).unwrap();
        assert_eq!(tree.text(want), Some("1"), "{target} {nodes}");
    }
}

#[test]
fn replace_makes_the_subtree_exactly_the_document() {
    let mut tree = tree();
    let text = document(concat!(
        "<Node><NodeName>Box</NodeName><Node><NodeName>Fixed</NodeName><Value>new</Value></Node>",
        "<Node><NodeName>Sub</NodeName><RTProperties><Format><chr/></Format></RTProperties><Value>leaf</Value></Node>",
        "<Node><NodeName>Fresh</NodeName><Value>1</Value></Node></Node>",
    ));
    tree.replace(OPS, "./Box", input(&text)).unwrap();
    let names: Vec<_> = tree.walk().map(|(uri, _)| uri).filter(|uri| uri.starts_with("Box")).collect();
    assert_eq!(names, ["Box", "Box/Fixed", "Box/Fresh", "Box/Sub"]);
    assert_eq!(tree.text("Box/Fixed"), Some("new"));
    assert_eq!(tree.text("Box/Sub"), Some("leaf"));
    assert_eq!(tree.node("Box").unwrap().type_(), Some("com.example/1.0/Box"), "the document did not say");
}

#[test]
fn a_document_that_fails_leaves_the_tree_as_it_was() {
    let leaf = "<Node><NodeName>A</NodeName><Value>1</Value></Node>";
    let twice = document(&leaf.repeat(2));
    let long = document(&format!("<Node><NodeName>A</NodeName><Value>{}</Value></Node>", "x".repeat(3900)));
    let good = document(leaf);
    let without_fixed =
        document("<Node><NodeName>Box</NodeName><Node><NodeName>A</NodeName><Value>1</Value></Node></Node>");
    let of_fixed = document(concat!(
        "<Node><NodeName>Box</NodeName><Node><NodeName>Fixed</NodeName><RTProperties><Format><int/></Format>",
        "</RTProperties><Value>1</Value></Node></Node>",
    ));
    let bad_name = document("<Node><NodeName>a b</NodeName><Value>1</Value></Node>");
    let nested = document(
        "<Node><NodeName>A</NodeName><RTProperties><Format><chr/></Format></RTProperties><Node><NodeName>B</NodeName></Node></Node>",
    );
    for (is_add, uri, document, want) in [
        (true, "./Other", &*twice, 418),
        (true, "./Other/Leaf/Below", &bad_name, 500),
        (true, "./Other", &nested, 412),
        (true, "./Other", "<MgmtTree>", 500),
        (false, "./Box", "<MgmtTree/>", 500),
        (true, "./Other", "no document", 415),
        (true, "./Other", "\u{2}\u{0}\u{0}j", 415),
        (true, "./Other", &"x".repeat(5000), 413),
        (true, "./Box/Text", &good, 405),
        (false, "./Box", &without_fixed, 405),
        (false, "./Box", &of_fixed, 405),
        (false, "./None", &good, 404),
        (false, "./Inbox", &good, 405),
    ] {
        let mut tree = tree();
        let before = tree.clone();
        let result = if is_add {
            tree.add(OPS, uri, input(document))
        } else {
            tree.replace(OPS, uri, input(document))
        };
        assert_eq!(result.map_err(|e| e.status()), Err(want), "{uri} {document}");
        assert_eq!(tree, before, "{uri} {document}");
    }
    assert!(tree().add(OPS, "./Other", input(&long)).is_ok());
}

#[test]
fn the_label_of_a_document_does_not_decide_what_it_is() {
    let mut tree = tree();
    let text = document("<Node><NodeName>A</NodeName><Value>1</Value></Node>");
    let mislabelled = Input { type_: Some(TNDS_WBXML), format: Some("bin"), ..input(&text) };
    tree.add(OPS, "./Other", mislabelled).unwrap();
    assert_eq!(tree.text("Other/A"), Some("1"));
    let base64 =
        "PE1nbXRUcmVlPjxOb2RlPjxOb2RlTmFtZT5CPC9Ob2RlTmFtZT48VmFsdWU+MjwvVmFsdWU+PC9Ob2RlPjwvTWdtdFRyZWU+";
    tree.add(OPS, "./Other", Input { format: Some("b64"), ..input(base64) }).unwrap();
    assert_eq!(tree.text("Other/B"), Some("2"));
}

#[test]
fn a_device_without_documents_refuses_them() {
    let mut tree = Tree::new(Arc::new(Rules { tnds: false, ..Rules::default() }));
    let text = document("<Node><NodeName>A</NodeName><Value>1</Value></Node>");
    assert_eq!(tree.add(OPS, ".", input(&text)).map_err(|e| e.status()), Err(415));
}

#[test]
fn foreign_documents_are_read_with_their_habits() {
    let text = concat!(
        "\u{feff}<?xml version=\"1.0\"?><!-- made by hand -->\n<t:MgmtTree xmlns:t='syncml:dmddf1.2'>",
        "<t:VerDTD>1.2</t:VerDTD><t:Man>M</t:Man>",
        "<t:Node>\n<t:Value><![CDATA[a<b]]>&amp;&#x17c;&#50;\r\n</t:Value><t:NodeName> A </t:NodeName>",
        "<t:RTProperties><t:Type><t:MIME/></t:Type><t:Format><t:CHR/></t:Format></t:RTProperties>",
        "<v:More xmlns:v='x'><v:Node/></v:More></t:Node></t:MgmtTree>",
    );
    let document = Document::parse(text).unwrap();
    let node = &document.nodes[0];
    assert_eq!((&*node.name, node.format), ("A", Some(Format::Chr)));
    assert_eq!(node.value.as_deref(), Some("a<b&ż2\n".as_bytes()));
    let nested = document_value("<Value><a>1<b/></a></Value>");
    assert_eq!(nested, "<a>1<b></b></a>");
}

fn document_value(value: &str) -> String {
    let parsed = Document::parse(&document(&format!("<Node><NodeName>A</NodeName>{value}</Node>"))).unwrap();
    String::from_utf8(parsed.nodes[0].value.clone().unwrap()).unwrap()
}

#[test]
fn what_could_exhaust_memory_is_refused() {
    let deep = document(&format!("{}{}", "<Node>".repeat(200), "</Node>".repeat(200)));
    let value = format!("<Node><Value>{}{}</Value></Node>", "<a>".repeat(200), "</a>".repeat(200));
    let deep_value = document(&value);
    for (text, is_expected) in [
        (&*deep, (|e| matches!(e, TndsError::TooMuch { .. })) as fn(&TndsError) -> bool),
        (&deep_value, |e| matches!(e, TndsError::TooMuch { .. })),
        ("<!DOCTYPE a [<!ENTITY b \"c\">]><MgmtTree/>", |e| matches!(e, TndsError::Unexpected { .. })),
        ("<MgmtTree><Node><Value>&b;</Value></Node></MgmtTree>", |e| {
            matches!(e, TndsError::Unexpected { .. })
        }),
        ("<Other/>", |e| matches!(e, TndsError::Unexpected { .. })),
        ("", |e| matches!(e, TndsError::Unexpected { .. })),
        ("<MgmtTree></Node>", |e| matches!(e, TndsError::Xml { .. })),
        ("<MgmtTree><Node><RTProperties><Format><colour/>", |e| matches!(e, TndsError::Format(_))),
    ] {
        let error = Document::parse(text).unwrap_err();
        assert!(is_expected(&error), "{error} for {}", text.get(..60).unwrap_or(text));
    }
}
