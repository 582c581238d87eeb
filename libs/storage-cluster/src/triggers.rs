//! Triggers in the topic `dm.triggers`.
//!
//! A log gives messages in their order, and triggers are due when they are due. So a consumer keeps those that are not due
//! in memory, and commits no further than the first that it has not settled; one that would hold the others up for long is
//! published again at the end of the log, and settled where it was.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use storage::{
    ErrorKind, Receipt, StoreError, Taken, Trigger, TriggerConsumer, TriggerStore,
    trace::{self, Traceparent},
};

use crate::{
    payload::{TriggerMessage, TriggerReason, UiMode},
    topics::{Consumer, Incoming, Outgoing, Polled, Publisher, Topic},
};

/// How long a trigger that is not due may hold up the commits of its partition.
const HOLD_MAX: SignedDuration = SignedDuration::from_mins(10);
/// Triggers kept in memory by one consumer; no more are read beyond it.
const HELD_MAX: usize = 200_000;
/// Triggers published again in one call.
const CARRIED_AT_ONCE: usize = 1_000;
/// Between two looks for what has become due, while nothing comes.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Makes a member of the group that reads [`Topic::Triggers`].
pub type Join = Arc<dyn Fn() -> Result<Box<dyn Consumer>, StoreError> + Send + Sync>;

/// The queue of triggers of a cluster.
#[derive(Clone)]
pub struct ClusterTriggers {
    topics: Arc<dyn Publisher>,
    join: Join,
}

impl ClusterTriggers {
    /// Publishes with `topics`; a consumer is made with `join`.
    pub fn new(topics: Arc<dyn Publisher>, join: Join) -> Self {
        Self { topics, join }
    }
}

impl fmt::Debug for ClusterTriggers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterTriggers").finish_non_exhaustive()
    }
}

#[async_trait]
impl TriggerStore for ClusterTriggers {
    async fn ask(&self, triggers: &[Trigger]) -> Result<(), StoreError> {
        publish(&*self.topics, triggers.iter().map(|trigger| (trigger, trace::current()))).await
    }

    async fn consume(&self) -> Result<Box<dyn TriggerConsumer>, StoreError> {
        let consumer = (self.join)()?;
        let reader = Reader { topics: Arc::clone(&self.topics), consumer, partitions: BTreeMap::new() };
        Ok(Box::new(reader))
    }
}

/// Publishes triggers, each keyed by its device.
pub(crate) async fn publish(
    topics: &dyn Publisher,
    triggers: impl Iterator<Item = (&Trigger, Option<Traceparent>)>,
) -> Result<(), StoreError> {
    let messages = triggers.map(|(trigger, trace)| Outgoing {
        key: trigger.device.as_str().as_bytes().to_vec(),
        partition: None,
        payload: message(trigger).encode(),
        traceparent: trace.map(|trace| trace.to_string()),
    });
    let messages: Vec<Outgoing> = messages.collect();
    if messages.is_empty() {
        return Ok(());
    }
    topics.publish(Topic::Triggers, messages).await
}

struct Reader {
    topics: Arc<dyn Publisher>,
    consumer: Box<dyn Consumer>,
    partitions: BTreeMap<u32, Partition>,
}

/// What was read of a partition and is not committed.
#[derive(Default)]
struct Partition {
    /// By offset.
    open: BTreeMap<u64, Open>,
    /// Where reading goes on.
    next: u64,
    /// What was committed last; `None`: nothing by this consumer.
    committed: Option<u64>,
}

enum Open {
    /// Not given to anybody yet, and read then.
    Held { trigger: Box<Trigger>, trace: Option<Traceparent>, read: Timestamp },
    /// Given, and not settled.
    Given,
}

impl Partition {
    /// Everything before it is settled.
    fn settled(&self) -> u64 {
        self.open.first_key_value().map_or(self.next, |(&offset, _)| offset)
    }
}

#[async_trait]
impl TriggerConsumer for Reader {
    async fn take(&mut self, max: usize, now: Timestamp, wait: Duration) -> Result<Vec<Taken>, StoreError> {
        self.carry(now).await?;
        let end = tokio::time::Instant::now() + wait;
        loop {
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            let taken = self.take_due(max, now);
            // The group is polled at each call, or it takes this consumer for dead.
            let pause = if taken.is_empty() { left.min(LOOK_EVERY) } else { Duration::ZERO };
            let room = HELD_MAX.saturating_sub(self.held()).min(max.max(1));
            if room == 0 {
                tokio::time::sleep(pause).await;
            } else {
                let polled = match self.consumer.poll(room, pause).await {
                    Ok(polled) => polled,
                    // What was found due is not to be lost with an error of what comes behind it.
                    Err(_) if !taken.is_empty() => return Ok(taken),
                    Err(error) => return Err(error),
                };
                self.take_in(polled, now).await?;
            }
            if !taken.is_empty() {
                return Ok(taken);
            }
            let taken = self.take_due(max, now);
            if !taken.is_empty() || left.is_zero() {
                return Ok(taken);
            }
        }
    }

    async fn settle(&mut self, settled: &[Receipt], again: &[Trigger]) -> Result<(), StoreError> {
        publish(&*self.topics, again.iter().map(|trigger| (trigger, trace::current()))).await?;
        self.close(settled).await
    }
}

impl Reader {
    /// Settles places, and commits what can be.
    async fn close(&mut self, settled: &[Receipt]) -> Result<(), StoreError> {
        for (partition, offset) in settled.iter().filter_map(place) {
            if let Some(of) = self.partitions.get_mut(&partition) {
                of.open.remove(&offset);
            }
        }
        self.commit().await
    }

    fn held(&self) -> usize {
        self.partitions.values().map(|partition| partition.open.len()).sum()
    }

    /// Those that are due, the earliest first.
    fn take_due(&mut self, max: usize, now: Timestamp) -> Vec<Taken> {
        let mut due = BTreeSet::new();
        for (&partition, of) in &self.partitions {
            for (&offset, open) in &of.open {
                if let Open::Held { trigger, .. } = open
                    && trigger.due <= now
                {
                    due.insert((trigger.due, partition, offset));
                }
            }
        }
        let mut taken = Vec::new();
        for (_, partition, offset) in due.into_iter().take(max) {
            let Some(open) = self.partitions.get_mut(&partition).and_then(|of| of.open.get_mut(&offset))
            else {
                continue;
            };
            if let Open::Held { trigger, .. } = std::mem::replace(open, Open::Given) {
                taken.push(Taken { trigger: *trigger, receipt: receipt(partition, offset) });
            }
        }
        taken
    }

    async fn take_in(&mut self, polled: Polled, now: Timestamp) -> Result<(), StoreError> {
        match polled {
            Polled::Assigned(partitions) => {
                self.partitions
                    .extend(partitions.into_iter().map(|partition| (partition, Partition::default())));
            }
            // Who has them now reads what was not committed.
            Polled::Revoked(partitions) => {
                self.partitions.retain(|partition, _| !partitions.contains(partition));
            }
            Polled::Messages(messages) => {
                for message in messages {
                    self.take_message(&message, now).await?;
                }
            }
            Polled::Idle => {}
        }
        Ok(())
    }

    async fn take_message(&mut self, message: &Incoming, now: Timestamp) -> Result<(), StoreError> {
        let read = read(&message.payload);
        if let Err(reason) = &read {
            tracing::warn!(
                partition = message.partition,
                offset = message.offset,
                reason,
                "trigger cannot be read"
            );
            if let Err(error) = self.consumer.put_aside(message, reason).await {
                // It is read again: nothing behind it was taken in.
                self.consumer.seek(message.partition, message.offset).await?;
                return Err(error);
            }
        }
        let of = self.partitions.entry(message.partition).or_default();
        of.next = of.next.max(message.offset + 1);
        if let Ok(trigger) = read {
            let held = Open::Held { trigger: Box::new(trigger), trace: message.trace(), read: now };
            // What was given and is read again, after a look back, stays given.
            of.open.entry(message.offset).or_insert(held);
        }
        Ok(())
    }

    /// Publishes those again that have held up their partition for long.
    async fn carry(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let is_long = |read: &Timestamp| now.duration_since(*read) > HOLD_MAX;
        let mut carried = Vec::new();
        for (&partition, of) in &self.partitions {
            for (&offset, open) in &of.open {
                if let Open::Held { trigger, trace, read } = open
                    && is_long(read)
                    && trigger.due > now
                {
                    carried.push((receipt(partition, offset), ((**trigger).clone(), *trace)));
                }
            }
        }
        carried.truncate(CARRIED_AT_ONCE);
        if carried.is_empty() {
            return Ok(());
        }
        let (receipts, triggers): (Vec<Receipt>, Vec<(Trigger, Option<Traceparent>)>) =
            carried.into_iter().unzip();
        publish(&*self.topics, triggers.iter().map(|(trigger, trace)| (trigger, *trace))).await?;
        self.close(&receipts).await
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        let due: Vec<(u32, u64)> = self
            .partitions
            .iter()
            .map(|(&partition, of)| (partition, of, of.settled()))
            .filter(|(_, of, settled)| of.next > 0 && of.committed != Some(*settled))
            .map(|(partition, _, settled)| (partition, settled))
            .collect();
        for (partition, settled) in due {
            match self.consumer.commit(partition, settled).await {
                Ok(()) => {
                    if let Some(of) = self.partitions.get_mut(&partition) {
                        of.committed = Some(settled);
                    }
                }
                // Another has it, and gives what is open in it once more.
                Err(error) if error.kind == ErrorKind::Conflict => {
                    self.partitions.remove(&partition);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn receipt(partition: u32, offset: u64) -> Receipt {
    Receipt([&partition.to_be_bytes()[..], &offset.to_be_bytes()].concat().into())
}

fn place(receipt: &Receipt) -> Option<(u32, u64)> {
    let (partition, offset) = receipt.0.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*partition), u64::from_be_bytes(offset.try_into().ok()?)))
}

fn message(trigger: &Trigger) -> TriggerMessage {
    TriggerMessage {
        tenant: trigger.tenant.clone(),
        device: trigger.device.clone(),
        asked: trigger.asked,
        until: trigger.deadline,
        ui_mode: UiMode::NotSpecified,
        reason: TriggerReason::Job { campaign: trigger.campaign, attempt: trigger.attempt },
        due: (trigger.due != trigger.asked).then_some(trigger.due),
        sent: trigger.sent,
    }
}

fn read(payload: &[u8]) -> Result<Trigger, String> {
    let message = TriggerMessage::decode(payload).map_err(|error| error.to_string())?;
    let TriggerReason::Job { campaign, attempt } = message.reason else {
        return Err("expected a trigger for a job".to_owned());
    };
    Ok(Trigger {
        tenant: message.tenant,
        device: message.device,
        campaign,
        attempt,
        asked: message.asked,
        deadline: message.until,
        due: message.due.unwrap_or(message.asked),
        sent: message.sent,
    })
}
