//! What opening a data directory checks, and what its files never show.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use dm_protocol::{Account, ClientAuth, DevId, Nonces, Scheme, ServerAuth};
use jiff::Timestamp;
use storage::{
    Device, DeviceStore, Embedded, ErrorKind, Inventory, TenantId,
    embedded::{OpenError, Options},
};

const PASSWORD: &str = "correct horse battery staple";

fn open(dir: &Path) -> Result<Embedded, OpenError> {
    Embedded::open(dir, &Options::default())
}

fn device(name: &str) -> Device {
    let client = ClientAuth::Password {
        scheme: Scheme::Md5,
        user: "secret user".into(),
        digest: *b"sixteen secrets!",
    };
    let server =
        ServerAuth { server_id: "secret server".into(), password: PASSWORD.into(), scheme: Scheme::Md5 };
    let nonces = Nonces { client: Some(b"a nonce unseen".to_vec()), ..Nonces::default() };
    Device {
        id: DevId::parse(name).unwrap(),
        ordinal: 0,
        account: Account { client, server: Some(server), nonces },
        tags: ["a visible tag".to_owned()].into(),
        added: Timestamp::UNIX_EPOCH,
        last_seen: None,
        inventory: Inventory::default(),
        fumo_root: None,
        dev_detail_read: None,
        notify_address: None,
    }
}

/// All files below a folder, with their octets.
fn files(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let octets = fs::read(&path).unwrap();
            found.push((path, octets));
        }
    }
    found
}

fn contains(octets: &[u8], text: &[u8]) -> bool {
    memchr::memmem::find(octets, text).is_some()
}

#[tokio::test]
async fn no_file_shows_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let tenant = TenantId::default();
    let store = open(dir.path()).unwrap();
    store.add(&tenant, &[device("IMEI:1")]).await.unwrap();
    let read = store.load(&tenant, &DevId::parse("IMEI:1").unwrap()).await.unwrap().unwrap();
    store.put(&tenant, read.revision, &read.value).await.unwrap();
    let check = || {
        let files = files(dir.path());
        assert!(
            files.iter().any(|(_, octets)| contains(octets, b"a visible tag")),
            "the search finds what is there"
        );
        let secrets: [&[u8]; 5] =
            [PASSWORD.as_bytes(), b"secret user", b"secret server", b"sixteen secrets!", b"a nonce unseen"];
        for (path, octets) in &files {
            for secret in secrets {
                assert!(!contains(octets, secret), "{} shows a secret", path.display());
            }
        }
    };
    check();
    drop(store);
    check();
    let store = open(dir.path()).unwrap();
    let again = store.load(&tenant, &read.value.id).await.unwrap().unwrap();
    assert_eq!(again.value, read.value, "what was sealed opens again");
}

#[test]
fn the_key_is_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let mode = fs::metadata(dir.path().join("key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn an_account_opens_only_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let tenant = TenantId::default();
    let store = open(dir.path()).unwrap();
    store.add(&tenant, &[device("IMEI:1")]).await.unwrap();
    drop(store);
    fs::write(dir.path().join("key"), [0; 32]).unwrap();
    let store = open(dir.path()).unwrap();
    let error = store.load(&tenant, &DevId::parse("IMEI:1").unwrap()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt);
}

#[test]
fn a_directory_is_open_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::InUse(_))));
    drop(store);
    open(dir.path()).unwrap();
}

#[test]
fn refuses_what_it_cannot_read_and_says_what_it_found() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage, &str); 4] = [
        (
            "a newer format",
            |dir| fs::write(dir.join("format"), "flotilla-data 2\n").unwrap(),
            "flotilla-data 2",
        ),
        ("no format", |dir| fs::remove_file(dir.join("format")).unwrap(), "no format file"),
        ("no key", |dir| fs::remove_file(dir.join("key")).unwrap(), "key"),
        ("a cut key", |dir| fs::write(dir.join("key"), [1; 7]).unwrap(), "key"),
    ];
    for (what, damage, said) in cases {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        damage(dir.path());
        let error = open(dir.path()).expect_err(what);
        assert!(error.to_string().contains(said), "{what}: {error}");
    }
}

#[test]
fn a_first_opening_cut_short_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    // Killed after the key and before the format.
    fs::write(dir.path().join("key"), [1; 32]).unwrap();
    fs::write(dir.path().join("key.new"), [1; 7]).unwrap();
    fs::write(dir.path().join("format.new"), "flot").unwrap();
    drop(open(dir.path()).unwrap());
    assert_eq!(fs::read(dir.path().join("key")).unwrap(), [1; 32], "the key that is there stays");
    open(dir.path()).unwrap();
}
