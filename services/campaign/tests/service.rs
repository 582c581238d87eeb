//! The service over the embedded store: whole campaigns, commands, and the reports on them.

mod support;

use std::time::Duration;

use campaign::{EventKind, JobEvent, PauseCause};
use campaign_service::ServiceError;
use support::{Act, Fleet, Place, definition, dev_id, most_in_flight, spawn, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_in_waves_runs_to_its_end_within_its_budget() {
    let place = Place::with_devices(300).await;
    let service = place.service();
    let _running = spawn(&service).drop_guard();
    let id = service
        .create(definition("in_flight_max = 25\nwaves = [{percent = 10}, {}]\nseed = 5"), None)
        .await
        .unwrap();
    assert_eq!(service.status(id).await.unwrap().summary.run, "draft");
    service.start(id, "ann").await.unwrap();
    let fleet = Fleet::default();
    let devices = {
        let (fleet, stores) = (fleet.clone(), place.stores.clone());
        let act = |at| if at % 30 == 0 { Act::Fail(402) } else { Act::Succeed };
        tokio::spawn(async move { fleet.run(stores, 0..300, act).await })
    };
    until(&service, id, "finished").await;
    devices.abort();

    let status = service.status(id).await.unwrap();
    assert_eq!((status.members, status.ended, status.in_flight), (300, 300, 0));
    assert_eq!((status.summary.counts.succeeded, status.summary.counts.failed_package_fault), (290, 10));
    assert_eq!(status.waves.iter().map(|wave| wave.members).collect::<Vec<_>>(), [30, 270]);
    let outcomes: Vec<_> = status.outcomes.iter().map(|row| (row.outcome, row.code, row.devices)).collect();
    assert_eq!(outcomes, [("succeeded", None, 290), ("failed-package-fault", Some(402), 10)]);
    assert_eq!(most_in_flight(&place.ledger(id).await), 25, "the budget is used and not exceeded");
    assert!(fleet.execs.lock().unwrap().values().all(|&execs| execs == 1));
    let verification = service.verify(id).await.unwrap();
    assert!(verification.adds_up, "{:?}", verification.differences);

    let failed = service.devices(id, Some("failed"), 0, 4).await.unwrap();
    assert_eq!(failed.devices.iter().map(|row| row.ordinal).collect::<Vec<_>>(), [0, 30, 60, 90]);
    let rest = service.devices(id, Some("failed"), failed.next.unwrap(), 100).await.unwrap();
    assert_eq!((rest.devices.len(), rest.next), (6, None));
    let report = service.explain(id, &dev_id(30)).await.unwrap().unwrap();
    let member = report.member.unwrap();
    assert_eq!((member.status, member.code), ("failed-package-fault", Some(402)));
    let events: Vec<_> = report.events.iter().map(|event| event.event).collect();
    assert_eq!(events, ["released", "moved", "moved", "ended"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_devices_end_by_their_timer_and_say_why_meanwhile() {
    let place = Place::with_devices(40).await;
    let service = place.service();
    let _running = spawn(&service).drop_guard();
    let id = service
        .create(
            definition(
                "in_flight_max = 30\n[timers]\nwait = '5s'\n[failure_gate]\nsilence_max_percent = 100",
            ),
            None,
        )
        .await
        .unwrap();
    service.start(id, "ann").await.unwrap();
    let wait = async {
        while service.status(id).await.unwrap().in_flight < 30 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap();
    let released = service.explain(id, &dev_id(0)).await.unwrap().unwrap().member.unwrap();
    assert_eq!((released.status, released.until.is_some()), ("waiting", true), "{}", released.reason);
    let held = service.explain(id, &dev_id(39)).await.unwrap().unwrap().member.unwrap();
    assert_eq!(held.status, "pending");
    assert!(held.reason.contains("30 of 30 devices are in flight"), "{}", held.reason);
    until(&service, id, "finished").await;
    assert_eq!(service.status(id).await.unwrap().summary.counts.silent, 40);
    assert!(service.verify(id).await.unwrap().adds_up);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_holds_work_and_a_stop_ends_it() {
    let place = Place::with_devices(50).await;
    let service = place.service();
    let _running = spawn(&service).drop_guard();
    let id = service.create(definition("in_flight_max = 10"), None).await.unwrap();
    let wrong = service.pause(id, "ann", "").await;
    assert!(matches!(wrong, Err(ServiceError::WrongState { found: "draft", .. })), "{wrong:?}");
    service.start(id, "ann").await.unwrap();
    // Right away: the owner has hardly begun.
    service.pause(id, "ann", "to look").await.unwrap();
    service.pause(id, "ann", "twice is once").await.unwrap();
    let status = service.status(id).await.unwrap();
    assert_eq!(status.summary.run, "paused");
    assert_eq!(status.cause.unwrap().to_string(), "paused by ann: to look");

    // Devices come, and get nothing.
    let fleet = Fleet::default();
    let devices = {
        let (fleet, stores) = (fleet.clone(), place.stores.clone());
        tokio::spawn(async move { fleet.run(stores, 0..50, |_| Act::Succeed).await })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(fleet.execs.lock().unwrap().is_empty());

    service.stop(id, "ann", false).await.unwrap();
    until(&service, id, "stopped").await;
    devices.abort();
    let counts = service.status(id).await.unwrap().summary.counts;
    assert_eq!((counts.cancelled, counts.ended()), (50, 50));
    assert!(service.verify(id).await.unwrap().adds_up);
    let again = service.resume(id, "ann").await;
    assert!(matches!(again, Err(ServiceError::WrongState { found: "stopped", .. })), "{again:?}");
    service.stop(id, "ann", true).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wave_awaits_approval_and_a_bad_one_pauses() {
    let place = Place::with_devices(100).await;
    let service = place.service();
    let _running = spawn(&service).drop_guard();
    let text =
        "waves = [{percent = 20, gate = {approval = true, tried_min_percent = 100}}, {percent = 20}, {}]";
    let id = service.create(definition(text), None).await.unwrap();
    service.start(id, "ann").await.unwrap();
    let (fleet, stores) = (Fleet::default(), place.stores.clone());
    let first = tokio::spawn(async move { fleet.run(stores, 0..100, |_| Act::Succeed).await });
    until(&service, id, "paused").await;
    first.abort();
    let status = service.status(id).await.unwrap();
    assert_eq!(status.cause, Some(PauseCause::Approval { wave: 0 }));
    assert_eq!((status.summary.counts.pending, status.summary.counts.succeeded), (80, 20));

    service.approve(id, "bob").await.unwrap();
    let (fleet, stores) = (Fleet::default(), place.stores.clone());
    let second = tokio::spawn(async move { fleet.run(stores, 0..100, |_| Act::Fail(402)).await });
    until(&service, id, "paused").await;
    let status = service.status(id).await.unwrap();
    let cause = status.cause.unwrap().to_string();
    assert!(cause.starts_with("gate of wave 1: 20 of 20 tried failed"), "{cause}");
    assert_eq!(status.summary.counts.pending, 60, "the third wave was kept from it");
    assert!(service.approve(id, "bob").await.is_err(), "there is nothing to approve");
    second.abort();
}

#[tokio::test]
async fn a_draft_says_what_it_would_do_and_creating_twice_is_once() {
    let place = Place::with_devices(100).await;
    place.add_devices(0, |_| {}).await;
    let service = place.service();
    let _running = spawn(&service).drop_guard();
    let target = "in_flight_max = 10\n[target]\nmodel = 'M1'\n[target.tree]\n'./DevInfo/Man' = 'Acme'\n";
    let id = service.create(definition(target), Some("key")).await.unwrap();
    assert_eq!(service.create(definition(target), Some("key")).await.unwrap(), id);
    let preview = service.preview_of(id).await.unwrap();
    assert_eq!((preview.devices, preview.members, preview.download_bytes), (100, 50, 400));
    assert_eq!((preview.refusals[0].reason, preview.refusals[0].devices), ("model", 50));

    service.start(id, "ann").await.unwrap();
    service.start(id, "ann").await.unwrap();
    until(&service, id, "running").await;
    // A device is in one campaign at a time.
    let other = service.preview(definition("")).await.unwrap();
    let reasons: Vec<_> = other.refusals.iter().map(|one| (one.reason, one.devices)).collect();
    assert_eq!((other.members, reasons), (50, vec![("in-other-campaign", 50)]));
    let outside = service.explain(id, &dev_id(1)).await.unwrap().unwrap();
    assert_eq!((outside.member, outside.refusal), (None, Some("model")));
}

#[tokio::test]
async fn a_target_that_matches_nobody_does_not_start_unless_it_may() {
    let place = Place::with_devices(10).await;
    let service = place.service();
    let _running = spawn(&service).drop_guard();
    let nobody = "[target]\nmaker = 'Other'";
    let id = service.create(definition(nobody), None).await.unwrap();
    let refused = service.start(id, "ann").await;
    assert!(matches!(refused, Err(ServiceError::NoMembers { devices: 10 })), "{refused:?}");
    assert_eq!(service.status(id).await.unwrap().summary.run, "draft");
    let allowed =
        service.create(definition(&format!("allow_zero_members = true\n{nobody}")), None).await.unwrap();
    service.start(allowed, "ann").await.unwrap();
    until(&service, allowed, "finished").await;
    let unknown = campaign::Definition::parse_toml("name = 'x'\nartifact = { name = 'none' }").unwrap();
    assert!(matches!(service.create(unknown, None).await, Err(ServiceError::NoArtifact(_))));
}

#[tokio::test]
async fn an_attempt_without_a_job_comes_to_its_end_all_the_same() {
    let place = Place::with_devices(1).await;
    let service = place.service();
    let _running = spawn(&service).drop_guard();
    let text = "[timers]\nwait = '1s'\n[failure_gate]\nsilence_max_percent = 100";
    let id = service.create(definition(text), None).await.unwrap();
    // A ledger that says released, and a store that has no job: what no backend that keeps the laws ever shows.
    let kind = EventKind::Released { wave: 0, after: None };
    let at = jiff::Timestamp::now();
    let event = JobEvent { device: Some(dev_id(0)), ordinal: 0, attempt: 1, at, kind };
    let epoch = place.stores.jobs.claim(&support::tenant(), id).await.unwrap();
    place.stores.jobs.append(&support::tenant(), id, epoch, &[event]).await.unwrap();
    service.start(id, "ann").await.unwrap();
    until(&service, id, "finished").await;
    let report = service.explain(id, &dev_id(0)).await.unwrap().unwrap();
    assert_eq!(report.events.last().unwrap().detail.as_deref(), Some("its job was lost"));
    assert!(service.verify(id).await.unwrap().adds_up);
}
