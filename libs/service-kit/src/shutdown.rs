//! The end: SIGTERM (or Ctrl-C) turns readiness off and drains; what has not ended by a deadline is cut off;
//! a second signal does not wait.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

/// Told to every task of a process. Clones are one and the same.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    cut: CancellationToken,
    ready: Arc<AtomicBool>,
}

impl Shutdown {
    /// Nothing has been asked for, and nothing is ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// The process can serve.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Whether the process can serve and wants to: what a readiness probe is told.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && !self.drain.is_cancelled()
    }

    /// Asks for the end: nothing new is begun from here on.
    pub fn begin(&self) {
        self.drain.cancel();
    }

    /// The end has been asked for.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Completes when the end is asked for.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Completes when what is still going on must stop where it stands.
    pub async fn cut_off(&self) {
        self.cut.cancelled().await;
    }

    /// Stops everything where it stands.
    pub fn cut(&self) {
        self.drain.cancel();
        self.cut.cancel();
    }

    /// Waits for the first signal, or for [`Self::begin`] by someone else, and then starts the drain; cuts off at
    /// the `deadline` or at the second signal. Run it beside the services and drop it when they have ended.
    ///
    /// # Errors
    ///
    /// When the process may not listen for signals.
    pub async fn run(&self, deadline: Duration) -> std::io::Result<()> {
        let mut signals = Signals::new()?;
        tokio::select! {
            name = signals.next() => tracing::info!(signal = name, "shutdown asked for, draining"),
            () = self.drain.cancelled() => {}
        }
        self.begin();
        tokio::select! {
            name = signals.next() => tracing::warn!(signal = name, "second signal, not waiting"),
            () = tokio::time::sleep(deadline) => tracing::warn!("drain deadline passed, cutting off"),
            () = self.cut.cancelled() => {}
        }
        self.cut();
        Ok(())
    }

    /// Completes with `work`, or with `None` once cut off.
    pub async fn until_cut<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.cut.run_until_cancelled(work).await
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> &'static str {
        let _ = tokio::signal::ctrl_c().await;
        "Ctrl-C"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn draining_turns_readiness_off_and_the_deadline_cuts_off() {
        let shutdown = Shutdown::new();
        assert!(!shutdown.is_ready());
        shutdown.set_ready();
        assert!(shutdown.is_ready());

        let runner = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.run(Duration::from_secs(5)).await }
        });
        let started = tokio::time::Instant::now();
        shutdown.begin();
        assert!(!shutdown.is_ready());
        assert_eq!(shutdown.until_cut(async { 7 }).await, Some(7));
        assert_eq!(shutdown.until_cut(std::future::pending::<()>()).await, None);
        assert!(started.elapsed() >= Duration::from_secs(5), "cut off after {:?}", started.elapsed());
        runner.await.unwrap().unwrap();
    }
}
