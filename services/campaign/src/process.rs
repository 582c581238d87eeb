//! What a process brings along: its share of the campaigns, the time, and randomness.

use std::sync::Arc;

use jiff::Timestamp;
use service_kit::Metrics;
use storage::{Ownership, OwnsAll};

use crate::CampaignMetrics;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The machine's clock.
pub fn system_clock() -> Clock {
    Arc::new(Timestamp::now)
}

/// Fills a buffer with random octets.
pub type Entropy = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// The machine's randomness. Waves and names of requests are drawn from it: where it fails they are those of zeros,
/// unlucky, never wrong.
pub fn system_entropy() -> Entropy {
    Arc::new(|octets| {
        let _ = getrandom::fill(octets);
    })
}

/// What a process brings along.
#[derive(Clone)]
pub struct Process {
    /// Which campaigns are its own.
    pub ownership: Arc<dyn Ownership>,
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// Where it shows what it does.
    pub metrics: CampaignMetrics,
}

impl Process {
    /// One of many, which owns what it is told to.
    pub fn of_many(ownership: Arc<dyn Ownership>, metrics: CampaignMetrics) -> Self {
        Self { ownership, metrics, ..Self::default() }
    }
}

impl Default for Process {
    /// The only one: it owns every campaign, and shows nobody what it does.
    fn default() -> Self {
        Self {
            ownership: Arc::new(OwnsAll),
            clock: system_clock(),
            entropy: system_entropy(),
            metrics: CampaignMetrics::new(&Metrics::new(env!("CARGO_PKG_VERSION"))),
        }
    }
}
