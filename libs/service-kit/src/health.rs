//! Whether a process can do its work: what its roles need, which of it is there, and a small listener that tells.
//!
//! Readiness depends on other servers and says which of them is missing. Liveness depends on nothing: a restart would
//! not bring back a server that is away.

mod serve;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{Metrics, Shutdown, metrics::Gauge, refusal::with_causes};

pub use serve::{Page, page, serve};

/// How often a server that stays away is mentioned again.
const REMIND_PERIOD: Duration = Duration::from_secs(30);

/// What a process needs, and whether it is there. Clones are one and the same.
#[derive(Clone, Debug)]
pub struct Health {
    needs: Arc<Mutex<BTreeMap<&'static str, Need>>>,
    metrics: Option<Metrics>,
    shutdown: Shutdown,
}

#[derive(Clone, Debug)]
struct Need {
    /// The roles that need it.
    by: String,
    /// Why it is missing; `None` when it is there.
    missing: Option<String>,
    /// The same for metrics.
    up: Option<Gauge>,
}

/// What keeps a process from doing its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReady(Vec<String>);

impl NotReady {
    /// One sentence for each thing that is missing.
    pub fn reasons(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl Health {
    /// Needs nothing yet. Ready once `shutdown` is, and as long.
    pub fn new(shutdown: Shutdown) -> Self {
        Self { needs: Arc::default(), metrics: None, shutdown }
    }

    /// The same, shown as `dm_ready` and, for each server that is needed from here on, `dm_store_up`.
    pub fn shown_in(mut self, metrics: &Metrics) -> Self {
        // Without its metrics, which keep what reads it.
        let this = self.clone();
        let read = move || if this.ready().is_ok() { 1.0 } else { 0.0 };
        metrics.gauge_of(
            "dm_ready",
            "Whether the process takes work: 1 where /health/readyz says so.",
            &[],
            read,
        );
        self.metrics = Some(metrics.clone());
        self
    }

    /// From here on `name` is needed, by the roles `by`; it is missing until [`Health::found`] says otherwise.
    pub fn needs(&self, name: &'static str, by: &str) {
        let help = "Whether a server that this process needs answers it.";
        let gauge = |metrics: &Metrics| metrics.gauge("dm_store_up", help, &[("store", name)]);
        let up = self.metrics.as_ref().map(gauge);
        if let Some(up) = &up {
            up.set(0);
        }
        let need = Need { by: by.to_owned(), missing: Some("not reached yet".to_owned()), up };
        self.lock().insert(name, need);
    }

    /// It is there. True where it was missing before.
    pub fn found(&self, name: &'static str) -> bool {
        self.lock().get_mut(name).is_some_and(|need| {
            if let Some(up) = &need.up {
                up.set(1);
            }
            need.missing.take().is_some()
        })
    }

    /// It is not there, and why. True where that is news: it was there before, or missing for another reason.
    pub fn missing(&self, name: &'static str, why: &str) -> bool {
        let mut needs = self.lock();
        let Some(need) = needs.get_mut(name) else { return false };
        let is_news = need.missing.as_deref() != Some(why);
        need.missing = Some(why.to_owned());
        if let Some(up) = &need.up {
            up.set(0);
        }
        is_news
    }

    /// Whether the process can do its work.
    ///
    /// # Errors
    ///
    /// [`NotReady`] names what is missing.
    pub fn ready(&self) -> Result<(), NotReady> {
        let mut reasons: Vec<String> = self
            .lock()
            .iter()
            .filter_map(|(name, need)| Some((name, &need.by, need.missing.as_ref()?)))
            .map(|(name, by, why)| format!("{name} is missing (for {by}): {why}"))
            .collect();
        if self.shutdown.is_draining() {
            reasons.insert(0, "draining".to_owned());
        } else if !self.shutdown.is_ready() {
            reasons.insert(0, "starting".to_owned());
        }
        if reasons.is_empty() { Ok(()) } else { Err(NotReady(reasons)) }
    }

    /// Whether the process answers requests, be it that a server is away: from when its stores were opened until it
    /// drains. For whoever shares requests out: when a server is away for everyone, "come again later" from here is
    /// better than no answer from anywhere.
    ///
    /// # Errors
    ///
    /// [`NotReady`] says that it starts, or drains.
    pub fn serving(&self) -> Result<(), NotReady> {
        if self.shutdown.is_ready() {
            return Ok(());
        }
        let reason = if self.shutdown.is_draining() { "draining" } else { "starting" };
        Err(NotReady(vec![reason.to_owned()]))
    }

    /// Tries `connect` until it succeeds, with growing pauses up to `pause_max`; `None` when the end is asked for first.
    /// A failure is logged when it is another one than before, and now and then.
    pub async fn wait_for<T, E, F>(
        &self,
        name: &'static str,
        pause_max: Duration,
        mut connect: impl FnMut() -> F,
    ) -> Option<T>
    where
        E: std::error::Error,
        F: Future<Output = Result<T, E>>,
    {
        let mut pause = pause_max / 10;
        let mut said: Option<tokio::time::Instant> = None;
        loop {
            let tried = tokio::select! {
                biased;
                () = self.shutdown.draining() => return None,
                tried = connect() => tried,
            };
            match tried {
                Ok(connected) => {
                    self.found(name);
                    if said.is_some() {
                        tracing::info!(server = name, "server is there");
                    }
                    return Some(connected);
                }
                Err(error) => {
                    let is_news = self.missing(name, &with_causes(&error));
                    if is_news || said.is_none_or(|at| at.elapsed() >= REMIND_PERIOD) {
                        tracing::warn!(server = name, reason = with_causes(&error), "waiting for a server");
                        said = Some(tokio::time::Instant::now());
                    }
                }
            }
            tokio::select! {
                biased;
                () = self.shutdown.draining() => return None,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(pause_max);
        }
    }

    /// Asks every `period` whether a server is there, until the end.
    pub async fn watch<E, F>(
        &self,
        name: &'static str,
        period: Duration,
        timeout: Duration,
        mut probe: impl FnMut() -> F,
    ) where
        E: std::error::Error,
        F: Future<Output = Result<(), E>>,
    {
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.draining() => return,
                () = tokio::time::sleep(period) => {}
            }
            let why = match tokio::time::timeout(timeout, probe()).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(with_causes(&error)),
                Err(_) => Some(format!("no answer within {timeout:?}")),
            };
            match why {
                None if self.found(name) => tracing::info!(server = name, "server is there again"),
                Some(why) if self.missing(name, &why) => {
                    tracing::warn!(server = name, reason = why, "server is away");
                }
                _ => {}
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Need>> {
        self.needs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
