use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use dm_protocol::DevId;
use storage::{
    ErrorKind, StoreError, TenantId,
    faults::{Fault, FaultPlan},
};

use crate::{
    job_rows::{AttemptKey, DeviceKey, Expect, HistoryRow, JobRow, JobRows, Written},
    ledger_blocks::{Block, LedgerBlocks, LedgerKey, Part},
    marks::{MarkVersion, WorkMarks},
    topics::{Consumer, Incoming, Outgoing, Polled, Publisher, Topic},
};

/// A port around which calls fail by a plan: refused before anything was done, or done and its answer lost.
/// The operations are named as the traits' methods.
pub struct Faulty<P> {
    inner: P,
    plan: Arc<FaultPlan>,
}

impl<P> Faulty<P> {
    /// Wraps a port.
    pub fn new(inner: P, plan: Arc<FaultPlan>) -> Self {
        Self { inner, plan }
    }

    async fn call<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.plan.around(operation, call).await
    }
}

#[async_trait]
impl<P: JobRows + ?Sized> JobRows for Faulty<Arc<P>> {
    async fn release(
        &self,
        device: &DeviceKey,
        key: AttemptKey,
        released: &[u8],
        history: &HistoryRow,
    ) -> Result<(), StoreError> {
        self.call("release row", self.inner.release(device, key, released, history)).await
    }

    async fn read(&self, device: &DeviceKey) -> Result<Vec<JobRow>, StoreError> {
        self.call("read rows", self.inner.read(device)).await
    }

    async fn confirm(&self, device: &DeviceKey, key: AttemptKey) -> Result<Option<JobRow>, StoreError> {
        self.call("confirm row", self.inner.confirm(device, key)).await
    }

    async fn write(
        &self,
        device: &DeviceKey,
        key: AttemptKey,
        expect: Expect,
        written: &Written,
        ended: bool,
        history: &[HistoryRow],
    ) -> Result<bool, StoreError> {
        self.call("write row", self.inner.write(device, key, expect, written, ended, history)).await
    }

    async fn note_published(
        &self,
        device: &DeviceKey,
        key: AttemptKey,
        revision: u32,
    ) -> Result<(), StoreError> {
        self.call("note published", self.inner.note_published(device, key, revision)).await
    }

    async fn add_history(&self, device: &DeviceKey, history: &[HistoryRow]) -> Result<(), StoreError> {
        self.call("add history", self.inner.add_history(device, history)).await
    }

    async fn history(&self, device: &DeviceKey, limit: usize) -> Result<Vec<HistoryRow>, StoreError> {
        self.call("read history", self.inner.history(device, limit)).await
    }
}

#[async_trait]
impl<P: LedgerBlocks + ?Sized> LedgerBlocks for Faulty<Arc<P>> {
    async fn insert(&self, ledger: &LedgerKey, block: &Block) -> Result<bool, StoreError> {
        self.call("insert block", self.inner.insert(ledger, block)).await
    }

    async fn confirm(&self, ledger: &LedgerKey, number: u64) -> Result<Option<Block>, StoreError> {
        self.call("confirm block", self.inner.confirm(ledger, number)).await
    }

    async fn read(
        &self,
        ledger: &LedgerKey,
        from: u64,
        limit: usize,
        part: Part,
    ) -> Result<Vec<Block>, StoreError> {
        self.call("read blocks", self.inner.read(ledger, from, limit, part)).await
    }

    async fn note_delivered(&self, ledger: &LedgerKey, next: u64) -> Result<(), StoreError> {
        self.call("note delivered", self.inner.note_delivered(ledger, next)).await
    }

    async fn delivered(&self, ledger: &LedgerKey) -> Result<u64, StoreError> {
        self.call("read delivered", self.inner.delivered(ledger)).await
    }
}

#[async_trait]
impl<P: WorkMarks + ?Sized> WorkMarks for Faulty<Arc<P>> {
    async fn is_idle(&self, tenant: &TenantId, device: &DevId) -> Result<bool, StoreError> {
        self.call("is idle", self.inner.is_idle(tenant, device)).await
    }

    async fn begin_look(&self, tenant: &TenantId, device: &DevId) -> Result<MarkVersion, StoreError> {
        self.call("begin look", self.inner.begin_look(tenant, device)).await
    }

    async fn set_idle(
        &self,
        tenant: &TenantId,
        device: &DevId,
        seen: MarkVersion,
    ) -> Result<bool, StoreError> {
        self.call("set idle", self.inner.set_idle(tenant, device, seen)).await
    }

    async fn set_busy(&self, tenant: &TenantId, devices: &[DevId]) -> Result<(), StoreError> {
        self.call("set busy", self.inner.set_busy(tenant, devices)).await
    }
}

#[async_trait]
impl<P: Publisher> Publisher for Faulty<P> {
    async fn publish(&self, topic: Topic, messages: Vec<Outgoing>) -> Result<(), StoreError> {
        self.call("publish", self.inner.publish(topic, messages)).await
    }

    fn partitions(&self, topic: Topic) -> u32 {
        self.inner.partitions(topic)
    }
}

#[async_trait]
impl<P: Consumer> Consumer for Faulty<P> {
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Polled, StoreError> {
        // What was polled is never lost: the client has it.
        self.inner.poll(max, wait).await
    }

    async fn seek(&mut self, partition: u32, offset: u64) -> Result<(), StoreError> {
        self.inner.seek(partition, offset).await
    }

    async fn commit(&mut self, partition: u32, next: u64) -> Result<(), StoreError> {
        let Self { inner, plan } = self;
        match plan.fault("commit") {
            Some(Fault::Refused) => {
                Err(StoreError { kind: ErrorKind::Unavailable, operation: "commit", source: None })
            }
            _ => inner.commit(partition, next).await,
        }
    }

    async fn put_aside(&mut self, message: &Incoming, reason: &str) -> Result<(), StoreError> {
        self.inner.put_aside(message, reason).await
    }

    async fn leave(self: Box<Self>) {
        Box::new(self.inner).leave().await;
    }
}
