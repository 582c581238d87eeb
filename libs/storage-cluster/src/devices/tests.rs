use std::sync::atomic::{AtomicI64, Ordering};

use dm_protocol::{Account, ClientAuth, Scheme};
use jiff::Timestamp;
use storage::{Embedded, Inventory, embedded::Options, laws, seal::KeyId};

use super::*;
use crate::testing::MemoryHotDevices;

/// Loses everything before one of the calls.
struct Forgetful {
    hot: MemoryHotDevices,
    calls_left: AtomicI64,
}

impl Forgetful {
    fn step(&self) -> &MemoryHotDevices {
        if self.calls_left.fetch_sub(1, Ordering::Relaxed) == 0 {
            self.hot.clear();
        }
        &self.hot
    }
}

#[async_trait]
impl HotDevices for Forgetful {
    async fn load(&self, tenant: &TenantId, device: &DevId) -> Result<Hot, StoreError> {
        self.step().load(tenant, device).await
    }
    async fn put(
        &self,
        tenant: &TenantId,
        device: &DevId,
        expected: Revision,
        digest: [u8; 16],
        sealed: &[u8],
    ) -> Result<HotPut, StoreError> {
        self.step().put(tenant, device, expected, digest, sealed).await
    }
    async fn claim_fill(&self, tenant: &TenantId, device: &DevId) -> Result<Option<Claim>, StoreError> {
        self.step().claim_fill(tenant, device).await
    }
    async fn fill(
        &self,
        tenant: &TenantId,
        device: &DevId,
        claim: Claim,
        record: &HotRecord,
    ) -> Result<Option<Revision>, StoreError> {
        self.step().fill(tenant, device, claim, record).await
    }
    async fn settle(
        &self,
        tenant: &TenantId,
        device: &DevId,
        claim: Claim,
        record: &HotRecord,
    ) -> Result<Option<Revision>, StoreError> {
        self.step().settle(tenant, device, claim, record).await
    }
    async fn abandon(&self, tenant: &TenantId, device: &DevId, claim: Claim) -> Result<(), StoreError> {
        self.step().abandon(tenant, device, claim).await
    }
    async fn forget(&self, tenant: &TenantId, device: &DevId, revision: Revision) -> Result<(), StoreError> {
        self.step().forget(tenant, device, revision).await
    }
}

fn keys() -> KeyRing {
    KeyRing::from_keys(&[(KeyId(1), [7; 32])]).unwrap()
}

const HOUR: Duration = Duration::from_secs(3600);

struct Rig {
    _dir: tempfile::TempDir,
    durable: Arc<Embedded>,
    tenant: TenantId,
    id: DevId,
}

impl Rig {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let durable = Arc::new(Embedded::open(dir.path(), &Options::default()).unwrap());
        let mut rig =
            Self { _dir: dir, durable, tenant: TenantId::default(), id: DevId::parse("none").unwrap() };
        rig.add("IMEI:1").await;
        rig
    }

    /// Adds a device, which the next calls are about.
    async fn add(&mut self, id: &str) {
        self.id = DevId::parse(id).unwrap();
        let client = ClientAuth::Password { scheme: Scheme::Md5, user: "user".into(), digest: [7; 16] };
        let device = Device {
            id: self.id.clone(),
            ordinal: 0,
            account: Account { client, server: None, nonces: Nonces::default() },
            tags: Default::default(),
            added: at(0),
            last_seen: None,
            inventory: Inventory::default(),
            fumo_root: None,
            dev_detail_read: None,
            notify_address: None,
        };
        DeviceStore::add(&*self.durable, &self.tenant, &[device]).await.unwrap();
    }

    fn cached(&self, hot: Arc<dyn HotDevices>) -> CachedDevices {
        CachedDevices::new(self.durable.clone(), hot, keys(), HOUR)
    }

    async fn row(&self) -> Versioned<Device> {
        DeviceStore::load(&*self.durable, &self.tenant, &self.id).await.unwrap().unwrap()
    }

    async fn read(&self, devices: &CachedDevices) -> Versioned<Device> {
        devices.load(&self.tenant, &self.id).await.unwrap().unwrap()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

fn used(nonce: u8) -> Nonces {
    Nonces { client: Some(vec![nonce; 16]), client_previous: None, server: None }
}

#[tokio::test]
async fn the_laws_hold_with_hot_records_in_memory() {
    let rig = Rig::new().await;
    let hot = Arc::new(MemoryHotDevices::default());
    crate::laws::hot_devices_laws(&*hot).await;
    laws::device_store_laws(&rig.cached(hot)).await;
}

#[tokio::test]
async fn a_visit_that_changes_nonces_alone_leaves_the_row_alone() {
    let rig = Rig::new().await;
    let devices = rig.cached(Arc::new(MemoryHotDevices::default()));
    let mut found = rig.read(&devices).await;
    found.value.last_seen = Some(at(0));
    found.revision = devices.put(&rig.tenant, found.revision, &found.value).await.unwrap();
    let row = rig.row().await;
    assert_eq!(row.value.last_seen, Some(at(0)), "the first visit is durable");
    let mut writes = 0;
    for minute in 1..=180 {
        found.value.account.nonces = used(minute as u8);
        found.value.last_seen = Some(at(60 * minute));
        found.revision = devices.put(&rig.tenant, found.revision, &found.value).await.unwrap();
        assert_eq!(rig.read(&devices).await, found, "the record is as written");
        let now = rig.row().await;
        writes += usize::from(now.revision != row.revision && now.value.last_seen == found.value.last_seen);
        let behind = found.value.last_seen.unwrap().duration_since(now.value.last_seen.unwrap());
        assert!(behind.unsigned_abs() <= HOUR, "the row is at most an hour behind");
    }
    assert_eq!(writes, 3, "three hours are three writes of the row");
}

/// A device that visits and is changed while all hot records are lost before any one call of the store.
#[tokio::test]
async fn what_is_lost_between_any_two_calls_is_nothing_durable_and_no_nonce_comes_back() {
    let mut rig = Rig::new().await;
    for lost_before in 0..24 {
        rig.add(&format!("IMEI:2-{lost_before}")).await;
        let hot = Arc::new(Forgetful { hot: MemoryHotDevices::default(), calls_left: lost_before.into() });
        // Two processes, by turns.
        let processes = [rig.cached(hot.clone()), rig.cached(hot.clone())];
        let (mut spent, mut tags): (Vec<Vec<u8>>, Vec<String>) = Default::default();
        let mut round = 0;
        while tags.len() < 3 {
            round += 1;
            assert!(round < 20, "a lost record costs a round or two");
            let devices = &processes[round % 2];
            let Versioned { value: mut device, revision } = rig.read(devices).await;
            let known: Vec<&String> = device.tags.iter().collect();
            assert!(tags.iter().all(|tag| known.contains(&tag)), "lost before {lost_before}: a tag is gone");
            let nonces = &device.account.nonces;
            if !spent.is_empty() {
                let is_first_contact = nonces.client.is_none() && nonces.client_previous.is_none();
                assert!(!is_first_contact, "a device that was seen is no first contact");
            }
            let taken = nonces.client.iter().chain(&nonces.client_previous);
            for nonce in taken.clone() {
                assert!(!spent.contains(nonce), "lost before {lost_before}: a used nonce is taken again");
            }
            let now_spent: Vec<Vec<u8>> = taken.cloned().collect();
            device.last_seen = Some(at(0));
            device.account.nonces = used(round as u8);
            let tag = format!("tag {}", tags.len());
            if round % 2 == 0 {
                device.tags.insert(tag.clone());
            }
            if devices.put(&rig.tenant, revision, &device).await.is_ok() {
                spent.extend(now_spent);
                if round % 2 == 0 {
                    tags.push(tag);
                }
            }
        }
        let row = rig.row().await.value;
        assert_eq!(row.tags.iter().cloned().collect::<Vec<_>>(), tags, "every change told is in the row");
        assert!(row.account.nonces.client.is_some_and(|nonce| !spent.contains(&nonce)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_whose_process_stopped_is_taken_over_and_cannot_come_late() {
    let rig = Rig::new().await;
    let hot = Arc::new(MemoryHotDevices::default());
    let devices = rig.cached(hot.clone());
    let Versioned { value: mut device, revision } = rig.read(&devices).await;
    device.tags.insert("late".into());
    let digest = devices.digest(&device);
    let put = hot.put(&rig.tenant, &rig.id, revision, digest, b"").await.unwrap();
    let HotPut::Changes { claim, durable, ordinal } = put else { panic!("{put:?}") };

    // Whoever it was stops here. Others wait for a while, and then go on without it.
    let found = rig.read(&devices).await;
    assert!(found.value.tags.is_empty());
    let record = HotRecord { digest, durable, ordinal, sealed: Vec::new() };
    let late = devices.change("put device", &rig.tenant, &device, claim, durable, record).await;
    assert_eq!(late.unwrap_err().kind, ErrorKind::Conflict, "its write comes late, and is refused");
    assert_eq!(rig.read(&devices).await, found);
    assert!(rig.row().await.value.tags.is_empty());

    // The same, but the row was written before it stopped.
    let put = hot.put(&rig.tenant, &rig.id, found.revision, digest, b"").await.unwrap();
    let HotPut::Changes { durable, .. } = put else { panic!("{put:?}") };
    DeviceStore::put(&*rig.durable, &rig.tenant, durable, &device).await.unwrap();
    assert!(rig.read(&devices).await.value.tags.contains("late"), "what is in the row is seen");
}

#[tokio::test]
async fn a_row_that_was_written_without_the_record_wins() {
    let rig = Rig::new().await;
    let devices = rig.cached(Arc::new(MemoryHotDevices::default()));
    let Versioned { value: mut device, revision } = rig.read(&devices).await;
    let mut row = rig.row().await;
    row.value.tags.insert("row".into());
    DeviceStore::put(&*rig.durable, &rig.tenant, row.revision, &row.value).await.unwrap();
    device.tags.insert("record".into());
    let lost = devices.put(&rig.tenant, revision, &device).await;
    assert_eq!(lost.unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(rig.read(&devices).await.value.tags, row.value.tags, "the record is filled anew");
}
