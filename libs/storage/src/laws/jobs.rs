use std::time::Duration;

use campaign::{CampaignId, EventKind, Job, JobEvent, Outcome, Phase};
use dm_objects::{agenda::FirmwareStage, outcome::ResultClass};
use dm_protocol::DevId;

use super::{RACERS, assert_kind, at, dev_id, fresh_tenant, race};
use crate::{Epoch, ErrorKind, JobStore, Release, Revision, TenantId, Versioned};

const FIRST: CampaignId = CampaignId(1);
const SECOND: CampaignId = CampaignId(2);

/// How long what was written may take to be seen.
const SOON: Duration = Duration::from_secs(20);
/// How often one looks.
const LOOK: Duration = Duration::from_millis(20);

/// A number for each name: devices have ordinals of their own.
fn ordinal(device: &str) -> u32 {
    device.bytes().fold(2_166_136_261, |hash: u32, octet| (hash ^ u32::from(octet)).wrapping_mul(16_777_619))
}

fn event(device: &str, attempt: u16, second: i64, kind: EventKind) -> JobEvent {
    JobEvent { device: Some(dev_id(device)), ordinal: ordinal(device), attempt, at: at(second), kind }
}

fn moved(device: &str, second: i64) -> JobEvent {
    event(device, 1, second, EventKind::Moved { phase: Phase::Running(FirmwareStage::Updating) })
}

fn release(campaign: CampaignId, device: &str, attempt: u16) -> Release {
    let job =
        Job { campaign, ordinal: ordinal(device), attempt, phase: Phase::Waiting, since: at(attempt.into()) };
    let event = event(device, attempt, attempt.into(), EventKind::Released { wave: 0, after: None });
    Release { device: dev_id(device), job, event, trigger_until: None }
}

/// The device's jobs, once they are as many, and once it is known to have some if it does: a released job shows in both
/// after a while, and in either first.
async fn pending(
    store: &dyn JobStore,
    tenant: &TenantId,
    device: &DevId,
    count: usize,
) -> Vec<Versioned<Job>> {
    let until = tokio::time::Instant::now() + SOON;
    loop {
        let jobs = store.pending(tenant, device).await.unwrap();
        let known = count == 0 || store.may_have(tenant, device).await.unwrap();
        if (jobs.len() == count && known) || tokio::time::Instant::now() > until {
            assert_eq!(jobs.len(), count, "jobs of {device}: {jobs:?}");
            assert!(known, "{device} has {count} jobs, and may have one");
            return jobs;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The ledger from `from` on, once it has as many events.
async fn ledger(
    store: &dyn JobStore,
    (tenant, campaign): (&TenantId, CampaignId),
    from: u64,
    count: usize,
) -> Vec<(u64, JobEvent)> {
    let until = tokio::time::Instant::now() + SOON;
    loop {
        let events = store.events(tenant, campaign, from, 10_000).await.unwrap();
        if events.len() >= count || tokio::time::Instant::now() > until {
            assert_eq!(events.len(), count, "events of {campaign} from {from} on: {events:?}");
            return events;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Both ledgers, claimed.
async fn claims(store: &dyn JobStore, tenant: &TenantId) -> (Epoch, Epoch) {
    (store.claim(tenant, FIRST).await.unwrap(), store.claim(tenant, SECOND).await.unwrap())
}

/// The laws of [`JobStore`].
pub async fn job_store_laws(store: &dyn JobStore) {
    a_job_goes_from_release_to_its_end(store).await;
    releasing_twice_is_releasing_once(store).await;
    a_stale_write_is_refused(store).await;
    one_of_many_racing_writes_wins(store).await;
    a_new_attempt_stands_in_place_of_the_last(store).await;
    offsets_are_dense_also_when_appends_race(store).await;
    events_of_a_device_come_newest_first(store).await;
    waiting_ends_when_the_ledger_grows(store).await;
    an_earlier_claim_writes_no_more(store).await;
    a_missing_job_that_was_ended_never_comes(store).await;
    tenants_are_apart(store).await;
}

async fn a_job_goes_from_release_to_its_end(store: &dyn JobStore) {
    let tenant = fresh_tenant("job-life");
    let (one, two) = claims(store, &tenant).await;
    let device = dev_id("IMEI:1");
    assert!(store.pending(&tenant, &device).await.unwrap().is_empty());
    let released = release(FIRST, "IMEI:1", 1);
    assert_eq!(store.release(&tenant, FIRST, one, std::slice::from_ref(&released)).await.unwrap(), 1);
    let later = release(SECOND, "IMEI:1", 1);
    assert_eq!(store.release(&tenant, SECOND, two, std::slice::from_ref(&later)).await.unwrap(), 1);

    let pending = pending(store, &tenant, &device, 2).await;
    let jobs: Vec<&Job> = pending.iter().map(|it| &it.value).collect();
    assert_eq!(jobs, [&released.job, &later.job], "jobs wait in the order of their release");

    let moved_job =
        Job { phase: Phase::Session(FirmwareStage::ExecSent), since: at(9), ..released.job.clone() };
    let moved_event = moved("IMEI:1", 9);
    let revision = store
        .update(
            &tenant,
            &device,
            FIRST,
            pending[0].revision,
            Some(&moved_job),
            std::slice::from_ref(&moved_event),
        )
        .await
        .unwrap()
        .unwrap();
    let after = store.pending(&tenant, &device).await.unwrap();
    assert_eq!(
        (&after[0].value, after[0].revision),
        (&moved_job, revision),
        "a job that moves keeps its place"
    );
    assert_eq!(after[1], pending[1], "the other job is as it was");

    let (version, retry_at) = (Some("2.0".into()), Some(at(99)));
    let kind = EventKind::Ended {
        outcome: Outcome::Failed { class: ResultClass::Transient, code: 410 },
        version,
        detail: None,
        retry_at,
    };
    let ended = event("IMEI:1", 1, 10, kind);
    let none =
        store.update(&tenant, &device, FIRST, revision, None, std::slice::from_ref(&ended)).await.unwrap();
    assert_eq!(none, None);
    assert_eq!(store.pending(&tenant, &device).await.unwrap(), [pending[1].clone()]);
    assert_eq!(
        ledger(store, (&tenant, FIRST), 0, 3).await,
        [(1, released.event), (2, moved_event), (3, ended)],
        "the ledger tells it all, in order"
    );
    assert_eq!(ledger(store, (&tenant, SECOND), 0, 1).await, [(1, later.event)]);
}

async fn releasing_twice_is_releasing_once(store: &dyn JobStore) {
    let tenant = fresh_tenant("job-twice");
    let (one, _) = claims(store, &tenant).await;
    let batch: Vec<Release> = (0..30).map(|it| release(FIRST, &format!("IMEI:{it}"), 1)).collect();
    assert_eq!(store.release(&tenant, FIRST, one, &batch[..20]).await.unwrap(), 20);
    assert_eq!(
        store.release(&tenant, FIRST, one, &batch).await.unwrap(),
        10,
        "those seen before are left out"
    );
    assert_eq!(store.release(&tenant, FIRST, one, &batch).await.unwrap(), 0);
    ledger(store, (&tenant, FIRST), 0, 30).await;

    let device = dev_id("IMEI:0");
    let revision = pending(store, &tenant, &device, 1).await[0].revision;
    store.update(&tenant, &device, FIRST, revision, None, &[]).await.unwrap();
    assert_eq!(
        store.release(&tenant, FIRST, one, &batch[..1]).await.unwrap(),
        0,
        "an attempt that ended is not given again"
    );
    assert!(store.pending(&tenant, &device).await.unwrap().is_empty());

    let twice = [release(FIRST, "IMEI:twice", 1), release(FIRST, "IMEI:twice", 1)];
    assert_eq!(
        store.release(&tenant, FIRST, one, &twice).await.unwrap(),
        1,
        "nor is one given twice in one call"
    );
    let racing = release(FIRST, "IMEI:racing", 1);
    let calls =
        (0..RACERS).map(|_| store.release(&tenant, FIRST, one, std::slice::from_ref(&racing))).collect();
    let new: usize = race(calls).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(new, 1, "one of racing releases gives the job");
}

async fn a_stale_write_is_refused(store: &dyn JobStore) {
    let tenant = fresh_tenant("job-stale");
    let (one, _) = claims(store, &tenant).await;
    let device = dev_id("IMEI:1");
    let released = release(FIRST, "IMEI:1", 1);
    store.release(&tenant, FIRST, one, std::slice::from_ref(&released)).await.unwrap();
    let first = pending(store, &tenant, &device, 1).await[0].revision;
    let job = Job { phase: Phase::Session(FirmwareStage::Pending), ..released.job.clone() };
    store.update(&tenant, &device, FIRST, first, Some(&job), &[]).await.unwrap();
    let events = [moved("IMEI:1", 5)];
    let stale = store.update(&tenant, &device, FIRST, first, None, &events).await;
    assert_kind(stale, ErrorKind::Conflict, "a stale revision is refused");
    assert_eq!(store.pending(&tenant, &device).await.unwrap()[0].value, job, "a refused write wrote no job");
    assert_eq!(store.events(&tenant, FIRST, 0, 10).await.unwrap().len(), 1, "and no event");
    let unknown = store.update(&tenant, &device, SECOND, Revision(1), None, &events).await;
    assert_kind(unknown, ErrorKind::Conflict, "a job that is not there cannot be updated");
    assert!(store.events(&tenant, SECOND, 0, 10).await.unwrap().is_empty());
}

async fn one_of_many_racing_writes_wins(store: &dyn JobStore) {
    let tenant = fresh_tenant("job-race");
    let (one, _) = claims(store, &tenant).await;
    let device = dev_id("IMEI:1");
    store.release(&tenant, FIRST, one, &[release(FIRST, "IMEI:1", 1)]).await.unwrap();
    for round in 0..10_usize {
        let read = pending(store, &tenant, &device, 1).await.remove(0);
        let tries: Vec<(Job, [JobEvent; 1])> = (0..RACERS)
            .map(|racer| {
                let second = (round * RACERS + racer) as i64;
                (Job { since: at(second), ..read.value.clone() }, [moved("IMEI:1", second)])
            })
            .collect();
        let calls = tries
            .iter()
            .map(|(job, events)| store.update(&tenant, &device, FIRST, read.revision, Some(job), events))
            .collect();
        let results = race(calls).await;
        let won: Vec<_> = results.iter().zip(&tries).filter(|(result, _)| result.is_ok()).collect();
        assert_eq!(won.len(), 1, "exactly one of racing writes wins");
        let (job, events) = won[0].1;
        assert_eq!(&store.pending(&tenant, &device).await.unwrap()[0].value, job);
        assert_eq!(
            ledger(store, (&tenant, FIRST), 1 + round as u64, 1).await,
            [(2 + round as u64, events[0].clone())],
            "only the winner's event is in the ledger"
        );
    }
}

async fn a_new_attempt_stands_in_place_of_the_last(store: &dyn JobStore) {
    let tenant = fresh_tenant("job-attempts");
    let (one, _) = claims(store, &tenant).await;
    let device = dev_id("IMEI:1");
    store.release(&tenant, FIRST, one, &[release(FIRST, "IMEI:1", 1)]).await.unwrap();
    let first = pending(store, &tenant, &device, 1).await[0].revision;
    let second = release(FIRST, "IMEI:1", 2);
    assert_eq!(store.release(&tenant, FIRST, one, std::slice::from_ref(&second)).await.unwrap(), 1);
    ledger(store, (&tenant, FIRST), 0, 2).await;
    let until = tokio::time::Instant::now() + SOON;
    let replaced = loop {
        // A device has one attempt of a campaign at a time.
        let job = pending(store, &tenant, &device, 1).await.remove(0);
        if job.value.attempt == 2 || tokio::time::Instant::now() > until {
            break job;
        }
        tokio::time::sleep(LOOK).await;
    };
    assert_eq!(replaced.value, second.job);
    assert!(replaced.revision > first, "revisions grow over attempts");
    let late = store.update(&tenant, &device, FIRST, first, None, &[]).await;
    assert_kind(late, ErrorKind::Conflict, "a write for the last attempt does not touch the new one");
    assert_eq!(store.release(&tenant, FIRST, one, &[release(FIRST, "IMEI:1", 1)]).await.unwrap(), 0);
}

async fn offsets_are_dense_also_when_appends_race(store: &dyn JobStore) {
    let tenant = fresh_tenant("job-ledger");
    let (one, _) = claims(store, &tenant).await;
    let batches: Vec<Vec<JobEvent>> = (0..RACERS)
        .map(|racer| (0..5).map(|number| moved(&format!("IMEI:{racer}"), number)).collect())
        .collect();
    for result in race(batches.iter().map(|it| store.append(&tenant, FIRST, one, it)).collect()).await {
        result.unwrap();
    }
    let all = store.events(&tenant, FIRST, 0, 1000).await.unwrap();
    let offsets: Vec<u64> = all.iter().map(|(after, _)| *after).collect();
    assert_eq!(offsets, (1..=5 * RACERS as u64).collect::<Vec<_>>(), "offsets are dense");
    for (racer, batch) in batches.iter().enumerate() {
        let device = Some(dev_id(&format!("IMEI:{racer}")));
        let own: Vec<&JobEvent> = all.iter().map(|(_, it)| it).filter(|it| it.device == device).collect();
        assert_eq!(own, batch.iter().collect::<Vec<_>>(), "events of one call keep their order");
    }
    let mut paged = Vec::new();
    while let page =
        store.events(&tenant, FIRST, paged.last().map_or(0, |(after, _)| *after), 7).await.unwrap()
        && !page.is_empty()
    {
        assert!(page.len() <= 7);
        paged.extend(page);
    }
    assert_eq!(paged, all, "pages are the whole ledger");
}

async fn events_of_a_device_come_newest_first(store: &dyn JobStore) {
    let tenant = fresh_tenant("job-history");
    let (one, two) = claims(store, &tenant).await;
    let mut want = Vec::new();
    let large = CampaignId(u64::MAX);
    let last = store.claim(&tenant, large).await.unwrap();
    let campaigns = [(FIRST, one), (SECOND, two), (FIRST, one), (large, last), (SECOND, two)];
    for (second, (campaign, epoch)) in (0..).zip(campaigns) {
        let event = moved("IMEI:1", second);
        store.append(&tenant, campaign, epoch, &[event.clone(), moved("IMEI:11", second)]).await.unwrap();
        want.insert(0, (campaign, event));
    }
    assert_eq!(store.device_events(&tenant, &dev_id("IMEI:1"), 100).await.unwrap(), want);
    assert_eq!(store.device_events(&tenant, &dev_id("IMEI:1"), 2).await.unwrap(), want[..2]);
    let of_campaign = JobEvent::campaign(at(9), EventKind::WaveOpened { wave: 1 });
    store.append(&tenant, FIRST, one, std::slice::from_ref(&of_campaign)).await.unwrap();
    assert_eq!(
        store.events(&tenant, FIRST, 4, 10).await.unwrap(),
        [(5, of_campaign)],
        "a campaign has events too"
    );
    assert_eq!(
        store.device_events(&tenant, &dev_id("IMEI:1"), 100).await.unwrap(),
        want,
        "that are no device's"
    );
    assert!(store.device_events(&tenant, &dev_id("IMEI:2"), 100).await.unwrap().is_empty());
}

async fn waiting_ends_when_the_ledger_grows(store: &dyn JobStore) {
    let tenant = fresh_tenant("job-wait");
    let (one, _) = claims(store, &tenant).await;
    let soon = Duration::from_secs(1);
    store.append(&tenant, FIRST, one, &[moved("IMEI:1", 1)]).await.unwrap();
    let there = tokio::time::timeout(soon, store.wait_events(&tenant, FIRST, 0)).await;
    there.expect("nobody waits for events that are there").unwrap();
    let grow = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        store.append(&tenant, FIRST, one, &[moved("IMEI:1", 2)]).await
    };
    let wait = tokio::time::timeout(soon, store.wait_events(&tenant, FIRST, 1));
    let (waited, grown) = tokio::join!(wait, grow);
    grown.unwrap();
    waited.expect("a wait ends when the ledger grows").unwrap();
    assert_eq!(store.events(&tenant, FIRST, 1, 10).await.unwrap().len(), 1);
}

async fn an_earlier_claim_writes_no_more(store: &dyn JobStore) {
    let tenant = fresh_tenant("job-claim");
    let unclaimed = store.append(&tenant, FIRST, Epoch(u64::MAX), &[moved("IMEI:1", 0)]).await;
    assert_kind(unclaimed, ErrorKind::Conflict, "nobody writes what nobody claimed");
    let zombie = store.claim(&tenant, FIRST).await.unwrap();
    store.release(&tenant, FIRST, zombie, &[release(FIRST, "IMEI:1", 1)]).await.unwrap();
    let owner = store.claim(&tenant, FIRST).await.unwrap();
    assert!(owner > zombie, "claims grow");
    let late = store.release(&tenant, FIRST, zombie, &[release(FIRST, "IMEI:2", 1)]).await;
    assert_kind(late, ErrorKind::Conflict, "an earlier claim releases nothing");
    let late = store.append(&tenant, FIRST, zombie, &[moved("IMEI:1", 1)]).await;
    assert_kind(late, ErrorKind::Conflict, "and appends nothing");
    store.append(&tenant, FIRST, owner, &[moved("IMEI:1", 2)]).await.unwrap();
    let events = ledger(store, (&tenant, FIRST), 0, 2).await;
    assert_eq!(events[1], (2, moved("IMEI:1", 2)), "claims are no events");
    pending(store, &tenant, &dev_id("IMEI:1"), 1).await;
    assert!(store.pending(&tenant, &dev_id("IMEI:2")).await.unwrap().is_empty());
    let jobs = pending(store, &tenant, &dev_id("IMEI:1"), 1).await;
    let event = [moved("IMEI:1", 3)];
    store.update(&tenant, &dev_id("IMEI:1"), FIRST, jobs[0].revision, None, &event).await.unwrap();
    ledger(store, (&tenant, FIRST), 2, 1).await;
}

async fn a_missing_job_that_was_ended_never_comes(store: &dyn JobStore) {
    let tenant = fresh_tenant("job-missing");
    let (one, two) = claims(store, &tenant).await;
    let device = dev_id("IMEI:1");
    let ended = [moved("IMEI:1", 1)];
    store.end_missing(&tenant, &device, FIRST, one, 1, &ended).await.unwrap();
    store.release(&tenant, FIRST, one, &[release(FIRST, "IMEI:1", 1)]).await.unwrap();
    store.release(&tenant, SECOND, two, &[release(SECOND, "IMEI:1", 1)]).await.unwrap();
    let jobs = pending(store, &tenant, &device, 1).await;
    assert_eq!(jobs[0].value.campaign, SECOND, "an attempt that was ended as missing is not seen later");
    let there = store.end_missing(&tenant, &device, SECOND, two, 1, &ended).await;
    assert_kind(there, ErrorKind::Conflict, "a job that is there is not missing");
    let late = store.end_missing(&tenant, &device, FIRST, Epoch(0), 2, &ended).await;
    assert_kind(late, ErrorKind::Conflict, "nor does an earlier claim end one");
    let events = ledger(store, (&tenant, SECOND), 0, 1).await;
    assert_eq!(events.len(), 1);
}

async fn tenants_are_apart(store: &dyn JobStore) {
    let (tenant, other) = (fresh_tenant("job-a"), fresh_tenant("job-b"));
    let (one, _) = claims(store, &tenant).await;
    let (others, _) = claims(store, &other).await;
    store.release(&tenant, FIRST, one, &[release(FIRST, "IMEI:1", 1)]).await.unwrap();
    pending(store, &tenant, &dev_id("IMEI:1"), 1).await;
    assert!(store.pending(&other, &dev_id("IMEI:1")).await.unwrap().is_empty());
    assert!(store.events(&other, FIRST, 0, 10).await.unwrap().is_empty());
    assert!(store.device_events(&other, &dev_id("IMEI:1"), 10).await.unwrap().is_empty());
    assert_eq!(store.release(&other, FIRST, others, &[release(FIRST, "IMEI:1", 1)]).await.unwrap(), 1);
    ledger(store, (&other, FIRST), 0, 1).await;
}
