//! The queue of triggers, in the order in which they are due. A job's release writes its trigger in the batch of the job.

use std::{
    collections::HashMap,
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use campaign::CampaignId;
use dm_protocol::DevId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::{Embedded, Inner, commit::Batch, engine::Space, keys};
use crate::{
    Receipt, StoreError, Taken, TenantId, Trigger, TriggerConsumer, TriggerStore,
    records::{self, instant},
};

#[derive(Serialize, Deserialize)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct TriggerRecord {
    pub(super) tenant: TenantId,
    pub(super) device: DevId,
    pub(super) campaign: u64,
    pub(super) attempt: u16,
    #[serde(with = "instant")]
    pub(super) asked: Timestamp,
    #[serde(with = "instant")]
    pub(super) deadline: Timestamp,
    #[serde(with = "instant")]
    pub(super) due: Timestamp,
    pub(super) sent: u16,
}

impl TriggerRecord {
    fn of(trigger: &Trigger) -> Self {
        Self {
            tenant: trigger.tenant.clone(),
            device: trigger.device.clone(),
            campaign: trigger.campaign.0,
            attempt: trigger.attempt,
            asked: trigger.asked,
            deadline: trigger.deadline,
            due: trigger.due,
            sent: trigger.sent,
        }
    }
}

impl From<TriggerRecord> for Trigger {
    fn from(record: TriggerRecord) -> Self {
        Self {
            tenant: record.tenant,
            device: record.device,
            campaign: CampaignId(record.campaign),
            attempt: record.attempt,
            asked: record.asked,
            deadline: record.deadline,
            due: record.due,
            sent: record.sent,
        }
    }
}

/// When it is due, in microseconds, then whom it is for: triggers of all tenants stand in one queue, and the same one asked
/// for twice is there once.
fn key(operation: &'static str, trigger: &Trigger) -> Result<Vec<u8>, StoreError> {
    let device = keys::device_end(operation, &trigger.tenant, &trigger.device)?;
    let due_us = u64::try_from(trigger.due.as_microsecond()).unwrap_or(0);
    Ok([
        &due_us.to_be_bytes()[..],
        &device,
        &trigger.campaign.0.to_be_bytes(),
        &trigger.attempt.to_be_bytes(),
    ]
    .concat())
}

fn due_us(key: &[u8]) -> Option<u64> {
    key.first_chunk().map(|octets| u64::from_be_bytes(*octets))
}

/// What this process knows of the queue.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Something was asked for.
    asked: Notify,
    consumers: AtomicU64,
}

#[derive(Default)]
struct State {
    /// No key below it is in the queue: what was settled leaves marks in the engine, over which a scan from the very
    /// beginning would go again and again.
    from: Vec<u8>,
    /// How often `from` was set back.
    set_back: u64,
    /// Who has taken what.
    taken: HashMap<Vec<u8>, u64>,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says, once its batch is written, that the queue has something from `least` on. It travels with the batch, so that it is
/// said also where the caller stopped waiting.
pub(super) struct Asked {
    queue: Arc<Queue>,
    least: Vec<u8>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.set_back += 1;
        if self.least < state.from {
            state.from.clone_from(&self.least);
        }
        drop(state);
        self.queue.asked.notify_waiters();
    }
}

impl Inner {
    /// Puts triggers into a batch.
    pub(super) fn ask_for<'a>(
        &self,
        operation: &'static str,
        triggers: impl IntoIterator<Item = &'a Trigger>,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let mut least: Option<Vec<u8>> = None;
        for trigger in triggers {
            let key = key(operation, trigger)?;
            if least.as_ref().is_none_or(|least| key < *least) {
                least = Some(key.clone());
            }
            batch.put(Space::Triggers, key, records::encode(&TriggerRecord::of(trigger)));
        }
        if let Some(least) = least {
            batch.then(Asked { queue: Arc::clone(&self.triggers), least });
        }
        Ok(())
    }

    /// Takes what is due, and answers when the next one is.
    fn take_due(
        &self,
        operation: &'static str,
        consumer: u64,
        max: usize,
        now_us: u64,
    ) -> Result<(Vec<Taken>, Option<u64>), StoreError> {
        let (from, set_back) = {
            let state = self.triggers.state();
            (state.from.clone(), state.set_back)
        };
        let mut first = None;
        let (mut taken, mut next_due) = (Vec::new(), None);
        for row in self.engine.scan(operation, Space::Triggers, &[], Bound::Included(&from)) {
            let (key, stored) = row?;
            first.get_or_insert_with(|| key.to_vec());
            let due =
                due_us(&key).ok_or_else(|| StoreError::corrupt(operation, "key begins with no instant"))?;
            if due > now_us || taken.len() >= max {
                next_due = Some(due);
                break;
            }
            if self.triggers.state().taken.contains_key(&*key) {
                continue;
            }
            let record: TriggerRecord = records::decode(operation, &stored)?;
            taken.push(Taken { trigger: record.into(), receipt: Receipt(key.to_vec().into()) });
        }
        let mut state = self.triggers.state();
        if state.set_back == set_back
            && let Some(first) = first
        {
            state.from = first;
        }
        // Another consumer may have been faster with some.
        taken.retain(|taken| match state.taken.entry(taken.receipt.0.to_vec()) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(consumer);
                true
            }
        });
        Ok((taken, next_due))
    }
}

#[async_trait]
impl TriggerStore for Embedded {
    async fn ask(&self, triggers: &[Trigger]) -> Result<(), StoreError> {
        const OPERATION: &str = "ask for triggers";
        let mut batch = Batch::default();
        self.0.ask_for(OPERATION, triggers, &mut batch)?;
        self.0.committer.commit(OPERATION, batch).await
    }

    async fn consume(&self) -> Result<Box<dyn TriggerConsumer>, StoreError> {
        let number = self.0.triggers.consumers.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Consumer { store: self.clone(), number }))
    }
}

struct Consumer {
    store: Embedded,
    number: u64,
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let queue = &self.store.0.triggers;
        queue.state().taken.retain(|_, consumer| *consumer != self.number);
        queue.asked.notify_waiters();
    }
}

#[async_trait]
impl TriggerConsumer for Consumer {
    async fn take(&mut self, max: usize, now: Timestamp, wait: Duration) -> Result<Vec<Taken>, StoreError> {
        const OPERATION: &str = "take triggers";
        let (began, consumer, max) = (Instant::now(), self.number, max.max(1));
        let begin_us = u64::try_from(now.as_microsecond()).unwrap_or(0);
        loop {
            let asked = self.store.0.triggers.asked.notified();
            tokio::pin!(asked);
            asked.as_mut().enable();
            let passed = began.elapsed();
            let now_us = begin_us.saturating_add(passed.as_micros() as u64);
            let take = move |inner: &Inner| inner.take_due(OPERATION, consumer, max, now_us);
            let (taken, next_due) = self.store.blocking(OPERATION, take).await?;
            let left = wait.saturating_sub(began.elapsed());
            if !taken.is_empty() || left.is_zero() {
                return Ok(taken);
            }
            let until_due =
                next_due.map_or(left, |due| Duration::from_micros(due.saturating_sub(now_us) + 1));
            // Both mean: look again.
            let _ = tokio::time::timeout(left.min(until_due), asked).await;
        }
    }

    async fn settle(&mut self, settled: &[Receipt], again: &[Trigger]) -> Result<(), StoreError> {
        const OPERATION: &str = "settle triggers";
        let mut batch = Batch::default();
        for Receipt(key) in settled {
            batch.remove(Space::Triggers, key.to_vec());
        }
        self.store.0.ask_for(OPERATION, again, &mut batch)?;
        self.store.0.committer.commit(OPERATION, batch).await?;
        let mut state = self.store.0.triggers.state();
        for Receipt(key) in settled {
            state.taken.remove(&**key);
        }
        Ok(())
    }
}
