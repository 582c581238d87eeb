//! Metrics behind one small module: services count here and never touch the library that keeps the counters.
//!
//! A metric with its labels is asked for once, at start, and then is a plain atomic: the hot path looks nothing up.
//! Label values come from closed sets, so a device can never make a new series.

mod calls;
mod conventions;
mod family;
mod filesystem;
mod labels;
mod limits;
mod listener;
mod process;
mod reading;
mod session;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus::{Encoder as _, Opts, Registry, TextEncoder, core::Collector};
use reading::Reading;

pub use calls::{CallMetrics, CallStore};
pub use family::{Family, Kind};
pub use filesystem::show_filesystem;
pub(crate) use labels::labels;
pub use limits::{LimitMetrics, LimitedBy};
pub use listener::ListenerMetrics;
pub use process::show_process;
pub use session::{AuthReason, DownloadResult, MessageResult, SessionMetrics, Shed, WireEncoding};

/// The metrics of a process.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    made: Arc<Mutex<HashMap<String, Made>>>,
}

/// What was handed out under a name and labels; asking again gives the same.
#[derive(Clone, Debug)]
enum Made {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
    Reading,
}

/// Only grows.
#[derive(Clone, Debug)]
pub struct Counter(prometheus::IntCounter);

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.0.inc();
    }

    /// `by` more.
    pub fn add(&self, by: u64) {
        self.0.inc_by(by);
    }

    /// How many so far.
    pub fn value(&self) -> u64 {
        self.0.get()
    }
}

/// Goes up and down.
#[derive(Clone, Debug)]
pub struct Gauge(prometheus::IntGauge);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: i64) {
        self.0.set(value);
    }

    /// Changes it.
    pub fn add(&self, by: i64) {
        self.0.add(by);
    }

    /// What it is now.
    pub fn value(&self) -> i64 {
        self.0.get()
    }
}

/// Counts spans of time by size.
#[derive(Clone, Debug)]
pub struct Histogram(prometheus::Histogram);

impl Histogram {
    /// One more span.
    pub fn observe(&self, span: Duration) {
        self.0.observe(span.as_secs_f64());
    }
}

impl Metrics {
    /// The metrics of a process of this version, which is shown as `dm_build_info`.
    pub fn new(version: &str) -> Self {
        let metrics = Self { registry: Registry::new(), made: Arc::default() };
        metrics.gauge("dm_build_info", "The version that runs.", &[("version", version)]).set(1);
        metrics
    }

    /// The counter of that name (ending in `_total`) and these labels, made when it is not there.
    pub fn counter(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Counter {
        let make = |opts| prometheus::IntCounter::with_opts(opts).map(|made| (made.clone(), Counter(made)));
        self.metric(name, help, labels, make, Made::Counter, |made| match made {
            Made::Counter(counter) => Some(counter.clone()),
            _ => None,
        })
    }

    /// The gauge of that name and these labels, made when it is not there.
    pub fn gauge(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Gauge {
        let make = |opts| prometheus::IntGauge::with_opts(opts).map(|made| (made.clone(), Gauge(made)));
        self.metric(name, help, labels, make, Made::Gauge, |made| match made {
            Made::Gauge(gauge) => Some(gauge.clone()),
            _ => None,
        })
    }

    /// The histogram of spans in seconds of that name (ending in `_seconds`), made when it is not there.
    /// `bounds` are the upper ends of its buckets, rising.
    pub fn histogram(&self, name: &str, help: &str, labels: &[(&str, &str)], bounds: &[f64]) -> Histogram {
        let make = |opts| {
            let opts = prometheus::HistogramOpts { common_opts: opts, buckets: bounds.to_vec() };
            prometheus::Histogram::with_opts(opts).map(|made| (made.clone(), Histogram(made)))
        };
        self.metric(name, help, labels, make, Made::Histogram, |made| match made {
            Made::Histogram(histogram) => Some(histogram.clone()),
            _ => None,
        })
    }

    /// A gauge that is read when somebody asks for the metrics. The first reader of a name and labels stays.
    pub fn gauge_of(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        let make = |opts| Reading::gauge(opts, read).map(|made| (made, ()));
        self.metric(name, help, labels, make, |()| Made::Reading, |_| Some(()));
    }

    /// A counter that somebody else counts, read when somebody asks for the metrics. The first reader of a name and
    /// labels stays.
    pub fn counter_of(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        let make = |opts| Reading::counter(opts, read).map(|made| (made, ()));
        self.metric(name, help, labels, make, |()| Made::Reading, |_| Some(()));
    }

    fn metric<T: Clone, C: Collector + 'static>(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        make: impl FnOnce(Opts) -> prometheus::Result<(C, T)>,
        wrap: impl FnOnce(T) -> Made,
        unwrap: impl FnOnce(&Made) -> Option<T>,
    ) -> T {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let key = format!("{name}{labels:?}");
        if let Some(known) = made.get(&key).and_then(unwrap) {
            return known;
        }
        let labels_only: Vec<&str> = labels.iter().map(|(label, _)| *label).collect();
        debug_assert_eq!(conventions::check(name, help, &labels_only), Ok(()), "{name}");
        let mut opts = Opts::new(name, help);
        for (label, value) in labels {
            opts = opts.const_label(*label, *value);
        }
        let (collector, metric) =
            make(opts).expect("names and labels of metrics stand in the source and are well-formed");
        if let Err(error) = self.registry.register(Box::new(collector)) {
            // Another kind of metric has this name: the count goes on, unseen, rather than stop a service.
            tracing::error!(name, %error, "metric not registered");
        }
        made.insert(key, wrap(metric.clone()));
        metric
    }

    /// All metrics in Prometheus' text format.
    pub fn expose(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics not exposed");
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// What there is to see: every name with its kind, labels and meaning, in the order of names.
    pub fn families(&self) -> Vec<Family> {
        self.registry.gather().iter().map(Family::of).collect()
    }

    /// The media type of [`Self::expose`].
    pub const MEDIA_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";
}
