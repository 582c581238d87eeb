//! Limits that hold over all processes together: how often something may be used, and how often a login may fail.
//!
//! [`LimitStore`] counts. Over it, [`Limiter`] asks for uses in advance, so that most of them cost no call, and
//! [`Logins`] decides who is locked out by what [`Watch`] counts. They go on with counts of their own where the store is away: a limit that
//! cannot be looked up must not turn everybody away.

mod limiter;
mod logins;
mod memory;
mod table;
#[cfg(test)]
mod tests;
mod watch;

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{StoreError, TenantId};

pub use limiter::{Claim, Limiter, Refused};
pub use logins::{LoginPolicy, Logins, Standing, Whose};
pub use memory::MemoryLimits;
pub use watch::Watch;

/// What a limit is about. A closed set: each has keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Requests of one client address.
    Address,
    /// Messages of one tenant.
    Tenant,
    /// Sessions of one device.
    Device,
    /// Operators' requests of one client address.
    AdminAddress,
    /// Operators' requests with one token.
    AdminToken,
    /// Wrong credentials of one device, from everywhere.
    LoginDevice,
    /// Wrong credentials of one device from one address.
    LoginPair,
    /// Wrong credentials from one address, of all devices.
    LoginAddress,
    /// Wrong tokens of operators from one address.
    LoginAdmin,
}

impl Scope {
    /// As it stands in keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Tenant => "tenant",
            Self::Device => "device",
            Self::AdminAddress => "admin-address",
            Self::AdminToken => "admin-token",
            Self::LoginDevice => "login-device",
            Self::LoginPair => "login-pair",
            Self::LoginAddress => "login-address",
            Self::LoginAdmin => "login-admin",
        }
    }
}

/// What is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LimitKey {
    /// Whose it is.
    pub tenant: TenantId,
    /// What about.
    pub scope: Scope,
    /// Which one: an address, a device's name, both.
    pub name: Box<str>,
}

impl LimitKey {
    /// A key.
    pub fn new(tenant: &TenantId, scope: Scope, name: impl Into<Box<str>>) -> Self {
        Self { tenant: tenant.clone(), scope, name: name.into() }
    }
}

/// So many uses in so long a time; all of them at once too, and after that as they come back, evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Uses in a period.
    pub uses: NonZeroU32,
    /// The period, more than nothing.
    pub period: Duration,
}

/// From uses and their period.
impl From<(NonZeroU32, Duration)> for Rate {
    fn from((uses, period): (NonZeroU32, Duration)) -> Self {
        Self { uses, period }
    }
}

impl Rate {
    /// How long it takes until one use more is there, in microseconds.
    pub fn interval_us(&self) -> f64 {
        (self.period.as_secs_f64() * 1e6 / f64::from(self.uses.get())).max(0.001)
    }
}

/// What a call got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// So many uses, at least one and at most as many as were wanted.
    Uses(NonZeroU32),
    /// None now; one would be there after this long.
    NoneFor(Duration),
}

/// When failures lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptPolicy {
    /// Failures within the window until it locks.
    pub failures_max: NonZeroU32,
    /// How long a failure counts, from the first of them.
    pub window: Duration,
    /// How long the first lock holds; each further one twice as long.
    pub lock: Duration,
    /// The longest lock; quiet for this long after one, and the next is a first one.
    pub lock_max: Duration,
}

/// What is known of failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Failures that count now.
    pub failures: u32,
    /// How long it stays locked; nothing: it is not.
    pub locked_for: Duration,
    /// A login went well, not too long ago.
    pub has_succeeded: bool,
}

impl Attempts {
    /// Locked now.
    pub fn is_locked(&self) -> bool {
        !self.locked_for.is_zero()
    }

    /// Nothing is known.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Is told that the store was away, so that a process's own count decided.
pub type Away = Arc<dyn Fn() + Send + Sync>;

/// Counts uses and failures, for all processes that share it. What it counts may be lost with it.
#[async_trait]
pub trait LimitStore: Send + Sync {
    /// Takes up to `wanted` uses, leaving `reserve` of those that there are.
    ///
    /// # Errors
    ///
    /// Those of the store; whether uses were taken is not known then.
    async fn take(
        &self,
        key: &LimitKey,
        rate: Rate,
        wanted: NonZeroU32,
        reserve: u32,
    ) -> Result<Grant, StoreError>;

    /// What is known of failures.
    ///
    /// # Errors
    ///
    /// Those of the store.
    async fn attempts(&self, key: &LimitKey) -> Result<Attempts, StoreError>;

    /// Counts a failure, and answers what is known then.
    ///
    /// # Errors
    ///
    /// Those of the store; whether it was counted is not known then.
    async fn fail(&self, key: &LimitKey, policy: &AttemptPolicy) -> Result<Attempts, StoreError>;

    /// A login went well: forgets the failures, and remembers that for `keep`.
    ///
    /// # Errors
    ///
    /// Those of the store.
    async fn succeed(&self, key: &LimitKey, keep: Duration) -> Result<(), StoreError>;

    /// Surely no failure is known of anything: saves asking.
    fn knows_no_failures(&self) -> bool {
        false
    }
}
