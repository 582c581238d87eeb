//! The loop: take, look, send, settle.

use std::{io, time::Duration};

use campaign::Phase;
use dm_notification::{Notification, ServerKey, UiMode};
use futures_util::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use service_kit::{
    Metrics, Shutdown,
    settings::{NotifySettings, NotifyUiMode},
};
use storage::{StoreError, Stores, Taken, Trigger, TriggerConsumer};

use crate::{
    Outcome, TriggerMetrics,
    bearer::Bearers,
    campaigns::{Campaigns, Wish},
    gateway::Letter,
    pace::Pace,
    session_id::session_id,
};

/// Triggers taken at once.
const BATCH: usize = 256;
/// Triggers worked on at once.
const AT_ONCE: usize = 32;
/// How long one wait for triggers lasts.
const TAKE_WAIT: Duration = Duration::from_secs(1);
/// Pauses between tries while a store fails.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// The longest time between two repeats.
const REPEAT_MAX: Duration = Duration::from_secs(6 * 3600);
/// When a trigger of a paused campaign is looked at again, at the latest.
const PAUSED_AGAIN: Duration = Duration::from_secs(30);
/// When a trigger is looked at again whose stores could not be reached.
const UNAVAILABLE_AGAIN: Duration = Duration::from_secs(2);

/// Why the service cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// No socket to send from.
    #[error("could not open a socket for notifications")]
    Socket(#[source] io::Error),
    /// A gateway of the settings cannot be used.
    #[error("notify.gateways ({scheme}): {problem}")]
    Gateway {
        /// Which.
        scheme: String,
        /// Why.
        problem: String,
    },
}

/// Sends triggers until the shutdown begins. What it has taken then is settled first, or given to the next.
///
/// # Errors
///
/// [`NotifyError`] at the start, where the settings cannot be followed. Stores that fail are tried again.
pub async fn run(
    settings: &NotifySettings,
    stores: Stores,
    metrics: &Metrics,
    shutdown: Shutdown,
) -> Result<(), NotifyError> {
    let sender = Sender {
        bearers: Bearers::open(settings).await?,
        campaigns: Campaigns::new(stores.campaigns.clone()),
        pace: Pace::new(settings.per_second_max.value()),
        metrics: TriggerMetrics::new(metrics),
        repeat_after: settings.repeat_after.value(),
        ui_mode: ui_mode(settings.ui_mode),
        stores,
    };
    let mut pause = BACKOFF.0;
    while !shutdown.is_draining() {
        match sender.consume(&shutdown).await {
            Ok(()) => pause = BACKOFF.0,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "queue of triggers failed, trying again"
                );
                tokio::select! {
                    () = shutdown.draining() => {}
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(BACKOFF.1);
            }
        }
    }
    Ok(())
}

fn ui_mode(mode: NotifyUiMode) -> UiMode {
    match mode {
        NotifyUiMode::NotSpecified => UiMode::NotSpecified,
        NotifyUiMode::Background => UiMode::Background,
        NotifyUiMode::Informative => UiMode::Informative,
        NotifyUiMode::Interaction => UiMode::Interaction,
    }
}

struct Sender {
    stores: Stores,
    bearers: Bearers,
    campaigns: Campaigns,
    pace: Pace,
    metrics: TriggerMetrics,
    repeat_after: Duration,
    ui_mode: UiMode,
}

impl Sender {
    async fn consume(&self, shutdown: &Shutdown) -> Result<(), StoreError> {
        let mut consumer = self.stores.triggers.consume().await?;
        loop {
            let taken = tokio::select! {
                biased;
                () = shutdown.draining() => return Ok(()),
                taken = consumer.take(BATCH, Timestamp::now(), TAKE_WAIT) => taken?,
            };
            if taken.is_empty() {
                continue;
            }
            self.send_all(&mut *consumer, taken, shutdown).await?;
        }
    }

    /// Sends what was taken and settles it; at the end of the process, as much of it as was sent.
    async fn send_all(
        &self,
        consumer: &mut dyn TriggerConsumer,
        taken: Vec<Taken>,
        shutdown: &Shutdown,
    ) -> Result<(), StoreError> {
        let (mut settled, mut again) = (Vec::new(), Vec::new());
        let mut handled = stream::iter(taken)
            .map(|taken| async move { (self.handle(&taken.trigger).await, taken.receipt) })
            .buffer_unordered(AT_ONCE);
        loop {
            let next = tokio::select! {
                biased;
                () = shutdown.draining() => None,
                next = handled.next() => next,
            };
            let Some((repeat, receipt)) = next else { break };
            settled.push(receipt);
            again.extend(repeat);
        }
        consumer.settle(&settled, &again).await
    }

    /// Does what a trigger asks for, and answers with the repeat where there is to be one.
    async fn handle(&self, trigger: &Trigger) -> Option<Trigger> {
        let outcome = match self.try_handle(trigger).await {
            Ok(outcome) => outcome,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(device_id = %trigger.device, error, "trigger put off");
                Outcome::Unavailable
            }
        };
        self.metrics.note(outcome);
        let (pause, is_sent) = match outcome {
            Outcome::Sent => (self.pause_after(trigger.sent), true),
            // A bearer that fails is not asked more often than one that works.
            Outcome::Failed => (self.pause_after(trigger.sent), false),
            Outcome::Paused => (self.repeat_after.min(PAUSED_AGAIN), false),
            Outcome::Unavailable => (UNAVAILABLE_AGAIN, false),
            Outcome::Came | Outcome::Over | Outcome::Expired | Outcome::NoAddress | Outcome::NoPassword => {
                return None;
            }
        };
        let due = SignedDuration::try_from(pause)
            .ok()
            .and_then(|pause| Timestamp::now().checked_add(pause).ok())?;
        let sent = trigger.sent.saturating_add(is_sent.into());
        (due < trigger.deadline).then(|| Trigger { due, sent, ..trigger.clone() })
    }

    /// Doubled each time: who does not hear the first three will hardly hear the tenth within the hour.
    fn pause_after(&self, sent: u16) -> Duration {
        self.repeat_after.saturating_mul(1 << sent.min(16)).min(REPEAT_MAX.max(self.repeat_after))
    }

    async fn try_handle(&self, trigger: &Trigger) -> Result<Outcome, StoreError> {
        if Timestamp::now() >= trigger.deadline {
            return Ok(Outcome::Expired);
        }
        match self.campaigns.wish(&trigger.tenant, trigger.campaign).await? {
            Wish::Now => {}
            Wish::Later => return Ok(Outcome::Paused),
            Wish::Never => return Ok(Outcome::Over),
        }
        if !self.is_awaited(trigger).await? {
            return Ok(Outcome::Came);
        }
        let Some(device) = self.stores.devices.load(&trigger.tenant, &trigger.device).await? else {
            return Ok(Outcome::NoAddress);
        };
        let Some(address) = &device.value.notify_address else { return Ok(Outcome::NoAddress) };
        let session_id = session_id(trigger);
        let account = &device.value.account;
        let notification = account.server.as_ref().and_then(|server| {
            let notification = Notification::new(&server.server_id, session_id).ok()?;
            let key = ServerKey::derive(&server.server_id, &server.password);
            // A device that has given no nonce yet makes its digest without one.
            let nonce = account.nonces.server.as_deref().unwrap_or_default();
            Some(notification.with_ui_mode(self.ui_mode).encode(&key, nonce))
        });
        let Some(notification) = notification else {
            tracing::warn!(device_id = %trigger.device, "device has an address, and the server no password on it");
            return Ok(Outcome::NoPassword);
        };
        self.pace.turn().await;
        let letter = Letter { trigger, session_id, notification: &notification, sent: trigger.sent };
        if let Err(error) = self.bearers.send(address, &letter).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(device_id = %trigger.device, bearer = address.scheme(), error, "trigger not sent");
            return Ok(Outcome::Failed);
        }
        if trigger.sent > 0 {
            self.metrics.repeated.increment();
        }
        let (campaign, attempt, sent) = (trigger.campaign, trigger.attempt, trigger.sent);
        tracing::debug!(device_id = %trigger.device, %campaign, attempt, sent, "device asked to come");
        Ok(Outcome::Sent)
    }

    /// The job still waits for its device.
    async fn is_awaited(&self, trigger: &Trigger) -> Result<bool, StoreError> {
        let jobs = self.stores.jobs.pending(&trigger.tenant, &trigger.device).await?;
        Ok(jobs.iter().any(|job| {
            let job = &job.value;
            job.campaign == trigger.campaign && job.attempt == trigger.attempt && job.phase == Phase::Waiting
        }))
    }
}
