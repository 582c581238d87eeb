//! Metrics behind one small module: services count here and never touch the library that keeps the counters.
//!
//! A metric with its labels is asked for once, at start, and then is a plain atomic: the hot path looks nothing up.
//! Label values come from closed sets, so a device can never make a new series.

mod session;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus::{Encoder as _, Opts, Registry, TextEncoder, core::Collector};

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

    /// The media type of [`Self::expose`].
    pub const MEDIA_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_twice_gives_the_same_counter_and_labels_tell_series_apart() {
        let metrics = Metrics::new("9.9.9");
        metrics.counter("things_total", "Things.", &[("kind", "a")]).increment();
        metrics.counter("things_total", "Things.", &[("kind", "a")]).add(2);
        metrics.counter("things_total", "Things.", &[("kind", "b")]).increment();
        let text = metrics.expose();
        for line in
            ["things_total{kind=\"a\"} 3", "things_total{kind=\"b\"} 1", "dm_build_info{version=\"9.9.9\"} 1"]
        {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }

    #[test]
    fn every_series_of_the_front_end_is_there_from_the_start() {
        let metrics = Metrics::new("1");
        let session = SessionMetrics::new(&metrics);
        session.message_in(WireEncoding::Wbxml, MessageResult::Ok);
        session.shed(Shed::Messages);
        session.message_seconds(Duration::from_micros(70));
        let text = metrics.expose();
        for line in [
            "dm_messages_total{direction=\"in\",encoding=\"wbxml\",result=\"ok\"} 1",
            "dm_messages_total{direction=\"in\",encoding=\"xml\",result=\"malformed\"} 0",
            "dm_shed_total{reason=\"messages\"} 1",
            "dm_auth_failures_total{reason=\"wrong\",scheme=\"md5\"} 0",
            "dm_message_duration_seconds_count 1",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }
}
