//! Pauses between tries.

use std::time::Duration;

use tokio::time::Instant;

use crate::ports::Draw;

const FIRST: Duration = Duration::from_millis(20);
const LAST: Duration = Duration::from_secs(5);
/// How long somebody waits for all tries together, and for the one that is under way.
const WHOLE: Duration = Duration::from_secs(12);

/// Pauses that grow, each between half of its length and the whole.
pub(crate) struct Backoff {
    draw: Draw,
    next: Duration,
    begun: Instant,
}

impl Backoff {
    pub(crate) fn new(draw: &Draw) -> Self {
        Self { draw: Draw::clone(draw), next: FIRST, begun: Instant::now() }
    }

    /// It has taken so long that whoever waits should be told.
    pub(crate) fn is_over(&self) -> bool {
        self.begun.elapsed() > WHOLE
    }

    /// Waits, longer each time.
    pub(crate) async fn wait(&mut self) {
        let spread = u32::try_from((self.draw)() % 512).unwrap_or(0);
        tokio::time::sleep(self.next * (512 + spread) / 1024).await;
        self.next = (self.next * 2).min(LAST);
    }
}
