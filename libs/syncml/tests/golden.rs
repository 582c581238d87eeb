//! The worked examples of the protocol's reference, in every form we give them.
//!
//! `golden/*.xml` are the examples; beside each lies what we make of it: `.wbxml`, `.out.xml` and `.json`.
//! `UPDATE_GOLDEN=1 cargo test -p syncml --test golden` rewrites those; review the difference.
//! `golden/by-libwbxml` was written by another encoder and is never rewritten.

use std::{
    fs,
    path::{Path, PathBuf},
};

use syncml::{Command, Data, Encoding, Limits, Message, decode, encode, json};

#[test]
fn writes_each_example_as_it_did_before() {
    let examples = examples();
    assert!(examples.len() >= 20, "only {} examples", examples.len());
    for path in examples {
        let xml = fs::read(&path).expect("the example is there");
        let message = decode(Encoding::Xml, &xml, &Limits::default()).expect("an example decodes");
        for (encoding, extension) in [(Encoding::Wbxml, "wbxml"), (Encoding::Xml, "out.xml")] {
            let mut out = Vec::new();
            encode(encoding, &message, &mut out);
            assert_eq!(
                decode(encoding, &out, &Limits::default()).as_ref(),
                Ok(&message),
                "{}",
                path.display()
            );
            check(&path.with_extension(extension), &out);
        }
        check(&path.with_extension("json"), json::to_json(&message).as_bytes());
    }
}

/// The reference says byte for byte what libwbxml's tool makes of this one, and devices take it.
#[test]
fn writes_package_1_byte_for_byte_as_libwbxml_does() {
    let theirs = fs::read(folder().join("by-libwbxml/package1.wbxml")).expect("the sample is there");
    let ours = fs::read(folder().join("challenge-1-package1.wbxml")).expect("the sample is there");
    assert_eq!(ours, theirs);
}

#[test]
fn reads_string_tables_and_values_in_two_pieces() {
    let bytes =
        fs::read(folder().join("by-libwbxml/package2-string-table.wbxml")).expect("the sample is there");
    let found = decode(Encoding::Wbxml, &bytes, &Limits::default()).expect("the sample decodes");
    assert_eq!(found, example("challenge-2-package2-407"));
    assert_eq!(found.hdr.resp_uri.as_deref(), Some("https://dm.example.org/dm?s=7f3a"));
}

#[test]
fn leaves_an_embedded_document_as_the_octets_it_is() {
    let bytes =
        fs::read(folder().join("by-libwbxml/bootstrap-tnds-embedded.wbxml")).expect("the sample is there");
    let found = decode(Encoding::Wbxml, &bytes, &Limits::default()).expect("the sample decodes");
    let Some(Command::Add(add)) = found.body.commands.first() else { panic!("no Add in {found:?}") };
    let Some(Data::Bytes(document)) = &add.items[0].data else { panic!("no octets in {add:?}") };
    assert_eq!(document.len(), 150);
    assert!(document.starts_with(b"\x02\x00\x00\x6A\x1B-//OMA//DTD-DM-DDF 1.2//EN\0\x00\x02\x60"));
    // The same tree as markup, in XML.
    let Some(Command::Add(add)) = example("bootstrap-tnds").body.commands.into_iter().next() else {
        panic!()
    };
    let text = add.items[0].data.as_ref().and_then(Data::as_text).map(str::to_owned);
    assert!(text.is_some_and(|text| text.starts_with("<MgmtTree xmlns=") && text.ends_with("</MgmtTree>")));
}

fn example(name: &str) -> Message<'static> {
    let xml = fs::read(folder().join(name).with_extension("xml")).expect("the example is there");
    decode(Encoding::Xml, &xml, &Limits::default()).expect("an example decodes").into_owned()
}

fn check(path: &Path, found: &[u8]) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, found).expect("the golden file can be written");
    }
    let want = fs::read(path).unwrap_or_default();
    assert!(found == want, "{} is not what is written now", path.display());
}

fn examples() -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(folder())
        .expect("the folder is there")
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter(|path| {
            path.to_str().is_some_and(|path| path.ends_with(".xml") && !path.ends_with(".out.xml"))
        })
        .collect();
    found.sort();
    found
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}
