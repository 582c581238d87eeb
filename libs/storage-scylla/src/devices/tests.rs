//! What a process that died in the middle of adding or writing devices leaves, and who carries it through.

use std::collections::HashMap;

use dm_protocol::{Account, ClientAuth, DevId, Nonces, Scheme};
use service_kit::settings::Span;
use storage::{Device, DeviceStore as _, Inventory, KeyRing, TenantId, laws, seal::KeyId};

use super::{ScyllaDevices, ordinals::Batch, record::encode_inventory};
use crate::{Replication, Scylla, ScyllaSettings, schema};

fn device(name: &str) -> Device {
    let client = ClientAuth::Password { scheme: Scheme::Md5, user: name.into(), digest: [7; 16] };
    let nonces = Nonces { client: None, client_previous: None, server: None };
    Device {
        id: DevId::parse(name).unwrap(),
        ordinal: 0,
        account: Account { client, server: None, nonces },
        tags: ["lab".to_owned()].into(),
        added: jiff::Timestamp::UNIX_EPOCH,
        last_seen: None,
        inventory: Inventory { model: "One".into(), ..Inventory::default() },
        fumo_root: None,
        dev_detail_read: None,
        notify_address: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_process_left_is_carried_through() {
    let Some(address) = laws::test_server("FLOTILLA_TEST_CASSANDRA") else { return };
    let settings = ScyllaSettings {
        contact_points: address.split(',').map(str::to_owned).collect(),
        keyspace: format!("t_crash_{:x}", jiff::Timestamp::now().as_microsecond()),
        replication: Replication::Everywhere(1),
        request_timeout: Span::of_ms(20_000),
        connect_timeout: Span::of_ms(20_000),
        ..ScyllaSettings::default()
    };
    schema::apply(&settings).await.unwrap();
    let scylla = Scylla::connect(&settings).await.unwrap();
    let outcome = tokio::spawn(crashes(scylla)).await;
    schema::drop_keyspace(&settings).await.unwrap();
    outcome.unwrap();
}

async fn crashes(scylla: Scylla) {
    let keys = KeyRing::from_keys(&[(KeyId(1), [7; 32])]).unwrap();
    let devices = ScyllaDevices::new(scylla, keys);
    let tenant = TenantId::default();
    let named: Vec<Device> = ["a", "b", "c", "d"].map(device).to_vec();

    // Claimed, and died: in no batch.
    for device in &named[..2] {
        devices.claim("test", &tenant, device, &encode_inventory(device)).await.unwrap();
    }
    assert_eq!(devices.count(&tenant).await.unwrap(), 0);
    let loaded = devices.load(&tenant, &named[0].id).await.unwrap().unwrap();
    assert_eq!(loaded.value.ordinal, 0, "who loads it gives it its ordinal");
    let added = devices.add(&tenant, &named[1..3]).await.unwrap();
    assert_eq!(added[0], None, "a claimed name is taken");
    let mut ordinals = HashMap::new();
    for device in &named[..3] {
        let ordinal = devices.load(&tenant, &device.id).await.unwrap().unwrap().value.ordinal;
        ordinals.insert(ordinal, device.id.clone());
        assert_eq!(devices.name(&tenant, ordinal).await.unwrap().as_ref(), Some(&device.id));
    }
    assert_eq!(ordinals.len(), 3, "each has its own");
    assert_eq!(added[1], ordinals.iter().find(|(_, id)| **id == named[2].id).map(|(ordinal, _)| *ordinal));

    // In a batch, and died before a device was written.
    devices.claim("test", &tenant, &named[3], &encode_inventory(&named[3])).await.unwrap();
    let sequence = devices.sequence("test", &tenant).await.unwrap();
    let batch = Batch { start: sequence.next, names: vec!["d".to_owned()] };
    devices.move_on("test", &tenant, &sequence, Some(&batch)).await.unwrap().unwrap();
    assert_eq!(devices.name(&tenant, 3).await.unwrap(), None);
    assert_eq!(devices.count(&tenant).await.unwrap(), 4);
    assert_eq!(devices.name(&tenant, 3).await.unwrap(), Some(named[3].id.clone()), "counted, so it is there");
    assert!(devices.sequence("test", &tenant).await.unwrap().pending.is_none());
    let whole = devices.scan_inventory(&tenant, 0, 10).await.unwrap();
    assert_eq!(whole.iter().map(|row| row.ordinal).collect::<Vec<_>>(), [0, 1, 2, 3]);
}
