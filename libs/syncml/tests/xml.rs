//! What is accepted of XML, and what is not.

use std::borrow::Cow;

use syncml::{Command, Data, DecodeError, Encoding, Limits, Message, decode};

fn xml(bytes: &[u8]) -> Result<Message<'_>, DecodeError> {
    decode(Encoding::Xml, bytes, &Limits::default())
}

/// A Replace of one item, with `inside` in its `Data` element's place.
fn with_item(inside: &str) -> String {
    format!(
        "<SyncML><SyncHdr/><SyncBody><Replace><CmdID>1</CmdID><Item>{inside}</Item></Replace></SyncBody></SyncML>"
    )
}

fn item_data(message: &Message<'_>) -> Option<Data<'static>> {
    match message.body.commands.first() {
        Some(Command::Replace(command)) => command.items.first()?.data.clone().map(Data::into_owned),
        other => panic!("no Replace but {other:?}"),
    }
}

/// However a message is dressed up, it is this one.
#[test]
fn takes_every_way_of_writing_one_message() {
    let plain = "<SyncML xmlns=\"SYNCML:SYNCML1.2\"><SyncHdr><VerDTD>1.2</VerDTD><VerProto>DM/1.2</VerProto>\
        <SessionID>2a</SessionID><MsgID>1</MsgID><Target><LocURI>https://s/dm</LocURI></Target>\
        <Source><LocURI>IMEI:1</LocURI></Source><Meta><MaxMsgSize xmlns=\"syncml:metinf\">5000</MaxMsgSize></Meta></SyncHdr>\
        <SyncBody><Alert><CmdID>1</CmdID><Data>1226</Data><Correlator>c</Correlator><Item><Meta>\
        <Format xmlns=\"syncml:metinf\">int</Format><Type xmlns=\"syncml:metinf\">t</Type></Meta><Data>200</Data></Item></Alert>\
        <Final/></SyncBody></SyncML>";
    let want = xml(plain.as_bytes()).unwrap();
    assert_eq!(want.body.commands.len(), 1);
    for (what, dressed) in [
        ("a byte order mark", format!("\u{FEFF}{plain}")),
        ("a declaration", format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{plain}")),
        ("a mark and a declaration", format!("\u{FEFF}<?xml version='1.0'?>{plain}")),
        ("utf-16 declared over utf-8", format!("<?xml version=\"1.0\" encoding=\"utf-16\"?>{plain}")),
        (
            "a doctype",
            format!("<!DOCTYPE SyncML PUBLIC \"-//SYNCML//DTD SyncML 1.2//EN\" \"http://x/y.dtd\">{plain}"),
        ),
        ("leading white space", format!("\r\n\t {plain}")),
        ("what follows the end", format!("{plain}\0\0 trailing")),
        ("comments and instructions", plain.replace("><", "><!-- <x> --><?pi y?><")),
        ("line breaks", plain.replace("><", ">\r\n\t<")),
        ("other quotes", plain.replace('"', "'")),
        (
            "no namespaces",
            plain.replace(" xmlns=\"syncml:metinf\"", "").replace(" xmlns=\"SYNCML:SYNCML1.2\"", ""),
        ),
        ("the namespace of 1.1", plain.replace("SYNCML:SYNCML1.2", "SYNCML:SYNCML1.1")),
        (
            "white space around texts",
            plain.replace("<LocURI>", "<LocURI>\n  ").replace("</LocURI>", "\t</LocURI>"),
        ),
        ("white space in tags", plain.replace("Alert>", "Alert \n>").replace("<Final/>", "<Final />")),
        ("a start and an end for what is empty", plain.replace("<Final/>", "<Final></Final>")),
        ("references", plain.replace("IMEI:1", "&#73;ME&#x49;&#58;1").replace("dm<", "&#x64;m<")),
        ("CDATA", plain.replace("IMEI:1", "<![CDATA[IMEI:]]>1").replace("200", "<![CDATA[200]]>")),
        (
            "a MetInf wrapper",
            plain.replace("<Meta>", "<Meta><MetInf>").replace("</Meta>", "</MetInf></Meta>"),
        ),
        ("the correlator first", {
            plain.replace(
                "<Data>1226</Data><Correlator>c</Correlator>",
                "<Correlator>c</Correlator><Data>1226</Data>",
            )
        }),
        ("the type first", {
            let (format, type_) =
                ("<Format xmlns=\"syncml:metinf\">int</Format>", "<Type xmlns=\"syncml:metinf\">t</Type>");
            plain.replace(&format!("{format}{type_}"), &format!("{type_}{format}"))
        }),
        ("unknown elements", {
            plain
                .replace(
                    "<Alert>",
                    "<New><Alert><CmdID>9</CmdID></Alert></New><Alert><x:Vendor a='<'><b/>t</x:Vendor>",
                )
                .replace("<CmdID>1", "<CmdID>1<Odd>2</Odd>")
        }),
        ("prefixes", {
            ["SyncML", "SyncHdr", "SyncBody", "LocURI", "Alert", "Final"].iter().fold(
                plain.to_owned(),
                |text, name| {
                    text.replace(&format!("<{name}"), &format!("<s:{name}"))
                        .replace(&format!("</{name}"), &format!("</s:{name}"))
                },
            )
        }),
    ] {
        assert_eq!(xml(dressed.as_bytes()).as_ref(), Ok(&want), "{what}: {dressed}");
    }
}

#[test]
fn tells_absent_from_empty() {
    for (inside, want) in [
        ("", None),
        ("<Data/>", Some("")),
        ("<Data></Data>", Some("")),
        ("<Data> </Data>", Some(" ")),
        ("<Data><!-- nothing --></Data>", Some("")),
        ("<Data><![CDATA[]]></Data>", Some("")),
    ] {
        let document = with_item(inside);
        assert_eq!(item_data(&xml(document.as_bytes()).unwrap()), want.map(Data::from), "{inside}");
    }
}

#[test]
fn keeps_data_to_the_octet() {
    for (inside, want) in [
        ("  two  words \r\n", "  two  words \r\n"),
        ("a&amp;b&lt;c&gt;&apos;&quot;&#13;&#x20AC;", "a&b<c>'\"\r€"),
        ("MINDT=5&MAXDT=90&DR=1", "MINDT=5&MAXDT=90&DR=1"), // ampersands that nobody escaped
        ("a & b &amp; c&", "a & b & c&"),
        ("<![CDATA[<a>&amp;]]>", "<a>&amp;"),
        ("\n  <![CDATA[x]]>\n", "x"), // set off for looks
        ("\n<![CDATA[a]]]]>\n<![CDATA[>b]]>\n", "a]]>b"),
        ("a <![CDATA[b]]> c", "a b c"),
        ("a<!-- x -->b", "ab"),
        ("&lt;MgmtTree/&gt;", "<MgmtTree/>"),
    ] {
        let document = with_item(&format!("<Data>{inside}</Data>"));
        assert_eq!(item_data(&xml(document.as_bytes()).unwrap()), Some(want.into()), "{inside}");
    }
}

#[test]
fn keeps_elements_inside_data_as_their_markup_and_borrows_it() {
    let markup = "<MgmtTree xmlns='syncml:dmddf1.2'><Data>1 &amp; 2</Data><!-- c --><Format><chr/></Format></MgmtTree>";
    for document in [
        with_item(&format!("<Data>{markup}</Data>")),
        with_item(&format!("<Data>\r\n  {markup}\t</Data>")),
        with_item(&format!("<Source><LocURI>./x</LocURI></Source><Data>{markup}</Data><MoreData/>")),
    ] {
        let message = xml(document.as_bytes()).unwrap();
        let Command::Replace(command) = &message.body.commands[0] else { panic!() };
        assert!(matches!(&command.items[0].data, Some(Data::Text(Cow::Borrowed(text))) if *text == markup));
    }
    // Also where the only child has no content.
    let document = with_item("<Data><node/></Data>");
    assert_eq!(item_data(&xml(document.as_bytes()).unwrap()), Some("<node/>".into()));
}

#[test]
fn copies_no_text_that_stands_there_as_it_is() {
    let document = with_item("<Target><LocURI> ./A/B </LocURI></Target><Data><![CDATA[<x>]]></Data>");
    let message = xml(document.as_bytes()).unwrap();
    let Command::Replace(command) = &message.body.commands[0] else { panic!() };
    assert!(matches!(command.cmd_id, Cow::Borrowed("1")));
    let item = &command.items[0];
    assert!(matches!(item.target.as_ref().map(|target| &target.loc_uri), Some(Cow::Borrowed("./A/B"))));
    assert!(matches!(item.data, Some(Data::Text(Cow::Borrowed("<x>")))));
}

/// Some clients send the NUL that ends a C string.
#[test]
fn takes_a_nul_inside_data_as_octets_that_still_give_their_text() {
    for inside in ["<Data>true\0</Data>", "<Data>true&#0;</Data>"] {
        let document = with_item(inside);
        let data = item_data(&xml(document.as_bytes()).unwrap()).unwrap();
        assert_eq!(data, Data::Bytes(b"true\0".into()));
        assert_eq!(data.as_text(), Some("true"));
    }
    assert_eq!(Data::Bytes(b"a\0b".into()).as_text(), None);
}

#[test]
fn refuses_with_the_place_what_was_expected_and_what_came() {
    for (document, at, want) in [
        ("", 0, "expected <SyncML> at byte 0, got the end of the message"),
        ("   ", 3, "expected <SyncML> at byte 3, got the end of the message"),
        ("\u{FEFF} hello<", 4, "expected <SyncML> at byte 4, got \"hello\""),
        ("<html/>", 7, "expected <SyncML> at byte 7, got <html>"),
        ("<SyncHdr/>", 10, "expected <SyncML> at byte 10, got <SyncHdr>"),
        (
            "<!DOCTYPE SyncML [<!ENTITY a \"b\">]><SyncML/>",
            17,
            "expected no DOCTYPE, or one without an internal subset at byte 17, got an internal subset",
        ),
        (
            "<SyncML><SyncHdr><VerDTD>&nbsp;</VerDTD></SyncHdr></SyncML>",
            31,
            "expected one of the five entities or a character reference at byte 31, got \"nbsp\"",
        ),
        (
            "<SyncML><SyncHdr><VerDTD>&#xD800;</VerDTD></SyncHdr></SyncML>",
            33,
            "expected one of the five entities or a character reference at byte 33, got \"#xD800\"",
        ),
        (
            "<SyncML><SyncHdr><MsgID>one</MsgID></SyncHdr></SyncML>",
            35,
            "expected a MsgID in decimal at byte 35, got \"one\"",
        ),
        (
            "<SyncML><SyncHdr><MsgID>4294967296</MsgID></SyncHdr></SyncML>",
            42,
            "expected a MsgID in decimal at byte 42, got \"4294967296\"",
        ),
        ("<SyncML><SyncBody>", 18, "expected an end tag at byte 18, got the end of the message"),
        (
            "<SyncML><SyncHdr></SyncML>",
            19,
            "expected the end tag of the innermost element at byte 19, got \"SyncML\"",
        ),
        ("<SyncML></SyncMLX>", 16, "expected the end of an end tag at byte 16, got \"X\""),
        ("<SyncML>< a/></SyncML>", 9, "expected the name of an element at byte 9, got \" a/\""),
        (
            "<SyncML><a\"/></SyncML>",
            10,
            "expected the end of a tag, or white space at byte 10, got \"\\\"/\"",
        ),
        (
            "<SyncML><!ELEMENT a></SyncML>",
            8,
            "expected a comment, a CDATA section or a processing instruction at byte 8, got \"<!ELEMENT a\"",
        ),
        (
            "<SyncML a='b>",
            13,
            "expected the end of an attribute's value at byte 13, got the end of the message",
        ),
        ("<SyncML><!-- -- >", 17, "expected the end of a comment at byte 17, got the end of the message"),
    ] {
        let error = xml(document.as_bytes()).expect_err(document);
        assert_eq!((error.at(), error.to_string().as_str()), (at, want), "{document}");
        assert_eq!((error.status().0, error.http_status()), (400, 400));
    }
}

#[test]
fn refuses_what_is_not_well_formed() {
    for document in [
        "<SyncML><SyncHdr></SyncML>",
        "<SyncML><SyncHdr></SyncBody></SyncML>",
        "<SyncML><SyncBody><Final/",
        "<SyncML><!-- ",
        "<SyncML><SyncBody><Replace><Item><Data><![CDATA[x</Data></Item></Replace></SyncBody></SyncML>",
        "<SyncML",
    ] {
        let error = xml(document.as_bytes()).expect_err(document);
        assert!(
            matches!(error, DecodeError::Malformed { .. }) && error.at() <= document.len(),
            "{document}: {error}"
        );
    }
}

#[test]
fn refuses_what_is_not_utf8() {
    let error = xml(b"\xFE\xFF\0<\0S").expect_err("UTF-16");
    assert_eq!(
        (error.http_status(), error.to_string().as_str()),
        (415, "expected UTF-8 at byte 0, got UTF-16")
    );
    let document = b"<SyncML><SyncHdr><Source><LocURI>caf\xE9</LocURI></Source></SyncHdr></SyncML>";
    let error = xml(document).expect_err("ISO-8859-1");
    assert_eq!((error.at(), error.http_status()), (36, 400), "{error}");
}
