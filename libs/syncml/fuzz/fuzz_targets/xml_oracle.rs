//! What is taken as XML is what quick-xml makes of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use syncml::{Encoding, Limits, decode, decode_by_quick_xml};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits::default();
    if let Ok(message) = decode(Encoding::Xml, bytes, &limits) {
        assert_eq!(decode_by_quick_xml(bytes, &limits), Ok(message));
    }
});
