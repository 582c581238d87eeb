use super::{RACERS, assert_kind, at, dev_id, device, fresh_tenant, race};
use crate::{
    Device, DeviceStore, ErrorKind, InventoryRow,
    seal::{KeyId, reseal},
};

/// The laws of [`DeviceStore`].
pub async fn device_store_laws(store: &dyn DeviceStore) {
    a_device_is_read_as_added(store).await;
    ordinals_are_dense_also_when_adds_race(store).await;
    a_stale_write_is_refused(store).await;
    one_of_many_racing_writes_wins(store).await;
    devices_come_in_order_by_pages(store).await;
    tenants_are_apart(store).await;
    sealing_anew_reaches_every_device_and_changes_none(store).await;
}

async fn sealing_anew_reaches_every_device_and_changes_none(store: &dyn DeviceStore) {
    const DEVICES: u32 = 7;
    let tenant = fresh_tenant("device-sealed");
    let added: Vec<Device> = (0..DEVICES).map(|number| device(&format!("IMEI:{number}"))).collect();
    store.add(&tenant, &added).await.unwrap();
    let before = store.scan(&tenant, 0, 100).await.unwrap();
    let (mut looked_at, mut from) = (Vec::new(), Some(0));
    while let Some(at) = from {
        let page = store.sealed(&tenant, at, 3).await.unwrap();
        looked_at.extend(page.devices);
        from = page.next;
    }
    let names: Vec<_> = before.iter().map(|device| (device.ordinal, device.id.clone())).collect();
    let seen: Vec<_> = looked_at.iter().map(|(ordinal, id, _)| (*ordinal, id.clone())).collect();
    assert_eq!(seen, names, "the pages show every device once, in the order of ordinals");

    let newest = looked_at[0].2.key;
    let again = reseal(store, &tenant, newest, 0, 100).await.unwrap();
    assert_eq!((again.resealed, again.next), (0, None), "what has the newest key is left alone");
    // A key that nothing is sealed with, so that every device is written again.
    let all = reseal(store, &tenant, KeyId(u32::MAX), 0, 4).await.unwrap();
    assert_eq!((all.resealed, all.next), (4, Some(4)));
    assert_eq!(all.found[&newest], 4);
    assert_eq!(store.scan(&tenant, 0, 100).await.unwrap(), before, "sealing anew changes no device");
}

async fn a_device_is_read_as_added(store: &dyn DeviceStore) {
    let tenant = fresh_tenant("device-read");
    let mut added = device("IMEI:490154203237518");
    added.ordinal = 77;
    added.inventory.more.insert("DevDetail/Ext/Slot".into(), "ä".into());
    assert!(store.load(&tenant, &added.id).await.unwrap().is_none(), "an unknown device is not there");
    assert_eq!(store.count(&tenant).await.unwrap(), 0);
    assert_eq!(store.add(&tenant, &[]).await.unwrap(), Vec::<Option<u32>>::new());
    assert_eq!(store.add(&tenant, std::slice::from_ref(&added)).await.unwrap(), [Some(0)]);
    added.ordinal = 0;
    let read = store.load(&tenant, &added.id).await.unwrap().unwrap();
    assert_eq!(read.value, added, "a device is read as added, its ordinal given by the store");

    let mut changed = added.clone();
    changed.last_seen = Some(at(5));
    changed.account.nonces.client = Some(vec![9; 16]);
    let seen = store.put(&tenant, read.revision, &changed).await.unwrap();
    assert!(seen > read.revision, "a revision grows with every write");
    assert_eq!(store.load(&tenant, &added.id).await.unwrap().unwrap().value, changed);
    changed.inventory.firmware = "2.0".into();
    changed.tags.clear();
    changed.fumo_root = Some("FwUpdate/Pkg".into());
    changed.dev_detail_read = Some(at(6));
    changed.notify_address = Some("sms:+15550100".parse().unwrap());
    let put = store.put(&tenant, seen, &Device { ordinal: 5, ..changed.clone() }).await.unwrap();
    let read = store.load(&tenant, &added.id).await.unwrap().unwrap();
    assert_eq!(read.value, changed, "all parts of a device are written, and its ordinal never");
    assert_eq!(read.revision, put);
    assert_eq!(store.scan(&tenant, 0, 10).await.unwrap(), std::slice::from_ref(&changed));
    changed.notify_address = None;
    store.put(&tenant, put, &changed).await.unwrap();
    assert_eq!(store.list(&tenant, None, 10).await.unwrap(), [changed], "an address can be taken away");
}

async fn ordinals_are_dense_also_when_adds_race(store: &dyn DeviceStore) {
    let tenant = fresh_tenant("device-ordinals");
    let batches: Vec<Vec<Device>> = (0..RACERS)
        .map(|racer| {
            // Each batch has a name of its own twice, and one that all batches have.
            let own = |number: usize| device(&format!("IMEI:{racer}-{number}"));
            vec![own(0), own(1), own(0), device("IMEI:common")]
        })
        .collect();
    let results = race(batches.iter().map(|batch| store.add(&tenant, batch)).collect()).await;
    let mut given: Vec<(u32, &str)> = Vec::new();
    for (batch, result) in batches.iter().zip(results) {
        let ordinals = result.unwrap();
        assert_eq!(ordinals.len(), batch.len(), "there is an answer for each device");
        assert_eq!(ordinals[2], None, "a name that came before in the same call is taken");
        let named = ordinals.iter().zip(batch);
        given.extend(named.filter_map(|(ordinal, device)| Some(((*ordinal)?, device.id.as_str()))));
    }
    given.sort_unstable();
    let ordinals: Vec<u32> = given.iter().map(|(ordinal, _)| *ordinal).collect();
    let dense: Vec<u32> = (0..2 * RACERS as u32 + 1).collect();
    assert_eq!(ordinals, dense, "ordinals are dense and each is given once");
    assert_eq!(store.count(&tenant).await.unwrap(), dense.len() as u32);
    for (ordinal, name) in given {
        assert_eq!(store.name(&tenant, ordinal).await.unwrap(), Some(dev_id(name)));
        assert_eq!(store.load(&tenant, &dev_id(name)).await.unwrap().unwrap().value.ordinal, ordinal);
    }
    assert_eq!(store.name(&tenant, dense.len() as u32).await.unwrap(), None);
    let asked = [3, dense.len() as u32, 0, 3];
    let mut named = Vec::new();
    for ordinal in asked {
        named.push(store.name(&tenant, ordinal).await.unwrap());
    }
    assert_eq!(store.names(&tenant, &asked).await.unwrap(), named, "names come in the order asked for");
}

async fn a_stale_write_is_refused(store: &dyn DeviceStore) {
    let tenant = fresh_tenant("device-stale");
    let mut device = device("IMEI:1");
    store.add(&tenant, std::slice::from_ref(&device)).await.unwrap();
    let first = store.load(&tenant, &device.id).await.unwrap().unwrap().revision;
    device.last_seen = Some(at(1));
    store.put(&tenant, first, &device).await.unwrap();
    device.last_seen = Some(at(2));
    let stale = store.put(&tenant, first, &device).await;
    assert_kind(stale, ErrorKind::Conflict, "a stale revision is refused");
    let read = store.load(&tenant, &device.id).await.unwrap().unwrap().value;
    assert_eq!(read.last_seen, Some(at(1)), "a refused write wrote nothing");
    device.id = dev_id("IMEI:unknown");
    assert_kind(
        store.put(&tenant, first, &device).await,
        ErrorKind::Conflict,
        "an unknown device cannot be put",
    );
    assert!(store.load(&tenant, &device.id).await.unwrap().is_none());
}

async fn one_of_many_racing_writes_wins(store: &dyn DeviceStore) {
    let tenant = fresh_tenant("device-race");
    store.add(&tenant, &[device("IMEI:1")]).await.unwrap();
    for round in 0..10 {
        let read = store.load(&tenant, &dev_id("IMEI:1")).await.unwrap().unwrap();
        let versions: Vec<Device> = (0..RACERS)
            .map(|racer| Device {
                last_seen: Some(at((round * RACERS + racer) as i64)),
                ..read.value.clone()
            })
            .collect();
        let results = race(versions.iter().map(|it| store.put(&tenant, read.revision, it)).collect()).await;
        let won: Vec<_> = results.iter().zip(&versions).filter(|(result, _)| result.is_ok()).collect();
        assert_eq!(won.len(), 1, "exactly one of racing writes wins");
        for lost in results.iter().filter_map(|result| result.as_ref().err()) {
            assert_eq!(lost.kind, ErrorKind::Conflict);
        }
        let after = store.load(&tenant, &dev_id("IMEI:1")).await.unwrap().unwrap();
        assert_eq!(&after.value, won[0].1, "the record is the winner's");
        assert_eq!(after.revision, *won[0].0.as_ref().unwrap());
    }
}

async fn devices_come_in_order_by_pages(store: &dyn DeviceStore) {
    let tenant = fresh_tenant("device-order");
    // Against the order of names, so that the two orders differ.
    let names: Vec<String> = (0..25).rev().map(|number| format!("IMEI:{number:03}")).collect();
    let devices: Vec<Device> = names.iter().map(|name| device(name)).collect();
    store.add(&tenant, &devices).await.unwrap();

    let mut listed: Vec<Device> = Vec::new();
    loop {
        let page = store.list(&tenant, listed.last().map(|last| &last.id), 10).await.unwrap();
        assert!(page.len() <= 10, "a page has no more than asked for");
        if page.is_empty() {
            break;
        }
        listed.extend(page);
    }
    let mut by_name: Vec<&str> = listed.iter().map(|device| device.id.as_str()).collect();
    by_name.sort_unstable();
    by_name.dedup();
    assert_eq!((by_name.len(), listed.len()), (25, 25), "pages of a list are all devices, each once");

    let mut scanned: Vec<Device> = Vec::new();
    let mut rows: Vec<InventoryRow> = Vec::new();
    for from in [0, 10, 20] {
        scanned.extend(store.scan(&tenant, from, 10).await.unwrap());
        rows.extend(store.scan_inventory(&tenant, from, 10).await.unwrap());
    }
    let by_ordinal: Vec<(u32, &str)> = scanned.iter().map(|it| (it.ordinal, it.id.as_str())).collect();
    let want: Vec<(u32, &str)> = (0..).zip(names.iter().map(String::as_str)).collect();
    assert_eq!(by_ordinal, want, "pages of a scan are all devices in the order of ordinals");
    let want: Vec<InventoryRow> = scanned.into_iter().map(InventoryRow::from).collect();
    assert_eq!(rows, want, "a scan of the inventory says the same");
    let everything = store.scan_inventory(&tenant, 0, 10_000).await.unwrap();
    assert_eq!(everything, want, "however large the page");
    assert_eq!(store.scan(&tenant, 0, 10_000).await.unwrap().len(), 25);
    assert_eq!(store.list(&tenant, None, 10_000).await.unwrap(), listed);
}

async fn tenants_are_apart(store: &dyn DeviceStore) {
    let (tenant, other) = (fresh_tenant("device-a"), fresh_tenant("device-b"));
    store.add(&tenant, &[device("IMEI:1"), device("IMEI:2")]).await.unwrap();
    assert!(store.load(&other, &dev_id("IMEI:1")).await.unwrap().is_none());
    assert_eq!(store.count(&other).await.unwrap(), 0);
    assert_eq!(store.name(&other, 0).await.unwrap(), None);
    assert!(store.list(&other, None, 10).await.unwrap().is_empty());
    assert!(store.scan(&other, 0, 10).await.unwrap().is_empty());
    assert_eq!(
        store.add(&other, &[device("IMEI:2")]).await.unwrap(),
        [Some(0)],
        "a tenant has its own ordinals"
    );
    let longer = crate::TenantId(format!("{tenant}x").into());
    assert!(store.list(&longer, None, 10).await.unwrap().is_empty(), "no tenant is the beginning of another");
}
