//! What holds for every message, and for any bytes.

mod messages;

use proptest::prelude::*;
use syncml::{Command, DecodeError, Encoding, Limits, Message, Writer, decode, encode, json};

use messages::{message, octets_message};

const ENCODINGS: [Encoding; 2] = [Encoding::Xml, Encoding::Wbxml];

fn encoded(encoding: Encoding, message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode(encoding, message, &mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_encodings_of_a_message_decode_to_it(message in message()) {
        for encoding in ENCODINGS {
            let out = encoded(encoding, &message);
            let again = decode(encoding, &out, &Limits::default());
            prop_assert_eq!(again.as_ref(), Ok(&message), "{}", encoding);
        }
    }

    #[test]
    fn wbxml_also_keeps_octets(message in octets_message()) {
        let out = encoded(Encoding::Wbxml, &message);
        prop_assert_eq!(decode(Encoding::Wbxml, &out, &Limits::default()), Ok(message));
    }

    #[test]
    fn xml_is_written_for_octets_too_and_then_stays_as_it_is(message in octets_message()) {
        let once = encoded(Encoding::Xml, &message);
        let message = decode(Encoding::Xml, &once, &Limits::default()).unwrap();
        prop_assert_eq!(encoded(Encoding::Xml, &message), once);
    }

    #[test]
    fn an_owned_message_equals_the_borrowed_one(message in message()) {
        let out = encoded(Encoding::Xml, &message);
        let borrowed = decode(Encoding::Xml, &out, &Limits::default()).unwrap();
        let owned: Message<'static> = borrowed.clone().into_owned();
        prop_assert_eq!(owned, borrowed);
    }

    #[test]
    fn the_writer_knows_the_size_at_each_step(message in octets_message(), before in 0_usize..3) {
        for encoding in ENCODINGS {
            let mut out = vec![0xEE; before];
            let mut so_far = Message { hdr: message.hdr.clone(), body: syncml::SyncBody::default() };
            let mut writer = Writer::begin(encoding, &message.hdr, &mut out);
            for command in &message.body.commands {
                // Pushed and taken back: as if it had not been there.
                let (mark, size) = (writer.mark(), writer.size_if_finished(true));
                writer.push(command);
                writer.rollback(mark);
                prop_assert_eq!(writer.size_if_finished(true), size);
                writer.push(command);
                so_far.body.commands.push(command.clone());
                for is_final in [false, true] {
                    so_far.body.is_final = is_final;
                    prop_assert_eq!(writer.size_if_finished(is_final), encoded(encoding, &so_far).len());
                }
            }
            writer.finish(message.body.is_final);
            prop_assert_eq!(&out[before..], encoded(encoding, &message));
        }
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        for encoding in ENCODINGS {
            check_bounded(encoding, &bytes);
        }
    }

    #[test]
    fn a_damaged_message_is_a_message_or_an_error(
        message in message(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        length in any::<prop::sample::Index>(),
    ) {
        for encoding in ENCODINGS {
            let mut bytes = encoded(encoding, &message);
            for (index, octet) in &damage {
                *index.get_mut(&mut bytes) = *octet;
            }
            check_bounded(encoding, &bytes);
            check_bounded(encoding, &bytes[..length.index(bytes.len())]);
        }
    }

    #[test]
    fn a_message_that_is_cut_off_is_an_error(message in message(), cut in any::<prop::sample::Index>()) {
        for encoding in ENCODINGS {
            let bytes = encoded(encoding, &message);
            let cut = cut.index(bytes.len());
            let error = decode(encoding, &bytes[..cut], &Limits::default()).expect_err("half of a message");
            prop_assert!(error.at() <= cut && error.http_status() == 400, "{error} of {cut}");
        }
    }
}

/// Decodes under narrow limits, and checks that they hold for what comes of it.
fn check_bounded(encoding: Encoding, bytes: &[u8]) {
    let limits = Limits {
        message_bytes_max: 400,
        depth_max: 8,
        commands_max: 6,
        items_max: 6,
        text_bytes_max: 24,
        session_id_chars_max: 8,
        copied_bytes_max: 64,
    };
    match decode(encoding, bytes, &limits) {
        Ok(message) => {
            assert!(bytes.len() <= limits.message_bytes_max);
            let (commands, items) = count(&message.body.commands);
            assert!(commands <= limits.commands_max && items <= limits.items_max);
            assert!(message.hdr.session_id.chars().count() <= limits.session_id_chars_max);
            assert!(message.hdr.source.loc_uri.chars().count() <= limits.text_bytes_max);
            assert!(!json::to_json(&message).is_empty());
            // Whatever was taken is written, and taken again as the same.
            let out = encoded(Encoding::Wbxml, &message);
            assert_eq!(decode(Encoding::Wbxml, &out, &Limits::default()).as_ref(), Ok(&message));
        }
        Err(error) => {
            assert!(error.at() <= bytes.len(), "{error} in {} octets", bytes.len());
            assert!(matches!(error.http_status(), 400 | 413 | 415));
            if bytes.len() > limits.message_bytes_max {
                assert!(matches!(error, DecodeError::TooLarge { what: "octets of a message", .. }));
            }
        }
    }
}

fn count(commands: &[Command<'_>]) -> (usize, usize) {
    let mut found = (commands.len(), 0);
    for command in commands {
        let (inner, items) = match command {
            Command::Add(command)
            | Command::Copy(command)
            | Command::Delete(command)
            | Command::Exec(command)
            | Command::Get(command)
            | Command::Move(command)
            | Command::Put(command)
            | Command::Replace(command) => (0, command.items.len()),
            Command::Alert(command) => (0, command.items.len()),
            Command::Atomic(command) | Command::Sequence(command) => count(&command.commands),
            Command::Map(command) => (0, command.items.len()),
            Command::Results(command) => (0, command.items.len()),
            Command::Search(command) => (0, command.sources.len()),
            Command::Status(command) => {
                (0, command.items.len() + command.target_refs.len() + command.source_refs.len())
            }
            Command::Sync(command) => count(&command.commands),
        };
        found = (found.0 + inner, found.1 + items);
    }
    found
}
