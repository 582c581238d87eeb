//! A process killed at any moment loses nothing it acknowledged.
//!
//! The test runs itself as a child that writes through all traits at once and prints each acknowledged write;
//! the parent kills it with SIGKILL, opens the directory and looks for all that was printed.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::{
    collections::{HashMap, HashSet},
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use campaign::{CampaignId, EventKind, Job, JobEvent, Outcome, Phase};
use dm_protocol::{Account, ClientAuth, DevId, Nonces};
use dm_tree::{Change, Format, Leaf};
use jiff::Timestamp;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use sha2::{Digest, Sha256};
use storage::{
    ArtifactStore, CampaignStore, Device, DeviceStore, Embedded, Inventory, JobStore, Release, SessionKey,
    SessionStore, SnapshotStore, TenantId, TriggerStore, embedded::Options,
};

const ROUNDS: u64 = 12;
const DIR: &str = "STORAGE_KILL_DIR";
const ROUND: &str = "STORAGE_KILL_ROUND";
const JOBS: CampaignId = CampaignId(7);
const RELEASED_TOGETHER: u64 = 5;
const KEEP: Duration = Duration::from_secs(3600);

fn tenant() -> TenantId {
    TenantId::default()
}

fn dev_id(name: &str) -> DevId {
    DevId::parse(name).unwrap()
}

fn device(name: &str) -> Device {
    Device {
        id: dev_id(name),
        ordinal: 0,
        account: Account { client: ClientAuth::None, server: None, nonces: Nonces::default() },
        tags: [].into(),
        added: Timestamp::UNIX_EPOCH,
        last_seen: None,
        inventory: Inventory { firmware: name.to_owned(), ..Inventory::default() },
        fumo_root: None,
        dev_detail_read: None,
        notify_address: None,
    }
}

fn second(second: u64) -> Timestamp {
    Timestamp::from_second(second as i64).unwrap()
}

/// Octets that follow from a number, so that what is read can be checked whole.
fn filled(number: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(number | 1) >> 3) as u8).collect()
}

fn acknowledge(what: &str, numbers: &[u64]) {
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    let line = format!("ack {what} {}\n", numbers.join(" "));
    // One call: a line is printed whole or not at all.
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
}

// ---- the child ----

#[test]
#[ignore = "the child of the test below"]
fn hammer() {
    let (Ok(dir), Ok(round)) = (env::var(DIR), env::var(ROUND)) else { return };
    let round: u64 = round.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Embedded::open(Path::new(&dir), &Options::default()).unwrap();
        tokio::join!(
            add_devices(&store, round),
            put_device(&store, round),
            put_session(&store, round),
            run_jobs(&store, round),
            write_campaigns(&store, round),
            apply_trees(&store, round),
            add_artifacts(&store, round),
        );
    });
}

async fn add_devices(store: &dyn DeviceStore, round: u64) {
    for number in 0.. {
        let devices: Vec<Device> = (0..3).map(|it| device(&format!("added-{round}-{number}-{it}"))).collect();
        let ordinals = store.add(&tenant(), &devices).await.unwrap();
        acknowledge("added", &[round, number, ordinals[0].unwrap().into()]);
    }
}

async fn put_device(store: &dyn DeviceStore, round: u64) {
    store.add(&tenant(), &[device("visited")]).await.unwrap();
    loop {
        let mut read = store.load(&tenant(), &dev_id("visited")).await.unwrap().unwrap();
        let visits = read.value.last_seen.map_or(0, |at| at.as_second() as u64) + 1;
        read.value.last_seen = Some(second(visits));
        read.value.inventory.software = visits.to_string();
        store.put(&tenant(), read.revision, &read.value).await.unwrap();
        acknowledge("visited", &[round, visits]);
    }
}

fn session_key(round: u64) -> SessionKey {
    SessionKey { tenant: tenant(), device: dev_id("IMEI:1"), session: round.to_string().into() }
}

async fn put_session(store: &dyn SessionStore, round: u64) {
    let mut revision = None;
    for number in 0_u64.. {
        let record = [&number.to_le_bytes()[..], &filled(number, 2000)].concat();
        revision = Some(store.put(&session_key(round), revision, &record, KEEP).await.unwrap());
        acknowledge("session", &[round, number]);
        // Otherwise it would write nothing but sessions.
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
}

/// The ordinal of no device, of which the store cannot know that it has no address.
const NOBODY: u32 = u32::MAX;

async fn run_jobs(store: &dyn JobStore, round: u64) {
    let epoch = store.claim(&tenant(), JOBS).await.unwrap();
    for number in 0.. {
        let names: Vec<String> =
            (0..RELEASED_TOGETHER).map(|it| format!("job-{round}-{number}-{it}")).collect();
        let event = |name: &str, kind| {
            let device = Some(dev_id(name));
            JobEvent { device, ordinal: 0, attempt: 1, at: second(number), kind }
        };
        let job =
            Job { campaign: JOBS, ordinal: NOBODY, attempt: 1, phase: Phase::Waiting, since: second(number) };
        let releases: Vec<Release> = names
            .iter()
            .map(|name| Release {
                device: dev_id(name),
                job: job.clone(),
                event: event(name, EventKind::Released { wave: 0, after: None }),
                trigger_until: Some(second(u64::from(u32::MAX))),
            })
            .collect();
        assert_eq!(store.release(&tenant(), JOBS, epoch, &releases).await.unwrap(), names.len());
        acknowledge("released", &[round, number]);
        let pending = store.pending(&tenant(), &dev_id(&names[0])).await.unwrap();
        let (outcome, version) = (Outcome::Succeeded, Some("2".to_owned()));
        let ended = event(&names[0], EventKind::Ended { outcome, version, detail: None, retry_at: None });
        let revision = pending[0].revision;
        store.update(&tenant(), &dev_id(&names[0]), JOBS, revision, None, &[ended]).await.unwrap();
        acknowledge("ended", &[round, number]);
    }
}

async fn write_campaigns(store: &dyn CampaignStore, round: u64) {
    for number in 0.. {
        let key = format!("{round}-{number}");
        let id = store.create(&tenant(), Some(&key), &filled(number, 100), b"draft").await.unwrap();
        acknowledge("created", &[round, number, id.0]);
        let read = store.load(&tenant(), id).await.unwrap().unwrap();
        let members = filled(id.0, 5000);
        store.put(&tenant(), id, read.revision, Some(&members), b"running").await.unwrap();
        acknowledge("started", &[round, number, id.0]);
    }
}

fn tree(round: u64, number: u64) -> Vec<Change> {
    let leaf = |uri: String, value: Vec<u8>| Change::Leaf {
        uri,
        leaf: Leaf { format: Format::Bin, mime: None, value: value.into() },
    };
    let mut changes = vec![leaf("Count".into(), number.to_le_bytes().into())];
    changes.extend((0..40).map(|at| leaf(format!("Big/Part{}/{at}", at % 4), filled(at + round, 300))));
    changes.push(leaf(format!("Big/Part0/{}", number % 10 * 4), filled(number, 700)));
    changes
}

async fn apply_trees(store: &dyn SnapshotStore, round: u64) {
    for number in 0.. {
        let device = dev_id(&format!("tree-{round}"));
        store.apply(&tenant(), &device, second(number), &tree(round, number)).await.unwrap();
        acknowledge("applied", &[round, number]);
    }
}

fn image(round: u64, number: u64) -> Vec<u8> {
    [&round.to_le_bytes()[..], &number.to_le_bytes(), &filled(number, 50_000)].concat()
}

async fn add_artifacts(store: &dyn ArtifactStore, round: u64) {
    for number in 0.. {
        let image = image(round, number);
        store.add(&tenant(), "image", "1", "a/b", 1 << 20, &mut &image[..]).await.unwrap();
        acknowledge("artifact", &[round, number]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

// ---- the parent ----

#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let seed = Timestamp::now().as_nanosecond() as u64;
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut acknowledged = Acknowledged::default();
    let began = Instant::now();
    for round in 0..ROUNDS {
        // Every third is killed while it opens what the last one left, the others while they write.
        let moment = if round % 3 == 2 {
            Moment::AfterStart(Duration::from_millis(random.random_range(1..120)))
        } else {
            Moment::AfterFirstWrite(Duration::from_millis(random.random_range(50..200)))
        };
        acknowledged.add(run_and_kill(dir.path(), round, moment));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let store = Embedded::open(dir.path(), &Options::default()).unwrap();
            check(&store, &acknowledged).await;
        });
    }
    let kinds =
        ["added", "visited", "session", "released", "ended", "created", "started", "applied", "artifact"];
    for kind in kinds {
        assert!(acknowledged.numbers.contains_key(kind), "the child got to write every kind, but not {kind}");
    }
    println!(
        "{} writes acknowledged in {:?}",
        acknowledged.numbers.values().map(Vec::len).sum::<usize>(),
        began.elapsed()
    );
}

/// The numbers acknowledged, by kind.
#[derive(Default)]
struct Acknowledged {
    rounds: u64,
    numbers: HashMap<String, Vec<Vec<u64>>>,
}

impl Acknowledged {
    fn add(&mut self, lines: Vec<String>) {
        self.rounds += 1;
        for line in lines {
            let mut words = line.split(' ').skip(1);
            let kind = words.next().unwrap().to_owned();
            let numbers = words.map(|number| number.parse().unwrap()).collect();
            self.numbers.entry(kind).or_default().push(numbers);
        }
    }

    fn of(&self, kind: &str) -> &[Vec<u64>] {
        self.numbers.get(kind).map_or(&[], Vec::as_slice)
    }

    /// The last number of each round.
    fn last(&self, kind: &str) -> HashMap<u64, u64> {
        self.of(kind).iter().map(|numbers| (numbers[0], numbers[1])).collect()
    }
}

/// When the child is killed.
#[derive(Clone, Copy)]
enum Moment {
    AfterStart(Duration),
    AfterFirstWrite(Duration),
}

fn run_and_kill(dir: &Path, round: u64, moment: Moment) -> Vec<String> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "hammer", "--ignored", "--nocapture", "--test-threads", "1"])
        .env(DIR, dir)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (lines, received) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            // Libtest prints its own words in front of the first line.
            if let Some(start) = line.find("ack ") {
                lines.send(line[start..].to_owned()).unwrap();
            }
        }
    });
    let mut acknowledged = Vec::new();
    let delay = match moment {
        Moment::AfterStart(delay) => delay,
        Moment::AfterFirstWrite(delay) => {
            acknowledged.push(received.recv_timeout(Duration::from_secs(60)).expect("the child writes"));
            delay
        }
    };
    std::thread::sleep(delay);
    assert!(child.try_wait().unwrap().is_none(), "the child runs until it is killed");
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    acknowledged.extend(received);
    acknowledged
}

async fn check(store: &Embedded, acknowledged: &Acknowledged) {
    check_devices(store, acknowledged).await;
    check_sessions(store, acknowledged).await;
    check_jobs(store, acknowledged).await;
    check_triggers(store).await;
    check_campaigns(store, acknowledged).await;
    check_trees(store, acknowledged).await;
    check_artifacts(store, acknowledged).await;
}

async fn check_devices(store: &dyn DeviceStore, acknowledged: &Acknowledged) {
    let scanned = store.scan(&tenant(), 0, usize::MAX).await.unwrap();
    assert_eq!(
        scanned.len() as u32,
        store.count(&tenant()).await.unwrap(),
        "the count is that of the devices"
    );
    assert!(
        scanned.iter().zip(0..).all(|(device, ordinal)| device.ordinal == ordinal),
        "ordinals stay dense"
    );
    assert_eq!(store.list(&tenant(), None, usize::MAX).await.unwrap().len(), scanned.len());
    for numbers in acknowledged.of("added") {
        let [round, number, first] = numbers[..] else { panic!("three numbers") };
        for it in 0..3 {
            let device = &scanned[(first + it) as usize];
            assert_eq!(device.id.as_str(), format!("added-{round}-{number}-{it}"));
            assert_eq!(device.inventory.firmware, device.id.as_str());
        }
    }
    if let Some(last) = acknowledged.of("visited").last() {
        let device = store.load(&tenant(), &dev_id("visited")).await.unwrap().unwrap().value;
        let visits = device.last_seen.unwrap().as_second() as u64;
        // Each round may have been killed between one more write and its acknowledgement.
        let most = last[1] + acknowledged.rounds - last[0];
        assert!((last[1]..=most).contains(&visits), "acknowledged {} visits, found {visits}", last[1]);
        assert_eq!(
            device.inventory.software,
            visits.to_string(),
            "both records of a device are of one write"
        );
    }
}

async fn check_sessions(store: &dyn SessionStore, acknowledged: &Acknowledged) {
    for (round, last) in acknowledged.last("session") {
        let record = store.load(&session_key(round)).await.unwrap().unwrap().value;
        let (number, rest) = record.split_first_chunk().unwrap();
        let number = u64::from_le_bytes(*number);
        assert!(
            number == last || number == last + 1,
            "acknowledged write {last} of a session, found {number}"
        );
        assert_eq!(rest, filled(number, 2000));
    }
}

async fn check_jobs(store: &dyn JobStore, acknowledged: &Acknowledged) {
    let ledger = store.events(&tenant(), JOBS, 0, usize::MAX).await.unwrap();
    assert!(ledger.iter().zip(1..).all(|((after, _), want)| *after == want), "offsets stay dense");
    let mut released: HashMap<String, bool> = HashMap::new();
    for (_, event) in &ledger {
        let name = event.device.as_ref().unwrap().as_str().to_owned();
        match &event.kind {
            EventKind::Released { .. } => assert!(released.insert(name, false).is_none(), "released once"),
            EventKind::Ended { .. } => assert_eq!(released.insert(name, true), Some(false), "ended once"),
            other => panic!("nobody wrote {other:?}"),
        }
    }
    // A job and its events are there together or not at all, acknowledged or not.
    for (name, ended) in &released {
        let pending = store.pending(&tenant(), &dev_id(name)).await.unwrap();
        assert_eq!(pending.is_empty(), *ended, "job of {name}");
        let history = store.device_events(&tenant(), &dev_id(name), 10).await.unwrap();
        assert_eq!(history.len(), if *ended { 2 } else { 1 }, "history of {name}");
    }
    for numbers in acknowledged.of("released") {
        for it in 0..RELEASED_TOGETHER {
            assert!(released.contains_key(&format!("job-{}-{}-{it}", numbers[0], numbers[1])));
        }
    }
    for numbers in acknowledged.of("ended") {
        assert!(released[&format!("job-{}-{}-0", numbers[0], numbers[1])]);
    }
}

async fn check_triggers(store: &Embedded) {
    let mut consumer = store.consume().await.unwrap();
    let mut asked = HashSet::new();
    loop {
        let now = second(u64::from(u32::MAX));
        let taken = consumer.take(10_000, now, Duration::ZERO).await.unwrap();
        if taken.is_empty() {
            break;
        }
        asked.extend(taken.into_iter().map(|taken| taken.trigger.device));
    }
    for (_, event) in store.events(&tenant(), JOBS, 0, usize::MAX).await.unwrap() {
        if matches!(event.kind, EventKind::Released { .. }) {
            assert!(asked.remove(&event.device.unwrap()), "a job that was released has its trigger");
        }
    }
    assert!(asked.is_empty(), "a trigger has its job: {asked:?}");
}

async fn check_campaigns(store: &dyn CampaignStore, acknowledged: &Acknowledged) {
    let listed = store.list(&tenant()).await.unwrap();
    assert!(listed.iter().zip(1..).all(|(campaign, id)| campaign.value.id.0 == id), "ids stay dense");
    for numbers in acknowledged.of("created") {
        let campaign = &listed[numbers[2] as usize - 1].value;
        assert_eq!(campaign.definition, filled(numbers[1], 100));
    }
    for numbers in acknowledged.of("started") {
        let read = store.load(&tenant(), CampaignId(numbers[2])).await.unwrap().unwrap();
        assert_eq!(read.value.state, b"running");
        assert_eq!(read.value.members, filled(numbers[2], 5000));
    }
}

async fn check_trees(store: &dyn SnapshotStore, acknowledged: &Acknowledged) {
    for (round, last) in acknowledged.last("applied") {
        let head = store.current(&tenant(), &dev_id(&format!("tree-{round}"))).await.unwrap().unwrap();
        let count = store.leaf(&tenant(), head.root, "Count").await.unwrap().unwrap().value;
        let count = u64::from_le_bytes((*count).try_into().unwrap());
        assert!(count == last || count == last + 1, "acknowledged tree {last}, found {count}");
        let history = store.history(&tenant(), &dev_id(&format!("tree-{round}")), usize::MAX).await.unwrap();
        assert_eq!(history.len() as u64, count + 1, "each tree is in the history");
        for snapshot in history.iter().step_by(37) {
            let tree = store.read(&tenant(), snapshot.root, ".").await.unwrap();
            let leaves = tree.iter().filter(|change| matches!(change, Change::Leaf { .. })).count();
            assert_eq!(leaves, 41, "an old tree reads whole");
        }
    }
}

async fn check_artifacts(store: &dyn ArtifactStore, acknowledged: &Acknowledged) {
    for numbers in acknowledged.of("artifact") {
        let image = image(numbers[0], numbers[1]);
        let digest: [u8; 32] = Sha256::digest(&image).into();
        let read = store.read(&tenant(), &digest, 0, usize::MAX).await.unwrap();
        assert!(read == image, "an artifact is whole");
    }
}
