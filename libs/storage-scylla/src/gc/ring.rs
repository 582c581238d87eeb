//! Going over a whole table by ranges of tokens.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use storage::{Collected, StoreError};
use tokio::time::Instant;

use super::Run;

/// Parts read at once.
const CONCURRENT: usize = 4;
/// Times a part is read before its error ends the collection: waiting twice as long each time, some ten minutes in all.
const ATTEMPTS_MAX: u32 = 10;
const BACK_OFF_MAX: Duration = Duration::from_secs(120);

/// The tokens above `after` up to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) after: i64,
    pub(super) to: i64,
}

/// All tokens, in parts of one size.
fn ranges(count: u16) -> impl Iterator<Item = Range> {
    let count = count.max(1);
    let width = u64::MAX / u64::from(count);
    let bound = move |number: u16| {
        // The smallest token is given to nothing.
        let above = width * u64::from(number);
        if number == count { i64::MAX } else { i64::MIN.wrapping_add(above.cast_signed()) }
    };
    (0..count).map(move |number| Range { after: bound(number), to: bound(number + 1) })
}

impl Run<'_> {
    /// Does `work` for every part of a table. What `work` does can be done twice, and what it counts is counted when it has
    /// come to its end.
    pub(super) async fn over_ring<'s, F>(
        &'s self,
        phase: &'static str,
        work: impl Fn(Range) -> F + Send + Sync,
    ) -> Result<(), StoreError>
    where
        F: Future<Output = Result<Collected, StoreError>> + Send + 's,
    {
        let work = &work;
        let parts: Vec<_> = ranges(self.ranges).map(|range| patiently(move || work(range))).collect();
        let mut parts = stream::iter(parts).buffer_unordered(CONCURRENT);
        let mut done = 0_u16;
        while let Some(part) = parts.try_next().await? {
            self.add(&part);
            done += 1;
            self.lease.keep(phase, done, self.ranges).await?;
        }
        Ok(())
    }
}

/// Does it again when it failed, for a while.
async fn patiently<T, F>(work: impl Fn() -> F + Send) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>> + Send,
    T: Send,
{
    let mut wait = Duration::from_millis(500);
    for _ in 1..ATTEMPTS_MAX {
        match work().await {
            Ok(done) => return Ok(done),
            Err(error) => tracing::debug!(%error, ?wait, "part of a collection failed and is done again"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(BACK_OFF_MAX);
    }
    work().await
}

/// Keeps the rows read a second below a bound.
pub(super) struct Throttle {
    per_s_max: u32,
    began: Instant,
    rows: AtomicU64,
}

impl Throttle {
    pub(super) fn new(per_s_max: u32) -> Self {
        Self { per_s_max: per_s_max.max(1), began: Instant::now(), rows: AtomicU64::new(0) }
    }

    /// A row was read; waits where there were too many.
    pub(super) async fn row(&self) {
        let rows = self.rows.fetch_add(1, Ordering::Relaxed) + 1;
        let due = self.began + Duration::from_secs_f64(rows as f64 / f64::from(self.per_s_max));
        // A timer's tick is a millisecond, so shorter waits are saved up.
        if due.saturating_duration_since(Instant::now()) > Duration::from_millis(5) {
            tokio::time::sleep_until(due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_in_one_range() {
        for count in [1, 2, 7, 128, 1000] {
            let all: Vec<Range> = ranges(count).collect();
            assert_eq!(all.len(), usize::from(count));
            assert_eq!((all[0].after, all[all.len() - 1].to), (i64::MIN, i64::MAX));
            assert!(all.iter().all(|range| range.after < range.to));
            assert!(all.windows(2).all(|pair| pair[0].to == pair[1].after));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rows_are_read_at_the_pace_that_was_set() {
        let throttle = Throttle::new(1000);
        let began = Instant::now();
        for _ in 0..3000 {
            throttle.row().await;
        }
        let took = began.elapsed();
        assert!((Duration::from_millis(2990)..Duration::from_millis(3100)).contains(&took), "{took:?}");
    }
}
