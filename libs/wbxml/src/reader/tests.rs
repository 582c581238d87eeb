use super::*;
use crate::PublicId;

fn tokens(bytes: &[u8]) -> Result<Vec<Token<'_>>, Error> {
    let mut reader = Reader::new(bytes)?;
    let mut found = Vec::new();
    while let Some(token) = reader.next_token()? {
        found.push(token);
    }
    Ok(found)
}

fn element(page: u8, token: u8, has_attributes: bool, has_content: bool) -> Token<'static> {
    Token::Element { name: Name::Token { page, token }, has_attributes, has_content }
}

#[test]
fn reads_every_form_of_the_public_identifier() {
    for (bytes, want) in [
        (&b"\x02\xA4\x01\x6A\x00"[..], Ok(PublicId::Number(0x1201))),
        (b"\x03\x01\x6A\x00", Ok(PublicId::Number(1))),
        (b"\x02\x00\x00\x6A\x03abc", Ok(PublicId::Text(b"abc"))), // no NUL: it runs to the end of the table
        (b"\x02\x00\x02\x6A\x05x\0ab\0", Ok(PublicId::Text(b"ab"))),
        (b"\x02\x00\x07\x6A\x03abc", Err(1)),
        (b"\x02\xA4\x01\x6A\x05abc", Err(5)), // the table is longer than the document
        (b"\x04\xA4\x01\x6A\x00", Err(0)),
        (b"\x02\xA4", Err(2)),
        (b"", Err(0)),
    ] {
        let found = Reader::new(bytes).map(|reader| reader.header().public_id).map_err(|error| error.at());
        assert_eq!(found, want, "input {bytes:02x?}");
    }
}

#[test]
fn keeps_a_code_page_across_the_end_of_an_element() {
    let found = tokens(b"\x02\xA4\x01\x6A\x00\x5A\x00\x01\x47\x01\x01\x05\x00\x00\x05").unwrap();
    let want = [
        element(0, 0x1A, false, true),
        element(1, 0x07, false, true),
        Token::End,
        Token::End,
        element(1, 0x05, false, false),
        element(0, 0x05, false, false),
    ];
    assert_eq!(found, want);
}

#[test]
fn keeps_the_pages_of_tags_and_of_attributes_apart() {
    // Attribute page 1 is selected inside the list and stays so; the tag after it is still on page 0.
    let found = tokens(b"\x03\x0B\x6A\x00\xC6\x00\x01\x55\x01\x87\x36\x01\x01").unwrap();
    let want = [
        element(0, 0x06, true, true),
        Token::Attribute(Name::Token { page: 1, token: 0x55 }),
        Token::AttributesEnd,
        element(0, 0x07, true, false),
        Token::Attribute(Name::Token { page: 1, token: 0x36 }),
        Token::AttributesEnd,
        Token::End,
    ];
    assert_eq!(found, want);
}

#[test]
fn reads_every_kind_of_text() {
    let found = tokens(
        b"\x02\xA4\x01\x6A\x06one\0tw\x03in\0\x83\x00\x83\x04\x02\x81\x20\xC3\x02\x00\x01\x40x\0\x81\x05\xC2",
    );
    let want = [
        Token::Text(b"in"),
        Token::Text(b"one"),
        Token::Text(b"tw"), // the last string of the table lacks its NUL
        Token::Entity(160),
        Token::Opaque(&[0, 1]),
        Token::Extension { token: 0x40, text: b"x", value: 0 },
        Token::Extension { token: 0x81, text: b"", value: 5 },
        Token::Extension { token: 0xC2, text: b"", value: 0 },
    ];
    assert_eq!(found.unwrap(), want);
}

#[test]
fn reads_literals_and_shrugs_at_one_that_leads_nowhere() {
    let found =
        tokens(b"\x02\xA4\x01\x6A\x03abc\x44\x01\x01\xED\x04\x00\x03v\0\x01\x84\x63\x04\x62\x01").unwrap();
    let want = [
        Token::Element { name: Name::Literal(b"bc"), has_attributes: false, has_content: true },
        Token::End,
        element(0, 0x2D, true, true),
        Token::Attribute(Name::Literal(b"abc")),
        Token::Text(b"v"),
        Token::AttributesEnd,
        Token::Element { name: Name::Literal(b""), has_attributes: true, has_content: false },
        Token::Attribute(Name::Literal(b"")),
        Token::AttributesEnd,
    ];
    assert_eq!(found, want);
}

#[test]
fn passes_over_processing_instructions() {
    let found = tokens(b"\x02\xA4\x01\x6A\x00\x43\x05\x03x\0\x85\x01\x6D\x01").unwrap();
    assert_eq!(found, [element(0, 0x2D, false, true), Token::End]);
}

#[test]
fn says_where_a_document_is_cut_off() {
    for (body, at) in [
        (&b"\x03ab"[..], 8), // no NUL
        (b"\xC3\x05ab", 7),  // four octets short
        (b"\xC3\xFF\xFF\xFF\xFF\x7F", 6),
        (b"\x83\x00", 6), // no string table
        (b"\x00", 6),
        (b"\x02", 6),
        (b"\x43\x05", 7),
    ] {
        let bytes = [b"\x02\xA4\x01\x6A\x00", body].concat();
        assert_eq!(tokens(&bytes).map_err(|error| error.at()), Err(at), "input {bytes:02x?}");
    }
}

#[test]
fn takes_a_whole_text_only_where_it_is_the_whole_content() {
    for (content, want, left) in [
        (&b"\x03abc\0\x01\x01"[..], Some(&b"abc"[..]), 1),
        (b"\x03\0\x01", Some(b""), 0),
        (b"\xC3\x03a\0c\x01", Some(b"a\0c"), 0),
        (b"\xC3\x00\x01", Some(b""), 0),
        (b"\x03abc\0\x03d\0\x01", None, 9),  // more text
        (b"\x03abc\0\x45\x01\x01", None, 8), // a child
        (b"\xC3\x03ab\x01", None, 5),        // cut off, or END among the octets
        (b"\xC3\x81\x00ab\x01", None, 6),    // a longer length
        (b"\x03abc", None, 4),
        (b"\x01", None, 1),
        (b"\x83\x00\x01", None, 3),
        (b"", None, 0),
    ] {
        let bytes = [b"\x02\xA4\x01\x6A\x00", content].concat();
        let mut reader = Reader::new(&bytes).unwrap();
        assert_eq!(reader.take_whole_text(), want, "{content:02x?}");
        assert_eq!(bytes.len() - reader.at(), left, "{content:02x?}");
    }
}

#[test]
fn takes_starts_and_ends_only_where_they_are_plain() {
    for (octet, element, is_end) in [
        (0x45, Some((0, 0x05, true)), false),
        (0x3F, Some((0, 0x3F, false)), false),
        (0x01, None, true),
        (0x85, None, false), // attributes follow
        (0x44, None, false), // a literal
        (0x43, None, false), // an instruction
        (0x00, None, false),
        (0x03, None, false),
        (0x83, None, false),
        (0xC3, None, false),
    ] {
        let bytes = [2, 1, 0x6A, 0, octet];
        assert_eq!(Reader::new(&bytes).unwrap().take_element(), element, "{octet:02x}");
        assert_eq!(Reader::new(&bytes).unwrap().take_end(), is_end, "{octet:02x}");
    }
    // Inside of an attribute list nothing is an element, nor the end of one.
    let mut reader = Reader::new(b"\x03\x0B\x6A\x00\xC6\x05\x01").unwrap();
    reader.next_token().unwrap();
    assert_eq!((reader.take_element(), reader.take_end(), reader.take_whole_text()), (None, false, None));
}
