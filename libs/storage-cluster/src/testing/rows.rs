use std::{
    cmp::Reverse,
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use storage::StoreError;

use crate::job_rows::{AttemptKey, DeviceKey, Expect, HistoryRow, JobRow, JobRows, Written};

/// Rows of jobs in memory. Nothing in it expires.
#[derive(Debug, Default)]
pub struct MemoryRows(Mutex<BTreeMap<DeviceKey, Partition>>);

#[derive(Debug, Default)]
struct Partition {
    rows: BTreeMap<AttemptKey, JobRow>,
    history: BTreeMap<Reverse<(i64, AttemptKey, u64)>, Vec<u8>>,
}

impl Partition {
    fn row(&mut self, key: AttemptKey) -> &mut JobRow {
        self.rows.entry(key).or_insert_with(|| JobRow { key, released: None, written: None, published: 0 })
    }

    fn add(&mut self, history: &[HistoryRow]) {
        for row in history {
            self.history.insert(Reverse((row.at_ns, row.key, row.number)), row.event.clone());
        }
    }
}

impl MemoryRows {
    fn with<T>(&self, device: &DeviceKey, then: impl FnOnce(&mut Partition) -> T) -> T {
        let mut partitions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        then(partitions.entry(device.clone()).or_default())
    }
}

#[async_trait]
impl JobRows for MemoryRows {
    async fn release(
        &self,
        device: &DeviceKey,
        key: AttemptKey,
        released: &[u8],
        history: &HistoryRow,
    ) -> Result<(), StoreError> {
        self.with(device, |partition| {
            partition.row(key).released = Some(released.to_vec());
            partition.add(std::slice::from_ref(history));
        });
        Ok(())
    }

    async fn read(&self, device: &DeviceKey) -> Result<Vec<JobRow>, StoreError> {
        Ok(self.with(device, |partition| partition.rows.values().cloned().collect()))
    }

    async fn confirm(&self, device: &DeviceKey, key: AttemptKey) -> Result<Option<JobRow>, StoreError> {
        Ok(self.with(device, |partition| partition.rows.get(&key).cloned()))
    }

    async fn write(
        &self,
        device: &DeviceKey,
        key: AttemptKey,
        expect: Expect,
        written: &Written,
        _: bool,
        history: &[HistoryRow],
    ) -> Result<bool, StoreError> {
        Ok(self.with(device, |partition| {
            let found = partition.rows.get(&key);
            let revision = found.and_then(|row| row.written.as_ref()).map(|written| written.revision);
            let is_released = found.is_some_and(|row| row.released.is_some());
            let fits = match expect {
                Expect::Released => is_released && revision.is_none(),
                Expect::Absent => !is_released && revision.is_none(),
                Expect::Revision(expected) => revision == Some(expected),
            };
            if fits {
                partition.row(key).written = Some(written.clone());
                partition.add(history);
            }
            fits
        }))
    }

    async fn note_published(
        &self,
        device: &DeviceKey,
        key: AttemptKey,
        revision: u32,
    ) -> Result<(), StoreError> {
        self.with(device, |partition| {
            let row = partition.row(key);
            row.published = row.published.max(revision);
        });
        Ok(())
    }

    async fn add_history(&self, device: &DeviceKey, history: &[HistoryRow]) -> Result<(), StoreError> {
        self.with(device, |partition| partition.add(history));
        Ok(())
    }

    async fn history(&self, device: &DeviceKey, limit: usize) -> Result<Vec<HistoryRow>, StoreError> {
        Ok(self.with(device, |partition| {
            let rows = partition.history.iter().take(limit);
            rows.map(|(Reverse((at_ns, key, number)), event)| HistoryRow {
                at_ns: *at_ns,
                key: *key,
                number: *number,
                event: event.clone(),
            })
            .collect()
        }))
    }
}
