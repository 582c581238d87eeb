use std::sync::Arc;

use dm_protocol::DevId;
use jiff::Timestamp;
use storage::{Revision, TenantId, Versioned};

use crate::{
    hot::{Claim, Hot, HotDevices, HotPut, HotRecord},
    marks::WorkMarks,
};

fn fresh_tenant(name: &str) -> TenantId {
    TenantId(Arc::from(format!("{name}-{:x}", Timestamp::now().as_nanosecond())))
}

fn dev_id(name: &str) -> DevId {
    DevId::parse(name).unwrap()
}

/// The laws of [`WorkMarks`].
pub async fn work_marks_laws(marks: &dyn WorkMarks) {
    let (tenant, other) = (fresh_tenant("marks"), fresh_tenant("marks-b"));
    let (one, two) = (dev_id("IMEI:1"), dev_id("IMEI:2"));
    assert!(!marks.is_idle(&tenant, &one).await.unwrap(), "of an unknown device nothing is sure");

    let seen = marks.begin_look(&tenant, &one).await.unwrap();
    assert!(!marks.is_idle(&tenant, &one).await.unwrap(), "to look is to know nothing yet");
    assert_eq!(marks.begin_look(&tenant, &one).await.unwrap(), seen, "looking changes no version");
    assert!(marks.set_idle(&tenant, &one, seen).await.unwrap(), "what is unchanged can be marked");
    assert!(marks.is_idle(&tenant, &one).await.unwrap(), "a marked device has no work");
    assert!(!marks.is_idle(&other, &one).await.unwrap(), "a tenant's marks are its own");
    assert!(!marks.is_idle(&tenant, &two).await.unwrap(), "a device's mark is its own");

    let before = marks.begin_look(&tenant, &one).await.unwrap();
    marks.set_busy(&tenant, &[two.clone(), one.clone()]).await.unwrap();
    assert!(!marks.is_idle(&tenant, &one).await.unwrap(), "new work overwrites the mark");
    assert!(
        !marks.set_idle(&tenant, &one, before).await.unwrap(),
        "who looked before new work came marks nothing"
    );
    assert!(!marks.is_idle(&tenant, &one).await.unwrap());

    let first = marks.begin_look(&tenant, &one).await.unwrap();
    marks.set_busy(&tenant, std::slice::from_ref(&one)).await.unwrap();
    let second = marks.begin_look(&tenant, &one).await.unwrap();
    assert_ne!(first, second, "each new work has a version of its own");
    assert!(marks.set_idle(&tenant, &one, second).await.unwrap());
    assert!(!marks.set_idle(&tenant, &two, second).await.unwrap(), "a version is of one device");
    let unknown = dev_id("IMEI:3");
    assert!(!marks.set_idle(&tenant, &unknown, second).await.unwrap(), "no mark is no version");
    marks.set_busy(&tenant, &[]).await.unwrap();
}

fn record(digest: u8, durable: u64, sealed: &[u8]) -> HotRecord {
    HotRecord { digest: [digest; 16], durable: Revision(durable), ordinal: 70_000, sealed: sealed.to_vec() }
}

async fn loaded(hot: &dyn HotDevices, tenant: &TenantId, device: &DevId) -> Versioned<HotRecord> {
    match hot.load(tenant, device).await.unwrap() {
        Hot::Record(found) => found,
        other => panic!("expected a record, got {other:?}"),
    }
}

/// The laws of [`HotDevices`].
pub async fn hot_devices_laws(hot: &dyn HotDevices) {
    let (tenant, device) = (fresh_tenant("hot"), dev_id("IMEI:1/{x}"));
    let first = a_claim_fills_once(hot, &tenant, &device).await;
    a_put_keeps_what_it_must(hot, &tenant, &device, first).await;
    a_change_is_settled_by_its_claim(hot, &tenant, &device).await;
}

async fn a_claim_fills_once(hot: &dyn HotDevices, tenant: &TenantId, device: &DevId) -> Revision {
    assert_eq!(hot.load(tenant, device).await.unwrap(), Hot::Absent);
    let lost = hot.claim_fill(tenant, device).await.unwrap().unwrap();
    assert_eq!(hot.load(tenant, device).await.unwrap(), Hot::Absent, "a claim to fill is no record");
    let claim = hot.claim_fill(tenant, device).await.unwrap().unwrap();
    let filled = record(1, 9, b"first");
    assert_eq!(
        hot.fill(tenant, device, lost, &record(2, 8, b"")).await.unwrap(),
        None,
        "the last claim fills"
    );
    let revision = hot.fill(tenant, device, claim, &filled).await.unwrap().unwrap();
    let read = loaded(hot, tenant, device).await;
    assert_eq!(read, Versioned { value: filled.clone(), revision }, "a record is read as filled");
    assert_eq!(hot.claim_fill(tenant, device).await.unwrap(), None, "a record is not filled again");
    hot.abandon(tenant, device, claim).await.unwrap();
    assert_eq!(loaded(hot, tenant, device).await.revision, revision, "a claim that was used removes nothing");
    hot.forget(tenant, device, Revision(revision.0 - 1)).await.unwrap();
    assert_eq!(loaded(hot, tenant, device).await.revision, revision, "another revision removes nothing");
    let many = [dev_id("IMEI:none"), device.clone()];
    let found = hot.load_many(tenant, &many).await.unwrap();
    assert_eq!(found, [Hot::Absent, Hot::Record(read)], "many come in the order asked for");
    revision
}

async fn a_put_keeps_what_it_must(hot: &dyn HotDevices, tenant: &TenantId, device: &DevId, first: Revision) {
    let put = hot.put(tenant, device, first, [1; 16], b"second").await.unwrap();
    let HotPut::Written(second) = put else { panic!("expected the same digest to be written, got {put:?}") };
    assert!(second > first, "a revision grows with every write");
    let read = loaded(hot, tenant, device).await;
    assert_eq!(read, Versioned { value: record(1, 9, b"second"), revision: second });
    assert_eq!(hot.put(tenant, device, first, [1; 16], b"late").await.unwrap(), HotPut::Lost);
    assert_eq!(hot.put(tenant, device, first, [2; 16], b"late").await.unwrap(), HotPut::Lost);
    let none = dev_id("IMEI:none");
    assert_eq!(hot.put(tenant, &none, first, [1; 16], b"").await.unwrap(), HotPut::Lost);
    assert_eq!(loaded(hot, tenant, device).await, read, "a lost write wrote nothing");
}

async fn changing(hot: &dyn HotDevices, tenant: &TenantId, device: &DevId, digest: u8) -> Claim {
    let revision = loaded(hot, tenant, device).await.revision;
    match hot.put(tenant, device, revision, [digest; 16], b"new").await.unwrap() {
        HotPut::Changes { claim, durable, ordinal } => {
            assert_eq!((durable, ordinal), (Revision(9), 70_000), "the durable row's place is told");
            claim
        }
        other => panic!("expected another digest to change the row, got {other:?}"),
    }
}

async fn a_change_is_settled_by_its_claim(hot: &dyn HotDevices, tenant: &TenantId, device: &DevId) {
    let before = loaded(hot, tenant, device).await.revision;
    let claim = changing(hot, tenant, device, 3).await;
    assert_eq!(hot.load(tenant, device).await.unwrap(), Hot::Changing(claim), "the old state is not read");
    assert_eq!(hot.claim_fill(tenant, device).await.unwrap(), None, "what is being changed is not filled");
    assert_eq!(hot.put(tenant, device, before, [1; 16], b"late").await.unwrap(), HotPut::Lost);
    let settled = record(3, 9, b"new");
    let revision = hot.settle(tenant, device, claim, &settled).await.unwrap().unwrap();
    assert!(revision > before, "a revision grows with every write");
    assert_eq!(loaded(hot, tenant, device).await, Versioned { value: settled, revision });

    let abandoned = changing(hot, tenant, device, 4).await;
    hot.abandon(tenant, device, abandoned).await.unwrap();
    assert_eq!(
        hot.load(tenant, device).await.unwrap(),
        Hot::Absent,
        "a change that was given up leaves nothing"
    );
    let filler = hot.claim_fill(tenant, device).await.unwrap().unwrap();
    let late = hot.settle(tenant, device, abandoned, &record(4, 10, b"late")).await.unwrap();
    assert_eq!(late, None, "a claim settles while it stands");
    let stale = hot.fill(tenant, device, filler, &record(1, 9, b"stale")).await.unwrap();
    assert_eq!(stale, None, "who read the row before the change was told of cannot fill");

    let filler = hot.claim_fill(tenant, device).await.unwrap().unwrap();
    let last = hot.fill(tenant, device, filler, &record(1, 9, b"last")).await.unwrap().unwrap();
    hot.forget(tenant, device, last).await.unwrap();
    assert_eq!(hot.load(tenant, device).await.unwrap(), Hot::Absent, "what is forgotten is gone");
}
