//! Whatever is accepted is written, and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use syncml::{Encoding, Limits, Message, Writer, decode, encode};

/// What is written may be larger than what was read: `<a/>` becomes `<a></a>`.
const WIDE: Limits = Limits {
    message_bytes_max: usize::MAX,
    depth_max: 128,
    commands_max: usize::MAX,
    items_max: usize::MAX,
    text_bytes_max: usize::MAX,
    session_id_chars_max: usize::MAX,
    copied_bytes_max: usize::MAX,
};

fuzz_target!(|bytes: &[u8]| {
    let encoding = if bytes.first() == Some(&b'<') { Encoding::Xml } else { Encoding::Wbxml };
    let Ok(message) = decode(encoding, bytes, &Limits::default()) else { return };

    let wbxml = encoded(Encoding::Wbxml, &message);
    assert_eq!(decode(Encoding::Wbxml, &wbxml, &WIDE).as_ref(), Ok(&message));

    // XML makes base64 of octets; what it makes then stays as it is.
    let xml = encoded(Encoding::Xml, &message);
    let from_xml = decode(Encoding::Xml, &xml, &WIDE).expect("what is written can be read");
    assert_eq!(encoded(Encoding::Xml, &from_xml), xml);
    let wbxml = encoded(Encoding::Wbxml, &from_xml);
    assert_eq!(decode(Encoding::Wbxml, &wbxml, &WIDE).as_ref(), Ok(&from_xml));
});

/// The message, with the size that the writer foretells checked at each command.
fn encoded(encoding: Encoding, message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::begin(encoding, &message.hdr, &mut out);
    for command in &message.body.commands {
        let mark = writer.mark();
        let before = writer.size_if_finished(true);
        writer.push(command);
        writer.rollback(mark);
        assert_eq!(writer.size_if_finished(true), before);
        writer.push(command);
    }
    let size = writer.size_if_finished(message.body.is_final);
    writer.finish(message.body.is_final);
    assert_eq!(out.len(), size);
    let mut at_once = Vec::new();
    encode(encoding, message, &mut at_once);
    assert_eq!(out, at_once);
    out
}
