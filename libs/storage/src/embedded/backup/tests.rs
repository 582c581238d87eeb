use campaign::{CampaignId, EventKind, Job, JobEvent, Phase};
use dm_protocol::{Account, ClientAuth, DevId, Nonces, Scheme};
use jiff::Timestamp;

use super::*;
use crate::{
    ArtifactStore, CampaignStore, Device, DeviceStore, Inventory, JobStore as _, Release, TenantId, backup,
    embedded::OpenError,
};

fn device(number: u32) -> Device {
    let client = ClientAuth::Password { scheme: Scheme::Md5, user: "u".into(), digest: [number as u8; 16] };
    Device {
        id: DevId::parse(&format!("IMEI:{number}")).unwrap(),
        ordinal: number,
        account: Account {
            client,
            server: None,
            nonces: Nonces { client: Some(vec![7; 16]), ..Nonces::default() },
        },
        tags: ["lab".to_owned()].into(),
        added: Timestamp::UNIX_EPOCH,
        last_seen: None,
        inventory: Inventory::default(),
        fumo_root: None,
        dev_detail_read: None,
        notify_address: None,
    }
}

fn head() -> Head {
    Head { program: "1.2.3".into(), taken: Timestamp::from_second(1_790_000_000).unwrap() }
}

async fn release(store: &Embedded, number: u32) {
    let (tenant, campaign) = (TenantId::default(), CampaignId(1));
    let (device, at) = (device(number).id, Timestamp::UNIX_EPOCH);
    let job = Job { campaign, ordinal: number, attempt: 1, phase: Phase::Waiting, since: at };
    let kind = EventKind::Released { wave: 0, after: None };
    let event = JobEvent { device: Some(device.clone()), ordinal: number, attempt: 1, at, kind };
    let epoch = store.claim(&tenant, campaign).await.unwrap();
    let release = Release { device, job, event, trigger_until: None };
    store.release(&tenant, campaign, epoch, &[release]).await.unwrap();
}

static FIRMWARE: [u8; 1_500_000] = [0xa5; 1_500_000];

/// A store with something of each kind, its backup, and something that came later.
async fn backed_up(dir: &Path) -> (Embedded, Vec<u8>) {
    let store = Embedded::open(dir, &Options::default()).unwrap();
    let tenant = TenantId::default();
    let devices: Vec<_> = (0..300).map(device).collect();
    DeviceStore::add(&store, &tenant, &devices).await.unwrap();
    for (name, mut octets) in [("fw", &FIRMWARE[..]), ("nothing", &[])] {
        let add = ArtifactStore::add(&store, &tenant, name, "2", "application/x", 1 << 30, &mut octets);
        add.await.unwrap();
    }
    CampaignStore::create(&store, &tenant, None, b"definition", b"state").await.unwrap();
    release(&store, 7).await;
    let mut file = Vec::new();
    let totals = store.back_up(&head(), &mut file).unwrap();
    assert_eq!(totals.artifacts, 2);
    release(&store, 8).await;
    (store, file)
}

#[tokio::test]
async fn what_was_there_comes_back_and_what_came_later_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (there, place) = (folder.path().join("data"), folder.path().join("new/data"));
    let (store, file) = backed_up(&there).await;
    assert_eq!(backup::verify(&mut &file[..]).unwrap().0, head());

    let restored = Embedded::restore(&place, &mut &file[..], &Options::default()).unwrap();
    assert_eq!(restored.head, head());
    let tenant = TenantId::default();
    for number in [0, 299] {
        let id = device(number).id;
        let found = DeviceStore::load(&restored.store, &tenant, &id).await.unwrap();
        assert_eq!(found.unwrap().value, device(number), "credentials open with the key that came along");
    }
    for (number, jobs) in [(7, 1), (8, 0)] {
        assert_eq!(restored.store.pending(&tenant, &device(number).id).await.unwrap().len(), jobs);
        assert_eq!(store.pending(&tenant, &device(number).id).await.unwrap().len(), 1);
    }
    let ledger = restored.store.events(&tenant, CampaignId(1), 0, 10).await.unwrap();
    assert_eq!(ledger.len(), 1);
    for meta in restored.store.list_artifacts(&tenant).await {
        let read = ArtifactStore::read(&restored.store, &tenant, &meta.digest, 0, 2_000_000).await.unwrap();
        assert!(read == FIRMWARE || (meta.size == 0 && read.is_empty()), "{}", meta.name);
    }
    // Nobody uses it before it was put right.
    let copy = Embedded::open(&place, &Options::default());
    assert!(matches!(copy, Err(OpenError::InUse(_))), "{copy:?}");
    restored.finish().unwrap();
    Embedded::open(&place, &Options::default()).unwrap();
}

impl Embedded {
    async fn list_artifacts(&self, tenant: &TenantId) -> Vec<crate::ArtifactMeta> {
        ArtifactStore::list(self, tenant).await.unwrap()
    }
}

#[tokio::test]
async fn what_is_damaged_cut_or_in_the_way_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, file) = backed_up(&folder.path().join("data")).await;
    let refusal = |name: &str, file: &[u8]| {
        let place = folder.path().join(name);
        let refused = Embedded::restore(&place, &mut &file[..], &Options::default()).map(drop).unwrap_err();
        // What was begun is not taken for a data directory, and not gone on with.
        if place.exists() {
            let opened = Embedded::open(&place, &Options::default());
            assert!(matches!(opened, Err(OpenError::Restoring(_))), "{opened:?}");
            let again = Embedded::restore(&place, &mut &file[..], &Options::default()).map(drop);
            assert!(
                matches!(again, Err(BackupError::NotEmpty(_) | BackupError::Damaged { .. })),
                "{again:?}"
            );
        }
        refused.to_string()
    };
    assert!(refusal("other", b"PK").starts_with("expected a backup of Flotilla"));
    let mut later = file.clone();
    later[MAGIC_LEN] = 2;
    assert!(refusal("later", &later).contains("got version 2: it needs a later program"));
    let mut damaged = file.clone();
    damaged[file.len() / 2] ^= 1;
    assert!(refusal("damaged", &damaged).contains("the digest does not match in part"));
    for cut in [file.len() - 1, file.len() - 40, file.len() / 2, 30] {
        assert!(refusal(&format!("cut-{cut}"), &file[..cut]).contains("is not whole"), "{cut}");
    }
    let taken = Embedded::restore(&folder.path().join("data"), &mut &file[..], &Options::default());
    assert!(matches!(taken, Err(BackupError::NotEmpty(_))));
}

const MAGIC_LEN: usize = 16;

/// A backup of the first version, which every later program restores. `UPDATE_GOLDEN=1` makes it where it is missing.
#[tokio::test]
async fn a_backup_of_each_version_is_read_for_ever() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/backup-v1.backup");
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !path.exists() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path(), &Options::default()).unwrap();
        let tenant = TenantId::default();
        DeviceStore::add(&store, &tenant, &[device(0)]).await.unwrap();
        ArtifactStore::add(&store, &tenant, "fw", "2", "x", 9, &mut &b"firmware"[..]).await.unwrap();
        CampaignStore::create(&store, &tenant, None, b"definition", b"state").await.unwrap();
        store.back_up(&head(), &mut File::create(&path).unwrap()).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let mut file = File::open(&path).unwrap();
    let restored = Embedded::restore(folder.path(), &mut file, &Options::default()).unwrap();
    assert_eq!(restored.head, head());
    let tenant = TenantId::default();
    let found = DeviceStore::load(&restored.store, &tenant, &device(0).id).await.unwrap();
    assert_eq!(found.unwrap().value, device(0));
    let [meta] = &restored.store.list_artifacts(&tenant).await[..] else { panic!("one artifact") };
    assert_eq!(
        ArtifactStore::read(&restored.store, &tenant, &meta.digest, 0, 99).await.unwrap(),
        b"firmware"
    );
    assert_eq!(CampaignStore::list(&restored.store, &tenant).await.unwrap().len(), 1);
    restored.finish().unwrap();
}
