//! What goes out comes in again, whole, wherever it was broken off.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use campaign::{
    Artifact, Campaign, CampaignId, Definition, Digest, EventKind, Job, JobEvent, Outcome, Phase, Plan, Run,
    Start, StoredState, encode_members,
};
use dm_objects::agenda::FirmwareStage;
use dm_protocol::{Account, ClientAuth, DevId, Nonces, Scheme};
use dm_tree::{Change, Leaf};
use jiff::Timestamp;
use storage::{
    Device, Embedded, Inventory, Release, Stores, TenantId,
    seal::{KeyId, KeyRing},
};
use transfer::{Counts, Export, Resume, Side, TransferError, export, import};

fn side(dir: &std::path::Path) -> Side {
    let store = Embedded::open(dir, &storage::embedded::Options::default()).unwrap();
    let keys = KeyRing::from_keys(&[(KeyId(1), [7; 32])]).unwrap();
    Side { tenant: TenantId::default(), stores: Stores::of(store), keys }
}

fn at(second: i64) -> Timestamp {
    Timestamp::new(1_790_000_000 + second, 5).unwrap()
}

fn id(number: u32) -> DevId {
    DevId::parse(&format!("IMEI:{number}")).unwrap()
}

fn device(number: u32) -> Device {
    let client = ClientAuth::Password { scheme: Scheme::Md5, user: "u".into(), digest: [number as u8; 16] };
    let nonces = Nonces { client: Some(vec![9; 16]), ..Nonces::default() };
    Device {
        id: id(number),
        ordinal: number,
        account: Account { client, server: None, nonces },
        tags: ["lab".to_owned()].into(),
        added: at(0),
        last_seen: Some(at(3)),
        inventory: Inventory { maker: "Example \"quoted\"".into(), ..Inventory::default() },
        fumo_root: Some("FwUpdate".into()),
        dev_detail_read: Some(at(3)),
        notify_address: (number == 1).then(|| "sms:+15550100".parse().unwrap()),
    }
}

fn event(number: u32, second: i64, kind: EventKind) -> JobEvent {
    JobEvent { device: Some(id(number)), ordinal: number, attempt: 1, at: at(second), kind }
}

fn plan() -> Plan {
    let artifact = Artifact { digest: Digest([7; 32]), size: 1000, name: "fw".into(), version: "2.0".into() };
    let definition = Definition::parse("name = 'n'\nartifact = { name = 'fw', version = '2.0' }").unwrap();
    Plan::new(definition, artifact, 1)
}

fn start() -> Start {
    Start { at: at(40), by: "ann".into() }
}

async fn fill(side: &Side) {
    let Side { tenant, stores, .. } = side;
    let Stores { devices, snapshots, jobs, campaigns, artifacts, .. } = stores;
    let firmware: Vec<u8> = (0..500_000_u32).map(|octet| octet as u8).collect();
    artifacts.add(tenant, "fw", "2.0", "application/x", 1 << 20, &mut &firmware[..]).await.unwrap();
    artifacts.add(tenant, "empty", "1", "application/x", 1 << 20, &mut &b""[..]).await.unwrap();
    let all: Vec<Device> = (0..7).map(device).collect();
    devices.add(tenant, &all).await.unwrap();
    for (second, value) in [(10, "1.0"), (20, "1.1"), (30, "1.1")] {
        let leaf = |uri: &str, value: &str| Change::Leaf { uri: uri.into(), leaf: Leaf::text(value) };
        let changes = vec![leaf("DevDetail/FwV", value), leaf("DevInfo/Man", "Example")];
        snapshots.apply(tenant, &id(1), at(second), &changes).await.unwrap();
    }
    let draft = StoredState::default().encode();
    let first = campaigns.create(tenant, None, &plan().encode(), &draft).await.unwrap();
    campaigns.create(tenant, None, &plan().encode(), &draft).await.unwrap();
    let read = campaigns.load(tenant, first).await.unwrap().unwrap();
    let members = encode_members(&(0..7).collect());
    let running = StoredState { run: Run::Running, start: Some(start()), ..StoredState::default() };
    campaigns.put(tenant, first, read.revision, Some(&members), &running.encode()).await.unwrap();
    let epoch = jobs.claim(tenant, first).await.unwrap();
    let started = JobEvent::campaign(at(40), EventKind::Started { by: "ann".into(), members: 3 });
    jobs.append(tenant, first, epoch, &[started]).await.unwrap();
    let releases: Vec<Release> = (0..3)
        .map(|number| Release {
            device: id(number),
            job: Job { campaign: first, ordinal: number, attempt: 1, phase: Phase::Waiting, since: at(41) },
            event: event(number, 41, EventKind::Released { wave: 0, after: None }),
            trigger_until: None,
        })
        .collect();
    jobs.release(tenant, first, epoch, &releases).await.unwrap();
    let revision = jobs.pending(tenant, &id(0)).await.unwrap()[0].revision;
    let outcome = Outcome::Succeeded;
    let ended = EventKind::Ended { outcome, version: Some("2.0".into()), detail: None, retry_at: None };
    jobs.update(tenant, &id(0), first, revision, None, &[event(0, 42, ended)]).await.unwrap();
    let revision = jobs.pending(tenant, &id(1)).await.unwrap()[0].revision;
    let phase = Phase::Session(FirmwareStage::ExecSent);
    let job = Job { phase, since: at(43), ..releases[1].job.clone() };
    let moved = [event(1, 43, EventKind::Moved { phase })];
    jobs.update(tenant, &id(1), first, revision, Some(&job), &moved).await.unwrap();
}

fn how(resume: Resume) -> Export {
    Export { now: at(99), devices_per_s: None, resume }
}

async fn out(side: &Side) -> (Vec<u8>, Counts) {
    let mut file = Vec::new();
    let counts = export(side, &how(Resume::default()), &mut file, &mut |_| {}).await.unwrap();
    (file, counts)
}

/// The lines without sealed credentials, which are never the same twice, and in any order: artifacts are listed by when
/// they were added.
fn sorted(file: &[u8]) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    for line in std::str::from_utf8(file).unwrap().lines() {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        if let Some(device) = line.get_mut("device").and_then(|device| device.as_object_mut()) {
            device.remove("account").unwrap();
        }
        *lines.entry(line.to_string()).or_default() += 1;
    }
    lines
}

#[tokio::test]
async fn what_goes_out_comes_in_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (side(&dir.path().join("from")), side(&dir.path().join("to")));
    fill(&from).await;
    let (file, counts) = out(&from).await;
    assert_eq!(counts, Counts { artifacts: 2, devices: 7, trees: 2, campaigns: 2, events: 6, jobs: 2 });
    let taken = import(&to, &mut &file[..], &mut |_| {}).await.unwrap();
    assert_eq!(taken, counts);
    let (again, _) = out(&to).await;
    assert_eq!(sorted(&again), sorted(&file));
    let whole = to.stores.devices.load(&to.tenant, &id(3)).await.unwrap().unwrap().value;
    assert_eq!(whole, device(3), "credentials and all");
    let read = to.stores.artifacts.list(&to.tenant).await.unwrap();
    let firmware = read.iter().find(|meta| meta.name == "fw").unwrap();
    let piece = to.stores.artifacts.read(&to.tenant, &firmware.digest, 400_000, 3).await.unwrap();
    assert_eq!(piece, [128, 129, 130]);
    import(&to, &mut &file[..], &mut |_| {}).await.unwrap();
    assert_eq!(sorted(&out(&to).await.0), sorted(&file), "an import done twice is done once");
}

#[tokio::test]
async fn an_import_goes_on_wherever_it_was_broken_off() {
    let dir = tempfile::tempdir().unwrap();
    let from = side(&dir.path().join("from"));
    fill(&from).await;
    let (file, counts) = out(&from).await;
    let ends: Vec<usize> =
        file.iter().enumerate().filter(|(_, octet)| **octet == b'\n').map(|(at, _)| at + 1).collect();
    let to = side(&dir.path().join("to"));
    for end in &ends[..ends.len() - 1] {
        let broken = import(&to, &mut &file[..*end], &mut |_| {}).await.unwrap_err();
        assert!(broken.to_string().contains("not whole"), "{broken}");
        let cut = import(&to, &mut &file[..*end - 2], &mut |_| {}).await.unwrap_err();
        assert!(matches!(cut, TransferError::Line { .. }), "{cut:?}");
    }
    assert_eq!(import(&to, &mut &file[..], &mut |_| {}).await.unwrap(), counts);
    assert_eq!(sorted(&out(&to).await.0), sorted(&file));
}

#[tokio::test]
async fn an_export_goes_on_wherever_it_was_broken_off() {
    let dir = tempfile::tempdir().unwrap();
    let from = side(&dir.path().join("from"));
    fill(&from).await;
    let (whole, counts) = out(&from).await;
    let mut kept_some = 0;
    let ends = whole.iter().enumerate().filter(|(_, octet)| **octet == b'\n').map(|(at, _)| at + 1);
    for cut in [0, 1].into_iter().chain(ends.flat_map(|end| [end - 1, end, whole.len().min(end + 9)])) {
        let resume = Resume::find(&from.tenant, &mut &whole[..cut]).unwrap();
        let kept = usize::try_from(resume.octets).unwrap();
        assert!(kept <= cut, "{kept} of {cut}");
        kept_some += usize::from(kept > 0);
        let mut file = whole[..kept].to_vec();
        let written = export(&from, &how(resume), &mut file, &mut |_| {}).await.unwrap();
        assert_eq!((written, sorted(&file)), (counts, sorted(&whole)), "cut at {cut}");
    }
    assert!(kept_some > 0);
    let past_devices = whole.windows(11).position(|octets| octets == b"{\"campaign\"").unwrap();
    let late = Resume::find(&from.tenant, &mut &whole[..past_devices + 1]).unwrap();
    assert_eq!(late.counts.devices, 6, "of the last device not all trees need be there");
    let another = Resume::find(&TenantId("other".into()), &mut &whole[..]).unwrap_err();
    assert!(another.to_string().starts_with("line 1: expected an export of other"), "{another}");
    let no_export = Resume::find(&from.tenant, &mut &b"firmware\n"[..]).unwrap_err();
    assert!(matches!(no_export, TransferError::Line { line: 1, .. }), "{no_export}");
}

#[tokio::test(start_paused = true)]
async fn an_export_takes_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let from = side(&dir.path().join("from"));
    fill(&from).await;
    let began = tokio::time::Instant::now();
    let slow = Export { devices_per_s: std::num::NonZeroU32::new(2), ..how(Resume::default()) };
    export(&from, &slow, &mut Vec::new(), &mut |_| {}).await.unwrap();
    // The paused clock goes on by itself while nothing else is to be done: at most the time that was asked for.
    assert_eq!(began.elapsed().as_millis() / 100, 35, "seven devices, half a second each");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let from = side(&dir.path().join("from"));
    fill(&from).await;
    let file = String::from_utf8(out(&from).await.0).unwrap();
    let to = side(&dir.path().join("to"));
    to.stores.devices.add(&to.tenant, &[device(5)]).await.unwrap();
    let refused = import(&to, &mut file.as_bytes(), &mut |_| {}).await.unwrap_err();
    assert!(
        matches!(refused, TransferError::Differs { .. }) && refused.to_string().contains("IMEI:5"),
        "{refused}"
    );
    let empty = side(&dir.path().join("empty"));
    for (wrong, claim) in [
        (file.replace("\"format\":1", "\"format\":2"), "line 1: expected form 1"),
        (file.replacen("\"ordinal\":0", "\"ordinal\":1", 1), "expected the device of ordinal 0"),
        (file.replace("\"events\":6", "\"events\":7"), "the file says"),
        (file.lines().skip(1).collect::<Vec<_>>().join("\n"), "expected the header"),
    ] {
        let refused = import(&empty, &mut wrong.as_bytes(), &mut |_| {}).await.unwrap_err();
        assert!(refused.to_string().contains(claim), "{claim}: {refused}");
    }
    assert!(empty.stores.campaigns.load(&empty.tenant, CampaignId(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn what_comes_out_of_a_backup_sends_no_exec_again_and_takes_no_digest_again() {
    let folder = tempfile::tempdir().unwrap();
    let side = side(folder.path());
    fill(&side).await;
    let Side { tenant, stores, .. } = &side;
    let epoch = stores.jobs.claim(tenant, CampaignId(1)).await.unwrap();
    let waits = Release {
        device: id(5),
        job: Job { campaign: CampaignId(1), ordinal: 5, attempt: 1, phase: Phase::Waiting, since: at(20) },
        event: event(5, 20, EventKind::Released { wave: 0, after: None }),
        trigger_until: None,
    };
    stores.jobs.release(tenant, CampaignId(1), epoch, &[waits]).await.unwrap();
    // Copies of tables that lie apart: a job is gone that the ledger has in flight, and a checkpoint has read on.
    let torn = event(6, 21, EventKind::Released { wave: 0, after: None });
    stores.jobs.append(tenant, CampaignId(1), epoch, &[torn]).await.unwrap();
    let over = EventKind::Ended {
        outcome: Outcome::Refused { code: 405 },
        version: None,
        detail: None,
        retry_at: None,
    };
    stores.jobs.append(tenant, CampaignId(1), epoch, &[event(2, 22, over)]).await.unwrap();
    let record = stores.campaigns.load(tenant, CampaignId(1)).await.unwrap().unwrap();
    let ahead = StoredState {
        run: Run::Finished,
        offset: 999,
        checkpoint: vec![1, 2, 3],
        ..StoredState::decode(&record.value.state).unwrap()
    };
    stores.campaigns.put(tenant, CampaignId(1), record.revision, None, &ahead.encode()).await.unwrap();
    let before: Vec<Job> = in_flight(&side).await;
    assert!(before.iter().any(|job| job.phase.stage() < FirmwareStage::ExecSent), "{before:?}");

    let settled = transfer::settle(&side, Some(at(30)), at(40)).await.unwrap();
    let after = in_flight(&side).await;
    assert!(
        stores.jobs.pending(tenant, &id(2)).await.unwrap().is_empty(),
        "what the ledger says is over is over"
    );
    let before: Vec<Job> = before.into_iter().filter(|job| job.ordinal != 2).collect();
    assert_eq!(after.len(), before.len());
    for (job, was) in after.iter().zip(&before) {
        // Nothing goes back, and nothing stands before its Exec.
        assert!(
            job.phase.stage() >= was.phase.stage().max(FirmwareStage::ExecSent),
            "{was:?} became {job:?}"
        );
        assert_eq!(job.attempt, was.attempt);
    }
    for device in stores.devices.scan(tenant, 0, 100).await.unwrap() {
        assert_eq!((device.account.nonces.client, device.account.nonces.client_previous), (None, None));
        assert_eq!(device.dev_detail_read, None, "what it was is of the past");
    }
    let events = stores.jobs.events(tenant, CampaignId(1), 0, 1000).await.unwrap();
    let (_, last) = events.last().unwrap();
    assert!(matches!(last.kind, EventKind::Paused { .. }), "{last:?}");
    let counts = (settled.devices, settled.attempts, settled.lost, settled.campaigns);
    assert_eq!(counts, (7, 1, 1, 1));
    // What the owner begins with is what the ledger says, and nothing that it does not.
    let record = stores.campaigns.load(tenant, CampaignId(1)).await.unwrap().unwrap();
    let stored = StoredState::decode(&record.value.state).unwrap();
    let members = (0..7).collect();
    let mut campaign = Campaign::restore(plan(), &members, &start(), &stored.checkpoint).unwrap();
    events.iter().filter(|(offset, _)| *offset > stored.offset).for_each(|(_, event)| campaign.fold(event));
    let events = events.iter().map(|(_, event)| event);
    assert_eq!(campaign, Campaign::replay(plan(), &members, &start(), events));
    assert!(matches!(campaign.run(), Run::Paused(_)), "{:?}", campaign.run());
    // Once more is the same as once.
    let again = transfer::settle(&side, None, at(50)).await.unwrap();
    assert_eq!(again, transfer::Settled::default());
}

/// The jobs in flight of all devices.
async fn in_flight(side: &Side) -> Vec<Job> {
    let mut jobs = Vec::new();
    for number in 0..7 {
        let pending = side.stores.jobs.pending(&side.tenant, &id(number)).await.unwrap();
        jobs.extend(pending.into_iter().map(|job| job.value));
    }
    jobs
}
