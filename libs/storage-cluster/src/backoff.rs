//! Pauses between tries.

use std::time::Duration;

use crate::ports::Draw;

const FIRST: Duration = Duration::from_millis(20);
const LAST: Duration = Duration::from_secs(5);

/// Pauses that grow, each between half of its length and the whole.
pub(crate) struct Backoff {
    draw: Draw,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(draw: &Draw) -> Self {
        Self { draw: Draw::clone(draw), next: FIRST }
    }

    /// Waits, longer each time.
    pub(crate) async fn wait(&mut self) {
        let spread = u32::try_from((self.draw)() % 512).unwrap_or(0);
        tokio::time::sleep(self.next * (512 + spread) / 1024).await;
        self.next = (self.next * 2).min(LAST);
    }
}
