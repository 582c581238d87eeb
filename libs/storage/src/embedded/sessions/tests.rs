use std::{fs, time::Duration};

use super::*;
use crate::laws::golden::from_hex;

const KEEP: Duration = Duration::from_secs(60);

fn files(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn reads_back_the_newest_record_of_each_session() {
    let dir = tempfile::tempdir().unwrap();
    let sessions = Sessions::open(dir.path()).unwrap();
    let first = sessions.shared.put(b"a", None, b"one", KEEP).unwrap().unwrap();
    let second = sessions.shared.put(b"a", Some(first), b"two", KEEP).unwrap().unwrap();
    sessions.shared.put(b"b", None, b"other", KEEP).unwrap().unwrap();
    drop(sessions);

    let sessions = Sessions::open(dir.path()).unwrap();
    let found = sessions.shared.load(b"a").unwrap().unwrap();
    assert_eq!((found.value.as_slice(), found.revision), (&b"two"[..], second));
    assert_eq!(sessions.shared.load(b"b").unwrap().unwrap().value, b"other");
    assert!(sessions.shared.put(b"a", Some(first), b"three", KEEP).unwrap().is_none());
    assert!(sessions.shared.put(b"a", Some(second), b"three", KEEP).unwrap().unwrap() > second);
}

#[test]
fn a_cut_or_changed_record_ends_its_file_and_hurts_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let sessions = Sessions::open(dir.path()).unwrap();
    let written = sessions.shared.put(b"a", None, b"whole", KEEP).unwrap().unwrap();
    sessions.shared.put(b"a", Some(written), b"cut in the middle", KEEP).unwrap().unwrap();
    drop(sessions);
    let path = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let octets = fs::read(&path).unwrap();

    for damage in [octets.len() - 1, octets.len() - 20] {
        fs::write(&path, &octets[..damage]).unwrap();
        let sessions = Sessions::open(dir.path()).unwrap();
        assert_eq!(sessions.shared.load(b"a").unwrap().unwrap().value, b"whole", "cut at {damage}");
    }
    let mut changed = octets.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&path, changed).unwrap();
    let sessions = Sessions::open(dir.path()).unwrap();
    assert_eq!(sessions.shared.load(b"a").unwrap().unwrap().value, b"whole");
}

#[test]
fn what_has_expired_is_not_returned_and_its_files_go() {
    let dir = tempfile::tempdir().unwrap();
    let sessions = Sessions::open(dir.path()).unwrap();
    let short = Duration::from_millis(20);
    for key in 0..64_u8 {
        sessions.shared.put(&[key], None, &[key; 100], short).unwrap().unwrap();
    }
    assert!(files(dir.path()) > 0);
    std::thread::sleep(short * 2);
    assert!(sessions.shared.load(&[1]).unwrap().is_none());
    assert!(sessions.shared.put(&[1], None, b"again", KEEP).unwrap().is_some(), "its place is free");
    sessions.shared.sweep();
    assert_eq!(files(dir.path()), 1, "only the file of the session that is alive is left");
}

/// A file of three records that never expire, two of one session, as version 1 wrote it.
const GOLDEN: &str = include_str!("../../../tests/golden/sessions-v1.hex");

#[test]
fn golden_a_file_of_version_1_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("0000000000000003.ses"), from_hex(GOLDEN)).unwrap();
    let sessions = Sessions::open(dir.path()).unwrap();
    assert_eq!(sessions.shared.load(b"a").unwrap().unwrap().value, b"two");
    let other = sessions.shared.load(b"b").unwrap().unwrap();
    assert_eq!((other.value.as_slice(), other.revision), (&b"other"[..], Revision(12)));
    sessions.shared.put(b"c", None, b"new", KEEP).unwrap().unwrap();
    assert_eq!(files(dir.path()), 2, "a file that was read back is not written to");
}
