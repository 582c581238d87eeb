use std::time::Duration;

use campaign::{CampaignId, EventKind, Job, JobEvent, Phase};
use jiff::Timestamp;

use super::{at, dev_id, device, fresh_tenant};
use crate::{
    DeviceStore, JobStore, NotifyAddress, Receipt, Release, Taken, TenantId, Trigger, TriggerConsumer,
    TriggerStore,
};

const CAMPAIGN: CampaignId = CampaignId(1);
/// How long what was asked for may take to be given, also by a backend that balances consumers first.
const SOON: Duration = Duration::from_secs(30);
/// How long one looks for what must not come.
const WHILE: Duration = Duration::from_millis(300);

fn trigger(tenant: &TenantId, name: &str, due: Timestamp) -> Trigger {
    Trigger {
        tenant: tenant.clone(),
        device: dev_id(name),
        campaign: CAMPAIGN,
        attempt: 3,
        asked: at(0),
        deadline: at(1000),
        due,
        sent: 0,
    }
}

/// Takes until there are as many of the tenant's; what others left in the queue is settled on the way.
async fn take(
    consumer: &mut dyn TriggerConsumer,
    tenant: &TenantId,
    now: Timestamp,
    count: usize,
) -> Vec<Taken> {
    let until = tokio::time::Instant::now() + if count == 0 { WHILE } else { SOON };
    let mut mine = Vec::new();
    while tokio::time::Instant::now() < until && (count == 0 || mine.len() < count) {
        let taken = consumer.take(100, now, Duration::from_millis(50)).await.unwrap();
        let (of_tenant, others): (Vec<_>, Vec<_>) =
            taken.into_iter().partition(|taken| taken.trigger.tenant == *tenant);
        mine.extend(of_tenant);
        if !others.is_empty() {
            consumer.settle(&receipts(&others), &[]).await.unwrap();
        }
    }
    assert_eq!(mine.len(), count, "triggers of {tenant}: {mine:?}");
    mine
}

fn receipts(taken: &[Taken]) -> Vec<Receipt> {
    taken.iter().map(|taken| taken.receipt.clone()).collect()
}

fn triggers(taken: &[Taken]) -> Vec<Trigger> {
    let mut triggers: Vec<Trigger> = taken.iter().map(|taken| taken.trigger.clone()).collect();
    triggers.sort_by(|one, other| (&one.device, one.due).cmp(&(&other.device, other.due)));
    triggers
}

/// The laws of [`TriggerStore`]. Nobody else may consume meanwhile.
pub async fn trigger_store_laws(store: &dyn TriggerStore) {
    what_is_asked_for_is_given_until_it_is_settled(store).await;
    what_is_not_due_is_not_given(store).await;
    a_repeat_is_asked_for_as_the_first_is_settled(store).await;
    no_more_are_given_than_are_wanted(store).await;
}

async fn what_is_asked_for_is_given_until_it_is_settled(store: &dyn TriggerStore) {
    let tenant = fresh_tenant("asked");
    let asked = [trigger(&tenant, "A", at(1)), trigger(&tenant, "B", at(0)), trigger(&tenant, "C", at(2))];
    store.ask(&asked).await.unwrap();
    let mut consumer = store.consume().await.unwrap();
    let taken = take(&mut *consumer, &tenant, at(5), 3).await;
    assert_eq!(triggers(&taken), asked, "they come as they were asked for");
    take(&mut *consumer, &tenant, at(5), 0).await;
    let settled: Vec<Taken> =
        taken.iter().filter(|taken| taken.trigger.device.as_str() != "B").cloned().collect();
    consumer.settle(&receipts(&settled), &[]).await.unwrap();
    drop(consumer);

    let mut next = store.consume().await.unwrap();
    let mut left = Vec::new();
    let until = tokio::time::Instant::now() + SOON;
    while left.is_empty() && tokio::time::Instant::now() < until {
        left = next.take(100, at(5), Duration::from_millis(50)).await.unwrap();
    }
    // A backend that counts by position may give what stands behind again too.
    assert!(triggers(&left).contains(&asked[1]), "what was not settled is given again: {left:?}");
    next.settle(&receipts(&left), &[]).await.unwrap();
    drop(next);
    let mut last = store.consume().await.unwrap();
    take(&mut *last, &tenant, at(5), 0).await;
}

async fn what_is_not_due_is_not_given(store: &dyn TriggerStore) {
    let tenant = fresh_tenant("due");
    let [early, late] = [trigger(&tenant, "early", at(1)), trigger(&tenant, "late", at(600))];
    store.ask(&[late.clone(), early.clone()]).await.unwrap();
    let mut consumer = store.consume().await.unwrap();
    let taken = take(&mut *consumer, &tenant, at(5), 1).await;
    assert_eq!(triggers(&taken), [early]);
    take(&mut *consumer, &tenant, at(5), 0).await;
    consumer.settle(&receipts(&taken), &[]).await.unwrap();
    let taken = take(&mut *consumer, &tenant, at(601), 1).await;
    assert_eq!(triggers(&taken), [late]);
    consumer.settle(&receipts(&taken), &[]).await.unwrap();
}

async fn a_repeat_is_asked_for_as_the_first_is_settled(store: &dyn TriggerStore) {
    let tenant = fresh_tenant("repeat");
    let first = trigger(&tenant, "A", at(1));
    store.ask(std::slice::from_ref(&first)).await.unwrap();
    let mut consumer = store.consume().await.unwrap();
    let taken = take(&mut *consumer, &tenant, at(5), 1).await;
    let repeat = Trigger { due: at(300), sent: 1, ..first };
    consumer.settle(&receipts(&taken), std::slice::from_ref(&repeat)).await.unwrap();
    take(&mut *consumer, &tenant, at(5), 0).await;
    drop(consumer);
    let mut consumer = store.consume().await.unwrap();
    let taken = take(&mut *consumer, &tenant, at(301), 1).await;
    assert_eq!(triggers(&taken), [repeat], "the repeat alone is left, as it was asked for");
    consumer.settle(&receipts(&taken), &[]).await.unwrap();
}

async fn no_more_are_given_than_are_wanted(store: &dyn TriggerStore) {
    let tenant = fresh_tenant("max");
    let asked: Vec<Trigger> = (0..20).map(|it| trigger(&tenant, &format!("D{it:02}"), at(it))).collect();
    store.ask(&asked).await.unwrap();
    let mut consumer = store.consume().await.unwrap();
    let mut all = Vec::new();
    let until = tokio::time::Instant::now() + SOON;
    while all.len() < asked.len() && tokio::time::Instant::now() < until {
        let taken = consumer.take(7, at(100), Duration::from_millis(50)).await.unwrap();
        assert!(taken.len() <= 7, "{} were given", taken.len());
        all.extend(taken);
    }
    assert_eq!(triggers(&all), asked);
    consumer.settle(&receipts(&all), &[]).await.unwrap();
}

/// The law of [`JobStore::release`] about triggers. Nobody else may consume meanwhile.
pub async fn released_trigger_laws(store: &dyn TriggerStore, jobs: &dyn JobStore, devices: &dyn DeviceStore) {
    let tenant = fresh_tenant("released");
    let mut records = ["reached", "untold"].map(device);
    for record in &mut records {
        record.notify_address = Some(NotifyAddress::parse("udp://192.0.2.7:2948").unwrap());
    }
    let ordinals = devices.add(&tenant, &records).await.unwrap();
    let release = |name: &str, ordinal: Option<u32>, trigger_until| {
        let (device, ordinal) = (dev_id(name), ordinal.unwrap());
        let job = Job { campaign: CAMPAIGN, ordinal, attempt: 3, phase: Phase::Waiting, since: at(1) };
        let kind = EventKind::Released { wave: 0, after: None };
        let event = JobEvent { device: Some(device.clone()), ordinal, attempt: 3, at: at(1), kind };
        Release { device, job, event, trigger_until }
    };
    let releases = [release("reached", ordinals[0], Some(at(900))), release("untold", ordinals[1], None)];
    let epoch = jobs.claim(&tenant, CAMPAIGN).await.unwrap();
    jobs.release(&tenant, CAMPAIGN, epoch, &releases).await.unwrap();
    let mut consumer = store.consume().await.unwrap();
    let taken = take(&mut *consumer, &tenant, at(5), 1).await;
    let want = Trigger { asked: at(1), deadline: at(900), ..trigger(&tenant, "reached", at(1)) };
    assert_eq!(triggers(&taken), [want]);
    consumer.settle(&receipts(&taken), &[]).await.unwrap();
    take(&mut *consumer, &tenant, at(5), 0).await;
}
