//! Every stored form that was ever written can still be read: `tests/golden/` has a sample of each.
//!
//! A sample is the octets in hexadecimal. `GOLDEN_WRITE=1 cargo test -p storage-scylla golden` writes those that are
//! not there yet; one that is there is never written again.

use std::{borrow::Cow, env, fmt::Debug, fs, path::PathBuf};

use dm_protocol::{Account, ClientAuth, Nonces, Scheme, ServerAuth};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use storage::{Inventory, NotifyAddress, records};

use crate::{
    artifacts::ArtifactRecord,
    devices::{
        ordinals::Batch,
        record::{AccountRecord, InventoryRecord},
    },
};

fn at(second: i64) -> Timestamp {
    Timestamp::new(1_790_000_000 + second, 123_456_789).unwrap()
}

fn to_hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let text = text.trim();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The sample of a name, made of `octets` where there is none and writing is asked for.
fn sample(name: &str, octets: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.hex"));
    if !path.exists() && env::var_os("GOLDEN_WRITE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, to_hex(octets) + "\n").unwrap();
    }
    from_hex(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The sample still means `record`, what is written today still is the sample, and half of it is refused.
fn check<T: Serialize + Deserialize<'static> + Debug + PartialEq>(name: &str, record: &T) {
    let today = records::encode(record);
    // A record may borrow from it, and no name for that lifetime would read as well.
    let stored: &'static [u8] = sample(&format!("{name}-v{}", records::VERSION), &today).leak();
    assert_eq!(&records::decode::<T>("read sample", stored).unwrap(), record, "{name}");
    assert_eq!(to_hex(&today), to_hex(stored), "{name} is written otherwise: it needs a new version");
    for cut in 0..stored.len() {
        assert!(records::decode::<T>("read sample", &stored[..cut]).is_err(), "{name} cut at {cut}");
    }
}

#[test]
fn golden_devices_read_as_they_were_written() {
    check("account", &AccountRecord { last_seen: Some(at(1)), sealed: &[7; 40] });
    check("account-never-seen", &AccountRecord { last_seen: None, sealed: &[] });
    let client = ClientAuth::Password { scheme: Scheme::Basic, user: "user".into(), digest: [3; 16] };
    let server = ServerAuth { server_id: "flotilla".into(), password: "secret".into(), scheme: Scheme::Md5 };
    let nonces = Nonces { client: Some(vec![1]), client_previous: None, server: Some(vec![2, 3]) };
    check("account-opened", &Account { client, server: Some(server), nonces });
    let none = Account { client: ClientAuth::None, server: None, nonces: Nonces::default() };
    check("account-opened-none", &none);
    let inventory = Inventory {
        maker: "maker".into(),
        model: "model".into(),
        firmware: "fw".into(),
        software: "sw".into(),
        hardware: "hw".into(),
        dm_version: "1.2".into(),
        language: "en".into(),
        more: [("DevDetail/Ext/x".to_owned(), "y".to_owned())].into(),
    };
    let full = InventoryRecord {
        tags: Cow::Owned(["a".to_owned(), "b".to_owned()].into()),
        added: at(0),
        inventory: Cow::Owned(inventory),
        fumo_root: Some("FwUpdate/Pkg".into()),
        dev_detail_read: Some(at(2)),
        notify_address: Some(Cow::Owned(NotifyAddress::parse("udp://192.0.2.7:2948").unwrap())),
    };
    check("inventory", &full);
    let bare = InventoryRecord {
        tags: Cow::Owned([].into()),
        added: at(0),
        inventory: Cow::Owned(Inventory::default()),
        fumo_root: None,
        dev_detail_read: None,
        notify_address: None,
    };
    check("inventory-bare", &bare);
    check("batch", &Batch { start: 70_000, names: vec!["IMEI:1".to_owned(), "IMEI:2".to_owned()] });
}

#[test]
fn golden_artifacts_read_as_they_were_written() {
    let record = ArtifactRecord {
        size: 1 << 20,
        name: "image".into(),
        version: "2.0".into(),
        media_type: "application/octet-stream".into(),
        added: at(0),
    };
    check("artifact", &record);
}

#[test]
fn a_record_of_another_version_is_refused_by_name() {
    for (stored, want) in [(&[2, 0][..], "version 2"), (&[], "no octets"), (&[1], "broken")] {
        let error = records::decode::<ArtifactRecord>("read sample", stored).unwrap_err();
        let source = error.source.expect("a corrupt record says why").to_string();
        assert!(source.contains(want), "{source}");
    }
}
