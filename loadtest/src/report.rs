//! What a fleet saw, from the first message to the last.

use std::{collections::BTreeMap, path::Path};

use dm_sim::{FaultPlan, Mix};
use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde::Serialize;

use crate::html;

/// The report of one run.
#[derive(Clone, Debug, Serialize)]
pub struct FleetReport {
    /// Where the devices went.
    pub url: String,
    /// All of the run follows from it, as far as devices choose.
    pub seed: u64,
    /// How many.
    pub devices: u32,
    /// Credentials and encodings.
    pub mix: Mix,
    /// What was to go wrong.
    pub faults: FaultPlan,
    /// When it began.
    pub started: Timestamp,
    /// How long it took.
    pub duration_ms: u64,
    /// Why it ended.
    pub ended_by: Ending,
    /// Sessions.
    pub sessions: Sessions,
    /// Time from a message to its answer, in microseconds, as the device sees it.
    pub latency_us: Latency,
    /// The same, and the time the message waited for a free slot of the generator before it: what a device would have
    /// seen that does not wait for others. Where it is far above `latency_us`, the generator was the bottleneck.
    pub latency_with_wait_us: Latency,
    /// Answers by HTTP status; `broken` where none came.
    pub answers: BTreeMap<String, u64>,
    /// Why the first of those got no answer to which none came.
    #[serde(default)]
    pub first_broken: Option<String>,
    /// Devices by what became of them.
    pub outcomes: BTreeMap<String, u64>,
    /// Devices by the version in their own tree.
    pub versions: BTreeMap<String, u64>,
    /// Devices by the version in their own tree, each model apart.
    pub models: BTreeMap<String, BTreeMap<String, u64>>,
    /// Reports that the server took, by result code.
    pub reports: BTreeMap<u16, u64>,
    /// Faults that were injected, by kind.
    pub faults_injected: BTreeMap<String, u64>,
    /// Triggers that reached devices.
    pub triggers: Triggers,
    /// Packages.
    pub downloads: Downloads,
    /// Execs, by the devices' own counters.
    pub execs: Execs,
    /// Connections made.
    pub connections: u64,
    /// The run over time; at most [`SAMPLES_MAX`] rows, of equal length.
    pub samples: Vec<Sample>,
    /// Milliseconds that one row of `samples` stands for.
    pub sample_ms: u64,
    /// Lines that whoever ran the fleet wants on the page, such as the server's memory.
    pub notes: Vec<(String, String)>,
    /// Every device at its end, by number. Not written: a million rows are nobody's report.
    #[serde(skip)]
    pub finals: Vec<Final>,
}

/// One device at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Final {
    /// `DevInfo/DevId`
    pub id: String,
    /// The version in its own tree.
    pub version: String,
    /// Its last report, where it made one.
    pub last_report: Option<u16>,
    /// It went silent for ever.
    pub is_gone: bool,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It was told to.
    Cancelled,
    /// The time was over.
    Duration,
    /// Every device has the target version, has failed or is silent.
    Settled,
}

/// Sessions, counted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sessions {
    /// Came to a good end.
    pub done: u64,
    /// Did not, by reason.
    pub broken: BTreeMap<String, u64>,
    /// Messages answered, in all sessions.
    pub messages: u64,
    /// Sessions that came to a good end, each second of the run.
    pub per_s: f64,
    /// The same in the best row of `samples`.
    pub per_s_peak: f64,
    /// Messages answered, each second of the run.
    pub messages_per_s: f64,
}

/// Triggers, counted by what they led to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Triggers {
    /// A session.
    pub sessions: u64,
    /// Nothing, as they were not made by the device's server with the device's nonce.
    pub refused: u64,
    /// Nothing, as the device was in a session or busy with a package.
    pub busy: u64,
}

/// Percentiles.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latency {
    /// Measurements.
    pub count: u64,
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: u64,
    /// 90 %
    pub p90: u64,
    /// 99 %
    pub p99: u64,
    /// 99.9 %
    pub p999: u64,
    /// The largest.
    pub max: u64,
    /// Percentile and value, for the curve.
    pub curve: Vec<(f64, u64)>,
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        const CURVE: [f64; 15] =
            [1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 97.5, 99.0, 99.5, 99.9, 99.95, 99.99, 99.999];
        let count = histogram.len();
        // A percentile that less than one measurement lies beyond says nothing; the largest stands where it belongs.
        let is_meant = |percentile: &&f64| (100.0 - **percentile) / 100.0 * count as f64 >= 1.0;
        let largest = (100.0 - 100.0 / count.max(1) as f64, histogram.max());
        let at = |quantile: f64| histogram.value_at_quantile(quantile);
        Self {
            count,
            mean: histogram.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max(),
            curve: CURVE
                .iter()
                .filter(is_meant)
                .map(|&percentile| (percentile, at(percentile / 100.0)))
                .chain((count > 0).then_some(largest))
                .collect(),
        }
    }
}

/// Packages, counted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Downloads {
    /// Whole and good.
    pub done: u64,
    /// Given up.
    pub failed: u64,
    /// Octets, also of those that broke.
    pub octets: u64,
    /// Transfers that went on where an earlier one broke.
    pub resumed: u64,
    /// Packages whose SHA-256 was what the server said.
    pub digests_checked: u64,
    /// Packages for which the server said no digest.
    pub digests_unknown: u64,
}

/// Execs, counted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Execs {
    /// Correlator and operation, each once.
    pub orders: u64,
    /// Execs that came in all.
    pub received: u64,
    /// The most that one device saw for one correlator and operation: 1, or an attempt ran twice.
    pub max_per_correlator: u32,
    /// Device and correlator of orders that came more than once, at most a hundred.
    pub repeated: Vec<String>,
}

/// One row of the run over time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Sessions that came to a good end.
    pub sessions: u64,
    /// Messages answered.
    pub messages: u64,
    /// Exchanges that broke, and answers that were no success.
    pub errors: u64,
    /// Octets of packages.
    pub octets: u64,
    /// Devices with success reported, at its end.
    pub updated: u32,
    /// Devices whose last report was a failure, at its end.
    pub failed: u32,
    /// Median time of an answer in microseconds; 0 without any.
    pub p50_us: u64,
    /// 99 % of answers came faster.
    pub p99_us: u64,
}

/// Rows kept; beyond that, neighbours are put together.
pub const SAMPLES_MAX: usize = 600;

impl FleetReport {
    /// The report as JSON.
    ///
    /// # Errors
    ///
    /// None that a report of [`crate::run`] can cause.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// The report as one page that needs nothing else.
    pub fn to_html(&self) -> String {
        html::page(self)
    }

    /// Writes the page to `path`, and the JSON beside it; where `path` ends in `.json`, the JSON alone.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let json = self.to_json()?;
        if path.extension().is_some_and(|extension| extension == "json") {
            return std::fs::write(path, json);
        }
        std::fs::write(path, self.to_html())?;
        std::fs::write(path.with_extension("json"), json)
    }
}

/// Puts each two rows together, so that a long run stays readable.
pub(crate) fn halve(samples: &mut Vec<Sample>) {
    let halved = samples.chunks(2).map(|pair| match pair {
        [first, second] => Sample {
            sessions: first.sessions + second.sessions,
            messages: first.messages + second.messages,
            errors: first.errors + second.errors,
            octets: first.octets + second.octets,
            updated: second.updated,
            failed: second.failed,
            // The median of both is between the two; the larger one hides nothing.
            p50_us: first.p50_us.max(second.p50_us),
            p99_us: first.p99_us.max(second.p99_us),
        },
        rest => rest[0].clone(),
    });
    *samples = halved.collect();
}
