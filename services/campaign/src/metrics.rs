//! What is seen of campaigns from outside. Labels never name a campaign: the figures of one are in the API.

use std::sync::Arc;

use campaign::{Campaign, Counts, OutcomeKind, PauseCause, Run, Verdict};
use jiff::Timestamp;
use service_kit::{
    Metrics,
    metrics::{Counter, Gauge, Histogram},
};

use crate::live::Live;

/// The runs of a campaign that is started and not over. `held` is a pause that waits for a person: a gate closed, or an
/// approval is asked for.
const STATES: [&str; 4] = ["running", "paused", "held", "stopping"];

/// States of devices, several last states in one where operators ask alike.
const DEVICE_STATES: [&str; 14] = [
    "pending",
    "waiting",
    "session",
    "downloading",
    "downloaded",
    "updating",
    "reported",
    "retry",
    "succeeded",
    "failed",
    "silent",
    "refused",
    "cancelled",
    "gone",
];

/// Upper ends of the buckets: from a hundredth of a second, about a write to Kafka and one to Scylla, to an hour.
const DISPATCH_SECONDS: [f64; 13] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0, 600.0, 3_600.0];

/// The campaigns that one process owns.
#[derive(Clone, Debug)]
pub struct CampaignMetrics {
    campaigns: [Gauge; STATES.len()],
    known: Gauge,
    over_budget: Gauge,
    budget: Gauge,
    in_flight: Gauge,
    devices: [Gauge; DEVICE_STATES.len()],
    idle: Gauge,
    dispatch: Histogram,
    pub(crate) released: Counter,
    pub(crate) step_failures: Counter,
}

impl CampaignMetrics {
    /// Makes all series.
    pub fn new(metrics: &Metrics) -> Self {
        let gauge = |name: &str, help: &str| metrics.gauge(name, help, &[]);
        let campaign = |state| {
            let help = "Campaigns that this process owns, started and not over; held: paused until a person decides.";
            metrics.gauge("dm_campaigns", help, &[("state", state)])
        };
        let device = |state| {
            let help = "Devices of the campaigns that this process owns, by state; each is in exactly one.";
            metrics.gauge("dm_campaign_devices", help, &[("state", state)])
        };
        Self {
            campaigns: STATES.map(campaign),
            known: gauge(
                "dm_known_campaigns",
                "Campaigns that are started and not over, whoever owns them, as this process knows.",
            ),
            over_budget: gauge(
                "dm_over_budget_campaigns",
                "Campaigns that this process owns and that have more devices in flight than they may. Never above 0.",
            ),
            budget: gauge(
                "dm_campaign_budget_devices",
                "Devices that may be in flight, of all campaigns that this process owns.",
            ),
            in_flight: gauge(
                "dm_campaign_in_flight_devices",
                "Devices that are in flight, of all campaigns that this process owns.",
            ),
            devices: DEVICE_STATES.map(device),
            idle: gauge(
                "dm_campaign_idle_seconds",
                "The longest time that nothing happened in a running campaign that this process owns.",
            ),
            dispatch: metrics.histogram(
                "dm_job_dispatch_duration_seconds",
                "Time from a job's release until sessions of its device can see it. The embedded store has none.",
                &[],
                &DISPATCH_SECONDS,
            ),
            released: metrics.counter("dm_campaign_released_jobs_total", "Jobs given to devices.", &[]),
            step_failures: metrics.counter(
                "dm_campaign_step_failures_total",
                "Steps of campaigns that a store failed; they are tried again.",
                &[],
            ),
        }
    }

    /// A job that was released then can be seen by sessions from now on.
    pub fn dispatched(&self, released: Timestamp) {
        let span = Timestamp::now().duration_since(released);
        // The owner's clock may be a little ahead of ours.
        self.dispatch.observe(std::time::Duration::try_from(span).unwrap_or_default());
    }

    /// Shows what the owners see. `known`: campaigns that are started and not over.
    pub(crate) fn observe(&self, owned: &[Arc<Live>], known: usize, now: Timestamp) {
        let mut sums = Sums::default();
        for live in owned {
            let idle_seconds = live.idle_seconds(now);
            sums.add(&live.read().0, idle_seconds);
        }
        let size = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        self.known.set(size(known));
        self.over_budget.set(sums.over_budget);
        self.budget.set(sums.budget);
        self.in_flight.set(sums.in_flight);
        self.idle.set(sums.idle_seconds);
        for (gauge, value) in self.campaigns.iter().zip(sums.campaigns) {
            gauge.set(value);
        }
        for (gauge, value) in self.devices.iter().zip(sums.devices) {
            gauge.set(value);
        }
    }
}

#[derive(Default)]
struct Sums {
    campaigns: [i64; STATES.len()],
    over_budget: i64,
    budget: i64,
    in_flight: i64,
    devices: [i64; DEVICE_STATES.len()],
    idle_seconds: i64,
}

impl Sums {
    fn add(&mut self, campaign: &Campaign, idle_seconds: i64) {
        let state = match campaign.run() {
            Run::Draft | Run::Running => 0,
            Run::Paused(PauseCause::Operator { .. }) => 1,
            Run::Paused(_) => 2,
            Run::Stopping { .. } => 3,
            Run::Finished | Run::Stopped => return,
        };
        self.campaigns[state] += 1;
        if *campaign.run() == Run::Running {
            self.idle_seconds = self.idle_seconds.max(idle_seconds);
        }
        let (counts, max) = (campaign.counts(), campaign.plan().definition.in_flight_max.get());
        self.over_budget += i64::from(counts.in_flight() > max);
        self.budget += i64::from(max);
        self.in_flight += i64::from(counts.in_flight());
        for (sum, devices) in self.devices.iter_mut().zip(by_state(counts)) {
            *sum += i64::from(devices);
        }
    }
}

/// In the order of [`DEVICE_STATES`]. They add up to the members.
fn by_state(counts: &Counts) -> [u32; DEVICE_STATES.len()] {
    let failed = counts.ended_by(Verdict::Failure).saturating_sub(counts.of(OutcomeKind::Refused));
    [
        counts.pending,
        counts.waiting,
        counts.session,
        counts.downloading,
        counts.downloaded,
        counts.updating,
        counts.reported,
        counts.retry(),
        counts.succeeding(),
        failed,
        counts.ended_by(Verdict::Silence),
        counts.of(OutcomeKind::Refused),
        counts.of(OutcomeKind::Cancelled),
        counts.of(OutcomeKind::Gone),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_a_device_is_in_exactly_one_of_those_shown() {
        // Another power of two in each field, so that a field left out or taken twice shows in the sum.
        let names: Vec<String> =
            serde_json::to_value(Counts::default()).unwrap().as_object().unwrap().keys().cloned().collect();
        assert!(names.len() <= 32, "{}", names.len());
        let fields = names.iter().enumerate().map(|(at, name)| (name.clone(), (1_u32 << at).into()));
        let counts: Counts = serde_json::from_value(serde_json::Value::Object(fields.collect())).unwrap();
        assert_eq!(by_state(&counts).iter().sum::<u32>(), counts.members());
        assert_eq!(counts.members().count_ones() as usize, names.len());
    }
}
