//! Addresses, queries, access control lists and formats: what is read, and the status for what is not.

use dm_tree::{
    Acl, AclCommand, Format, GetTarget, PropSelect, Property, Uri, UriLimits, escape_segment, full,
    normalise, unescape_segment,
};

const LIMITS: UriLimits = UriLimits { depth_max: 4, total_chars_max: 30, segment_chars_max: 8 };

#[test]
fn addresses_are_normalised_or_refused_with_their_status() {
    for (text, want) in [
        (".", Ok(".")),
        ("./A/B", Ok("A/B")),
        ("A/B", Ok("A/B")),
        ("./a%7eb", Ok("a~b")),
        ("./a%2fb", Ok("a%2Fb")),
        ("./a%2Fb", Ok("a%2Fb")),
        ("./A/b.c", Ok("A/b.c")),
        ("./A:@&=+$,-_", Err(414)), // nine characters in a segment of eight
        ("./:@&=+$,-", Ok(":@&=+$,-")),
        ("", Err(500)),
        ("./", Err(500)),
        ("./A/", Err(500)),
        ("/A", Err(500)),
        ("./A//B", Err(500)),
        ("./A/../B", Err(500)),
        ("./A/%2E%2e/B", Err(500)),
        ("./A/./B", Err(500)),
        ("./A%2", Err(500)),
        ("./A%zz", Err(500)),
        ("./A B", Err(500)),
        ("./ż", Err(500)),
        ("./A?x=y", Err(500)),
        ("./A/B/C/D", Ok("A/B/C/D")),
        ("./A/B/C/D/E", Err(414)),
        ("./12345678/12345678/123456789", Err(414)),
        ("./12345678/12345678/12345678/1234", Err(414)),
    ] {
        let got = Uri::parse(text, &LIMITS);
        assert_eq!(
            got.as_ref().map(Uri::as_str).map_err(dm_tree::UriError::status),
            want,
            "address {text:?}"
        );
    }
}

#[test]
fn depth_is_bounded_even_where_a_device_says_unlimited() {
    let deep = vec!["a"; 129].join("/");
    assert_eq!(Uri::parse(&deep, &UriLimits::default()).map_err(|e| e.status()), Err(414));
    assert!(Uri::parse(&deep[2..], &UriLimits::default()).is_ok());
}

#[test]
fn queries_are_read_or_refused_with_their_status() {
    let uri = || Uri::parse("A", &LIMITS).unwrap();
    for (text, want) in [
        ("./A?prop=ACL", Ok(GetTarget::Prop(uri(), Property::Acl))),
        ("A?prop=VerNo", Ok(GetTarget::Prop(uri(), Property::VerNo))),
        (".?list=Struct", Ok(GetTarget::Struct(Uri::root()))),
        ("./?list=Struct", Ok(GetTarget::Struct(Uri::root()))),
        ("./A?list=StructData", Ok(GetTarget::StructData(uri()))),
        ("./A?list=TNDS", Ok(GetTarget::Tnds { uri: uri(), select: PropSelect::ALL })),
        ("./A?prop=Colour", Err(406)),
        ("./A?prop=acl", Err(406)),
        ("./A?list=Everything", Err(406)),
        ("./A?list=TNDS+ACL-Type", Err(406)),
        ("./A?list=TNDS+Colour", Err(406)),
        ("./A?list=TNDSX", Err(406)),
        ("./A?what=ever", Err(500)),
        ("./A?", Err(500)),
        ("./12345678/12345678?prop=Format", Err(414)),
    ] {
        assert_eq!(GetTarget::parse(text, &LIMITS).map_err(|e| e.status()), want, "address {text:?}");
    }
}

#[test]
fn a_selection_has_what_it_names_or_all_but_that() {
    for (text, has, value) in [
        ("./A?list=TNDS+Value+ACL", &[Property::Acl][..], true),
        ("./A?list=TNDS+Type", &[Property::Type], false),
        (
            "./A?list=TNDS-Value-ACL-TStamp-VerNo-Size",
            { &[Property::Format, Property::Name, Property::Title, Property::Type][..] },
            false,
        ),
    ] {
        let target = GetTarget::parse(text, &UriLimits::default()).unwrap();
        let GetTarget::Tnds { select, .. } = target else { panic!("{text} is no document") };
        for property in Property::ALL {
            assert_eq!(select.has(property), has.contains(&property), "{text}: {property:?}");
        }
        assert_eq!(select.has_value(), value, "{text}");
        let again = format!("{}", GetTarget::Tnds { uri: Uri::root(), select });
        let again = GetTarget::parse(&again, &UriLimits::default());
        assert_eq!(again, Ok(GetTarget::Tnds { uri: Uri::root(), select }), "{text}");
    }
}

#[test]
fn what_devices_report_is_normalised_without_refusal() {
    for (text, short, long) in [
        ("./A/B", "A/B", "./A/B"),
        ("A/B", "A/B", "./A/B"),
        ("/A/B/", "A/B", "./A/B"),
        (" ./A ", "A", "./A"),
        (".", ".", "."),
        ("./", ".", "."),
        ("", ".", "."),
        ("./A?prop=Type", "A?prop=Type", "./A?prop=Type"),
        (".?list=Struct", ".?list=Struct", ".?list=Struct"),
        ("./?list=Struct", "?list=Struct", ".?list=Struct"),
    ] {
        assert_eq!((normalise(text), &*full(text)), (short, long), "address {text:?}");
    }
}

#[test]
fn any_name_becomes_a_segment_and_comes_back() {
    for name in ["plain", "a b", "a/b", "100%", "żółw", "..", ".", "?list=TNDS"] {
        let segment = escape_segment(name);
        let uri = Uri::parse(&segment, &UriLimits::default());
        assert!(uri.is_ok() || matches!(name, "." | ".."), "segment {segment:?}");
        assert_eq!(unescape_segment(&segment).as_deref(), Some(name), "segment {segment:?}");
    }
    assert_eq!(unescape_segment("%4"), None);
    assert_eq!(unescape_segment("%FF"), None);
}

#[test]
fn relations_of_addresses() {
    let uri = |text| Uri::parse(text, &UriLimits::default()).unwrap();
    assert!(
        uri("A/B").is_within(&uri("A")) && uri("A").is_within(&uri("A")) && uri("A").is_within(&uri("."))
    );
    assert!(!uri("AB").is_within(&uri("A")) && !uri("A").is_within(&uri("A/B")));
    assert_eq!(uri("A").parent(), Some(Uri::root()));
    assert_eq!((Uri::root().parent(), Uri::root().name()), (None, None));
    assert_eq!(Uri::root().child("A").child("B"), uri("A/B"));
}

#[test]
fn lists_are_read_and_written_or_refused() {
    for (text, want) in [
        ("", Some("")),
        ("Get=*", Some("Get=*")),
        ("Replace=b+a&Get=*", Some("Get=*&Replace=a+b")),
        ("Get=a+*", Some("Get=*")),
        ("Add=a&Delete=a&Exec=a&Get=a&Replace=a", Some("Add=a&Delete=a&Exec=a&Get=a&Replace=a")),
        ("Get", None),
        ("Get=", None),
        ("Get=a+", None),
        ("Get=a&", None),
        ("Get=a&Get=b", None),
        ("Copy=a", None),
        ("get=a", None),
        ("Get=a b", None),
        ("Get=a=b", None),
    ] {
        assert_eq!(Acl::parse(text).ok().map(|acl| acl.to_string()).as_deref(), want, "list {text:?}");
    }
}

#[test]
fn a_removed_server_takes_along_the_commands_that_nobody_else_has() {
    let mut acl = Acl::parse("Get=*&Replace=a+b&Delete=a").unwrap();
    acl.remove_server("a");
    assert_eq!(acl.to_string(), "Get=*&Replace=b");
    assert!(!acl.allows(AclCommand::Delete, "a") && acl.allows(AclCommand::Get, "a"));
}

#[test]
fn format_tokens_are_read_in_any_case() {
    for format in Format::ALL {
        assert_eq!(Format::parse(format.as_str()), Some(format));
        assert_eq!(Format::parse(&format.as_str().to_uppercase()), Some(format));
    }
    assert_eq!(Format::parse("text/plain"), None);
}
