//! What is accepted of WBXML, and what is not.

use std::borrow::Cow;

use syncml::{Command, Data, DecodeError, Encoding, Limits, Message, SyncHdr, decode, encode};

fn wbxml(bytes: &[u8]) -> Result<Message<'_>, DecodeError> {
    decode(Encoding::Wbxml, bytes, &Limits::default())
}

const HEADER: &[u8] = b"\x02\xA4\x01\x6A\x00";

/// SyncML, SyncHdr with SessionID 7, and the tokens given.
fn with_header(tokens: &[u8]) -> Vec<u8> {
    [HEADER, b"\x6D\x6C\x65\x037\0\x01", tokens, b"\x01\x01"].concat()
}

/// SyncML, SyncBody, Replace, Item, Data with the tokens given.
fn with_data(tokens: &[u8]) -> Vec<u8> {
    [HEADER, b"\x6D\x6B\x60\x54\x4F", tokens, b"\x01\x01\x01\x01\x01"].concat()
}

fn item_data<'a>(message: &Message<'a>) -> Data<'a> {
    match message.body.commands.first() {
        Some(Command::Replace(command)) => command.items[0].data.clone().expect("the item has Data"),
        other => panic!("no Replace but {other:?}"),
    }
}

#[test]
fn takes_every_header_that_devices_write() {
    let body = b"\x6D\x6C\x65\x037\0\x01\x01\x01";
    let fpi = b"-//SYNCML//DTD SyncML 1.2//EN";
    let with_text_id: Vec<u8> = [b"\x02\x00\x00\x6A\x1D", &fpi[..], body].concat(); // without its NUL
    let with_nul: Vec<u8> = [b"\x02\x00\x00\x6A\x1E", &fpi[..], b"\0", body].concat();
    let with_root_literal: Vec<u8> = [HEADER, b"\xED\x04\x00\x03SYNCML:SYNCML1.2\0\x01", &body[1..]].concat(); // Nokia
    let with_instruction: Vec<u8> = [HEADER, b"\x43\x05\x03x\0\x01", body].concat();
    for bytes in [
        [HEADER, body].concat(),
        [b"\x02\x9F\x53\x6A\x00", &body[..]].concat(), // SyncML 1.1
        [b"\x03\x01\x6A\x00", &body[..]].concat(),     // unknown
        [b"\x01\xA4\x01\x03\x00", &body[..]].concat(), // WBXML 1.1, US-ASCII
        [b"\x02\xA4\x01\x00\x00", &body[..]].concat(), // no character set
        [HEADER, body, b"\0\0\0"].concat(),            // NUL octets behind the end
        with_text_id,
        with_nul,
        with_root_literal,
        with_instruction,
    ] {
        let message = wbxml(&bytes).unwrap_or_else(|error| panic!("{error} in {bytes:02x?}"));
        assert_eq!(message.hdr, SyncHdr { session_id: "7".into(), ..SyncHdr::default() });
    }
}

#[test]
fn joins_every_kind_of_text_in_one_element() {
    let header = b"\x02\xA4\x01\x6A\x06ab\0cd\0";
    for (tokens, want) in [
        (&b"\x03plain\0"[..], "plain"),
        (b"\x83\x00", "ab"),
        (b"\x83\x03\x03?x\0", "cd?x"),
        (b"\xC3\x02ok", "ok"),
        (b"\x02\x81\x20\x02\xA0\x2C", "\u{A0}\u{102C}"),
        (b"\x03a\0\x02\x26\x83\x01", "a&b"),
        (b"\x40i\0\x03a\0\x80\x05\xC0\x03b\0", "ab"), // EXT tokens mean nothing
        (b"\x03a\0\x57\x03x\0\x01\x03b\0", "ab"),     // nor do children
        (b"\x03  trim\n\0", "trim"),
        (b"", ""),
    ] {
        let bytes = [header, &b"\x6D\x6C\x61"[..], tokens, b"\x01\x01\x01"].concat();
        let message = wbxml(&bytes).unwrap_or_else(|error| panic!("{error} in {tokens:02x?}"));
        assert_eq!(message.hdr.resp_uri.as_deref(), Some(want), "{tokens:02x?}");
    }
}

#[test]
fn takes_both_forms_of_an_empty_element() {
    for tokens in [&b"\x12"[..], b"\x52\x01"] {
        let bytes = [HEADER, b"\x6D\x6B", tokens, b"\x01\x01"].concat();
        assert!(wbxml(&bytes).unwrap().body.is_final);
    }
    for tokens in [&b"\x0F"[..], b"\x4F\x01", b"\x4F\x03\0\x01", b"\x4F\xC3\x00\x01"] {
        let bytes = [HEADER, b"\x6D\x6B\x60\x54", tokens, b"\x01\x01\x01\x01"].concat();
        assert_eq!(item_data(&wbxml(&bytes).unwrap()), Data::from(""));
    }
}

#[test]
fn stays_on_a_page_until_it_is_switched() {
    // Meta with MaxMsgSize; two ENDs; only then back to page 0.
    let bytes = [HEADER, b"\x6D\x6C\x5A\x00\x01\x4C\x035000\0\x01\x01\x01\x00\x00\x6B\x12\x01\x01"].concat();
    let message = wbxml(&bytes).unwrap();
    assert_eq!(message.hdr.meta.as_ref().and_then(|meta| meta.max_msg_size), Some(5000));
    assert!(message.body.is_final);
}

#[test]
fn skips_elements_that_it_does_not_know() {
    let message = with_header(
        b"\x70\x03x\0\x4F\x01\x01\x00\x07\x45\x05\x45\x01\x01\x00\x00\x44\x00\x03y\0\x01\x5B\x039\0\x01",
    );
    assert_eq!(wbxml(&message).unwrap().hdr.msg_id, 9);
    // An element by its name from the string table is known all the same.
    let bytes = b"\x02\xA4\x01\x6A\x06MsgID\0\x6D\x6C\x44\x00\x035\0\x01\x01\x01";
    assert_eq!(wbxml(bytes).unwrap().hdr.msg_id, 5);
}

#[test]
fn tells_text_from_octets_by_what_they_are() {
    for (tokens, want) in [
        (&b"\xC3\x04text"[..], Data::from("text")),
        (b"\xC3\x06 text\n", Data::from(" text\n")),
        (b"\x03 text\n\0", Data::from(" text\n")),
        (b"\x03a\0\xC3\x02bc", Data::from("abc")),
        (b"\xC3\x05text\0", Data::Bytes(b"text\0".into())),
        (b"\xC3\x02\xFF\xFE", Data::Bytes(b"\xFF\xFE".into())),
        (b"\xC3\x05\x02\xA4\x01\x6A\x00", Data::Bytes(b"\x02\xA4\x01\x6A\x00".into())), // an embedded document
        (b"\xC3\x09<a>&</a>\n", Data::from("<a>&</a>\n")),
    ] {
        let bytes = with_data(tokens);
        assert_eq!(item_data(&wbxml(&bytes).unwrap()), want, "{tokens:02x?}");
    }
    assert!(matches!(item_data(&wbxml(&with_data(b"\xC3\x04text")).unwrap()), Data::Text(Cow::Borrowed(_))));
}

#[test]
fn keeps_elements_inside_data_as_markup() {
    for (tokens, want) in [
        (
            &b"\x00\x02\x60\x77\x031.2\0\x01\x64\x66\x03a&b\0\x01\x6F\x5C\x25\x01\x01\x01\x01\x00\x00"[..],
            "<MgmtTree xmlns=\"syncml:dmddf1.2\"><VerDTD>1.2</VerDTD><Node><NodeName>a&amp;b</NodeName>\
             <RTProperties><Format><node/></Format></RTProperties></Node></MgmtTree>",
        ),
        (b"\x03 \0\x00\x02\x20\x03\n\0", "<MgmtTree xmlns=\"syncml:dmddf1.2\"/>"),
        (b"\x03x<\0\x00\x02\x25\x03y\0", "x&lt;<node xmlns=\"syncml:dmddf1.2\"/>y"),
        (b"\x00\x01\x47\x03b64\0\x01", "<Format xmlns=\"syncml:metinf\">b64</Format>"),
        (
            b"\x00\x02\x60\x00\x09\x45\x03gone\0\x01\x00\x02\x01",
            "<MgmtTree xmlns=\"syncml:dmddf1.2\"></MgmtTree>",
        ),
    ] {
        let bytes = with_data(tokens);
        let message = wbxml(&bytes).unwrap_or_else(|error| panic!("{error} in {tokens:02x?}"));
        assert_eq!(item_data(&message), Data::from(want), "{tokens:02x?}");
    }
}

#[test]
fn gives_a_nonce_in_base64_however_it_was_sent() {
    for (tokens, want) in [
        (&b"\x03bm9uY2U=\0"[..], "bm9uY2U="),
        (
            b"\xC3\x10\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0A\x0B\x0C\x0D\x0E\x0F",
            "AAECAwQFBgcICQoLDA0ODw==",
        ),
        (b"\xC3\x18AAECAwQFBgcICQoLDA0ODw==", "AAECAwQFBgcICQoLDA0ODw=="), // base64 text in OPAQUE
        (b"\xC3\x0512345", "MTIzNDU="),                                    // five digits, as Symbian has them
        (b"\xC3\x0812345678", "MTIzNDU2Nzg="),
        (b"", ""),
    ] {
        let bytes =
            [HEADER, b"\x6D\x6B\x69\x49\x5A\x00\x01\x50", tokens, b"\x01\x01\x01\x01\x01\x01"].concat();
        let message = wbxml(&bytes).unwrap();
        let Command::Status(status) = &message.body.commands[0] else { panic!() };
        let nonce = status.chal.as_ref().and_then(|meta| meta.next_nonce.as_deref());
        assert_eq!(nonce, Some(want), "{tokens:02x?}");
    }
}

#[test]
fn reads_latin_1_where_the_header_says_so() {
    let bytes = b"\x02\xA4\x01\x04\x00\x6D\x6C\x61\x03caf\xE9\0\x01\x01\x01";
    assert_eq!(wbxml(bytes).unwrap().hdr.resp_uri.as_deref(), Some("café"));
}

#[test]
fn refuses_with_the_place_and_the_reason() {
    for (bytes, at, status) in [
        (&b""[..], 0, 400),
        (b"\x02", 1, 400),
        (b"\x02\xA4\x01\x83\x77\x00\x6D\x01", 0, 415), // UTF-16 by its number 1015
        (b"\x02\xA4\x01\x6A\x20abc", 5, 400),          // the string table is longer than the message
        (b"\x02\xA4\x01\x6A\x00", 5, 400),             // no element
        (b"\x02\xA4\x01\x6A\x00\x03x\0", 8, 400),      // text instead
        (b"\x02\xA4\x01\x6A\x00\x6C\x01", 6, 400),     // SyncHdr instead
        (b"\x02\xA4\x01\x6A\x00\x6D\x6C\x71\xC3\x7Fxy", 10, 400),
        (b"\x02\xA4\x01\x6A\x00\x6D\x6C\x71\x83\x05\x01\x01\x01", 9, 400),
        (b"\x02\xA4\x01\x6A\x00\x6D\x6C\x71\x03\xFF\0\x01\x01\x01", 12, 400),
        (b"\x02\xA4\x01\x6A\x00\x6D\x6C\x71\x02\x83\xB0\x00\x01\x01\x01", 12, 400), // half a surrogate pair
        (b"\x02\xA4\x01\x6A\x00\x6D\x6C\x5B\x03x\0\x01\x01\x01", 12, 400),          // a MsgID that is none
        (b"\x02\xA4\x01\x6A\x00\x6D\x6B", 7, 400),
    ] {
        let error = wbxml(bytes).expect_err("not a message");
        assert_eq!((error.at(), error.http_status()), (at, status), "{error} in {bytes:02x?}");
        assert!(error.to_string().contains(&format!("at byte {at}")), "{error}");
    }
}

#[test]
fn writes_what_phones_accept() {
    let mut message = Message::default();
    for (ver_dtd, header) in [
        ("1.2", b"\x02\xA4\x01\x6A\x00\x6D"),
        ("1.1", b"\x02\x9F\x53\x6A\x00\x6D"),
        ("1.0", b"\x02\x9F\x51\x6A\x00\x6D"),
        ("", b"\x02\xA4\x01\x6A\x00\x6D"),
    ] {
        message.hdr.ver_dtd = ver_dtd.into();
        let mut out = Vec::new();
        encode(Encoding::Wbxml, &message, &mut out);
        assert!(out.starts_with(header), "{ver_dtd}: {out:02x?}");
    }
}

/// OPAQUE below Add and Replace, inline below the others, never trimmed, and always OPAQUE for octets.
#[test]
fn writes_data_as_devices_expect_it() {
    let item = |data: Data<'static>| syncml::Item { data: Some(data), ..syncml::Item::default() };
    for (data, is_add, want) in [
        (Data::from(" x "), true, &b"\x45\x54\x4F\xC3\x03 x \x01\x01\x01"[..]),
        (Data::from(" x "), false, b"\x62\x54\x4F\x03 x \0\x01\x01\x01"),
        (Data::Bytes(b"\x00\x01".into()), false, b"\x62\x54\x4F\xC3\x02\x00\x01\x01\x01\x01"),
        (Data::from(""), true, b"\x45\x54\x0F\x01\x01"),
        (Data::from(""), false, b"\x62\x54\x0F\x01\x01"),
    ] {
        let items = vec![item(data)];
        let command = if is_add {
            Command::Add(syncml::ItemCommand { items, ..Default::default() })
        } else {
            Command::Results(syncml::Results { items, ..Default::default() })
        };
        let body = syncml::SyncBody { commands: vec![command], is_final: false };
        let mut out = Vec::new();
        encode(Encoding::Wbxml, &Message { hdr: SyncHdr::default(), body }, &mut out);
        let body = [&b"\x6B"[..], want, b"\x01\x01"].concat();
        assert!(out.ends_with(&body), "{out:02x?} does not end with {body:02x?}");
    }
}
