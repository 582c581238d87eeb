//! Every stored form that was ever written can still be read: `tests/golden/` has a sample of each.
//!
//! A sample is the octets in hexadecimal. `GOLDEN_WRITE=1 cargo test -p storage golden` writes those that are not there
//! yet; one that is there is never written again.

use std::{borrow::Cow, env, fmt::Debug, fs, path::PathBuf};

use campaign::{EventKind, Outcome, Phase};
use dm_objects::{agenda::FirmwareStage, outcome::ResultClass};
use dm_protocol::{Account, ClientAuth, DevId, Nonces, Scheme, ServerAuth};
use dm_tree::{Change, Format, Leaf};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    artifacts::ArtifactRecord,
    campaigns::StateRecord,
    devices::{AccountRecord, InventoryRecord},
    jobs::{EventRecord, JobRecord},
    requests::RequestRecord,
    snapshots::HeadRecord,
    starts::StartRecord,
    triggers::TriggerRecord,
};
use crate::{
    Inventory, NotifyAddress, SnapshotId, TenantId, merkle,
    records::{self, Number},
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

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.hex"))
}

/// The sample of a name, made of `octets` where there is none and writing is asked for.
fn sample(name: &str, octets: &[u8]) -> Vec<u8> {
    let path = path(name);
    if !path.exists() && env::var_os("GOLDEN_WRITE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, to_hex(octets) + "\n").unwrap();
    }
    from_hex(&fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The sample still means `record`, and what is written today still is the sample.
fn check<T: Serialize + Deserialize<'static> + Debug + PartialEq>(name: &str, record: &T) {
    let today = records::encode(record);
    // A record may borrow from it, and no name for that lifetime would read as well.
    let stored: &'static [u8] = sample(&format!("{name}-v{}", records::VERSION), &today).leak();
    assert_eq!(&records::decode::<T>("read sample", stored).unwrap(), record, "{name}");
    assert_eq!(to_hex(&today), to_hex(stored), "{name} is written otherwise: it needs a new version");
}

#[test]
fn golden_records_read_as_they_were_written() {
    check("number", &Number(300));
    check(
        "account",
        &AccountRecord { revision: 9, ordinal: 70_000, last_seen: Some(at(1)), sealed: &[7; 40] },
    );
    check("account-never-seen", &AccountRecord { revision: 1, ordinal: 0, last_seen: None, sealed: &[] });
    let client = ClientAuth::Password { scheme: Scheme::Basic, user: "user".into(), digest: [3; 16] };
    let server = ServerAuth { server_id: "flotilla".into(), password: "secret".into(), scheme: Scheme::Md5 };
    let nonces = Nonces { client: Some(vec![1]), client_previous: None, server: Some(vec![2, 3]) };
    let account = Account { client, server: Some(server), nonces };
    check("account-opened", &account);
    let none = Account { client: ClientAuth::None, server: None, nonces: Nonces::default() };
    check("account-opened-none", &none);
    check(
        "inventory",
        &InventoryRecord {
            id: Cow::Owned(DevId::parse("IMEI:1").unwrap()),
            tags: Cow::Owned(["a".to_owned(), "b".to_owned()].into()),
            added: at(0),
            inventory: Cow::Owned(Inventory {
                maker: "maker".into(),
                model: "model".into(),
                firmware: "fw".into(),
                software: "sw".into(),
                hardware: "hw".into(),
                dm_version: "1.2".into(),
                language: "en".into(),
                more: [("DevDetail/Ext/x".to_owned(), "y".to_owned())].into(),
            }),
            fumo_root: Some("FwUpdate/Pkg".into()),
            dev_detail_read: Some(at(2)),
            notify_address: None,
        },
    );
    check(
        "trigger",
        &TriggerRecord {
            tenant: TenantId::default(),
            device: DevId::parse("IMEI:1").unwrap(),
            campaign: 7,
            attempt: 2,
            asked: at(0),
            deadline: at(600),
            due: at(60),
            sent: 1,
        },
    );
    check("campaign-state", &StateRecord { revision: 2, state: vec![1, 2, 3] });
    let start = StartRecord { campaign: 7, members: vec![1, 2], state: vec![3] };
    check("start", &start);
    check("request", &RequestRecord { request: vec![1, 2], answer: Some(vec![3]) });
    check("head", &HeadRecord { root: SnapshotId([9; 20]), since: at(0), seen: at(60) });
    check(
        "artifact",
        &ArtifactRecord {
            size: 1 << 20,
            name: "image".into(),
            version: "2.0".into(),
            media_type: "application/octet-stream".into(),
            added: at(0),
        },
    );
}

#[test]
fn golden_inventories_with_an_address_read_as_they_were_written() {
    let record = InventoryRecord {
        id: Cow::Owned(DevId::parse("IMEI:1").unwrap()),
        tags: Cow::Owned(["a".to_owned()].into()),
        added: at(0),
        inventory: Cow::Owned(Inventory { firmware: "fw".into(), ..Inventory::default() }),
        fumo_root: None,
        dev_detail_read: None,
        notify_address: Some(Cow::Owned(NotifyAddress::parse("udp://192.0.2.7:2948").unwrap())),
    };
    let today = record.encode();
    let stored = sample("inventory-v2", &today);
    assert_eq!(InventoryRecord::decode("read sample", &stored).unwrap(), record);
    assert_eq!(to_hex(&today), to_hex(&stored), "it needs a new version");
}

#[test]
fn golden_jobs_and_events_read_as_they_were_written() {
    let job =
        |phase| JobRecord { campaign: 7, revision: 1 << 32, ordinal: 5, attempt: 1, phase, since: at(0) };
    let phases =
        [Phase::Waiting, Phase::Session(FirmwareStage::ExecSent), Phase::Running(FirmwareStage::Updating)];
    check("jobs", &phases.map(job).to_vec());
    let event = |kind| EventRecord {
        device: Some(DevId::parse("IMEI:1").unwrap()),
        ordinal: 5,
        attempt: 1,
        at: at(0),
        kind,
    };
    let outcome = Outcome::Failed { class: ResultClass::Transient, code: 410 };
    check("event-released", &event(EventKind::Released { wave: 2, after: Some(outcome) }));
    check("event-moved", &event(EventKind::Moved { phase: Phase::Running(FirmwareStage::Downloading) }));
    let (version, detail) = (Some("2.0".to_owned()), Some("Exec".to_owned()));
    check("event-ended", &event(EventKind::Ended { outcome, version, detail, retry_at: Some(at(9)) }));
    let of_campaign = |kind| EventRecord { device: None, ordinal: 0, attempt: 0, at: at(0), kind };
    check("event-started", &of_campaign(EventKind::Started { by: "me".into(), members: 3 }));
    check("event-finished", &of_campaign(EventKind::Finished));
}

#[test]
fn golden_pages_keep_their_octets_and_so_their_ids() {
    struct Nowhere;
    impl merkle::Pages for Nowhere {
        fn load(&self, _: SnapshotId) -> Result<Option<Vec<u8>>, crate::StoreError> {
            Ok(None)
        }
    }
    let leaf = |uri: &str, format, mime: Option<&str>, value: &[u8]| Change::Leaf {
        uri: uri.into(),
        leaf: Leaf { format, mime: mime.map(Into::into), value: value.into() },
    };
    let mut delta = vec![
        leaf("DevInfo/Man", Format::Chr, None, b"maker"),
        leaf("DevInfo/Icon", Format::Bin, Some("image/png"), &[0x89; 600]),
        leaf("Flags/Done", Format::Bool, None, b"true"),
        Change::Interior { uri: "DevInfo".into(), type_: Some("urn:oma:mo:oma-dm-devinfo:1.0".into()) },
    ];
    delta.extend((0..200).map(|it| leaf(&format!("Large/{it}"), Format::Int, None, b"a value of its own")));
    let applied = merkle::apply(&Nowhere, None, &delta, &merkle::Limits::default()).unwrap();
    let pages: Vec<u8> = applied.pages.iter().flat_map(|page| page.octets.clone()).collect();
    assert_eq!(to_hex(&pages), to_hex(&sample("pages-v1", &pages)), "pages are written otherwise");
    assert_eq!(
        applied.root.0.to_vec(),
        sample("pages-v1-root", &applied.root.0),
        "the id of a tree is another"
    );
}

#[test]
fn a_record_of_another_version_is_refused_by_name() {
    for (stored, want) in [(&[2, 0][..], "version 2"), (&[], "no octets"), (&[1], "broken")] {
        let error = records::decode::<Number>("read sample", stored).unwrap_err();
        let source = error.source.expect("a corrupt record says why").to_string();
        assert!(source.contains(want), "{source}");
    }
}
