//! What the settings say of limits, as the stores' side takes it.

use std::{num::NonZeroU32, sync::Arc};

use service_kit::{
    metrics::LimitMetrics,
    settings::{LimitsSettings, RateLimit},
};
use storage::limits::{Away, LoginPolicy, Rate};

/// A rate; `None` where there is none.
pub(crate) fn rate(limit: RateLimit) -> Option<Rate> {
    limit.uses().map(|(uses, period)| Rate { uses, period })
}

/// When wrong credentials of devices lock out.
pub(crate) fn login_policy(settings: &LimitsSettings) -> LoginPolicy {
    let bound = |number: u64| NonZeroU32::new(u32::try_from(number).unwrap_or(u32::MAX));
    LoginPolicy {
        per_pair: bound(settings.login_failures.value()),
        per_device: bound(settings.login_failures_per_device.value()),
        per_address: bound(settings.login_failures_per_address.value()),
        window: settings.login_window.value(),
        lock: settings.login_lock.value(),
        lock_max: settings.login_lock_max.value(),
    }
}

/// Counts what a process decides by itself.
pub(crate) fn away(metrics: &LimitMetrics) -> Away {
    let counter = metrics.own_decisions.clone();
    Arc::new(move || counter.increment())
}
