//! The servers' ports as one process sees them: those in memory, through the process's gate.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use dm_protocol::DevId;
use storage::{Revision, StoreError, TenantId};
use storage_cluster::{
    hot::{Claim, Hot, HotDevices, HotPut, HotRecord},
    job_rows::{AttemptKey, DeviceKey, Expect, HistoryRow, JobRow, JobRows, Written},
    ledger_blocks::{Block, LedgerBlocks, LedgerKey, Part},
    marks::{MarkVersion, WorkMarks},
    testing::MemoryConsumer,
    topics::{Consumer, Incoming, Outgoing, Polled, Publisher, Topic},
};

use crate::{gate::Gate, late::Late, world::Servers};

/// The servers behind a gate.
#[derive(Clone)]
pub struct Gated {
    pub gate: Arc<Gate>,
    pub servers: Arc<Servers>,
}

impl Gated {
    async fn look<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.gate.pass(operation, false, call).await
    }

    pub async fn change<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.gate.pass(operation, true, call).await
    }
}

#[async_trait]
impl JobRows for Gated {
    async fn release(
        &self,
        device: &DeviceKey,
        key: AttemptKey,
        released: &[u8],
        history: &HistoryRow,
    ) -> Result<(), StoreError> {
        self.change("release row", self.servers.rows.release(device, key, released, history)).await
    }

    async fn read(&self, device: &DeviceKey) -> Result<Vec<JobRow>, StoreError> {
        self.look("read rows", self.servers.rows.read(device)).await
    }

    async fn confirm(&self, device: &DeviceKey, key: AttemptKey) -> Result<Option<JobRow>, StoreError> {
        let confirm = async {
            self.settle_late(|late| late.is_of_row(device, key)).await?;
            self.servers.rows.confirm(device, key).await
        };
        self.look("confirm row", confirm).await
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
        if self.gate.is_late() {
            let (device, written, history) = (device.clone(), written.clone(), history.to_vec());
            return self.later("write row", Late::Row { device, key, expect, written, ended, history }).await;
        }
        let write = self.servers.rows.write(device, key, expect, written, ended, history);
        self.change("write row", write).await
    }

    async fn note_published(
        &self,
        device: &DeviceKey,
        key: AttemptKey,
        revision: u32,
    ) -> Result<(), StoreError> {
        self.change("note published", self.servers.rows.note_published(device, key, revision)).await
    }

    async fn add_history(&self, device: &DeviceKey, history: &[HistoryRow]) -> Result<(), StoreError> {
        self.change("add history", self.servers.rows.add_history(device, history)).await
    }

    async fn history(&self, device: &DeviceKey, limit: usize) -> Result<Vec<HistoryRow>, StoreError> {
        self.look("read history", self.servers.rows.history(device, limit)).await
    }
}

#[async_trait]
impl LedgerBlocks for Gated {
    /// What stands in the ledger from then on is judged at once.
    async fn insert(&self, ledger: &LedgerKey, block: &Block) -> Result<bool, StoreError> {
        let insert = Late::Block { ledger: ledger.clone(), block: block.clone() };
        if self.gate.is_late() {
            return self.later("insert block", insert).await;
        }
        self.change("insert block", self.servers.perform(self.gate.world(), insert)).await
    }

    async fn confirm(&self, ledger: &LedgerKey, number: u64) -> Result<Option<Block>, StoreError> {
        let confirm = async {
            self.settle_late(|late| late.is_of_block(ledger, number)).await?;
            self.servers.blocks.confirm(ledger, number).await
        };
        self.look("confirm block", confirm).await
    }

    async fn read(
        &self,
        ledger: &LedgerKey,
        from: u64,
        limit: usize,
        part: Part,
    ) -> Result<Vec<Block>, StoreError> {
        self.look("read blocks", self.servers.blocks.read(ledger, from, limit, part)).await
    }

    async fn note_delivered(&self, ledger: &LedgerKey, next: u64) -> Result<(), StoreError> {
        self.change("note delivered", self.servers.blocks.note_delivered(ledger, next)).await
    }

    async fn delivered(&self, ledger: &LedgerKey) -> Result<u64, StoreError> {
        self.look("read delivered", self.servers.blocks.delivered(ledger)).await
    }
}

#[async_trait]
impl WorkMarks for Gated {
    async fn is_idle(&self, tenant: &TenantId, device: &DevId) -> Result<bool, StoreError> {
        self.look("read mark", self.servers.marks.is_idle(tenant, device)).await
    }

    async fn begin_look(&self, tenant: &TenantId, device: &DevId) -> Result<MarkVersion, StoreError> {
        self.change("begin look", self.servers.marks.begin_look(tenant, device)).await
    }

    async fn set_idle(
        &self,
        tenant: &TenantId,
        device: &DevId,
        seen: MarkVersion,
    ) -> Result<bool, StoreError> {
        self.change("set idle", self.servers.marks.set_idle(tenant, device, seen)).await
    }

    async fn set_busy(&self, tenant: &TenantId, devices: &[DevId]) -> Result<(), StoreError> {
        self.change("set busy", self.servers.marks.set_busy(tenant, devices)).await
    }
}

#[async_trait]
impl HotDevices for Gated {
    async fn load(&self, tenant: &TenantId, device: &DevId) -> Result<Hot, StoreError> {
        self.look("load hot record", self.servers.hot.load(tenant, device)).await
    }

    async fn put(
        &self,
        tenant: &TenantId,
        device: &DevId,
        expected: Revision,
        digest: [u8; 16],
        sealed: &[u8],
    ) -> Result<HotPut, StoreError> {
        let put = self.servers.hot.put(tenant, device, expected, digest, sealed);
        self.change("put hot record", put).await
    }

    async fn claim_fill(&self, tenant: &TenantId, device: &DevId) -> Result<Option<Claim>, StoreError> {
        self.change("claim to fill", self.servers.hot.claim_fill(tenant, device)).await
    }

    async fn fill(
        &self,
        tenant: &TenantId,
        device: &DevId,
        claim: Claim,
        record: &HotRecord,
    ) -> Result<Option<Revision>, StoreError> {
        self.change("fill hot record", self.servers.hot.fill(tenant, device, claim, record)).await
    }

    async fn settle(
        &self,
        tenant: &TenantId,
        device: &DevId,
        claim: Claim,
        record: &HotRecord,
    ) -> Result<Option<Revision>, StoreError> {
        self.change("settle hot record", self.servers.hot.settle(tenant, device, claim, record)).await
    }

    async fn abandon(&self, tenant: &TenantId, device: &DevId, claim: Claim) -> Result<(), StoreError> {
        self.change("abandon claim", self.servers.hot.abandon(tenant, device, claim)).await
    }

    async fn forget(&self, tenant: &TenantId, device: &DevId, revision: Revision) -> Result<(), StoreError> {
        self.change("forget hot record", self.servers.hot.forget(tenant, device, revision)).await
    }
}

#[async_trait]
impl Publisher for Gated {
    /// Where the answer is lost, so may be the end of what was to be published.
    async fn publish(&self, topic: Topic, mut messages: Vec<Outgoing>) -> Result<(), StoreError> {
        let cut = self.gate.below(messages.len() as u64 * 2) as usize;
        let rest = messages.split_off(cut.min(messages.len()));
        self.change("publish", self.servers.topics.publish(topic, messages)).await?;
        if rest.is_empty() {
            return Ok(());
        }
        self.change("publish the rest", self.servers.topics.publish(topic, rest)).await
    }

    fn partitions(&self, topic: Topic) -> u32 {
        self.servers.topics.partitions(topic)
    }
}

/// A member of a group behind a gate.
pub struct GatedConsumer {
    pub gate: Arc<Gate>,
    pub servers: Arc<Servers>,
    pub topic: Topic,
    pub inner: MemoryConsumer,
}

#[async_trait]
impl Consumer for GatedConsumer {
    async fn poll(&mut self, max: usize, wait: Duration) -> Result<Polled, StoreError> {
        // A poll that is dropped or fails loses nothing, so it fails before it has anything.
        self.gate.pass("poll", false, async { Ok(()) }).await?;
        let max = 1 + self.gate.below(max.min(8) as u64) as usize;
        self.inner.poll(max, wait).await
    }

    async fn seek(&mut self, partition: u32, offset: u64) -> Result<(), StoreError> {
        self.inner.seek(partition, offset).await
    }

    async fn commit(&mut self, partition: u32, next: u64) -> Result<(), StoreError> {
        let Self { gate, servers, topic, inner } = self;
        let commit = async {
            inner.commit(partition, next).await?;
            servers.judge_commit(gate.world(), *topic, partition, next).await;
            Ok(())
        };
        gate.pass("commit", true, commit).await
    }

    async fn put_aside(&mut self, message: &Incoming, reason: &str) -> Result<(), StoreError> {
        let Self { gate, inner, .. } = self;
        gate.pass("put aside", true, inner.put_aside(message, reason)).await
    }

    async fn leave(self: Box<Self>) {
        Box::new(self.inner).leave().await;
    }
}
