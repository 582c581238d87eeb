use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use storage::StoreError;

use crate::ledger_blocks::{Block, LedgerBlocks, LedgerKey, Part};

/// Ledgers in memory.
#[derive(Debug, Default)]
pub struct MemoryBlocks(Mutex<BTreeMap<LedgerKey, Ledger>>);

#[derive(Debug, Default)]
struct Ledger {
    blocks: Vec<Block>,
    delivered: u64,
}

impl MemoryBlocks {
    fn with<T>(&self, ledger: &LedgerKey, then: impl FnOnce(&mut Ledger) -> T) -> T {
        let mut ledgers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        then(ledgers.entry(ledger.clone()).or_default())
    }
}

#[async_trait]
impl LedgerBlocks for MemoryBlocks {
    async fn insert(&self, ledger: &LedgerKey, block: &Block) -> Result<bool, StoreError> {
        Ok(self.with(ledger, |ledger| {
            let next = ledger.blocks.len() as u64;
            assert!(block.head.number <= next, "blocks are dense");
            let free = block.head.number == next;
            if free {
                ledger.blocks.push(block.clone());
            }
            free
        }))
    }

    async fn confirm(&self, ledger: &LedgerKey, number: u64) -> Result<Option<Block>, StoreError> {
        Ok(self.read(ledger, number, 1, Part::Notes).await?.pop())
    }

    async fn read(
        &self,
        ledger: &LedgerKey,
        from: u64,
        limit: usize,
        part: Part,
    ) -> Result<Vec<Block>, StoreError> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let cut = |block: &Block| Block {
            head: block.head,
            notes: if part == Part::Notes { block.notes.clone() } else { Vec::new() },
            body: if part == Part::Body { block.body.clone() } else { Vec::new() },
        };
        Ok(self.with(ledger, |ledger| ledger.blocks.iter().skip(from).take(limit).map(cut).collect()))
    }

    async fn note_delivered(&self, ledger: &LedgerKey, next: u64) -> Result<(), StoreError> {
        self.with(ledger, |ledger| ledger.delivered = next);
        Ok(())
    }

    async fn delivered(&self, ledger: &LedgerKey) -> Result<u64, StoreError> {
        Ok(self.with(ledger, |ledger| ledger.delivered))
    }
}
