//! Uses and failures, counted by scripts with the server's clock: all processes have the same one.
//!
//! A call that a cluster's client sends twice counts twice. That takes a use that nobody has, or counts a failure too many:
//! limits get a little stricter in the moment of a failover, and nothing else.

use std::{num::NonZeroU32, sync::LazyLock, time::Duration};

use async_trait::async_trait;
use redis::Value;
use storage::{
    LimitStore, StoreError,
    limits::{AttemptPolicy, Attempts, Grant, LimitKey, Rate},
};

use crate::{Redis, connection::Effect, script::Script};

/// The key has the microsecond at which all uses are back (GCRA). ARGV: microseconds until one use more, of all, the uses
/// wanted, the reserve. Answers how many, or less than nothing: the microseconds to wait.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, all = tonumber(ARGV[1]), tonumber(ARGV[2])
local full = tonumber(redis.call('GET', KEYS[1]) or '0') or 0
if full < now then full = now end
local left = all - (full - now)
local there = math.floor(left / interval + 0.001) - ARGV[4]
if there < 1 then
  return -math.max(1, math.ceil((1 + ARGV[4]) * interval - left))
end
local taken = math.min(there, ARGV[3])
full = full + taken * interval
redis.call('SET', KEYS[1], string.format('%.3f', full), 'PX', math.max(1, math.ceil((full - now) / 1000)))
return taken",
    )
});

/// What scripts about failures begin with: the record is a hash of `n` failures since `s`, `l` locks, locked until `u`, calm
/// from `c` on, and a success that is remembered until `g`; all in milliseconds.
macro_rules! with_record {
    ($script:literal) => {
        concat!(
            "local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local r = redis.call('HMGET', KEYS[1], 'n', 's', 'l', 'u', 'c', 'g')
local n, s, l, u, c, g = tonumber(r[1] or 0), tonumber(r[2] or 0), tonumber(r[3] or 0), tonumber(r[4] or 0), tonumber(r[5] or 0), \
             tonumber(r[6] or 0)
",
            $script,
            "
local good = 0
if g > now then good = 1 end
return {n, math.max(0, u - now), good}"
        )
    };
}

/// No ARGV. Answers failures, milliseconds of the lock, and whether there was a success.
static READ: LazyLock<Script> = LazyLock::new(|| Script::new(with_record!("")));

/// ARGV: failures that lock, and in milliseconds the window, the first lock and the longest. Answers as `READ` does.
static FAIL: LazyLock<Script> = LazyLock::new(|| {
    Script::new(with_record!(
        "local max, window, lock, lock_max = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if c > 0 and c <= now then l, c = 0, 0 end
if s == 0 or now - s > window then n, s = 0, now end
n = n + 1
if n >= max then
  l = l + 1
  u = now + math.min(lock * 2 ^ math.min(l - 1, 40), lock_max)
  c = u + lock_max
  n, s = 0, 0
end
local keep = math.max(window, c - now, g - now)
redis.call('HSET', KEYS[1], 'n', n, 's', s, 'l', l, 'u', u, 'c', c, 'g', g)
redis.call('PEXPIRE', KEYS[1], math.ceil(keep))"
    ))
});

/// ARGV: milliseconds to remember it. Answers 1.
static SUCCEED: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'g', now + ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1",
    )
});

#[async_trait]
impl LimitStore for Redis {
    async fn take(
        &self,
        key: &LimitKey,
        rate: Rate,
        wanted: NonZeroU32,
        reserve: u32,
    ) -> Result<Grant, StoreError> {
        let all_us = rate.period.as_secs_f64() * 1e6;
        let numbers = [
            format!("{:.6}", rate.interval_us()),
            format!("{all_us:.0}"),
            wanted.to_string(),
            reserve.to_string(),
        ];
        let arguments = numbers.each_ref().map(String::as_bytes);
        let answer: i64 = self.run("take uses", &TAKE, &self.keys().limit(key), &arguments).await?;
        match NonZeroU32::new(u32::try_from(answer).unwrap_or(0)) {
            Some(uses) => Ok(Grant::Uses(uses.min(wanted))),
            None => Ok(Grant::NoneFor(Duration::from_micros(answer.unsigned_abs()))),
        }
    }

    async fn attempts(&self, key: &LimitKey) -> Result<Attempts, StoreError> {
        const OPERATION: &str = "read failures";
        let key = self.keys().limit(key);
        // Nearly always there is nothing, and asking that is all a visit should cost.
        let mut command = redis::cmd("EXISTS");
        command.arg(&key);
        let is_there: bool = self.call(OPERATION, Effect::Reads, &command).await?;
        if !is_there {
            return Ok(Attempts::default());
        }
        attempts(OPERATION, &self.run(OPERATION, &READ, &key, &[]).await?)
    }

    async fn fail(&self, key: &LimitKey, policy: &AttemptPolicy) -> Result<Attempts, StoreError> {
        const OPERATION: &str = "count a failure";
        let numbers = [
            policy.failures_max.to_string(),
            policy.window.as_millis().to_string(),
            policy.lock.as_millis().to_string(),
            policy.lock_max.as_millis().to_string(),
        ];
        let arguments = numbers.each_ref().map(String::as_bytes);
        attempts(OPERATION, &self.run(OPERATION, &FAIL, &self.keys().limit(key), &arguments).await?)
    }

    async fn succeed(&self, key: &LimitKey, keep: Duration) -> Result<(), StoreError> {
        let keep = keep.as_millis().max(1).to_string();
        let key = self.keys().limit(key);
        let _: u8 = self.run("note a success", &SUCCEED, &key, &[keep.as_bytes()]).await?;
        Ok(())
    }
}

fn attempts(operation: &'static str, answer: &Value) -> Result<Attempts, StoreError> {
    if let Value::Array(parts) = answer
        && let [Value::Int(failures), Value::Int(locked_ms), Value::Int(good)] = parts[..]
    {
        return Ok(Attempts {
            failures: u32::try_from(failures).unwrap_or(u32::MAX),
            locked_for: Duration::from_millis(u64::try_from(locked_ms).unwrap_or(0)),
            has_succeeded: good == 1,
        });
    }
    Err(StoreError::corrupt(operation, format!("expected three numbers, got {answer:?}")))
}
