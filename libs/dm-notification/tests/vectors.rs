//! Notifications with known octets.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use dm_notification::{Initiator, Notification, ParseError, Received, ServerKey, UiMode, Version, push};
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

struct Vector {
    source: &'static str,
    server: (&'static str, &'static str),
    nonce: &'static str,
    notification: Notification<'static>,
    octets: &'static str,
}

fn vectors() -> Vec<Vector> {
    let worked = Notification::new("dm.example.org", 0x2a).unwrap().with_ui_mode(UiMode::Background);
    let with = |nonce, octets| Vector {
        source: "worked by hand from DM Notification 1.2, sections 5 and 6",
        server: ("dm.example.org", "Quarry-7s"),
        nonce,
        notification: worked,
        octets,
    };
    vec![
        with(
            "A0A1A2A3A4A5A6A7A8A9AAABACADAEAF",
            "332011F6617CC9A665D4A910BF8733EC 02D800000000 2A0E646D2E6578616D706C652E6F7267",
        ),
        with("00000000", "7D5D7F7C925C88C72543F8237713966C 02D800000000 2A0E646D2E6578616D706C652E6F7267"),
        with(
            "30783030303030303030",
            "ABA64D191990647E70709EEC75619863 02D800000000 2A0E646D2E6578616D706C652E6F7267",
        ),
        Vector {
            source: "digest accepted by the Intel and Motorola clients",
            server: ("holdout", "srvpwd"),
            nonce: "",
            notification: Notification::new("holdout", 1)
                .unwrap()
                .with_ui_mode(UiMode::Background)
                .with_version(Version::V1_2),
            octets: "ecf1172070cd6e9491bea5abcc3c6eca 0318000000000107 686f6c646f7574",
        },
        Vector {
            source: "digest accepted by the Intel client: a colon in the password, a NUL in the nonce",
            server: ("com.example.dm", "p4ss:word"),
            nonce: "0001feff0062696e617279",
            notification: Notification::new("com.example.dm", 7)
                .unwrap()
                .with_ui_mode(UiMode::Interaction)
                .with_version(Version::V1_2)
                .with_initiator(Initiator::Client),
            octets: "146333fa78be7641497b1c51f4500b6c 033000000000070e 636f6d2e6578616d706c652e646d",
        },
    ]
}

#[test]
fn known_notifications_are_built_and_read() {
    for Vector { source, server, nonce, notification, octets } in vectors() {
        let (key, nonce, octets) = (ServerKey::derive(server.0, server.1), hex(nonce), hex(octets));
        assert_eq!(notification.encode(&key, &nonce), octets, "{source}");
        let received = Received::parse(&octets).unwrap();
        assert_eq!(received.notification, notification, "{source}");
        assert!(received.verify(&key, &nonce), "{source}");
        assert!(!received.verify(&key, b"another nonce"), "{source}");
        assert!(!received.verify(&ServerKey::derive(server.0, "guessed"), &nonce), "{source}");
    }
}

#[test]
fn a_frame_seen_in_the_field_is_read() {
    // Sent by a network's server to a phone; the key is not known.
    let framed = hex("01 06 03 C4 AF 87 109E2E4D1EE2B383A6E183BA4BE2CA14 02E8000000 66E9 06 737072696E74");
    let received = Received::parse(push::parse(&framed).unwrap().notification).unwrap();
    let Notification { version, ui_mode, initiator, session_id, server_id, vendor } = received.notification;
    assert_eq!((version, ui_mode, initiator), (Version::V1_1, UiMode::Informative, Initiator::Server));
    assert_eq!((session_id, server_id, vendor), (0x66E9, "sprint", &[][..]));
    assert_eq!(received.notification.session_id_text(), "66E9");
    assert_eq!(push::encode(1, push::parse(&framed).unwrap().notification), framed);
}

#[test]
fn an_sms_begins_with_the_ports_and_the_frame() {
    let whole = hex(
        "0605040B84C002 010603C4AF87 332011F6617CC9A665D4A910BF8733EC 02D8000000002A0E 646D2E6578616D706C652E6F7267",
    );
    let octets = [&push::SMS_HEADER[..], &push::encode(1, &whole[13..])].concat();
    assert_eq!(octets, whole);
    assert_eq!((octets.len(), push::PORT), (51, 0x0B84));
    assert_eq!(octets[3..5], push::PORT.to_be_bytes());
}

#[test]
fn errors_say_what_was_expected_where() {
    let whole = Notification::new("server", 1).unwrap().encode(&ServerKey::derive("server", "p"), b"");
    let changed = |at: usize, octet: u8| {
        let mut octets = whole.clone();
        octets[at] = octet;
        octets
    };
    let mut no_session = changed(22, 0);
    no_session[21] = 0;
    for (octets, want) in [
        (whole[..3].to_vec(), "expected a digest of 16 octets at byte 3, got the end"),
        (whole[..20].to_vec(), "expected a trigger's header of 8 octets at byte 20, got the end"),
        (changed(23, 7), "expected the rest of the server id at byte 30, got the end"),
        (changed(23, 0), "expected a server id of 1 to 255 octets at byte 23, got none"),
        (changed(25, 0xff), "expected a server id of UTF-8 at byte 25, got other octets"),
        (no_session, "expected a session id from 1 to 65535 at byte 21, got 0"),
    ] {
        assert_eq!(Received::parse(&octets).unwrap_err().to_string(), want);
    }
    for (octets, at) in [(&[1, 7, 3][..], 1), (&[1, 6, 2], 2), (&[1, 6, 3, 0x30, 0xAF, 0x87], 3)] {
        let error = push::parse(octets).unwrap_err();
        assert!(matches!(error, ParseError::Unexpected { at: found, .. } if found == at), "{error}");
    }
    for (id, session) in [("", 1), (&*"x".repeat(256), 1), ("x", 0)] {
        assert!(Notification::new(id, session).is_err());
    }
}

proptest! {
    #[test]
    fn what_is_built_is_read_again(
        server_id in "[ -~]{1,60}",
        session_id in 1_u16..,
        ui_mode in prop::sample::select(&UiMode::ALL[..]),
        version in prop::sample::select(&[Version::V1_0, Version::V1_1, Version::V1_2][..]),
        initiator in prop::sample::select(&[Initiator::Client, Initiator::Server][..]),
        vendor in prop::collection::vec(any::<u8>(), 0..20),
        nonce in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let key = ServerKey::derive(&server_id, "password");
        let mut notification = Notification::new(&server_id, session_id).unwrap()
            .with_ui_mode(ui_mode).with_version(version).with_initiator(initiator);
        notification.vendor = &vendor;
        let octets = notification.encode(&key, &nonce);
        let received = Received::parse(&octets).unwrap();
        prop_assert_eq!(received.notification, notification);
        prop_assert!(received.verify(&key, &nonce));
    }

    #[test]
    fn one_changed_bit_is_noticed(at in 0_usize..30, bit in 0_u8..8) {
        let key = ServerKey::derive("server", "password");
        let mut octets = Notification::new("server", 0x1234).unwrap().encode(&key, b"nonce");
        octets[at] ^= 1 << bit;
        prop_assert!(!Received::parse(&octets).is_ok_and(|received| received.verify(&key, b"nonce")));
    }

    #[test]
    fn any_octets_are_read_or_refused(octets in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(push) = push::parse(&octets) {
            let _ = Received::parse(push.notification);
        }
        let _ = Received::parse(&octets);
    }
}
