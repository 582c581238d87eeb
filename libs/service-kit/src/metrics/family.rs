//! A metric as the reference shows it.

use std::collections::{BTreeMap, BTreeSet};

use prometheus::proto::{MetricFamily, MetricType};
use serde::Serialize;

/// What a metric does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values by size.
    Histogram,
}

/// All series of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Family {
    /// Its name.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// What it means: a sentence.
    pub help: String,
    /// Its labels, with the values that there are.
    pub labels: BTreeMap<String, BTreeSet<String>>,
}

impl Family {
    pub(super) fn of(family: &MetricFamily) -> Self {
        let kind = match family.get_field_type() {
            MetricType::COUNTER => Kind::Counter,
            MetricType::HISTOGRAM => Kind::Histogram,
            _ => Kind::Gauge,
        };
        let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for pair in family.get_metric().iter().flat_map(prometheus::proto::Metric::get_label) {
            labels.entry(pair.name().to_owned()).or_default().insert(pair.value().to_owned());
        }
        Self { name: family.name().to_owned(), kind, help: family.help().to_owned(), labels }
    }

    /// What it counts or measures in, as its name says.
    pub fn unit(&self) -> &str {
        let name = self.name.strip_suffix("_total").unwrap_or(&self.name);
        if name.ends_with("_timestamp_seconds") || name == "process_start_time_seconds" {
            return "seconds since 1970";
        }
        let last = name.rsplit('_').next().unwrap_or_default();
        match last {
            "info" => "1",
            "up" | "ready" => "1 or 0",
            "fds" => "files",
            "limited" => "requests",
            // What it counts comes before how.
            "active" | "started" | "ended" | "enrolled" | "repeated" | "shed" => {
                let before = name.rsplit('_').nth(1).unwrap_or_default();
                if before == "dm" { "requests" } else { before }
            }
            unit => unit,
        }
    }
}
