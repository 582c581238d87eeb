//! Any bytes are tokens or an error, and the reader always moves on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wbxml::Reader;

fuzz_target!(|bytes: &[u8]| {
    let mut reader = match Reader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return assert!(error.at() <= bytes.len()),
    };
    loop {
        let before = reader.at();
        match reader.next_token() {
            Ok(Some(_)) => assert!(reader.at() > before && reader.at() <= bytes.len()),
            Ok(None) => break assert_eq!(reader.at(), bytes.len()),
            Err(error) => break assert!(error.at() <= bytes.len()),
        }
    }
});
