//! Between the library's calls back and the consumer's answers.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
    statistics::Statistics,
    topic_partition_list::TopicPartitionList,
    types::RDKafkaRespErr,
};
use tokio::sync::Notify;

use crate::{config, lag::Lag};

/// A change of what is assigned, not told yet.
pub(super) enum Change {
    Assigned(Vec<u32>),
    Revoked {
        partitions: Vec<u32>,
        /// Others may have them already.
        lost: bool,
    },
}

/// What the library calls.
pub(super) struct Bridge {
    changes: Mutex<VecDeque<Change>>,
    /// Nobody is left to be told.
    closing: AtomicBool,
    owned: Mutex<BTreeSet<u32>>,
    wake: Arc<Notify>,
    lag: Lag,
}

impl Bridge {
    pub(super) fn new(lag: Lag) -> Self {
        Self {
            changes: Mutex::default(),
            closing: AtomicBool::new(false),
            owned: Mutex::default(),
            wake: Arc::default(),
            lag,
        }
    }

    /// Told when there may be something to read.
    pub(super) fn wake(&self) -> Arc<Notify> {
        self.wake.clone()
    }

    fn changes(&self) -> MutexGuard<'_, VecDeque<Change>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has_changes(&self) -> bool {
        !self.changes().is_empty()
    }

    pub(super) fn take_change(&self) -> Option<Change> {
        self.changes().pop_front()
    }

    /// The next change takes partitions that others may have already, so what was read of them is stale.
    pub(super) fn next_is_loss(&self) -> bool {
        matches!(self.changes().front(), Some(Change::Revoked { lost: true, .. }))
    }

    /// The partition was lost, and the owner is yet to be told.
    pub(super) fn is_lost(&self, partition: u32) -> bool {
        let is_in = |change: &Change| matches!(change, Change::Revoked { partitions, lost: true } if partitions.contains(&partition));
        self.changes().iter().any(is_in)
    }

    pub(super) fn close(&self, owned: impl Iterator<Item = u32>) {
        self.closing.store(true, Ordering::Release);
        for partition in owned {
            self.lag.forget(partition);
        }
    }

    fn owned(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn assigned(&self, base: &BaseConsumer<Self>, list: &TopicPartitionList, partitions: Vec<u32>) {
        // Also where nothing is added: the library waits for this answer to the group's new order.
        if let Err(error) = base.incremental_assign(list) {
            tracing::error!(%error, ?partitions, "kafka consumer could not take what it was assigned");
            return;
        }
        self.owned().extend(&partitions);
        if !partitions.is_empty() {
            tracing::info!(?partitions, "partitions assigned");
            self.changes().push_back(Change::Assigned(partitions));
        }
    }

    fn revoked(&self, base: &BaseConsumer<Self>, list: &TopicPartitionList, partitions: Vec<u32>) {
        let lost = base.assignment_lost();
        self.owned().retain(|partition| !partitions.contains(partition));
        for &partition in &partitions {
            self.lag.forget(partition);
        }
        let at_once = lost || partitions.is_empty() || self.closing.load(Ordering::Acquire);
        if at_once && let Err(error) = base.incremental_unassign(list) {
            tracing::error!(%error, ?partitions, "kafka consumer could not give up what was revoked");
        }
        if !partitions.is_empty() {
            tracing::info!(?partitions, lost, "partitions revoked");
            self.changes().push_back(Change::Revoked { partitions, lost: at_once });
        }
    }
}

impl ClientContext for Bridge {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        config::log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka consumer met an error");
    }

    fn stats(&self, statistics: Statistics) {
        let owned = self.owned().clone();
        self.lag.observe(&statistics, |partition| owned.contains(&partition));
    }
}

impl ConsumerContext for Bridge {
    fn rebalance(&self, base: &BaseConsumer<Self>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions =
            list.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).collect();
        if kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.assigned(base, list, partitions);
        } else {
            self.revoked(base, list, partitions);
        }
    }
}
