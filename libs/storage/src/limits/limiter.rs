//! Uses asked for in advance. A front-end leases some uses of a key and spends them without a call; who uses little leases
//! one at a time, so that nothing is wasted on it, and who uses much leases more each time.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{Away, Grant, LimitKey, LimitStore, MemoryLimits, Rate, table::Table};

/// Keys whose leases are remembered.
const LEASES: usize = 50_000;
/// A lease is at most this part of a key's uses: what is leased and not spent is lost.
const LEASE_PART: u32 = 32;
/// A lease that is not spent by then is given up. Its uses have come back by themselves, or nearly.
const LEASE_MAX: Duration = Duration::from_secs(10);
/// What begins something new leaves this part of the uses to what has begun.
const RESERVE_PART: u32 = 4;
/// How long the store may take; counting in this process is good enough then.
const CALL_MAX: Duration = Duration::from_millis(250);
/// How long a store that failed is not asked.
const AWAY_SPAN: Duration = Duration::from_secs(1);
/// The least span over which those that were refused are spread.
const SPREAD_MIN: Duration = Duration::from_secs(5);

/// Who wants a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Begins something: may have three quarters of the uses.
    New,
    /// Continues what has begun: may have all.
    Begun,
}

/// Not now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// When to come again: not before there is a use, and each caller at another time.
    pub retry_after_seconds: u64,
}

/// Admits uses within a rate, over all processes that share the store.
pub struct Limiter {
    store: Arc<dyn LimitStore>,
    own: MemoryLimits,
    leases: Table<LimitKey, Lease>,
    begun: Instant,
    /// Milliseconds since `begun` until which the store is not asked.
    away_until_ms: AtomicU64,
    away: Away,
    turn: AtomicU32,
}

#[derive(Clone, Copy, Default)]
struct Lease {
    /// Anybody's.
    common: u32,
    /// For what has begun.
    reserved: u32,
    /// How many were leased last.
    size: u32,
    ends: Option<Instant>,
    /// There is nothing for new ones until then.
    new_at: Option<Instant>,
    /// Nor for others.
    begun_at: Option<Instant>,
}

impl Limiter {
    /// Over a store. `away` is called for each decision that this process's own count takes.
    pub fn new(store: Arc<dyn LimitStore>, away: Away) -> Self {
        Self {
            store,
            own: MemoryLimits::new(),
            leases: Table::new(LEASES),
            begun: Instant::now(),
            away_until_ms: AtomicU64::new(0),
            away,
            turn: AtomicU32::new(0),
        }
    }

    /// Takes one use.
    ///
    /// # Errors
    ///
    /// [`Refused`] when there is none now. Where the store is away this process's own count decides.
    pub async fn admit(&self, key: &LimitKey, rate: Rate, claim: Claim) -> Result<(), Refused> {
        let now = Instant::now();
        let wanted = match self.leases.with(key, |lease| lease.spend(now, rate, claim)) {
            Spent::Leased => return Ok(()),
            Spent::Refused(wait) => return Err(self.refused(wait)),
            Spent::Wants(wanted) => wanted,
        };
        let reserve = match claim {
            Claim::New => rate.uses.get() / RESERVE_PART,
            Claim::Begun => 0,
        };
        let grant = self.take(key, rate, wanted, reserve).await;
        self.leases.with(key, |lease| lease.take_in(now, rate, claim, grant));
        match grant {
            Grant::Uses(_) => Ok(()),
            Grant::NoneFor(wait) => Err(self.refused(wait)),
        }
    }

    async fn take(&self, key: &LimitKey, rate: Rate, wanted: NonZeroU32, reserve: u32) -> Grant {
        let now_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.away_until_ms.load(Ordering::Relaxed) <= now_ms {
            let asked = tokio::time::timeout(CALL_MAX, self.store.take(key, rate, wanted, reserve)).await;
            if let Ok(Ok(grant)) = asked {
                return grant;
            }
            let away_ms = u64::try_from(AWAY_SPAN.as_millis()).unwrap_or(u64::MAX);
            self.away_until_ms.store(now_ms.saturating_add(away_ms), Ordering::Relaxed);
        }
        (self.away)();
        let own = self.own.take(key, rate, wanted, reserve).await;
        // Memory does not fail.
        own.unwrap_or(Grant::Uses(NonZeroU32::MIN))
    }

    /// Spread by the golden ratio over a counter: even, without randomness.
    fn refused(&self, wait: Duration) -> Refused {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9);
        let fraction = f64::from(turn) / f64::from(u32::MAX);
        let later = wait + wait.max(SPREAD_MIN).mul_f64(fraction);
        Refused { retry_after_seconds: later.as_secs().saturating_add(1) }
    }
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter").finish_non_exhaustive()
    }
}

enum Spent {
    Leased,
    Refused(Duration),
    Wants(NonZeroU32),
}

impl Lease {
    fn spend(&mut self, now: Instant, rate: Rate, claim: Claim) -> Spent {
        let is_over = self.ends.is_none_or(|ends| ends <= now);
        if is_over {
            (self.common, self.reserved) = (0, 0);
        }
        if self.common > 0 {
            self.common -= 1;
            return Spent::Leased;
        }
        if claim == Claim::Begun && self.reserved > 0 {
            self.reserved -= 1;
            return Spent::Leased;
        }
        let none_until = match claim {
            Claim::New => self.new_at,
            Claim::Begun => self.begun_at,
        };
        if let Some(at) = none_until.filter(|at| *at > now) {
            return Spent::Refused(at.saturating_duration_since(now));
        }
        let most = (rate.uses.get() / LEASE_PART).max(1);
        let size = if is_over { 1 } else { self.size.saturating_mul(2).clamp(1, most) };
        Spent::Wants(NonZeroU32::new(size).unwrap_or(NonZeroU32::MIN))
    }

    /// Keeps what was got, but for the one use that it was asked for.
    fn take_in(&mut self, now: Instant, rate: Rate, claim: Claim, grant: Grant) {
        match (grant, claim) {
            (Grant::Uses(uses), claim) => {
                let rest = uses.get() - 1;
                match claim {
                    Claim::New => self.common = self.common.saturating_add(rest),
                    Claim::Begun => self.reserved = self.reserved.saturating_add(rest),
                }
                self.size = uses.get();
                self.ends = Some(now + (rate.period / 2).min(LEASE_MAX));
            }
            (Grant::NoneFor(wait), Claim::New) => self.new_at = Some(now + wait),
            (Grant::NoneFor(wait), Claim::Begun) => self.begun_at = Some(now + wait),
        }
    }
}
