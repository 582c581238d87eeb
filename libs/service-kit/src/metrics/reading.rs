//! Values that somebody else keeps, read when the metrics are asked for.

use prometheus::{
    Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};

/// A metric with where its value is read.
pub(super) struct Reading {
    shown: Shown,
    read: Box<dyn Fn() -> f64 + Send + Sync>,
}

enum Shown {
    Gauge(prometheus::Gauge),
    Counter(prometheus::Counter),
}

impl Reading {
    pub(super) fn gauge(
        opts: Opts,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> prometheus::Result<Self> {
        Ok(Self { shown: Shown::Gauge(prometheus::Gauge::with_opts(opts)?), read: Box::new(read) })
    }

    pub(super) fn counter(
        opts: Opts,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> prometheus::Result<Self> {
        Ok(Self { shown: Shown::Counter(prometheus::Counter::with_opts(opts)?), read: Box::new(read) })
    }
}

impl Collector for Reading {
    fn desc(&self) -> Vec<&Desc> {
        match &self.shown {
            Shown::Gauge(gauge) => gauge.desc(),
            Shown::Counter(counter) => counter.desc(),
        }
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let value = (self.read)();
        match &self.shown {
            Shown::Gauge(gauge) => {
                gauge.set(value);
                gauge.collect()
            }
            Shown::Counter(counter) => {
                counter.reset();
                // A counter takes no step back, and would panic.
                counter.inc_by(value.max(0.0));
                counter.collect()
            }
        }
    }
}
