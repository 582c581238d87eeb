//! What limits turned away.

use std::sync::Arc;

use super::{Counter, Metrics};

/// Which limit it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitedBy {
    /// Requests of a client address.
    Address,
    /// Messages of a tenant.
    Tenant,
    /// Sessions of a device.
    Device,
    /// Operators' requests of a client address.
    AdminAddress,
    /// Operators' requests with a token.
    AdminToken,
    /// Wrong tokens from a client address.
    AdminLogin,
}

impl LimitedBy {
    const ALL: [Self; 6] =
        [Self::Address, Self::Tenant, Self::Device, Self::AdminAddress, Self::AdminToken, Self::AdminLogin];

    /// As the label's value.
    pub fn label(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Tenant => "tenant",
            Self::Device => "device",
            Self::AdminAddress => "admin-address",
            Self::AdminToken => "admin-token",
            Self::AdminLogin => "admin-login",
        }
    }
}

/// What limits turned away.
#[derive(Clone, Debug)]
pub struct LimitMetrics {
    limited: [Counter; LimitedBy::ALL.len()],
    own_decisions: Counter,
}

impl LimitMetrics {
    /// Makes all series.
    pub fn new(metrics: &Metrics) -> Self {
        let help = "Requests answered 429, by the limit that they were past.";
        let limited =
            LimitedBy::ALL.map(|by| metrics.counter("dm_rate_limited_total", help, &[("by", by.label())]));
        let help = "Decisions about limits by a process's own count, as the store was away.";
        Self { limited, own_decisions: metrics.counter("dm_limit_own_decisions_total", help, &[]) }
    }

    /// Counts, at each call of it, a decision that a process took by its own count, as the store was away.
    pub fn away(&self) -> Arc<dyn Fn() + Send + Sync> {
        let counter = self.own_decisions.clone();
        Arc::new(move || counter.increment())
    }

    /// A request was answered 429.
    pub fn limited(&self, by: LimitedBy) {
        self.limited[by as usize].increment();
    }
}
