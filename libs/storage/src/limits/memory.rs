//! Limits counted in this process: right where it is the only one, and where the shared store is away.

use std::{
    num::NonZeroU32,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

use super::{AttemptPolicy, Attempts, Grant, LimitKey, LimitStore, Rate, table::Table};
use crate::StoreError;

/// Keys that are remembered at least. An entry takes some 200 octets with its key.
const ENTRIES: usize = 100_000;

/// Counts in memory, of at least the last 100,000 keys of each kind.
pub struct MemoryLimits {
    /// When all uses of a key are back.
    full_at: Table<LimitKey, Option<Instant>>,
    failures: Table<LimitKey, Failures>,
    has_failures: AtomicBool,
}

#[derive(Clone, Copy, Default)]
struct Failures {
    count: u32,
    since: Option<Instant>,
    locks: u32,
    locked_until: Option<Instant>,
    /// The locks are forgotten.
    calm_at: Option<Instant>,
    succeeded_until: Option<Instant>,
}

impl MemoryLimits {
    /// Nothing is counted yet.
    pub fn new() -> Self {
        Self {
            full_at: Table::new(ENTRIES),
            failures: Table::new(ENTRIES),
            has_failures: AtomicBool::new(false),
        }
    }
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for MemoryLimits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryLimits").finish_non_exhaustive()
    }
}

#[async_trait]
impl LimitStore for MemoryLimits {
    async fn take(
        &self,
        key: &LimitKey,
        rate: Rate,
        wanted: NonZeroU32,
        reserve: u32,
    ) -> Result<Grant, StoreError> {
        let now = Instant::now();
        Ok(self.full_at.with(key, |full_at| {
            let missing = full_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
            let (grant, missing) = take_from(missing, rate, wanted, reserve);
            *full_at = Some(now + missing);
            grant
        }))
    }

    async fn attempts(&self, key: &LimitKey) -> Result<Attempts, StoreError> {
        let now = Instant::now();
        Ok(self.failures.look(key, |failures| failures.seen(now)).unwrap_or_default())
    }

    async fn fail(&self, key: &LimitKey, policy: &AttemptPolicy) -> Result<Attempts, StoreError> {
        self.has_failures.store(true, Ordering::Release);
        let now = Instant::now();
        Ok(self.failures.with(key, |failures| {
            failures.fail(now, policy);
            failures.seen(now)
        }))
    }

    async fn succeed(&self, key: &LimitKey, keep: Duration) -> Result<(), StoreError> {
        let succeeded_until = Some(Instant::now() + keep);
        self.failures.with(key, |failures| *failures = Failures { succeeded_until, ..Failures::default() });
        Ok(())
    }

    fn knows_no_failures(&self) -> bool {
        !self.has_failures.load(Ordering::Acquire)
    }
}

/// Takes uses where it takes `missing` until all are back; answers how long it takes then. (A leaky bucket by its virtual
/// time, as GCRA has it.)
fn take_from(missing: Duration, rate: Rate, wanted: NonZeroU32, reserve: u32) -> (Grant, Duration) {
    let interval = rate.interval_us();
    let missing_us = missing.as_secs_f64() * 1e6;
    let all_us = rate.period.as_secs_f64() * 1e6;
    // A thousandth of a use is for what arithmetic with fractions loses.
    let there = ((all_us - missing_us) / interval + 0.001).floor() - f64::from(reserve);
    if there < 1.0 {
        let wait_us = (1.0 + f64::from(reserve)) * interval - (all_us - missing_us);
        return (Grant::NoneFor(Duration::from_secs_f64((wait_us / 1e6).max(0.000_001))), missing);
    }
    // Bounded by what was wanted, which is one at least.
    let taken = there.min(f64::from(wanted.get()));
    let uses = NonZeroU32::new(taken as u32).unwrap_or(NonZeroU32::MIN);
    (Grant::Uses(uses), missing + Duration::from_secs_f64(f64::from(uses.get()) * interval / 1e6))
}

impl Failures {
    fn seen(&self, now: Instant) -> Attempts {
        let is_ahead = |at: Option<Instant>| at.is_some_and(|at| at > now);
        Attempts {
            failures: self.count,
            locked_for: self.locked_until.map_or(Duration::ZERO, |at| at.saturating_duration_since(now)),
            has_succeeded: is_ahead(self.succeeded_until),
        }
    }

    fn fail(&mut self, now: Instant, policy: &AttemptPolicy) {
        if self.calm_at.is_some_and(|at| at <= now) {
            (self.locks, self.calm_at) = (0, None);
        }
        if self.since.is_none_or(|since| now.saturating_duration_since(since) > policy.window) {
            (self.count, self.since) = (0, Some(now));
        }
        self.count = self.count.saturating_add(1);
        if self.count >= policy.failures_max.get() {
            self.locks = self.locks.saturating_add(1);
            let times = 1_u32.checked_shl(self.locks - 1).unwrap_or(u32::MAX);
            let until = now + policy.lock.saturating_mul(times).min(policy.lock_max);
            self.locked_until = Some(until);
            self.calm_at = Some(until + policy.lock_max);
            (self.count, self.since) = (0, None);
        }
    }
}
