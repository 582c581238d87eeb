//! A sample of every stored form, kept for ever: what was written once must be read by every later program.
//!
//! `UPDATE_GOLDEN=1 cargo test -p campaign --test golden` writes samples of a new version; the diff is to be reviewed, and a
//! sample that is there already never changes.

#![allow(clippy::unwrap_used, reason = "these are tests, helpers and all")]

use std::{fmt::Debug, fs, path::PathBuf};

use campaign::{
    Artifact, Campaign, CampaignId, Definition, Digest, EventKind, Job, JobEvent, Outcome, PauseCause, Phase,
    Plan, Run, Start, StoredState, decode_members, encode_members,
};
use dm_objects::{agenda::FirmwareStage, outcome::ResultClass};
use dm_protocol::DevId;
use jiff::Timestamp;
use roaring::RoaringBitmap;

fn check<T: PartialEq + Debug>(name: &str, value: &T, encoded: &[u8], decode: impl Fn(&[u8]) -> T) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !path.exists() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, encoded).unwrap();
    }
    let sample = fs::read(&path).unwrap();
    assert_eq!(&decode(&sample), value, "{name} reads as another value");
    assert_eq!(sample, encoded, "{name} is written otherwise now: that is a new version");
}

fn at(second: i64) -> Timestamp {
    Timestamp::new(1_772_323_200 + second, 123_456_789).unwrap()
}

fn plan() -> Plan {
    let text = r#"
        name = "golden"
        artifact = { name = "fw", version = "2.0" }
        method = "in-band"
        seed = 7
        waves = [{ percent = 12.5, gate = { soak = "90s", approval = true } }, {}]
        target = { maker = "Acme", tags_any = ["a", "b"], tree = { "./DevDetail/HwV" = "rev-b" } }
        failure_gate = { failure_max_count = 9 }
        retry = { transient = { attempts_max = 7 } }
    "#;
    let artifact =
        Artifact { digest: Digest([0xAB; 32]), size: 1 << 33, name: "fw".into(), version: "2.0".into() };
    Plan::new(Definition::parse_toml(text).unwrap(), artifact, 0)
}

fn start() -> Start {
    Start { at: at(0), by: "ann".into() }
}

fn members() -> RoaringBitmap {
    (0..100).chain([70_000, 400_000]).collect()
}

/// One event of each kind and of each shape inside; new ones go to the end.
fn events() -> Vec<JobEvent> {
    let of = |ordinal: u32, attempt, second, kind| {
        let device = DevId::parse(&format!("IMEI:{ordinal}")).ok();
        JobEvent { device, ordinal, attempt, at: at(second), kind }
    };
    let all = |second, kind| JobEvent::campaign(at(second), kind);
    let ended =
        |outcome, retry_at| EventKind::Ended { outcome, version: Some("1.0".into()), detail: None, retry_at };
    let failed = Outcome::Failed { class: ResultClass::Transient, code: 503 };
    let by = || "ann".to_owned();
    vec![
        all(1, EventKind::Started { by: by(), members: 102 }),
        all(1, EventKind::WaveOpened { wave: 0 }),
        all(2, EventKind::WaveOpened { wave: 1 }),
        of(5, 1, 3, EventKind::Released { wave: 1, after: None }),
        of(6, 1, 3, EventKind::Released { wave: 1, after: None }),
        of(70_000, 1, 3, EventKind::Released { wave: 1, after: None }),
        of(5, 1, 4, EventKind::Moved { phase: Phase::Session(FirmwareStage::Pending) }),
        of(5, 1, 5, EventKind::Moved { phase: Phase::Running(FirmwareStage::Updating) }),
        of(5, 1, 60, ended(failed, Some(at(900)))),
        of(5, 2, 901, EventKind::Released { wave: 1, after: Some(failed) }),
        of(6, 1, 902, ended(Outcome::Refused { code: 405 }, None)),
        all(903, EventKind::Paused { cause: PauseCause::Operator { by: by(), reason: "to look".into() } }),
        all(999, EventKind::Resumed { by: by() }),
        of(70_000, 1, 1000, ended(Outcome::Succeeded, None)),
        all(1001, EventKind::Stopped { by: by(), hard: false }),
    ]
}

fn folded() -> Campaign {
    Campaign::replay(plan(), &members(), &start(), &events())
}

#[test]
fn plans_are_read_for_ever() {
    let quiet = Plan { definition: Definition { trigger: false, ..plan().definition }, ..plan() };
    check("plan-v2.bin", &quiet, &quiet.encode(), |bytes| Plan::decode(bytes).unwrap());
    let first = fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/plan-v1.bin")).unwrap();
    assert_eq!(
        Plan::decode(&first).unwrap(),
        plan(),
        "what was defined without a word on triggers asks for them"
    );
}

#[test]
fn members_are_read_for_ever() {
    check("members-v1.bin", &members(), &encode_members(&members()), |bytes| decode_members(bytes).unwrap());
}

#[test]
fn checkpoints_are_read_for_ever() {
    let campaign = folded();
    assert_eq!(campaign.ignored(), 0, "every event of the sample means something");
    check("checkpoint-v1.bin", &campaign, &campaign.checkpoint(), |bytes| {
        Campaign::restore(plan(), &members(), &start(), bytes).unwrap()
    });
}

#[test]
fn states_are_read_for_ever() {
    let campaign = folded();
    let state = StoredState {
        run: Run::Paused(PauseCause::WaveGate { wave: 1, reason: "3 of 20".into() }),
        created: Some(at(-60)),
        start: Some(start()),
        counts: *campaign.counts(),
        offset: 15,
        checkpoint: campaign.checkpoint(),
    };
    check("state-v1.bin", &state, &state.encode(), |bytes| StoredState::decode(bytes).unwrap());
}

#[test]
fn events_and_jobs_are_read_for_ever() {
    let jobs: Vec<Job> =
        [Phase::Waiting, Phase::Session(FirmwareStage::ExecSent), Phase::Running(FirmwareStage::Reported)]
            .map(|phase| Job { campaign: CampaignId(3), ordinal: 70_000, attempt: 2, phase, since: at(5) })
            .into();
    let both = (events(), jobs);
    check("ledger-v1.bin", &both, &postcard::to_allocvec(&both).unwrap(), |bytes| {
        postcard::from_bytes(bytes).unwrap()
    });
}

#[test]
fn damaged_forms_are_refused_and_never_panic() {
    let (plan, members, start) = (plan(), members(), start());
    let forms =
        [plan.encode(), encode_members(&members), folded().checkpoint(), StoredState::default().encode()];
    for form in &forms {
        for cut in 0..form.len() {
            let _ = Plan::decode(&form[..cut]);
            let _ = decode_members(&form[..cut]);
            let _ = StoredState::decode(&form[..cut]);
            let _ = Campaign::restore(plan.clone(), &members, &start, &form[..cut]);
        }
        for bit in 0..form.len() * 8 {
            let mut damaged = form.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let _ = Plan::decode(&damaged);
            let _ = StoredState::decode(&damaged);
            let _ = Campaign::restore(plan.clone(), &members, &start, &damaged);
        }
    }
    let few: RoaringBitmap = (0..3).collect();
    assert!(Campaign::restore(plan, &few, &start, &folded().checkpoint()).is_err(), "of other members");
}
