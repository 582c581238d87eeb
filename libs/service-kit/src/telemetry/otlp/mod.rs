//! Traces leave by OTLP: protobuf in HTTP, to `<endpoint>/v1/traces`.
//!
//! Spans go through a bounded queue to one task, which sends them in batches. Nobody waits for it: what the queue has no
//! room for is counted and dropped. A receiver that is away is tried again with growing pauses.

mod client;
mod message;
#[cfg(test)]
mod tests;

use std::{
    future::Future,
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use trace::{Finished, Sink};

use self::{
    client::{Client, SendError},
    message::Origin,
};
use crate::{
    metrics::{Counter, Metrics},
    settings::TelemetrySettings,
};

/// Spans of one request at most.
const BATCH: usize = 512;
/// How long spans wait for more of them.
const LINGER: Duration = Duration::from_millis(500);
/// Pauses between tries while the receiver is away.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How often a receiver that is away is mentioned.
const REMIND_PERIOD: Duration = Duration::from_secs(60);
/// How long what is left may take at the end.
const FLUSH_MAX: Duration = Duration::from_secs(3);

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// A file is missing, or is not what its key is for.
    #[error("{key}: {problem} ({path})")]
    File {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The endpoint cannot be reached by what the settings say.
    #[error("telemetry.otlp_endpoint: {0}")]
    Endpoint(String),
}

/// Sends what this process keeps of traces.
pub struct Exporter {
    spans: mpsc::Receiver<Finished>,
    client: Client,
    origin: Origin,
    counts: Counts,
    said: Option<Instant>,
}

#[derive(Clone)]
struct Counts {
    exported: Counter,
    queue_full: Counter,
    refused: Counter,
    cut_off: Counter,
}

impl Counts {
    fn new(metrics: &Metrics) -> Self {
        let of = |result| {
            let help = "Spans of traces, by whether they came to the receiver or why they did not.";
            metrics.counter("dm_trace_spans_total", help, &[("result", result)])
        };
        Self {
            exported: of("exported"),
            queue_full: of("queue-full"),
            refused: of("refused"),
            cut_off: of("cut-off"),
        }
    }
}

/// Where spans end: the queue.
struct Queue {
    spans: mpsc::Sender<Finished>,
    queue_full: Counter,
}

impl Sink for Queue {
    fn take(&self, span: Finished) {
        if self.spans.try_send(span).is_err() {
            self.queue_full.increment();
        }
    }
}

/// Keeps traces from here on, if the settings name a receiver; [`Exporter::run`] sends them. `roles` says what the
/// process does.
///
/// # Errors
///
/// [`OtlpError`] names the setting that cannot be used.
pub fn open(
    settings: &TelemetrySettings,
    version: &str,
    roles: &str,
    metrics: &Metrics,
) -> Result<Option<Exporter>, OtlpError> {
    let Some(endpoint) = &settings.otlp_endpoint else { return Ok(None) };
    let client = Client::open(endpoint, settings)?;
    let counts = Counts::new(metrics);
    let (sender, spans) = mpsc::channel(settings.otlp_queue_spans.as_usize());
    let queue = Queue { spans: sender, queue_full: counts.queue_full.clone() };
    if !trace::install(Box::new(queue), settings.trace_sample.value()) {
        tracing::warn!("somebody keeps this process's traces already");
        return Ok(None);
    }
    let origin = Origin::new(&settings.service_name, version, roles);
    tracing::info!(endpoint = %endpoint, sample = settings.trace_sample.value(), "traces are sent");
    Ok(Some(Exporter { spans, client, origin, counts, said: None }))
}

/// Makes the series that are there where the settings name a receiver.
pub fn describe(metrics: &Metrics) {
    Counts::new(metrics);
}

impl Exporter {
    /// Sends until `until`, and then what is left, but not for long.
    pub async fn run(mut self, until: impl Future) {
        let mut batch = Vec::with_capacity(BATCH);
        let ended = {
            let work = self.send_all(&mut batch);
            tokio::pin!(work, until);
            tokio::select! {
                () = &mut work => true,
                _ = &mut until => false,
            }
        };
        if ended {
            return;
        }
        self.spans.close();
        if tokio::time::timeout(FLUSH_MAX, self.flush(&mut batch)).await.is_err() || !batch.is_empty() {
            let left = batch.len() as u64 + std::iter::from_fn(|| self.spans.try_recv().ok()).count() as u64;
            self.counts.cut_off.add(left);
            tracing::warn!(spans = left, "spans could not be sent before the end");
        }
    }

    /// Sends batch after batch.
    async fn send_all(&mut self, batch: &mut Vec<Finished>) {
        loop {
            if batch.is_empty() && self.spans.recv_many(batch, 1).await == 0 {
                return;
            }
            // More is about to come, as the parts of one message end together.
            let more = async {
                while batch.len() < BATCH && self.spans.recv_many(batch, BATCH - batch.len()).await > 0 {}
            };
            let _ = tokio::time::timeout(LINGER, more).await;
            let mut pause = PAUSE.0;
            while let Err(error) = self.send(batch).await {
                self.say(&error);
                let asked = error.retry_after().unwrap_or_default().min(REMIND_PERIOD);
                tokio::time::sleep(pause.max(asked)).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }

    async fn flush(&mut self, batch: &mut Vec<Finished>) {
        loop {
            let room = BATCH.saturating_sub(batch.len());
            if room > 0 {
                self.spans.recv_many(batch, room).await;
            }
            if batch.is_empty() {
                return;
            }
            if let Err(error) = self.send(batch).await {
                self.say(&error);
                return;
            }
        }
    }

    /// Sends a batch once; it is empty then, unless it may be sent again.
    async fn send(&mut self, batch: &mut Vec<Finished>) -> Result<(), SendError> {
        let request = self.origin.request(batch);
        match self.client.post(request).await {
            Ok(rejected) => {
                let rejected = rejected.min(batch.len() as u64);
                self.counts.refused.add(rejected);
                self.counts.exported.add(batch.len() as u64 - rejected);
                if self.said.take().is_some() {
                    tracing::info!("the receiver of traces is there again");
                }
            }
            Err(error) if error.is_final() => {
                self.counts.refused.add(batch.len() as u64);
                self.say(&error);
            }
            Err(error) => return Err(error),
        }
        batch.clear();
        Ok(())
    }

    /// Once a minute: whoever looks at one line knows as much as by a thousand.
    fn say(&mut self, error: &SendError) {
        if self.said.is_none_or(|said| said.elapsed() >= REMIND_PERIOD) {
            tracing::warn!(error = error as &dyn std::error::Error, "traces cannot be sent");
            self.said = Some(Instant::now());
        }
    }
}
