//! A member of a group of consumers.
//!
//! The library tells of rebalances by calls back, in the middle of a poll. They become answers of [`Consumer::poll`]:
//! what was read before comes first, then the change. A partition that the group takes back is given up only when the
//! caller polls again after it was told, so what must end first has ended by then; a caller that takes longer than
//! `kafka.poll_interval` over it is out of the group, and its partitions go without asking.

mod bridge;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bridge::{Bridge, Change};
use rdkafka::{
    config::FromClientConfigAndContext as _,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::{BorrowedMessage, Headers as _, Message as _},
    topic_partition_list::{Offset, TopicPartitionList},
};
use storage::StoreError;
use storage_cluster::topics::{Consumer, Incoming, Polled, Publisher as _, Topic};
use tokio::{task::spawn_blocking, time::Instant};

use crate::{
    Kafka, config, dead,
    error::{cut_off, store_error, timed_out},
    lag::Lag,
    producer::TRACEPARENT,
};

const JOIN: &str = "join the group";
const POLL: &str = "poll";
const COMMIT: &str = "commit";
const SEEK: &str = "seek";

/// The library wakes us for the first message of an empty queue only; an event just before it could hide it so long.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Between tries of what the group cannot do in the middle of a rebalance.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A member of a group of consumers of one topic.
pub struct KafkaConsumer {
    kafka: Kafka,
    topic: Topic,
    name: String,
    group: String,
    /// Of the files that `base` was made with.
    generation: u64,
    /// Shared with calls that block, and given away at the end.
    base: Option<Arc<BaseConsumer<Bridge>>>,
    /// What the caller was told to have, with what is committed of it, as far as that is known.
    owned: BTreeMap<u32, Option<u64>>,
    /// What is given up when the caller polls again.
    letting_go: Vec<u32>,
    /// Read, and not answered yet.
    ready: Vec<Incoming>,
    failed: Option<KafkaError>,
}

impl KafkaConsumer {
    pub(crate) fn new(kafka: &Kafka, topic: Topic, group: &str) -> Result<Self, StoreError> {
        let name = kafka.topic_name(topic);
        let group = format!("{}{group}", kafka.settings().prefix);
        let generation = kafka.generation();
        let base = join(kafka, topic, &name, &group)?;
        Ok(Self {
            kafka: kafka.clone(),
            topic,
            name,
            group,
            generation,
            base: Some(Arc::new(base)),
            owned: BTreeMap::new(),
            letting_go: Vec::new(),
            ready: Vec::new(),
            failed: None,
        })
    }

    /// With other files than before a member leaves its group and joins it again as somebody new. First its owner is told that
    /// what it has is gone; when he comes back, nothing of it is under way any more.
    async fn renew(&mut self) -> Result<Option<Polled>, StoreError> {
        if self.generation == self.kafka.generation() {
            return Ok(None);
        }
        if !self.owned.is_empty() {
            let partitions: Vec<u32> = std::mem::take(&mut self.owned).into_keys().collect();
            self.bridge().close(partitions.iter().copied());
            self.letting_go.clear();
            self.ready.clear();
            return Ok(Some(Polled::Revoked(partitions)));
        }
        let generation = self.kafka.generation();
        let (kafka, topic, name, group) =
            (self.kafka.clone(), self.topic, self.name.clone(), self.group.clone());
        let old = self.end();
        // Dropping the old one leaves the group, which blocks; a member of the same name comes after it.
        let joining = spawn_blocking(move || {
            drop(old);
            join(&kafka, topic, &name, &group)
        });
        let joined = joining.await.map_err(|error| cut_off(JOIN, error))?;
        let base = match joined {
            Ok(base) => base,
            // As good as none: it asks for what the files say when it is tried again.
            Err(error) => return Err(error),
        };
        self.base = Some(Arc::new(base));
        (self.ready, self.failed, self.generation) = (Vec::new(), None, generation);
        self.letting_go.clear();
        tracing::info!(topic = self.name, "kafka consumer joins its group again, with other files");
        Ok(None)
    }

    fn base(&self) -> &Arc<BaseConsumer<Bridge>> {
        self.base.as_ref().expect(
            "a client is given away where the consumer ends, and when a poll puts another in its place",
        )
    }

    fn bridge(&self) -> &Bridge {
        self.base().client().context()
    }

    fn list(&self, partitions: &[u32]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for &partition in partitions {
            list.add_partition(&self.name, i32::try_from(partition).unwrap_or(i32::MAX));
        }
        list
    }

    /// The caller has come back after it was told what is taken from it: now others may have it.
    fn let_go(&mut self) -> Result<(), StoreError> {
        let partitions = std::mem::take(&mut self.letting_go);
        if partitions.is_empty() {
            return Ok(());
        }
        let list = self.list(&partitions);
        self.base().incremental_unassign(&list).map_err(|error| store_error(POLL, error))
    }

    /// Reads what is there, up to `max`, without waiting. Stops where what is assigned changes.
    fn gather(&mut self, max: usize) {
        let base = self.base().clone();
        let mut looks = 0;
        while self.ready.len() < max && self.failed.is_none() && !self.bridge().has_changes() {
            match base.poll(Duration::ZERO) {
                Some(Ok(message)) => self.ready.extend(incoming(&message)),
                Some(Err(error)) => self.heard(error),
                // An event of another kind looks like nothing, so one more look.
                None if looks == 0 => looks += 1,
                None => break,
            }
        }
    }

    fn heard(&mut self, error: KafkaError) {
        match error.rdkafka_error_code() {
            // What was assigned is lost; the change that says so follows.
            Some(Code::PollExceeded) => {
                tracing::warn!(
                    topic = self.name,
                    "consumer was not polled for too long and lost its partitions"
                );
            }
            _ => self.failed = Some(error),
        }
    }

    /// The next thing to tell, if there is one.
    fn next(&mut self) -> Option<Result<Polled, StoreError>> {
        let is_lost = self.bridge().next_is_loss();
        if !self.ready.is_empty() && !is_lost {
            self.kafka.counters().consumed(self.topic, self.ready.len());
            return Some(Ok(Polled::Messages(std::mem::take(&mut self.ready))));
        }
        match self.bridge().take_change() {
            Some(Change::Assigned(partitions)) => {
                self.owned.extend(partitions.iter().map(|&partition| (partition, None)));
                return Some(Ok(Polled::Assigned(partitions)));
            }
            Some(Change::Revoked { partitions, lost }) => {
                let gone: BTreeSet<_> = partitions.iter().copied().collect();
                self.owned.retain(|partition, _| !gone.contains(partition));
                self.ready.retain(|message| !gone.contains(&message.partition));
                if !lost {
                    self.letting_go.clone_from(&partitions);
                }
                return Some(Ok(Polled::Revoked(partitions)));
            }
            None => {}
        }
        self.failed.take().map(|error| Err(store_error(POLL, error)))
    }

    /// Runs what blocks, again while the group is in the middle of a rebalance, until `kafka.request_timeout`.
    async fn with_patience(
        &self,
        operation: &'static str,
        run: impl Fn(&BaseConsumer<Bridge>) -> Result<(), KafkaError> + Clone + Send + 'static,
    ) -> Result<(), StoreError> {
        let deadline = Instant::now() + self.kafka.settings().request_timeout.value();
        loop {
            let (base, run) = (self.base().clone(), run.clone());
            let work = tokio::time::timeout_at(deadline, spawn_blocking(move || run(&base)));
            let Ok(done) = work.await else { return Err(timed_out(operation)) };
            let Err(error) = done.map_err(|error| cut_off(operation, error))? else { return Ok(()) };
            let may_pass = error.rdkafka_error_code().is_some_and(may_pass);
            if !may_pass || Instant::now() + RETRY_PAUSE >= deadline {
                return Err(store_error(operation, error));
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Whether the partition is this member's, as far as can be known here; the broker knows better.
    fn check_owned(&self, operation: &'static str, partition: u32) -> Result<(), StoreError> {
        if self.owned.contains_key(&partition) && !self.bridge().is_lost(partition) {
            return Ok(());
        }
        Err(StoreError::conflict(operation))
    }

    fn list_at(
        &self,
        operation: &'static str,
        partition: u32,
        offset: u64,
    ) -> Result<TopicPartitionList, StoreError> {
        let mut list = TopicPartitionList::new();
        let offset = i64::try_from(offset).map_err(|error| StoreError::too_large(operation, error))?;
        let partition = i32::try_from(partition).map_err(|error| StoreError::too_large(operation, error))?;
        list.add_partition_offset(&self.name, partition, Offset::Offset(offset))
            .map_err(|error| store_error(operation, error))?;
        Ok(list)
    }
}

/// A client that is a member of the group.
fn join(kafka: &Kafka, topic: Topic, name: &str, group: &str) -> Result<BaseConsumer<Bridge>, StoreError> {
    let settings = kafka.settings();
    // One process may be in several groups, and a name counts within its group.
    let config = config::consumer(settings, group, settings.member.as_deref())
        .map_err(|error| StoreError::unavailable(JOIN, error))?;
    let lag = Lag::new(kafka.metrics(), name, topic.name(), kafka.partitions(topic));
    let bridge = Bridge::new(lag);
    let wake = bridge.wake();
    let failed = |error| store_error(JOIN, error);
    let mut base = BaseConsumer::from_config_and_context(&config, bridge).map_err(failed)?;
    base.set_nonempty_callback(move || wake.notify_one());
    base.subscribe(&[name]).map_err(failed)?;
    Ok(base)
}

/// What passes by itself while a group finds its order, or a partition's reader is being set up.
///
/// A stale generation is one of them: this member is still known, and its new generation is on its way. Who is not known
/// any more hears something else, and cannot join again before it polls.
fn may_pass(code: Code) -> bool {
    matches!(
        code,
        Code::RebalanceInProgress
            | Code::IllegalGeneration
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::WaitingForCoordinator
            | Code::State
            | Code::Outdated
    )
}

fn incoming(message: &BorrowedMessage<'_>) -> Option<Incoming> {
    let traceparent = message.headers().and_then(|headers| {
        let trace = headers.iter().find(|header| header.key == TRACEPARENT)?;
        Some(String::from_utf8_lossy(trace.value?).into_owned())
    });
    Some(Incoming {
        partition: u32::try_from(message.partition()).ok()?,
        offset: u64::try_from(message.offset()).ok()?,
        key: message.key().unwrap_or_default().to_vec(),
        payload: message.payload().unwrap_or_default().to_vec(),
        traceparent,
    })
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Polled, StoreError> {
        if let Some(polled) = self.renew().await? {
            return Ok(polled);
        }
        self.let_go()?;
        let deadline = Instant::now() + wait;
        let wake = self.bridge().wake();
        loop {
            self.gather(max.max(1));
            if let Some(polled) = self.next() {
                return polled;
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(Polled::Idle);
            }
            let until = deadline.min(now + LOOK_AGAIN);
            // A late wake-up and a time-out both mean: look.
            let _ = tokio::time::timeout_at(until, wake.notified()).await;
        }
    }

    async fn seek(&mut self, partition: u32, offset: u64) -> Result<(), StoreError> {
        self.check_owned(SEEK, partition)?;
        self.list_at(SEEK, partition, offset)?;
        self.ready.retain(|message| message.partition != partition);
        let (name, timeout) = (self.name.clone(), self.kafka.settings().request_timeout.value());
        let (partition, offset) = (partition.cast_signed(), offset.cast_signed());
        self.with_patience(SEEK, move |base| base.seek(&name, partition, Offset::Offset(offset), timeout))
            .await
    }

    async fn commit(&mut self, partition: u32, next: u64) -> Result<(), StoreError> {
        self.check_owned(COMMIT, partition)?;
        if self.owned.get(&partition).copied().flatten().is_some_and(|committed| committed >= next) {
            return Ok(());
        }
        let list = self.list_at(COMMIT, partition, next)?;
        let topic_map = list.to_topic_map();
        self.with_patience(COMMIT, move |base| {
            // A group that has nobody left takes the commit of a stranger.
            if base.assignment_lost() {
                return Err(KafkaError::ConsumerCommit(Code::AssignmentLost));
            }
            let list = TopicPartitionList::from_topic_map(&topic_map)?;
            base.commit(&list, CommitMode::Sync)
        })
        .await?;
        // The broker took it; what it took from a member that had just lost the partition does not count.
        self.check_owned(COMMIT, partition)?;
        self.owned.insert(partition, Some(next));
        Ok(())
    }

    async fn put_aside(&mut self, message: &Incoming, reason: &str) -> Result<(), StoreError> {
        dead::put_aside(&self.kafka, self.topic, message, reason).await
    }

    async fn leave(mut self: Box<Self>) {
        let Some(base) = self.end() else { return };
        // The library closes a group's member where it is dropped, and blocks until the group's coordinator knows.
        let patience = self.kafka.settings().request_timeout.value();
        let reason = match tokio::time::timeout(patience, spawn_blocking(move || drop(base))).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", patience.as_secs()),
        };
        tracing::warn!(reason, "kafka consumer did not leave its group");
    }
}

impl KafkaConsumer {
    /// From now on, what the group takes back is given up at once.
    fn end(&mut self) -> Option<Arc<BaseConsumer<Bridge>>> {
        let base = self.base.take()?;
        base.client().context().close(self.owned.keys().copied());
        Some(base)
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        if let Some(base) = self.end() {
            std::thread::spawn(move || drop(base));
        }
    }
}
