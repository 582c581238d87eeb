//! The metrics of a listener's connections.

use super::{Counter, Gauge, Metrics};
use crate::http::Cut;

/// The metrics of a listener's connections.
#[derive(Clone, Debug)]
pub struct ListenerMetrics {
    /// Open connections.
    pub connections: Gauge,
    /// Connections that were turned away, as all were taken.
    pub refused: Counter,
    cut: Vec<Counter>,
}

impl ListenerMetrics {
    /// Makes all series; `listener` is the label's value.
    pub fn new(metrics: &Metrics, listener: &str, connections: Gauge, refused: Counter) -> Self {
        Self { connections, refused, cut: make_cut(metrics, listener) }
    }

    /// The metrics of the admin listener.
    pub fn admin(metrics: &Metrics) -> Self {
        let connections = metrics.gauge("dm_admin_connections", "Open connections of operators.", &[]);
        let help = "Connections of operators that were told to come later, as too many were open.";
        let refused = metrics.counter("dm_admin_refused_connections_total", help, &[]);
        Self::new(metrics, "admin", connections, refused)
    }

    /// Makes what the listeners of devices and operators have in common, for the reference of metrics.
    pub fn describe(metrics: &Metrics) {
        for listener in ["session", "admin"] {
            make_cut(metrics, listener);
        }
    }

    /// A connection was cut off.
    pub(crate) fn cut(&self, cut: Cut) {
        self.cut[cut as usize].increment();
    }
}

fn make_cut(metrics: &Metrics, listener: &str) -> Vec<Counter> {
    let help =
        "Connections that were cut off: a header that drips, nothing that moves, a reader that is too slow.";
    let one = |cut: &Cut| {
        let labels = [("listener", listener), ("reason", cut.label())];
        metrics.counter("dm_cut_connections_total", help, &labels)
    };
    Cut::ALL.iter().map(one).collect()
}
