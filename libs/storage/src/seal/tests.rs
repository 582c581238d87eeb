use std::fs;

use super::*;
use crate::laws::golden::{from_hex, to_hex};

const OLD: [u8; KEY_LEN] = [1; KEY_LEN];
const NEW: [u8; KEY_LEN] = [2; KEY_LEN];

fn ring(keys: &[(u32, [u8; KEY_LEN])]) -> KeyRing {
    KeyRing::from_keys(&keys.iter().map(|(id, key)| (KeyId(*id), *key)).collect::<Vec<_>>()).unwrap()
}

fn line(id: u32, key: [u8; KEY_LEN]) -> String {
    let hex = to_hex(&key);
    format!("{id}:{hex}\n")
}

#[test]
fn every_key_of_the_ring_opens_and_the_last_one_seals() {
    let old = ring(&[(7, OLD)]);
    let sealed = old.seal(b"secret", b"device").unwrap();
    let both = ring(&[(7, OLD), (8, NEW)]);
    assert_eq!(*both.open(&sealed, b"device").unwrap(), b"secret");
    assert_eq!(both.key_of(&sealed, b"device").unwrap().key, KeyId(7));
    let anew = both.seal(b"secret", b"device").unwrap();
    assert_eq!(both.key_of(&anew, b"device").unwrap(), Sealing { key: KeyId(8), is_current_form: true });
    assert!(matches!(old.open(&anew, b"device"), Err(SealError::UnknownKey(KeyId(8)))));
}

#[test]
fn a_sealed_text_opens_nowhere_else_and_not_after_any_change() {
    let ring = ring(&[(7, OLD), (8, OLD)]);
    let sealed = ring.seal(b"secret", b"device").unwrap();
    assert!(matches!(ring.open(&sealed, b"other"), Err(SealError::Refused)));
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        // The id becomes that of the other key too, which is the same key: the head is bound in.
        changed[at] ^= if at == 4 { 8 ^ 7 } else { 1 };
        assert!(ring.open(&changed, b"device").is_err(), "octet {at}");
    }
    for len in 0..sealed.len() {
        assert!(ring.open(&sealed[..len], b"device").is_err(), "{len} octets");
    }
}

#[test]
fn texts_sealed_before_keys_had_ids_still_open() {
    // Written by the first release: key 05..05, bound to "t/d", text "account of before".
    let sealed = from_hex(include_str!("../../tests/golden/sealed-v0.hex"));
    let ring = ring(&[(0, [5; KEY_LEN]), (1, NEW)]);
    assert_eq!(*ring.open(&sealed, b"t/d").unwrap(), b"account of before");
    assert_eq!(ring.key_of(&sealed, b"t/d").unwrap(), Sealing { key: KeyId::OWN, is_current_form: false });
}

#[test]
fn envelopes_of_version_1_still_open() {
    // Key 9 is 06..06, bound to "t/d", text "account of today".
    let sealed = from_hex(include_str!("../../tests/golden/sealed-v1.hex"));
    assert_eq!(*ring(&[(9, [6; KEY_LEN])]).open(&sealed, b"t/d").unwrap(), b"account of today");
}

#[test]
fn a_key_file_is_read_again_when_another_process_seals_with_a_newer_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    fs::write(&path, format!("# keys\n\n{}", line(1, OLD))).unwrap();
    let (ours, others) = (KeyRing::from_file(&path).unwrap(), KeyRing::from_file(&path).unwrap());
    fs::write(&path, line(1, OLD) + &line(2, NEW)).unwrap();
    assert!(others.reload().unwrap());
    assert!(!others.reload().unwrap());
    let sealed = others.seal(b"secret", b"device").unwrap();
    assert_eq!(ours.newest(), KeyId(1));
    assert_eq!(*ours.open(&sealed, b"device").unwrap(), b"secret");
    assert_eq!(ours.newest(), KeyId(2));

    fs::write(&path, "no key\n").unwrap();
    assert!(ours.reload().is_err());
    assert_eq!(*ours.open(&sealed, b"device").unwrap(), b"secret", "the keys of before stay");
}

#[test]
fn a_new_key_line_is_a_key_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    let lines = [1, 2].map(|id| new_key_line(KeyId(id)).unwrap());
    assert_ne!(lines[0][2..], lines[1][2..]);
    fs::write(&path, lines.map(|line| format!("{}\n", *line)).concat()).unwrap();
    assert_eq!(KeyRing::from_file(&path).unwrap().ids(), [KeyId(1), KeyId(2)]);
}

#[test]
fn a_key_file_that_is_wrong_says_where_and_never_what() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    let good = line(1, OLD);
    for (text, want) in [
        (String::new(), "has no key"),
        ("# nothing\n".to_owned(), "has no key"),
        (format!("{good}\n{good}"), "line 3: a key of this id stands above"),
        (line(0, OLD), "line 1: expected an id from 1 on"),
        ("1".to_owned(), "line 1: expected id:key"),
        (format!("x{good}"), "line 1: expected a number as the id"),
        ("1:abcd".to_owned(), "line 1: expected a key of 64 hexadecimal digits"),
        (good.replace("01", "0x"), "line 1: expected hexadecimal digits"),
    ] {
        fs::write(&path, &text).unwrap();
        let error = KeyRing::from_file(&path).unwrap_err().to_string();
        assert!(error.contains(want), "{error} for {text:?}");
        assert!(!error.contains("0101") && !error.contains("abcd"), "{error}");
    }
    assert!(matches!(KeyRing::from_file(&dir.path().join("none")), Err(KeyError::Io { .. })));
    assert!(KeyRing::from_keys(&[]).is_none());
}
