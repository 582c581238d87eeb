use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use storage::StoreError;
use tokio::sync::Notify;

use crate::topics::{Consumer, Incoming, Outgoing, Polled, Publisher, Topic};

/// Topics in memory, with groups of consumers. Clones are one.
#[derive(Clone, Debug)]
pub struct MemoryTopics(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    partitions: u32,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    logs: BTreeMap<(Topic, u32), Vec<Incoming>>,
    groups: BTreeMap<(Topic, String), Group>,
    members: u64,
    reasons: Vec<String>,
}

/// The members of a group that reads a topic.
#[derive(Debug, Default)]
struct Group {
    members: BTreeSet<u64>,
    /// Who has each partition. It keeps it until it has been told of its loss, or is gone.
    held: BTreeMap<u32, u64>,
    committed: BTreeMap<u32, u64>,
}

impl Group {
    fn has(&self, member: u64, partition: u32) -> bool {
        self.held.get(&partition) == Some(&member)
    }

    fn should_have(&self, member: u64, partition: u32) -> bool {
        let place = usize::try_from(partition).unwrap_or(0) % self.members.len().max(1);
        self.members.iter().nth(place) == Some(&member)
    }

    fn remove(&mut self, member: u64) {
        self.members.remove(&member);
        self.held.retain(|_, holder| *holder != member);
    }
}

impl MemoryTopics {
    /// Topics of so many partitions each.
    pub fn new(partitions: u32) -> Self {
        let changed = Notify::new();
        Self(Arc::new(Shared { partitions, state: Mutex::default(), changed }))
    }

    /// Joins a group that reads a topic. What is dropped leaves it.
    pub fn consumer(&self, topic: Topic, group: &str) -> MemoryConsumer {
        let group = (topic, group.to_owned());
        let member = self.with(|state| {
            state.members += 1;
            state.groups.entry(group.clone()).or_default().members.insert(state.members);
            state.members
        });
        MemoryConsumer { topics: self.clone(), group, member, next: BTreeMap::new() }
    }

    /// Everything published to a topic, partition by partition.
    pub fn published(&self, topic: Topic) -> Vec<Incoming> {
        self.with(|state| {
            let logs = state.logs.iter().filter(|((of, _), _)| *of == topic);
            logs.flat_map(|(_, log)| log.iter().cloned()).collect()
        })
    }

    /// Messages of a partition, by their offsets.
    pub fn read(&self, topic: Topic, partition: u32, offsets: Range<u64>) -> Vec<Incoming> {
        self.with(|state| {
            let log = state.logs.get(&(topic, partition)).map_or(&[][..], Vec::as_slice);
            log.iter().filter(|message| offsets.contains(&message.offset)).cloned().collect()
        })
    }

    /// Why messages were put aside, in the order they were.
    pub fn put_aside_reasons(&self) -> Vec<String> {
        self.with(|state| state.reasons.clone())
    }

    /// Takes the partitions from a member before it knows, as a group does with one that is not heard of.
    pub fn expel(&self, consumer: &MemoryConsumer) {
        self.remove(&consumer.group, consumer.member);
    }

    /// Takes the partitions from all members of a group before they know; those who poll again are new members.
    pub fn expel_all(&self, topic: Topic, group: &str) {
        self.with(|state| {
            if let Some(group) = state.groups.get_mut(&(topic, group.to_owned())) {
                group.held.clear();
            }
        });
    }

    /// Forgets what a group has committed: who is given a partition next reads it from the beginning.
    pub fn forget_committed(&self, topic: Topic, group: &str) {
        self.with(|state| {
            if let Some(group) = state.groups.get_mut(&(topic, group.to_owned())) {
                group.committed.clear();
            }
        });
    }

    fn remove(&self, group: &(Topic, String), member: u64) {
        self.with(|state| {
            if let Some(group) = state.groups.get_mut(group) {
                group.remove(member);
            }
        });
    }

    fn with<T>(&self, then: impl FnOnce(&mut State) -> T) -> T {
        let answer = then(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.changed.notify_waiters();
        answer
    }
}

/// FNV-1a: the same in every run.
fn partition_of(key: &[u8], partitions: u32) -> u32 {
    let hash =
        key.iter().fold(2_166_136_261_u32, |hash, &octet| (hash ^ u32::from(octet)).wrapping_mul(16_777_619));
    hash % partitions
}

#[async_trait]
impl Publisher for MemoryTopics {
    async fn publish(&self, topic: Topic, messages: Vec<Outgoing>) -> Result<(), StoreError> {
        if messages.iter().any(|message| message.partition.is_some_and(|it| it >= self.0.partitions)) {
            return Err(StoreError::missing("publish"));
        }
        self.with(|state| {
            for message in messages {
                let Outgoing { key, partition, payload, traceparent } = message;
                let partition = partition.unwrap_or_else(|| partition_of(&key, self.0.partitions));
                let log = state.logs.entry((topic, partition)).or_default();
                let offset = log.len() as u64;
                log.push(Incoming { partition, offset, key, payload, traceparent });
            }
        });
        Ok(())
    }

    fn partitions(&self, _: Topic) -> u32 {
        self.0.partitions
    }
}

/// A member of a group. It learns of changes when it polls.
#[derive(Debug)]
pub struct MemoryConsumer {
    topics: MemoryTopics,
    group: (Topic, String),
    member: u64,
    /// What it believes to have, with the offset that is read next.
    next: BTreeMap<u32, u64>,
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        self.topics.remove(&self.group, self.member);
    }
}

impl MemoryConsumer {
    fn look(&mut self, max: usize) -> Option<Polled> {
        let topics = self.topics.clone();
        let mut state = topics.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { logs, groups, .. } = &mut *state;
        let group = groups.get_mut(&self.group)?;
        // Who was expelled comes back by polling.
        group.members.insert(self.member);
        if let Some(revoked) = self.revoke(group) {
            topics.0.changed.notify_waiters();
            return Some(revoked);
        }
        self.assign(group, topics.0.partitions).or_else(|| self.take(logs, max))
    }

    fn revoke(&mut self, group: &mut Group) -> Option<Polled> {
        let is_lost = |&partition: &u32| {
            !group.has(self.member, partition) || !group.should_have(self.member, partition)
        };
        let lost: Vec<u32> = self.next.keys().copied().filter(is_lost).collect();
        self.next.retain(|partition, _| !lost.contains(partition));
        group.held.retain(|partition, holder| *holder != self.member || !lost.contains(partition));
        (!lost.is_empty()).then_some(Polled::Revoked(lost))
    }

    fn assign(&mut self, group: &mut Group, partitions: u32) -> Option<Polled> {
        let is_free = |&partition: &u32| {
            group.should_have(self.member, partition) && !group.held.contains_key(&partition)
        };
        let new: Vec<u32> = (0..partitions).filter(is_free).collect();
        for &partition in &new {
            group.held.insert(partition, self.member);
            self.next.insert(partition, group.committed.get(&partition).copied().unwrap_or(0));
        }
        (!new.is_empty()).then_some(Polled::Assigned(new))
    }

    fn take(&mut self, logs: &BTreeMap<(Topic, u32), Vec<Incoming>>, max: usize) -> Option<Polled> {
        let mut messages = Vec::new();
        for (&partition, next) in &mut self.next {
            let Some(log) = logs.get(&(self.group.0, partition)) else { continue };
            let unread = log.get(usize::try_from(*next).unwrap_or(usize::MAX)..).unwrap_or_default();
            let before = messages.len();
            messages.extend(unread.iter().take(max - before).cloned());
            *next += (messages.len() - before) as u64;
        }
        (!messages.is_empty()).then_some(Polled::Messages(messages))
    }

    fn check(&self, operation: &'static str, partition: u32) -> Result<(), StoreError> {
        let has = self.topics.with(|state| {
            state.groups.get(&self.group).is_some_and(|group| group.has(self.member, partition))
        });
        if has { Ok(()) } else { Err(StoreError::conflict(operation)) }
    }
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Polled, StoreError> {
        let shared = Arc::clone(&self.topics.0);
        let until = tokio::time::Instant::now() + wait;
        loop {
            let mut changed = std::pin::pin!(shared.changed.notified());
            changed.as_mut().enable();
            if let Some(polled) = self.look(max) {
                return Ok(polled);
            }
            if tokio::time::timeout_at(until, changed).await.is_err() {
                return Ok(Polled::Idle);
            }
        }
    }

    async fn seek(&mut self, partition: u32, offset: u64) -> Result<(), StoreError> {
        match self.next.get_mut(&partition) {
            Some(next) => {
                *next = offset;
                Ok(())
            }
            None => Err(StoreError::conflict("seek")),
        }
    }

    async fn commit(&mut self, partition: u32, next: u64) -> Result<(), StoreError> {
        self.check("commit", partition)?;
        self.topics.with(|state| {
            if let Some(group) = state.groups.get_mut(&self.group) {
                // An earlier place does not undo a later one.
                let committed = group.committed.entry(partition).or_default();
                *committed = next.max(*committed);
            }
        });
        Ok(())
    }

    async fn put_aside(&mut self, message: &Incoming, reason: &str) -> Result<(), StoreError> {
        let Incoming { key, payload, traceparent, .. } = message.clone();
        self.topics.with(|state| state.reasons.push(reason.to_owned()));
        self.topics.publish(Topic::Dead, vec![Outgoing { key, partition: None, payload, traceparent }]).await
    }
}
