//! What became of triggers, counted.

use service_kit::{Metrics, metrics::Counter};

/// What became of a trigger that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was sent.
    Sent,
    /// The bearer did not take it; it is tried again.
    Failed,
    /// Its campaign is paused; it is looked at again.
    Paused,
    /// The device has come, or its job is over.
    Came,
    /// The campaign is over.
    Over,
    /// The time for it has passed.
    Expired,
    /// The device is not there any more, or has no address.
    NoAddress,
    /// The server has no password on the device to sign it with.
    NoPassword,
    /// The stores could not be reached; it is tried again.
    Unavailable,
}

impl Outcome {
    const ALL: [Self; 9] = [
        Self::Sent,
        Self::Failed,
        Self::Paused,
        Self::Came,
        Self::Over,
        Self::Expired,
        Self::NoAddress,
        Self::NoPassword,
        Self::Unavailable,
    ];

    /// As the label's value.
    pub fn label(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Paused => "paused",
            Self::Came => "came",
            Self::Over => "over",
            Self::Expired => "expired",
            Self::NoAddress => "no-address",
            Self::NoPassword => "no-password",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Counters of triggers: `dm_triggers_total{result}` and `dm_triggers_repeated_total`.
#[derive(Clone, Debug)]
pub struct TriggerMetrics {
    outcomes: Vec<Counter>,
    pub(crate) repeated: Counter,
}

impl TriggerMetrics {
    /// All series, from the start.
    pub fn new(metrics: &Metrics) -> Self {
        let outcome = |outcome: Outcome| {
            let labels = [("result", outcome.label())];
            metrics.counter(
                "dm_triggers_total",
                "Triggers taken from the queue, by what became of them.",
                &labels,
            )
        };
        let help = "Triggers sent that had been sent before.";
        Self {
            outcomes: Outcome::ALL.into_iter().map(outcome).collect(),
            repeated: metrics.counter("dm_triggers_repeated_total", help, &[]),
        }
    }

    /// How many triggers came to this.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize].value()
    }

    pub(crate) fn note(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].increment();
    }
}
