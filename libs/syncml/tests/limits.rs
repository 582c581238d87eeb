//! The bounds of a message, and what is written of what cannot be written.

use syncml::{
    Command, Data, DecodeError, Encoding, Item, ItemCommand, Limits, Message, Meta, SyncBody, decode, encode,
};

/// What was too large, or why it failed otherwise.
fn too_large(encoding: Encoding, bytes: &[u8], limits: &Limits) -> Option<&'static str> {
    match decode(encoding, bytes, limits) {
        Ok(_) => None,
        Err(error @ DecodeError::TooLarge { what, .. }) => {
            assert_eq!((error.status().0, error.http_status()), (413, 413));
            Some(what)
        }
        Err(error) => panic!("{error}"),
    }
}

fn both(message: &Message<'_>) -> [(Encoding, Vec<u8>); 2] {
    [Encoding::Xml, Encoding::Wbxml].map(|encoding| {
        let mut out = Vec::new();
        encode(encoding, message, &mut out);
        (encoding, out)
    })
}

fn commands(commands: Vec<Command<'static>>) -> Message<'static> {
    Message { body: SyncBody { commands, is_final: false }, ..Message::default() }
}

#[test]
fn holds_each_bound_exactly() {
    let get =
        |items| Command::Get(ItemCommand { items: vec![Item::default(); items], ..ItemCommand::default() });
    let mut long_uri = Message::default();
    long_uri.hdr.source.loc_uri = "u".repeat(50).into();
    let mut long_session = Message::default();
    long_session.hdr.session_id = "é".repeat(9).into();
    let mut emi = commands(vec![get(2)]);
    emi.hdr.meta = Some(Box::new(Meta { emi: vec!["x".into(); 5], ..Meta::default() }));
    let in_group =
        commands(vec![Command::Atomic(syncml::Group { commands: vec![get(0); 6], ..Default::default() })]);
    for (message, what, bound) in [
        (commands(vec![get(0); 7]), "commands", 7),
        (in_group, "commands", 7),
        (commands(vec![get(3), get(4)]), "items", 7),
        (emi, "items", 7),
        (long_uri, "octets of text", 50),
        (long_session, "characters of a SessionID", 9),
    ] {
        for (encoding, bytes) in both(&message) {
            let limits = |bound| {
                let mut limits = Limits::default();
                *match what {
                    "commands" => &mut limits.commands_max,
                    "items" => &mut limits.items_max,
                    "octets of text" => &mut limits.text_bytes_max,
                    _ => &mut limits.session_id_chars_max,
                } = bound;
                limits
            };
            assert_eq!(too_large(encoding, &bytes, &limits(bound)), None, "{what} in {encoding}");
            assert_eq!(too_large(encoding, &bytes, &limits(bound - 1)), Some(what), "{what} in {encoding}");
        }
    }
}

#[test]
fn bounds_the_message_before_it_looks_at_it() {
    for (encoding, bytes) in both(&Message::default()) {
        let limits = |message_bytes_max| Limits { message_bytes_max, ..Limits::default() };
        assert_eq!(too_large(encoding, &bytes, &limits(bytes.len())), None);
        assert_eq!(too_large(encoding, &bytes, &limits(bytes.len() - 1)), Some("octets of a message"));
    }
    assert_eq!(
        too_large(Encoding::Xml, &[0xFF; 8], &Limits { message_bytes_max: 7, ..Limits::default() }),
        Some("octets of a message")
    );
}

/// Nesting of every kind: in commands, in what is skipped, in Data, in texts, in MetInf.
#[test]
fn bounds_the_depth_of_whatever_nests() {
    let nested = |before: &str, name: &str, levels: usize, after: &str| {
        format!(
            "{before}{}{}{after}",
            format!("<{name}>").repeat(levels),
            format!("</{name}>").repeat(levels)
        )
    };
    let body = ("<SyncML><SyncBody>", "</SyncBody></SyncML>");
    let header = ("<SyncML><SyncHdr>", "</SyncHdr></SyncML>");
    for (before, name, after, base) in [
        (body.0.to_owned(), "Sequence", body.1.to_owned(), 2),
        (body.0.to_owned(), "Sync", body.1.to_owned(), 2),
        (header.0.to_owned(), "Unknown", header.1.to_owned(), 2),
        (format!("{}<SessionID>", header.0), "x", format!("</SessionID>{}", header.1), 3),
        (format!("{}<Meta>", header.0), "MetInf", format!("</Meta>{}", header.1), 3),
        (format!("{}<Put><Item><Data>", body.0), "y", format!("</Data></Item></Put>{}", body.1), 5),
    ] {
        let fits = nested(&before, name, 64 - base, &after);
        assert_eq!(too_large(Encoding::Xml, fits.as_bytes(), &Limits::default()), None, "{name}");
        let deeper = nested(&before, name, 65 - base, &after);
        assert_eq!(
            too_large(Encoding::Xml, deeper.as_bytes(), &Limits::default()),
            Some("open elements"),
            "{name}"
        );
        // However much is asked for, the stack is safe.
        let abyss = nested(&before, name, 100_000, &after);
        let limits = Limits { depth_max: usize::MAX, ..Limits::default() };
        assert_eq!(too_large(Encoding::Xml, abyss.as_bytes(), &limits), Some("open elements"), "{name}");
    }
    for tokens in [
        &b"\x6D\x6B\x64"[..],
        b"\x6D\x6B\x6A",
        b"\x6D\x70",
        b"\x6D\x6C\x65\x65",
        b"\x6D\x6C\x5A\x00\x01\x4E",
        b"\x6D\x6B\x60\x54\x4F\x00\x02\x64",
    ] {
        let (&last, before) = tokens.split_last().unwrap_or((&0, &[]));
        let bytes = [b"\x02\xA4\x01\x6A\x00", before, &[last; 100_000]].concat();
        let limits = Limits { depth_max: usize::MAX, ..Limits::default() };
        assert_eq!(too_large(Encoding::Wbxml, &bytes, &limits), Some("open elements"), "{tokens:02x?}");
    }
}

/// A few octets that refer to a long string again and again must not become gigabytes.
#[test]
fn bounds_what_references_add_up_to() {
    let table = vec![b'x'; 0x4000];
    let message = |tokens: &[u8], times: usize| {
        [
            b"\x02\xA4\x01\x6A\x81\x80\x00",
            &table[..],
            b"\x6D\x6B\x60\x54\x4F",
            &tokens.repeat(times),
            b"\x01\x01\x01\x01\x01",
        ]
        .concat()
    };
    assert_eq!(too_large(Encoding::Wbxml, &message(b"\x83\x00", 200), &Limits::default()), None);
    let found = too_large(Encoding::Wbxml, &message(b"\x83\x00", 10_000), &Limits::default());
    assert_eq!(found, Some("octets of text put together"));
    // One octet of a tree description is up to thirty of its markup.
    let markup = message(b"\x00\x02\x12", 1_000);
    let limits = Limits { copied_bytes_max: 10_000, ..Limits::default() };
    assert_eq!(too_large(Encoding::Wbxml, &markup, &limits), Some("octets of text put together"));
}

/// One reference at a time costs nothing: it is borrowed from the table.
#[test]
fn spends_nothing_on_a_single_reference() {
    let bytes = b"\x02\xA4\x01\x6A\x04abc\0\x6D\x6C\x65\x83\x00\x01\x01\x01";
    let limits = Limits { copied_bytes_max: 0, ..Limits::default() };
    assert_eq!(too_large(Encoding::Wbxml, bytes, &limits), None);
}

#[test]
fn writes_octets_in_xml_as_base64_and_says_so() {
    let octets = Data::Bytes(b"\x02\x00\xFF".into());
    let meta = |format: Option<&'static str>, type_: &'static str| {
        Some(Box::new(Meta { format: format.map(Into::into), type_: Some(type_.into()), ..Meta::default() }))
    };
    for (command_meta, item_meta, want) in [
        (None, None, "<Meta><Format xmlns=\"syncml:metinf\">b64</Format></Meta>"),
        (
            meta(Some("bin"), "own"),
            meta(Some("bin"), "t/x"),
            "<Meta><Format xmlns=\"syncml:metinf\">b64</Format><Type xmlns=\"syncml:metinf\">t/x</Type></Meta>",
        ),
        (
            meta(Some("bin"), "t/y"), // the item's own Meta would hide it, so it is repeated
            None,
            "<Meta><Format xmlns=\"syncml:metinf\">b64</Format><Type xmlns=\"syncml:metinf\">t/y</Type></Meta>",
        ),
    ] {
        for data in [octets.clone(), Data::Text("\u{2}\0\u{FF}".into())] {
            let base64 = if matches!(data, Data::Bytes(_)) { "AgD/" } else { "AgDDvw==" };
            let items = vec![Item { meta: item_meta.clone(), data: Some(data), ..Item::default() }];
            let message = commands(vec![Command::Add(ItemCommand {
                meta: command_meta.clone(),
                items,
                ..Default::default()
            })]);
            let mut out = Vec::new();
            encode(Encoding::Xml, &message, &mut out);
            let text = String::from_utf8(out).expect("XML is text");
            assert!(text.contains(&format!("<Item>{want}<Data>{base64}</Data></Item>")), "{text}");
        }
    }
}

#[test]
fn replaces_characters_that_xml_cannot_carry_in_both_encodings_alike() {
    let mut message = Message::default();
    message.hdr.source.loc_uri = "a\0b\u{1b}c\u{FFFF}".into();
    for (encoding, bytes) in both(&message) {
        let again = decode(encoding, &bytes, &Limits::default()).expect("what is written can be read");
        assert_eq!(again.hdr.source.loc_uri, "a\u{FFFD}b\u{FFFD}c\u{FFFD}", "{encoding}");
    }
}
