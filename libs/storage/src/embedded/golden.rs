//! Every stored form that was ever written can still be read: `tests/golden/` has a sample of each.

use std::{borrow::Cow, fmt::Debug};

use campaign::{EventKind, Outcome, Phase};
use dm_objects::{agenda::FirmwareStage, outcome::ResultClass};
use dm_protocol::{Account, ClientAuth, DevId, Nonces, Scheme, ServerAuth};
use dm_tree::{Change, Format, Leaf};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    campaigns::StateRecord,
    devices::{AccountRecord, InventoryRecord},
    jobs::{EventRecord, JobRecord},
    requests::RequestRecord,
    snapshots::HeadRecord,
    starts::StartRecord,
    triggers::TriggerRecord,
};
use crate::{
    ArtifactMeta, Inventory, NotifyAddress, SnapshotId, TenantId,
    laws::golden::{self, to_hex},
    merkle,
    records::Number,
};

fn at(second: i64) -> Timestamp {
    Timestamp::new(1_790_000_000 + second, 123_456_789).unwrap()
}

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

fn check<T: Serialize + Deserialize<'static> + Debug + PartialEq>(name: &str, record: &T) {
    golden::check_record(FOLDER, name, record);
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
}

#[test]
fn golden_artifacts_read_as_they_were_written() {
    let meta = ArtifactMeta {
        digest: [5; 32],
        size: 1 << 20,
        name: "image".into(),
        version: "2.0".into(),
        media_type: "application/octet-stream".into(),
        added: at(0),
    };
    let path = format!("{FOLDER}/artifact-v1.hex");
    golden::check_form(path, &meta, &meta.encode(), |stored| ArtifactMeta::decode("read", [5; 32], stored));
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
    let path = format!("{FOLDER}/inventory-v2.hex");
    golden::check_form(path, &record, &record.encode(), |stored| InventoryRecord::decode("read", stored));
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
    let known = golden::sample(format!("{FOLDER}/pages-v1.hex"), &pages);
    assert_eq!(to_hex(&pages), to_hex(&known), "pages are written otherwise");
    let known = golden::sample(format!("{FOLDER}/pages-v1-root.hex"), &applied.root.0);
    assert_eq!(applied.root.0.to_vec(), known, "the id of a tree is another");
}
