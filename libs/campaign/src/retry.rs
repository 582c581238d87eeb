//! Who gets another attempt, and when.

use dm_objects::outcome::ResultClass;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Outcome, Period, TimedPhase, hash::mix};

/// When an attempt that ended one way is followed by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryRule {
    /// `attempts_max`: of one device, counting all attempts, from 1 (never another) to 200.
    pub attempts_max: u8,
    /// `delay`: before the second attempt; it doubles with each further one.
    pub delay: Period,
    /// `delay_max`: it grows no further than this.
    pub delay_max: Period,
}

impl RetryRule {
    /// The most attempts a definition may allow.
    pub const ATTEMPTS_MAX: u8 = 200;

    const fn new(attempts_max: u8, delay_secs: u64, delay_max_secs: u64) -> Self {
        Self {
            attempts_max,
            delay: Period::from_secs(delay_secs),
            delay_max: Period::from_secs(delay_max_secs),
        }
    }
}

macro_rules! retry_policy {
    ($($(#[$doc:meta])* $field:ident $key:literal $usual:expr;)*) => {
        /// What happens after an attempt that did not succeed, by the class of its outcome.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub struct RetryPolicy {
            $($(#[$doc])* #[serde(rename = $key)] pub $field: RetryRule,)*
        }

        impl Default for RetryPolicy {
            fn default() -> Self {
                Self { $($field: $usual,)* }
            }
        }

        impl RetryPolicy {
            /// Every rule under its key.
            pub(crate) fn rules_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut RetryRule)> {
                [$(($key, &mut self.$field),)*].into_iter()
            }
        }
    };
}

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

retry_policy! {
    /// `[retry.transient]`: the network, a server, a time-out or free memory. Default: 4 attempts, 15m, doubling up to 12h.
    transient "transient" RetryRule::new(4, HOUR / 4, 12 * HOUR);
    /// `[retry.needs-user]`: the user said no. Default: 3 attempts, a day apart.
    needs_user "needs-user" RetryRule::new(3, DAY, DAY);
    /// `[retry.device-fault]`: the device could not. Default: 2 attempts, 1h apart.
    device_fault "device-fault" RetryRule::new(2, HOUR, 12 * HOUR);
    /// `[retry.package-fault]`: the package is wrong or broken. Default: 1 attempt: nobody gets it again by itself.
    package_fault "package-fault" RetryRule::new(1, HOUR, 12 * HOUR);
    /// `[retry.refused]`: a command was refused. Default: 2 attempts, 1h apart.
    refused "refused" RetryRule::new(2, HOUR, 12 * HOUR);
    /// `[retry.wrong-version]`: success was reported, but the version is another. Default: 1 attempt.
    wrong_version "wrong-version" RetryRule::new(1, HOUR, 12 * HOUR);
    /// `[retry.exec-lost]`: the Exec never arrived. Default: 5 attempts, at once, then 1m and doubling up to 1h.
    exec_lost "exec-lost" RetryRule::new(5, 0, HOUR);
    /// `[retry.silent]`: the device never came. Default: 1 attempt; the wait timer is the time it has.
    silent "silent" RetryRule::new(1, DAY, DAY);
    /// `[retry.timed-out]`: it came, and a later phase took too long. Default: 2 attempts, 1h apart.
    timed_out "timed-out" RetryRule::new(2, HOUR, 12 * HOUR);
}

impl RetryPolicy {
    /// The rule for an outcome; `None` where there is never another attempt.
    fn rule(&self, outcome: Outcome) -> Option<&RetryRule> {
        match outcome {
            Outcome::Failed { class, .. } => Some(match class {
                ResultClass::Transient => &self.transient,
                ResultClass::NeedsUser => &self.needs_user,
                ResultClass::PackageFault => &self.package_fault,
                ResultClass::DeviceFault | ResultClass::Success => &self.device_fault,
            }),
            Outcome::Refused { .. } => Some(&self.refused),
            Outcome::WrongVersion => Some(&self.wrong_version),
            Outcome::ExecLost => Some(&self.exec_lost),
            Outcome::TimedOut { phase: TimedPhase::Wait } => Some(&self.silent),
            Outcome::TimedOut { .. } => Some(&self.timed_out),
            Outcome::Succeeded
            | Outcome::AlreadyCurrent
            | Outcome::NotCapable
            | Outcome::Cancelled
            | Outcome::Gone => None,
        }
    }

    /// From when on the device may have another attempt, `attempt` having ended `outcome` at `now`.
    ///
    /// The delay doubles with each attempt and is spread by up to a quarter either way, the same way every time for
    /// one seed, device and attempt, so that devices that failed together do not come again together.
    pub fn retry_at(
        &self,
        outcome: Outcome,
        attempt: u16,
        ordinal: u32,
        seed: u64,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let rule = self.rule(outcome).filter(|rule| attempt < u16::from(rule.attempts_max))?;
        let doublings = u32::from(attempt.saturating_sub(1)).min(40);
        let mut base_ms = rule.delay.as_ms();
        if base_ms == 0 && attempt > 1 {
            // The first time at once; a device that meets it again should not spin.
            base_ms = 30_000;
        }
        let ms = base_ms.saturating_mul(1 << doublings).min(rule.delay_max.as_ms());
        let spread = mix(seed ^ mix(u64::from(ordinal) << 16 | u64::from(attempt))) % 1024;
        // From 3/4 to 5/4 of it.
        let ms = ms / 4 * 3 + (ms / 2).saturating_mul(spread) / 1024;
        Some(Period::from_ms(ms).after(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs_until(policy: &RetryPolicy, outcome: Outcome, attempt: u16) -> Option<i64> {
        let now = Timestamp::UNIX_EPOCH;
        policy.retry_at(outcome, attempt, 7, 1, now).map(Timestamp::as_second)
    }

    #[test]
    fn delays_double_up_to_their_bound_and_end_with_the_attempts() {
        let policy = RetryPolicy { transient: RetryRule::new(6, 100, 1000), ..RetryPolicy::default() };
        let outcome = Outcome::Failed { class: ResultClass::Transient, code: 503 };
        for (attempt, middle) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1000)] {
            let secs = secs_until(&policy, outcome, attempt).unwrap();
            assert!((middle * 3 / 4..=middle * 5 / 4).contains(&secs), "attempt {attempt}: {secs}");
        }
        assert_eq!(secs_until(&policy, outcome, 6), None);
    }

    #[test]
    fn devices_that_failed_together_are_spread_the_same_way_every_time() {
        let policy = RetryPolicy::default();
        let outcome = Outcome::Failed { class: ResultClass::Transient, code: 503 };
        let at = |ordinal| policy.retry_at(outcome, 1, ordinal, 9, Timestamp::UNIX_EPOCH).unwrap();
        let times: std::collections::BTreeSet<_> = (0..100).map(at).collect();
        assert!(times.len() > 80, "{} times for 100 devices", times.len());
        assert_eq!(at(5), at(5));
    }

    #[test]
    fn what_nobody_should_get_again_is_not_retried() {
        let policy = RetryPolicy::default();
        for outcome in [
            Outcome::Succeeded,
            Outcome::AlreadyCurrent,
            Outcome::NotCapable,
            Outcome::Cancelled,
            Outcome::WrongVersion,
            Outcome::Failed { class: ResultClass::PackageFault, code: 402 },
            Outcome::TimedOut { phase: TimedPhase::Wait },
        ] {
            assert_eq!(secs_until(&policy, outcome, 1), None, "{outcome}");
        }
        assert_eq!(secs_until(&policy, Outcome::ExecLost, 1), Some(0));
    }
}
