//! Not more than so many a second.

use std::time::Duration;

use tokio::{sync::Mutex, time::Instant};

/// A burst of this long is let through after a rest.
const BURST: Duration = Duration::from_millis(100);

/// Lets callers through one after the other, at a rate.
pub(crate) struct Pace {
    interval: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    pub(crate) fn new(per_second_max: u64) -> Self {
        let interval = Duration::from_secs(1) / u32::try_from(per_second_max).unwrap_or(u32::MAX).max(1);
        Self { interval, next: Mutex::new(Instant::now()) }
    }

    /// Waits for the caller's turn.
    pub(crate) async fn turn(&self) {
        let turn = {
            let mut next = self.next.lock().await;
            let now = Instant::now();
            let turn = (*next).max(now.checked_sub(BURST).unwrap_or(now));
            *next = turn + self.interval;
            turn
        };
        tokio::time::sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn callers_come_at_the_rate_after_a_burst() {
        let pace = Pace::new(200);
        let began = Instant::now();
        for _ in 0..60 {
            pace.turn().await;
        }
        // 59 intervals of 5 ms, of which a burst of 100 ms may be saved up.
        assert!(began.elapsed() >= Duration::from_millis(190), "{:?}", began.elapsed());
    }
}
