//! Every stored form that was ever written can still be read: `tests/golden/` has a sample of each.

use std::{borrow::Cow, fmt::Debug};

use dm_protocol::{Account, ClientAuth, Nonces, Scheme, ServerAuth};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use storage::{ArtifactMeta, Inventory, NotifyAddress, laws::golden};

use crate::devices::{
    ordinals::Batch,
    record::{AccountRecord, InventoryRecord},
};

fn at(second: i64) -> Timestamp {
    Timestamp::new(1_790_000_000 + second, 123_456_789).unwrap()
}

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

fn check<T: Serialize + Deserialize<'static> + Debug + PartialEq>(name: &str, record: &T) {
    golden::check_record(FOLDER, name, record);
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
