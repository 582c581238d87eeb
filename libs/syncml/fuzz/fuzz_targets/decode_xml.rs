//! Any bytes are a message or an error, as XML.
#![no_main]

use libfuzzer_sys::fuzz_target;
use syncml::{Encoding, Limits, decode, json};

fuzz_target!(|bytes: &[u8]| {
    match decode(Encoding::Xml, bytes, &Limits::default()) {
        Ok(message) => {
            assert!(!json::to_json(&message).is_empty());
            assert_eq!(message.clone().into_owned(), message);
        }
        Err(error) => assert!(error.at() <= bytes.len() && matches!(error.http_status(), 400 | 413 | 415)),
    }
});
