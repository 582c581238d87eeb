//! Firmware jobs through whole sessions, and what a stop between two writes leaves behind.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use campaign::{
    Artifact, CampaignId, Definition, Digest, EventKind, Job, JobEvent, Outcome, PauseCause, Phase, Plan,
    Run, StoredState,
};
use dm_objects::agenda::FirmwareStage as Stage;
use dm_protocol::{DevId, Scheme};
use jiff::Timestamp;
use session_service::Stores;
use sha2::{Digest as _, Sha256};
use storage::{
    CampaignStore as _, JobStore as _, Release, TenantId,
    faults::{Fault, FaultPlan, Faulty},
};
use support::{
    Front,
    client::{Client, header_status, report},
};
use syncml::Encoding;

const ID: &str = "IMEI:350000000000006";

/// A running campaign with one job for the device.
struct Campaign {
    id: CampaignId,
    device: DevId,
    plan: Plan,
    job: Job,
}

async fn release(front: &Front, device: &str, ordinal: u32) -> Campaign {
    let content = b"firmware 2.0".repeat(100);
    let mut reader = &content[..];
    let (media_type, most) = ("application/octet-stream", 1 << 20);
    let tenant = TenantId::default();
    // Other stores have an `add` too.
    let artifacts: &dyn storage::ArtifactStore = &front.store;
    let meta = artifacts.add(&tenant, "fw.bin", "2.0", media_type, most, &mut reader).await.unwrap();
    assert_eq!(meta.digest, <[u8; 32]>::from(Sha256::digest(&content)));

    let text = "name = 'test'\nartifact = { name = 'fw.bin', version = '2.0' }\n";
    let artifact =
        Artifact { digest: Digest(meta.digest), size: meta.size, name: meta.name, version: meta.version };
    let plan = Plan::new(Definition::parse_toml(text).unwrap(), artifact, 1);
    let state = StoredState { run: Run::Running, ..StoredState::default() };
    let id = front.store.create(&tenant, None, &plan.encode(), &state.encode()).await.unwrap();
    let device = DevId::parse(device).unwrap();
    let mut campaign = Campaign { id, device, plan, job: job(id, ordinal, 1) };
    campaign.release_again(front, 1).await;
    campaign
}

fn job(campaign: CampaignId, ordinal: u32, attempt: u16) -> Job {
    Job { campaign, ordinal, attempt, phase: Phase::Waiting, since: Timestamp::now() }
}

impl Campaign {
    async fn release_again(&mut self, front: &Front, attempt: u16) {
        self.job = job(self.id, self.job.ordinal, attempt);
        let device = self.device.clone();
        let event = JobEvent {
            device: Some(device.clone()),
            ordinal: self.job.ordinal,
            attempt,
            at: self.job.since,
            kind: EventKind::Released { wave: 0, after: None },
        };
        let release = Release { device, job: self.job.clone(), event, trigger_until: None };
        let tenant = TenantId::default();
        let epoch = front.store.claim(&tenant, self.id).await.unwrap();
        assert_eq!(front.store.release(&tenant, self.id, epoch, &[release]).await.unwrap(), 1);
    }

    async fn set_run(&self, front: &Front, run: Run) {
        let tenant = TenantId::default();
        let record = front.store.load(&tenant, self.id).await.unwrap().unwrap();
        let state = StoredState { run, ..StoredState::default() };
        front.store.put(&tenant, self.id, record.revision, None, &state.encode()).await.unwrap();
    }

    /// The ledger, without the times.
    async fn ledger(&self, front: &Front) -> Vec<(u16, EventKind)> {
        let events = front.store.events(&TenantId::default(), self.id, 0, 1000).await.unwrap();
        events.into_iter().map(|(_, event)| (event.attempt, event.kind)).collect()
    }

    async fn phase(&self, front: &Front) -> Option<Phase> {
        let jobs = front.store.pending(&TenantId::default(), &self.device).await.unwrap();
        jobs.first().map(|job| job.value.phase)
    }

    /// How the attempts ended, in the order of the ledger.
    async fn outcomes(&self, front: &Front) -> Vec<(u16, Outcome)> {
        let ended = |(attempt, kind)| match kind {
            EventKind::Ended { outcome, .. } => Some((attempt, outcome)),
            _ => None,
        };
        self.ledger(front).await.into_iter().filter_map(ended).collect()
    }
}

fn client(auth: Option<Scheme>, encoding: Encoding) -> Client {
    Client::new(ID, auth, encoding).with_fumo()
}

#[tokio::test]
async fn a_job_becomes_an_exec_and_its_report_becomes_an_end() {
    for (encoding, auth) in [(Encoding::Xml, Some(Scheme::Basic)), (Encoding::Wbxml, Some(Scheme::Md5))] {
        let dir = tempfile::tempdir().unwrap();
        let front = support::start(dir.path(), &[]).await;
        let ordinal = front.add_device(ID, auth).await;
        let campaign = release(&front, ID, ordinal).await;
        let mut client = client(auth, encoding);
        client.run(&front, "1", &[]).await;

        let correlator = campaign.job.correlator();
        let target = "./FUMO/Pkg/DownloadAndUpdate".to_owned();
        assert_eq!(client.execs, [(target, Some(correlator.clone()))]);
        assert_eq!(campaign.phase(&front).await, Some(Phase::Running(Stage::Updating)));
        assert_eq!(
            front.device(ID).await.fumo_root.as_deref().map(|root| root.trim_start_matches("./")),
            Some("FUMO/Pkg")
        );

        // The address that the device was given serves the artifact.
        let url = client.tree["./FUMO/Pkg/DownloadAndUpdate/PkgURL"].clone();
        let path = url.strip_prefix(&format!("http://{}", front.address)).unwrap();
        let request = http::Request::get(path).body(Default::default()).unwrap();
        let got = front.send(request).await;
        assert_eq!(<[u8; 32]>::from(Sha256::digest(got.body())), campaign.plan.artifact.digest.0);

        client.tree.insert("./DevDetail/FwV".to_owned(), "2.0".to_owned());
        client.run(&front, "2", &[report(&correlator, 200)]).await;
        assert_eq!(client.execs.len(), 1);
        assert_eq!(campaign.phase(&front).await, None);
        assert_eq!(front.device(ID).await.inventory.firmware, "2.0");
        let moved = |phase| (1, EventKind::Moved { phase });
        let ledger = campaign.ledger(&front).await;
        assert_eq!(
            ledger[..ledger.len() - 1],
            [
                (1, EventKind::Released { wave: 0, after: None }),
                moved(Phase::Session(Stage::Pending)),
                moved(Phase::Session(Stage::ExecSent)),
                moved(Phase::Running(Stage::Updating)),
                moved(Phase::Session(Stage::Reported)),
            ]
        );
        assert_eq!(campaign.outcomes(&front).await, [(1, Outcome::Succeeded)]);

        // Done: the visits after it have nothing to do.
        client.run(&front, "3", &[]).await;
        assert_eq!(client.execs.len(), 1);
    }
}

#[tokio::test]
async fn success_with_the_old_version_and_failure_are_what_they_are() {
    let cases = [
        (200, "1.0", Outcome::WrongVersion),
        (200, "2.0", Outcome::Succeeded),
        (503, "1.0", Outcome::Failed { class: dm_objects::outcome::ResultClass::Transient, code: 503 }),
    ];
    for (code, version, want) in cases {
        let dir = tempfile::tempdir().unwrap();
        let front = support::start(dir.path(), &[]).await;
        let ordinal = front.add_device(ID, None).await;
        let campaign = release(&front, ID, ordinal).await;
        let mut client = client(None, Encoding::Xml);
        client.run(&front, "1", &[]).await;
        client.tree.insert("./DevDetail/FwV".to_owned(), version.to_owned());
        client.run(&front, "2", &[report(&campaign.job.correlator(), code)]).await;
        assert_eq!(campaign.outcomes(&front).await, [(1, want)], "code {code}, version {version}");
        assert_eq!(client.execs.len(), 1);
    }
}

/// A front-end whose stores fail by a plan, beside the sound store itself.
async fn start_faulty(dir: &std::path::Path, plan: FaultPlan) -> (Front, Arc<FaultPlan>) {
    let (store, plan) = (support::open(dir), Arc::new(plan));
    let faulty = Faulty::new(Arc::new(store.clone()), Arc::clone(&plan));
    (support::start_with(store, Stores::of(faulty), &[]).await, plan)
}

/// What a run with a fault showed.
struct Faulted {
    failures: usize,
    outcomes: Vec<(u16, Outcome)>,
    messages: usize,
}

/// Runs a job's first session with a fault at its n-th message: the session's record is refused by the store, or
/// written and reported lost. The device sends such a message again.
async fn run_with_fault(front: &Front, plan: &FaultPlan, fault: Fault, nth: usize) -> Faulted {
    let id = format!("IMEI:{nth}");
    let ordinal = front.add_device(&id, Some(Scheme::Md5)).await;
    let mut client = Client::new(&id, Some(Scheme::Md5), Encoding::Wbxml).with_fumo();
    // A visit before, so that both sides have a nonce.
    client.run(front, "0", &[]).await;
    let mut campaign = release(front, &id, ordinal).await;

    client.begin("1");
    let mut next = Some(client.package_1(&[]));
    let (mut messages, mut failures) = (0, 0);
    while let Some(message) = next {
        messages += 1;
        if messages == nth {
            plan.fail_next("put session", fault);
        }
        let mut body = Vec::new();
        syncml::encode(client.encoding, &message, &mut body);
        let answer = front.post(&client.path, Some(client.encoding.media_type()), body.clone()).await;
        if answer.status() == 503 {
            assert!(answer.headers().contains_key("retry-after"));
            failures += 1;
        }
        let answer = client.repeat(front, body).await;
        // The nonce of a first message whose record was refused is spent all the same.
        let is_spent = nth == 1 && messages == 1 && matches!(fault, Fault::Refused);
        assert_eq!(header_status(&answer.message) == 401, is_spent, "message {messages}");
        next = client.answer(&answer.message, &[]);
    }

    // An attempt whose Exec was lost ends as such, and another begins.
    if campaign.outcomes(front).await == [(1, Outcome::ExecLost)] {
        campaign.release_again(front, 2).await;
        client.run(front, "2", &[]).await;
    }
    client.tree.insert("./DevDetail/FwV".to_owned(), "2.0".to_owned());
    client.run(front, "3", &[report(&campaign.job.correlator(), 200)]).await;

    let mut correlators: Vec<_> = client.execs.iter().map(|(_, correlator)| correlator.clone()).collect();
    correlators.dedup();
    assert_eq!(correlators.len(), client.execs.len(), "an attempt ran twice: {:?}", client.execs);
    Faulted { failures, outcomes: campaign.outcomes(front).await, messages }
}

#[tokio::test]
async fn a_stop_between_the_effects_and_the_record_never_runs_an_attempt_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (front, plan) = start_faulty(dir.path(), FaultPlan::quiet()).await;
    let messages = run_with_fault(&front, &plan, Fault::Refused, usize::MAX).await.messages;
    assert!(messages >= 3, "a session with an Exec has more than {messages} messages");
    let mut lost_execs = 0;
    for nth in 1..=messages {
        let run = run_with_fault(&front, &plan, Fault::Refused, nth).await;
        assert_eq!(run.failures, 1, "message {nth} was refused");
        match &run.outcomes[..] {
            [(1, Outcome::Succeeded)] => {}
            [(1, Outcome::ExecLost), (2, Outcome::Succeeded)] => lost_execs += 1,
            other => panic!("message {nth} refused: {other:?}"),
        }
    }
    assert_eq!(lost_execs, 1, "only the message that is answered with the Exec can cost the attempt");
}

/// A server was killed between the two writes and never wrote the tree again, because the inventory had it already.
#[tokio::test]
async fn a_tree_that_could_not_be_written_is_written_with_the_repeated_message() {
    let dir = tempfile::tempdir().unwrap();
    let (front, plan) = start_faulty(dir.path(), FaultPlan::quiet()).await;
    front.add_device(ID, Some(Scheme::Md5)).await;
    let mut client = Client::new(ID, Some(Scheme::Md5), Encoding::Xml);
    client.run(&front, "0", &[]).await;
    let mut next = Some({
        client.begin("1");
        client.tree.insert("./DevInfo/Lang".to_owned(), "fr".to_owned());
        client.package_1(&[])
    });
    plan.fail_next("apply to snapshot", Fault::Refused);
    let mut failures = 0;
    while let Some(message) = next {
        let mut body = Vec::new();
        syncml::encode(client.encoding, &message, &mut body);
        let answer = front.post(&client.path, Some(client.encoding.media_type()), body.clone()).await;
        failures += usize::from(answer.status() == 503);
        let answer = client.repeat(&front, body).await;
        next = client.answer(&answer.message, &[]);
    }
    assert_eq!(failures, 1);
    assert_eq!(front.device(ID).await.inventory.language, "fr");
    let (trees, tenant, id): (&dyn storage::SnapshotStore, _, _) =
        (&front.store, TenantId::default(), DevId::parse(ID).unwrap());
    let tree = trees.current(&tenant, &id).await.unwrap().unwrap();
    let leaf = trees.leaf(&tenant, tree.root, "DevInfo/Lang").await.unwrap().unwrap();
    assert_eq!(*leaf.value, *b"fr");
}

#[tokio::test]
async fn a_record_that_was_written_and_reported_lost_is_answered_from() {
    let dir = tempfile::tempdir().unwrap();
    let (front, plan) = start_faulty(dir.path(), FaultPlan::quiet()).await;
    let messages = run_with_fault(&front, &plan, Fault::AnswerLost, usize::MAX).await.messages;
    for nth in 1..=messages {
        let run = run_with_fault(&front, &plan, Fault::AnswerLost, nth).await;
        assert_eq!((run.failures, &run.outcomes[..]), (1, &[(1, Outcome::Succeeded)][..]), "message {nth}");
    }
}

#[tokio::test]
async fn a_paused_campaign_gives_no_work_and_a_resumed_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let front = support::start(dir.path(), &[]).await;
    let ordinal = front.add_device(ID, None).await;
    let campaign = release(&front, ID, ordinal).await;
    let cause = PauseCause::Operator { by: "test".into(), reason: String::new() };
    campaign.set_run(&front, Run::Paused(cause.clone())).await;
    let mut client = client(None, Encoding::Xml);
    client.run(&front, "1", &[]).await;
    assert!(client.execs.is_empty());
    assert_eq!(campaign.phase(&front).await, Some(Phase::Waiting));

    campaign.set_run(&front, Run::Running).await;
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    // In the middle of the session, before the Exec, it is paused again.
    client.begin("2");
    let first = client.package_1(&[]);
    let mut exchange = client.post(&front, first).await;
    assert_eq!(campaign.phase(&front).await, Some(Phase::Session(Stage::Pending)));
    campaign.set_run(&front, Run::Paused(cause)).await;
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    while let Some(next) = client.answer(&exchange.message, &[]) {
        exchange = client.post(&front, next).await;
    }
    assert!(client.execs.is_empty(), "the Exec of a paused campaign left");
    assert_eq!(campaign.phase(&front).await, Some(Phase::Session(Stage::Pending)));
}

#[tokio::test]
async fn no_exec_leaves_for_an_attempt_that_has_ended_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let front = support::start(dir.path(), &[]).await;
    let ordinal = front.add_device(ID, None).await;
    let campaign = release(&front, ID, ordinal).await;
    let mut client = client(None, Encoding::Xml);
    client.begin("1");
    let first = client.package_1(&[]);
    let mut exchange = client.post(&front, first).await;

    // The campaign's owner ends the attempt while the device is in its session.
    let (tenant, device) = (TenantId::default(), DevId::parse(ID).unwrap());
    let held = front.store.pending(&tenant, &device).await.unwrap().remove(0);
    let end = held.value.end(&device, Outcome::Cancelled, None, None, &campaign.plan, Timestamp::now());
    front.store.update(&tenant, &device, campaign.id, held.revision, None, &end.events).await.unwrap();

    while let Some(next) = client.answer(&exchange.message, &[]) {
        exchange = client.post(&front, next).await;
    }
    assert!(client.execs.is_empty(), "an Exec left for an attempt that had ended");
    assert_eq!(campaign.outcomes(&front).await, [(1, Outcome::Cancelled)]);
}

#[tokio::test]
async fn a_session_is_carried_on_after_a_restart_of_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let front = support::start(dir.path(), &[]).await;
    let ordinal = front.add_device(ID, Some(Scheme::Md5)).await;
    let campaign = release(&front, ID, ordinal).await;
    let mut client = client(Some(Scheme::Md5), Encoding::Wbxml);
    client.begin("1");
    let first = client.package_1(&[]);
    let mut exchange = client.post(&front, first).await;
    let mut front = front;
    while let Some(next) = client.answer(&exchange.message, &[]) {
        let Front { store, shutdown, task, .. } = front;
        shutdown.begin();
        task.await.unwrap();
        drop(store);
        front = support::start(dir.path(), &[]).await;
        exchange = client.post(&front, next).await;
    }
    assert_eq!(client.execs.len(), 1);
    assert_eq!(campaign.phase(&front).await, Some(Phase::Running(Stage::Updating)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_reaches_several_front_ends_at_once_is_handled_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let mut fronts = Vec::new();
    for _ in 0..3 {
        fronts.push(Arc::new(support::start_with(store.clone(), Stores::of(store.clone()), &[]).await));
    }
    let front = &fronts[0];
    for number in 0..5 {
        let id = format!("IMEI:{number}");
        let ordinal = front.add_device(&id, Some(Scheme::Md5)).await;
        let campaign = release(front, &id, ordinal).await;
        let mut client = Client::new(&id, Some(Scheme::Md5), Encoding::Wbxml).with_fumo();
        client.begin("1");
        let mut next = Some(client.package_1(&[]));
        while let Some(message) = next {
            let mut body = Vec::new();
            syncml::encode(client.encoding, &message, &mut body);
            let mut tasks = tokio::task::JoinSet::new();
            for front in fronts.iter().cycle().take(6) {
                let (front, path, body) = (front.clone(), client.path.clone(), body.clone());
                tasks.spawn(async move { front.post(&path, Some(Encoding::Wbxml.media_type()), body).await });
            }
            let answers = tasks.join_all().await;
            for answer in &answers {
                assert_eq!((answer.status().as_u16(), answer.body()), (200, answers[0].body()), "{id}");
            }
            next = client.answer(&support::client::read(client.encoding, answers[0].body()), &[]);
        }
        assert_eq!(client.execs.len(), 1, "{id}");
        assert_eq!(campaign.phase(front).await, Some(Phase::Running(Stage::Updating)), "{id}");
    }
}

/// Sends until it is answered, as clients do after a 503; answers how often it was told to come again.
async fn insist(
    client: &mut Client,
    front: &Front,
    message: syncml::Message<'_>,
) -> (syncml::Message<'static>, usize) {
    let mut body = Vec::new();
    syncml::encode(client.encoding, &message, &mut body);
    for turned_away in 0..200 {
        let answer = front.post(&client.path, Some(client.encoding.media_type()), body.clone()).await;
        match answer.status().as_u16() {
            200 => return (support::client::read(client.encoding, answer.body()), turned_away),
            503 => assert!(answer.headers().contains_key("retry-after")),
            other => panic!("{other}: {:?}", answer.body()),
        }
    }
    panic!("200 times the stores failed")
}

async fn insist_on_session(
    client: &mut Client,
    front: &Front,
    session: &str,
    alerts: &[syncml::Alert<'static>],
) {
    client.begin(session);
    let mut next = Some(client.package_1(alerts));
    while let Some(message) = next {
        let (answer, _) = insist(client, front, message).await;
        next = client.answer(&answer, alerts);
    }
}

#[tokio::test]
async fn whatever_store_call_fails_no_attempt_runs_twice_and_every_job_ends() {
    let mut faults = 0;
    for seed in 0..2 {
        let dir = tempfile::tempdir().unwrap();
        let (front, plan) = start_faulty(dir.path(), FaultPlan::new(seed, 60, 60)).await;
        for number in 0..4 {
            let id = format!("IMEI:{number}");
            let ordinal = front.add_device(&id, Some(Scheme::Md5)).await;
            let mut campaign = release(&front, &id, ordinal).await;
            let mut client = Client::new(&id, Some(Scheme::Md5), Encoding::Wbxml).with_fumo();
            let mut session = 0;
            // Until the job succeeds: visits, the update once an Exec has come, and a new attempt for a lost one.
            while campaign
                .outcomes(&front)
                .await
                .last()
                .is_none_or(|(_, outcome)| *outcome != Outcome::Succeeded)
            {
                session += 1;
                assert!(session < 30, "seed {seed}, {id}: {:?}", campaign.ledger(&front).await);
                if campaign.phase(&front).await.is_none() {
                    let last = campaign.outcomes(&front).await.pop();
                    assert_eq!(last, Some((campaign.job.attempt, Outcome::ExecLost)), "seed {seed}, {id}");
                    campaign.release_again(&front, campaign.job.attempt + 1).await;
                }
                let correlator = campaign.job.correlator();
                let has_come = client.execs.iter().any(|(_, seen)| seen.as_ref() == Some(&correlator));
                let alerts = if has_come { vec![report(&correlator, 200)] } else { Vec::new() };
                if has_come {
                    client.tree.insert("./DevDetail/FwV".to_owned(), "2.0".to_owned());
                }
                insist_on_session(&mut client, &front, &session.to_string(), &alerts).await;
            }
            let mut correlators: Vec<_> =
                client.execs.iter().map(|(_, correlator)| correlator.clone()).collect();
            correlators.sort();
            correlators.dedup();
            assert_eq!(correlators.len(), client.execs.len(), "seed {seed}, {id}: {:?}", client.execs);
        }
        faults += plan.happened();
    }
    assert!(faults > 20, "only {faults} calls failed");
}
