use super::*;

mod schema;

use campaign::{EventKind, Job, Outcome, PauseCause, Phase, TimedPhase};
use dm_objects::{agenda::FirmwareStage, outcome::ResultClass};
use storage::laws::golden;

fn at(second: i64) -> Timestamp {
    Timestamp::new(1_790_000_000 + second, 123_456_789).unwrap()
}

fn dev_id() -> DevId {
    DevId::parse("IMEI:490154203237518").unwrap()
}

fn event(kind: EventKind) -> JobEvent {
    JobEvent { device: Some(dev_id()), ordinal: 7, attempt: 2, at: at(0), kind }
}

fn job_message() -> JobMessage {
    let job = Job { campaign: CampaignId(3), ordinal: 7, attempt: 2, phase: Phase::Waiting, since: at(0) };
    let released = event(EventKind::Released { wave: 1, after: Some(Outcome::ExecLost) });
    JobMessage {
        tenant: TenantId::default(),
        release: Release { device: dev_id(), job, event: released, trigger_until: None },
    }
}

fn trigger_message(reason: TriggerReason) -> TriggerMessage {
    TriggerMessage {
        tenant: TenantId::default(),
        device: dev_id(),
        asked: at(0),
        until: at(3_600),
        ui_mode: UiMode::Background,
        reason,
        due: None,
        sent: 0,
    }
}

fn events_message(events: Vec<JobEvent>) -> EventsMessage {
    EventsMessage {
        tenant: TenantId::default(),
        campaign: CampaignId(3),
        device: dev_id(),
        attempt: 2,
        revision: 5,
        copy: true,
        events,
    }
}

fn outcomes() -> Vec<Outcome> {
    use ResultClass::{DeviceFault, NeedsUser, PackageFault, Success, Transient};
    use TimedPhase::{Download, Install, Report, Session, Wait};
    let failed = [Transient, NeedsUser, PackageFault, DeviceFault, Success]
        .map(|class| Outcome::Failed { class, code: 411 });
    let timed_out = [Wait, Session, Download, Install, Report].map(|phase| Outcome::TimedOut { phase });
    let others = [
        Outcome::Succeeded,
        Outcome::AlreadyCurrent,
        Outcome::Refused { code: 405 },
        Outcome::WrongVersion,
        Outcome::NotCapable,
        Outcome::ExecLost,
        Outcome::Cancelled,
        Outcome::Gone,
    ];
    failed.into_iter().chain(timed_out).chain(others).collect()
}

fn kinds() -> Vec<EventKind> {
    use FirmwareStage::{DownloadExecSent, Downloaded, Downloading, ExecSent, Pending, Reported, Updating};
    let (by, reason) = ("ann".to_owned(), "9 of 10".to_owned());
    let stages = [Pending, DownloadExecSent, Downloading, Downloaded, ExecSent, Updating, Reported];
    let phases = stages.map(Phase::Session).into_iter().chain(stages.map(Phase::Running));
    let mut kinds: Vec<_> = phases.map(|phase| EventKind::Moved { phase }).collect();
    kinds.extend(outcomes().into_iter().map(|outcome| EventKind::Ended {
        outcome,
        version: Some("2.0".to_owned()),
        detail: None,
        retry_at: Some(at(9)),
    }));
    kinds.extend(
        [
            PauseCause::Operator { by: by.clone(), reason: reason.clone() },
            PauseCause::FailureGate { reason: reason.clone() },
            PauseCause::WaveGate { wave: 65_535, reason },
            PauseCause::Approval { wave: 0 },
        ]
        .map(|cause| EventKind::Paused { cause }),
    );
    kinds.extend([
        EventKind::Released { wave: 0, after: None },
        EventKind::Released { wave: 9, after: Some(Outcome::Gone) },
        EventKind::Moved { phase: Phase::Waiting },
        EventKind::Ended {
            outcome: Outcome::Succeeded,
            version: None,
            detail: Some(String::new()),
            retry_at: None,
        },
        EventKind::Started { by: by.clone(), members: u32::MAX },
        EventKind::WaveOpened { wave: 2 },
        EventKind::Resumed { by: by.clone() },
        EventKind::Stopped { by, hard: true },
        EventKind::Finished,
    ]);
    kinds
}

#[test]
fn every_message_comes_back() {
    let job = job_message();
    assert_eq!(JobMessage::decode(&job.encode()).unwrap(), job);
    let reasons = [
        TriggerReason::Job { campaign: CampaignId(3), attempt: 2 },
        TriggerReason::Operator { by: "ann".to_owned() },
    ];
    for reason in reasons {
        for ui_mode in [UiMode::NotSpecified, UiMode::Background, UiMode::Informative, UiMode::Interaction] {
            let trigger = TriggerMessage { ui_mode, ..trigger_message(reason.clone()) };
            assert_eq!(TriggerMessage::decode(&trigger.encode()).unwrap(), trigger);
            let repeat = TriggerMessage { due: Some(at(60)), sent: 3, ..trigger };
            assert_eq!(TriggerMessage::decode(&repeat.encode()).unwrap(), repeat);
        }
    }
    let mut events: Vec<_> = kinds().into_iter().map(event).collect();
    events.push(JobEvent::campaign("1969-12-31T23:59:59.25Z".parse().unwrap(), EventKind::Finished));
    let message = events_message(events);
    assert_eq!(EventsMessage::decode(&message.encode()).unwrap(), message);
}

#[test]
fn samples_of_every_version_are_still_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/payload");
    let job = job_message();
    let trigger = trigger_message(TriggerReason::Job { campaign: CampaignId(3), attempt: 2 });
    let events = events_message(kinds().into_iter().map(event).collect());
    let sample = |name: &str, today: &[u8]| golden::sample(format!("{folder}/{name}-v1.bin"), today);
    assert_eq!(JobMessage::decode(&sample("job", &job.encode())).unwrap(), job);
    assert_eq!(TriggerMessage::decode(&sample("trigger", &trigger.encode())).unwrap(), trigger);
    assert_eq!(EventsMessage::decode(&sample("events", &events.encode())).unwrap(), events);
}

#[test]
fn what_a_later_program_writes_is_refused_by_name_or_left_alone() {
    let newer = Versioned { version: VERSION + 1 }.encode_to_vec();
    assert_eq!(
        JobMessage::decode(&newer),
        Err(PayloadError::Newer { what: "job message", version: VERSION + 1 })
    );
    // A field of a number that nobody has used yet: text "new" in field 200.
    let mut extended = job_message().encode();
    extended.extend([0xc2, 0x0c, 3, b'n', b'e', b'w']);
    assert_eq!(JobMessage::decode(&extended), Ok(job_message()));

    let mut message = wire::EventsMessage::from(&events_message(vec![event(EventKind::Finished)]));
    message.events[0].kind = None;
    assert_eq!(
        EventsMessage::decode(&message.encode_to_vec()),
        Err(PayloadError::Unknown { field: "event.kind" })
    );
    let mut message = wire::JobMessage::from(&job_message());
    message.job.as_mut().unwrap().phase = Some(wire::Phase { kind: 99, stage: 1 });
    assert_eq!(
        JobMessage::decode(&message.encode_to_vec()),
        Err(PayloadError::Unknown { field: "phase.kind" })
    );
}

#[test]
fn what_is_no_message_is_an_error() {
    let good = job_message().encode();
    let cuts = (0..good.len()).map(|end| good[..end].to_vec());
    for octets in cuts.chain([vec![0xff; 40], b"{\"version\":1}".to_vec()]) {
        assert!(JobMessage::decode(&octets).is_err(), "{octets:02x?}");
    }
    for wrong in ["", "UPPER", "a/b", &"a".repeat(33)] {
        let mut message = wire::JobMessage::from(&job_message());
        message.tenant = wrong.to_owned();
        let error = JobMessage::decode(&message.encode_to_vec()).unwrap_err();
        assert!(matches!(error, PayloadError::Field { field: "tenant", .. }), "{wrong}: {error}");
    }
}
