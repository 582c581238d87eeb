//! What Prometheus sees of campaigns.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use campaign_service::{CampaignMetrics, CampaignService, Process};
use jiff::{SignedDuration, Timestamp};
use service_kit::Metrics;
use storage::{OwnsAll, OwnsNone};
use support::{Act, Fleet, Place, definition, spawn, tenant, until};

/// A service whose metrics can be looked at, and whose clock can be put forward.
struct Watched {
    service: CampaignService,
    metrics: Metrics,
    ahead_seconds: Arc<AtomicI64>,
}

impl Watched {
    fn new(place: &Place, owns_all: bool) -> Self {
        let (metrics, ahead_seconds) = (Metrics::new("test"), Arc::new(AtomicI64::new(0)));
        let ahead = Arc::clone(&ahead_seconds);
        let process = Process {
            ownership: if owns_all { Arc::new(OwnsAll) } else { Arc::new(OwnsNone) },
            clock: Arc::new(move || {
                Timestamp::now() + SignedDuration::from_secs(ahead.load(Ordering::Relaxed))
            }),
            metrics: CampaignMetrics::new(&metrics),
            ..Process::default()
        };
        let service = CampaignService::in_process(place.stores.clone(), tenant(), process);
        Self { service, metrics, ahead_seconds }
    }

    fn value(&self, series: &str) -> i64 {
        let text = self.metrics.expose();
        let line = text.lines().find(|line| line.starts_with(&format!("{series} ")));
        let line = line.unwrap_or_else(|| panic!("{series} is missing in:\n{text}"));
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    }

    /// Gauges follow within a second or so.
    async fn until_value(&self, series: &str, want: i64) {
        for _ in 0..200 {
            if self.value(series) == want {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{series} is {} and not {want}", self.value(series));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_shows_budget_devices_and_a_campaign_that_waits_for_a_person() {
    let place = Place::with_devices(40).await;
    let watched = Watched::new(&place, true);
    let _running = spawn(&watched.service).drop_guard();
    let waves = "waves = [{percent = 50, gate = {approval = true}}, {}]";
    let id = watched.service.create(definition(&format!("in_flight_max = 10\n{waves}")), None).await.unwrap();
    watched.service.start(id, "ann").await.unwrap();
    watched.until_value("dm_campaign_in_flight_devices", 10).await;
    assert_eq!(watched.value("dm_campaigns{state=\"running\"}"), 1);
    assert_eq!(watched.value("dm_known_campaigns"), 1);
    assert_eq!(watched.value("dm_campaign_budget_devices"), 10);
    assert_eq!(watched.value("dm_campaign_devices{state=\"waiting\"}"), 10);
    assert_eq!(watched.value("dm_campaign_devices{state=\"pending\"}"), 30);

    let fleet = Fleet::default();
    let stores = place.stores.clone();
    let devices = tokio::spawn(async move { fleet.run(stores, 0..40, |_| Act::Succeed).await });
    watched.until_value("dm_campaigns{state=\"held\"}", 1).await;
    assert_eq!(watched.value("dm_campaigns{state=\"running\"}"), 0);
    assert_eq!(watched.value("dm_campaign_devices{state=\"succeeded\"}"), 20);
    watched.service.approve(id, "ann").await.unwrap();
    until(&watched.service, id, "finished").await;
    devices.abort();
    watched.until_value("dm_known_campaigns", 0).await;
    assert_eq!(watched.value("dm_campaign_devices{state=\"succeeded\"}"), 0, "it is over");
    assert_eq!(watched.value("dm_over_budget_campaigns"), 0);
    assert_eq!(watched.value("dm_campaign_released_jobs_total"), 40);
    assert_eq!(watched.value("dm_campaign_step_failures_total"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_that_stands_still_or_that_nobody_owns_shows() {
    let place = Place::with_devices(4).await;
    let (owner, other) = (Watched::new(&place, true), Watched::new(&place, false));
    let _running = [&owner, &other].map(|watched| spawn(&watched.service).drop_guard());
    let text = "[timers]\nwait = '30d'";
    let id = owner.service.create(definition(text), None).await.unwrap();
    owner.service.start(id, "ann").await.unwrap();
    owner.until_value("dm_campaign_in_flight_devices", 4).await;
    assert!(owner.value("dm_campaign_idle_seconds") < 60);
    other.until_value("dm_known_campaigns", 1).await;
    assert_eq!(other.value("dm_campaigns{state=\"running\"}"), 0, "it is another's");

    owner.ahead_seconds.store(7 * 3600, Ordering::Relaxed);
    for _ in 0..100 {
        if owner.value("dm_campaign_idle_seconds") > 6 * 3600 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(owner.value("dm_campaign_idle_seconds") > 6 * 3600);
    owner.service.pause(id, "ann", "").await.unwrap();
    owner.until_value("dm_campaigns{state=\"paused\"}", 1).await;
    owner.until_value("dm_campaign_idle_seconds", 0).await;
}
