//! Conditional writes that are done later than their callers wait: who asks by `confirm` learns what became of them.

use std::{
    collections::BTreeMap,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use storage::{ErrorKind, StoreError};
use storage_cluster::{
    job_rows::{AttemptKey, DeviceKey, Expect, HistoryRow, JobRows as _, Written},
    ledger_blocks::{Block, LedgerBlocks as _, LedgerKey},
};

use crate::{
    gate::{Shared, lock},
    ports::Gated,
    world::Servers,
};

/// A conditional write whose caller was told that nobody knows: it may yet be done.
pub enum Late {
    Row {
        device: DeviceKey,
        key: AttemptKey,
        expect: Expect,
        written: Written,
        ended: bool,
        history: Vec<HistoryRow>,
    },
    Block {
        ledger: LedgerKey,
        block: Block,
    },
}

impl Late {
    pub fn is_of_row(&self, of: &DeviceKey, row: AttemptKey) -> bool {
        matches!(self, Self::Row { device, key, .. } if (device, *key) == (of, row))
    }

    pub fn is_of_block(&self, of: &LedgerKey, number: u64) -> bool {
        matches!(self, Self::Block { ledger, block } if (ledger, block.head.number) == (of, number))
    }
}

impl Servers {
    pub async fn perform(&self, world: &Shared, write: Late) -> Result<bool, StoreError> {
        match write {
            Late::Row { device, key, expect, written, ended, history } => {
                self.rows.write(&device, key, expect, &written, ended, &history).await
            }
            Late::Block { ledger, block } => {
                let is_in = self.blocks.insert(&ledger, &block).await?;
                if is_in {
                    self.judge(world, ledger.campaign).await;
                }
                Ok(is_in)
            }
        }
    }

    fn late(&self) -> MutexGuard<'_, BTreeMap<u64, Late>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gated {
    /// Says that nobody knows, and does it some time later, unless somebody asks for it before.
    pub async fn later(&self, operation: &'static str, write: Late) -> Result<bool, StoreError> {
        let wait = Duration::from_millis(self.gate.below(3000));
        let send = async {
            let number = {
                let mut late = self.servers.late();
                let number = late.last_key_value().map_or(0, |(last, _)| last + 1);
                late.insert(number, write);
                number
            };
            let (servers, world) = (Arc::clone(&self.servers), Arc::clone(self.gate.world()));
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                let write = servers.late().remove(&number);
                if let Some(write) = write {
                    let done = servers.perform(&world, write).await;
                    lock(&world).note(&format!("a late {operation} is done: {done:?}"));
                }
            });
            Err(StoreError { kind: ErrorKind::TimedOut, operation, source: None })
        };
        self.change(operation, send).await
    }

    /// What was begun of it is done now, or never will be.
    pub async fn settle_late(&self, is_of: impl Fn(&Late) -> bool) -> Result<(), StoreError> {
        let begun: Vec<Late> =
            self.servers.late().extract_if(.., |_, late| is_of(late)).map(|(_, late)| late).collect();
        for write in begun {
            if self.gate.below(2) == 0 {
                self.servers.perform(self.gate.world(), write).await?;
            }
        }
        Ok(())
    }
}
