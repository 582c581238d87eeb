//! Held against quick-xml's reader.

use proptest::prelude::*;

use super::super::{decode, decode_by_quick_xml};
use crate::{Encoding, Limits};

/// What documents of every kind are made of, in good order and in bad.
const PIECES: &[&str] = &[
    "<SyncML>",
    "</SyncML>",
    "<SyncML xmlns='SYNCML:SYNCML1.2'>",
    "<SyncHdr>",
    "</SyncHdr>",
    "<SyncHdr/>",
    "<SyncBody>",
    "</SyncBody>",
    "<SyncBody />",
    "<Alert>",
    "</Alert>",
    "<CmdID>",
    "</CmdID>",
    "<Data>",
    "</Data>",
    "<Data/>",
    "<Item>",
    "</Item>",
    "<Replace\n>",
    "</Replace \t>",
    "<s:Final/>",
    "<s:Final>",
    "</s:Final>",
    "<Final a=\"/>\" b='>'/>",
    "<Meta>",
    "</Meta>",
    "<Type>",
    "</Type>",
    "<Source>",
    "</Source>",
    "<LocURI>",
    "</LocURI>",
    "<x>",
    "</x>",
    "1",
    "1201",
    "text",
    " ",
    "\r\n\t",
    "é\u{10000}",
    "\0",
    "\u{1}",
    "&",
    "&amp;",
    "&lt;",
    "&#65;",
    "&#x1F600;",
    "&#0;",
    "&nbsp;",
    "&#xD800;",
    ";",
    ">",
    "]]>",
    "<![CDATA[",
    "<![CDATA[<a>&amp;]]>",
    "<!--",
    "-->",
    "<!-- a > b -->",
    "<?",
    "?>",
    "<?xml version='1.0'?>",
    "<!DOCTYPE SyncML>",
    "<!DOCTYPE x [ ]>",
    "<",
    "</",
    "/>",
    "\"",
    "'",
    "=",
    "<>",
    "< a>",
    "<a/b>",
    "<a\"b>",
    "<!x>",
];

/// What we take, quick-xml takes, and to the same value. It also takes some that we refuse: tags and
/// instructions with odd names, and declarations inside of elements: markup after `<!` that is neither comment nor section.
fn check(document: &str) {
    let limits = Limits::default();
    let ours = decode(Encoding::Xml, document.as_bytes(), &limits);
    let theirs = decode_by_quick_xml(document.as_bytes(), &limits);
    if let Ok(ours) = &ours {
        assert_eq!(theirs.as_ref(), Ok(ours), "{document}");
    } else if theirs.is_ok() {
        let is_odd = document.split('<').skip(1).any(|after| {
            let is_known = ["![CDATA[", "!--"].iter().any(|known| after.starts_with(known));
            let tag = after.split_once('>').map_or("<", |(tag, _)| tag);
            let name = tag.split([' ', '\t', '\r', '\n']).next().unwrap_or_default();
            let name = name.trim_start_matches(['/', '?']).trim_end_matches(['/', '?']);
            !is_known && (name.is_empty() || !name.chars().all(|char| char.is_alphanumeric() || char == ':'))
        });
        assert!(is_odd, "only quick-xml takes {document:?}: {ours:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_taken_is_what_quick_xml_takes(pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..24)) {
        check(&pieces.concat());
        check(&format!("<SyncML><SyncBody><Replace><Item><Data>{}</Data></Item></Replace></SyncBody></SyncML>", pieces.concat()));
        check(&format!("<SyncML><SyncHdr><Source><LocURI>{}</LocURI></Source></SyncHdr></SyncML>", pieces.concat()));
    }
}

#[test]
fn real_messages_are_the_same_by_quick_xml() {
    for bytes in [
        &include_bytes!("../../../tests/corpus/captures-intel/fumo-xml-5.xml")[..],
        include_bytes!("../../../tests/corpus/captures-motorola/dm1.2-mixed-xml-4.xml"),
        include_bytes!("../../../tests/corpus/windows11/capability-probes-abridged.xml"),
        include_bytes!("../../../tests/corpus/windows-docs/edam-response-utf16-decl.xml"),
        include_bytes!("../../../tests/corpus/android-omadm-tests/dm12/testalertconfirm.xml"),
        include_bytes!("../../../tests/golden/bootstrap-tnds.xml"),
    ] {
        let limits = Limits::default();
        let ours = decode(Encoding::Xml, bytes, &limits).unwrap();
        assert_eq!(decode_by_quick_xml(bytes, &limits), Ok(ours));
    }
}
