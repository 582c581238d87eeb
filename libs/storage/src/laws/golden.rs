//! Samples of stored forms: what was written once is read by every later program.
//!
//! A sample is a file that nothing writes again: `UPDATE_GOLDEN=1 cargo test -p <crate>` writes those that are not there yet.

use std::{fmt, fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{StoreError, records};

/// The octets of the sample at a path, made of `today` where there is none and writing is asked for. Where its name ends
/// in `.hex`, they stand in it as hexadecimal digits.
pub fn sample(path: impl AsRef<Path>, today: &[u8]) -> Vec<u8> {
    let path = path.as_ref();
    let is_hex = path.extension().is_some_and(|extension| extension == "hex");
    if !path.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
        let octets = if is_hex { (to_hex(today) + "\n").into_bytes() } else { today.to_vec() };
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, octets).unwrap();
    }
    let octets = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if is_hex { from_hex(std::str::from_utf8(&octets).unwrap()) } else { octets }
}

/// The sample still means `value`, what is written `today` still is the sample, and no part of it passes for the whole.
pub fn check_form<T: PartialEq + fmt::Debug, E: fmt::Debug>(
    path: impl AsRef<Path>,
    value: &T,
    today: &[u8],
    read: impl Fn(&'static [u8]) -> Result<T, E>,
) {
    let name = path.as_ref().display().to_string();
    // What is read may borrow from it, and no name for that lifetime would read as well.
    let stored: &'static [u8] = sample(&path, today).leak();
    assert_eq!(&read(stored).unwrap(), value, "{name}");
    assert_eq!(to_hex(today), to_hex(stored), "{name} is written otherwise: it needs a new version");
    for cut in 0..stored.len() {
        assert!(read(&stored[..cut]).is_err(), "{name} cut at {cut}");
    }
}

/// The same of a record in the form of [`crate::records`]: of the name in the folder, and the version.
pub fn check_record<T: Serialize + Deserialize<'static> + PartialEq + fmt::Debug>(
    folder: &str,
    name: &str,
    record: &T,
) {
    let path = format!("{folder}/{name}-v{}.hex", records::VERSION);
    check_form(path, record, &records::encode(record), |stored| -> Result<T, StoreError> {
        records::decode("read sample", stored)
    });
}

/// Octets as hexadecimal digits.
pub fn to_hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The octets that hexadecimal digits say.
pub fn from_hex(text: &str) -> Vec<u8> {
    let text = text.trim();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
