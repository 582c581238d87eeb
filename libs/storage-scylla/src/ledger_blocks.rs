//! Blocks of campaigns' ledgers. A block is inserted by a conditional write, and what came of one whose answer was lost
//! is the caller's to find out by [`LedgerBlocks::confirm`]: it knows its blocks by what it drew for them.

use async_trait::async_trait;
use storage::StoreError;
use storage_cluster::ledger_blocks::{Block, BlockHead, LedgerBlocks, LedgerKey, Part};

use crate::{Scylla, lwt::Lwt, statement::Cql};

/// Blocks of a bucket: with the largest blocks a partition stays below 100 MB.
const BUCKET: u64 = 256;

const INSERT: Cql = Cql::conditional(
    "INSERT INTO ledger_block (tenant, campaign, bucket, number, epoch, writer, first, count, deliver, notes, body) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS",
);
const CONFIRM: Cql = Cql::serial_read(
    "SELECT number, epoch, writer, first, count, deliver, notes FROM ledger_block \
     WHERE tenant = ? AND campaign = ? AND bucket = ? AND number = ?",
);
const HEADS: Cql = Cql::read(
    "SELECT number, epoch, writer, first, count, deliver FROM ledger_block \
     WHERE tenant = ? AND campaign = ? AND bucket = ? AND number >= ? LIMIT ?",
);
const NOTES: Cql = Cql::read(
    "SELECT number, epoch, writer, first, count, deliver, notes FROM ledger_block \
     WHERE tenant = ? AND campaign = ? AND bucket = ? AND number >= ? LIMIT ?",
)
.by_pages_of(64);
const BODIES: Cql = Cql::read(
    "SELECT number, epoch, writer, first, count, deliver, body FROM ledger_block \
     WHERE tenant = ? AND campaign = ? AND bucket = ? AND number >= ? LIMIT ?",
)
.by_pages_of(8);
// By the note as its own time, the furthest one stays, in whatever order they come.
const NOTE_DELIVERED: Cql =
    Cql::write("INSERT INTO ledger_delivered (tenant, campaign, next) VALUES (?, ?, ?) USING TIMESTAMP ?");
const DELIVERED: Cql = Cql::read("SELECT next FROM ledger_delivered WHERE tenant = ? AND campaign = ?");

type Head = (i64, i64, i64, i64, i32, bool);
type WithBlob = (i64, i64, i64, i64, i32, bool, Option<Vec<u8>>);

/// Ledgers in a keyspace.
#[derive(Clone, Debug)]
pub struct ScyllaBlocks(Scylla);

impl ScyllaBlocks {
    /// The ledgers of this keyspace.
    pub fn new(scylla: Scylla) -> Self {
        Self(scylla)
    }

    /// Up to `limit` blocks of one bucket.
    async fn bucket(
        &self,
        (tenant, campaign, bucket): (&str, i64, i64),
        from: u64,
        limit: i32,
        part: Part,
    ) -> Result<Vec<Block>, StoreError> {
        const OPERATION: &str = "read blocks of a ledger";
        let values = (tenant, campaign, bucket, from.cast_signed(), limit);
        let cql = match part {
            Part::Head => {
                let rows: Vec<Head> = self.0.rows(OPERATION, &HEADS, values).await?;
                return Ok(rows.into_iter().map(|head| block(head, Vec::new(), Vec::new())).collect());
            }
            Part::Notes => &NOTES,
            Part::Body => &BODIES,
        };
        let rows: Vec<WithBlob> = self.0.rows(OPERATION, cql, values).await?;
        let blocks = rows.into_iter().map(|(number, epoch, writer, first, count, deliver, blob)| {
            let (head, blob) = ((number, epoch, writer, first, count, deliver), blob.unwrap_or_default());
            if part == Part::Notes { block(head, blob, Vec::new()) } else { block(head, Vec::new(), blob) }
        });
        Ok(blocks.collect())
    }
}

fn block((number, epoch, writer, first, count, deliver): Head, notes: Vec<u8>, body: Vec<u8>) -> Block {
    let head = BlockHead {
        number: number.cast_unsigned(),
        epoch: epoch.cast_unsigned(),
        writer: writer.cast_unsigned(),
        first: first.cast_unsigned(),
        count: count.cast_unsigned(),
        deliver,
    };
    Block { head, notes, body }
}

#[async_trait]
impl LedgerBlocks for ScyllaBlocks {
    async fn insert(&self, ledger: &LedgerKey, block: &Block) -> Result<bool, StoreError> {
        const OPERATION: &str = "insert block of a ledger";
        let Block { head, notes, body } = block;
        let values = (
            &*ledger.tenant.0,
            ledger.campaign.0.cast_signed(),
            (head.number / BUCKET).cast_signed(),
            head.number.cast_signed(),
            head.epoch.cast_signed(),
            head.writer.cast_signed(),
            head.first.cast_signed(),
            head.count.cast_signed(),
            head.deliver,
            notes,
            body,
        );
        match self.0.lwt(OPERATION, &INSERT, values).await? {
            Lwt::Applied => Ok(true),
            Lwt::NotApplied(_) => Ok(false),
            Lwt::Unknown(unknown) => Err(unknown.error),
        }
    }

    async fn confirm(&self, ledger: &LedgerKey, number: u64) -> Result<Option<Block>, StoreError> {
        const OPERATION: &str = "confirm block of a ledger";
        let bucket = (number / BUCKET).cast_signed();
        let values = (&*ledger.tenant.0, ledger.campaign.0.cast_signed(), bucket, number.cast_signed());
        let row: Option<WithBlob> = self.0.row(OPERATION, &CONFIRM, values).await?;
        Ok(row.map(|(number, epoch, writer, first, count, deliver, notes)| {
            let head = (number, epoch, writer, first, count, deliver);
            block(head, notes.unwrap_or_default(), Vec::new())
        }))
    }

    async fn read(
        &self,
        ledger: &LedgerKey,
        from: u64,
        limit: usize,
        part: Part,
    ) -> Result<Vec<Block>, StoreError> {
        let mut blocks: Vec<Block> = Vec::new();
        while blocks.len() < limit {
            let next = from + blocks.len() as u64;
            let bucket = next / BUCKET;
            let left = i32::try_from(limit - blocks.len()).unwrap_or(i32::MAX);
            let key = (&*ledger.tenant.0, ledger.campaign.0.cast_signed(), bucket.cast_signed());
            let found = self.bucket(key, next, left, part).await?;
            // Replicas that were read at different instants may show a block and not the one before it.
            let dense = (next..).zip(found).take_while(|(number, block)| block.head.number == *number);
            blocks.extend(dense.map(|(_, block)| block));
            if from + (blocks.len() as u64) < (bucket + 1) * BUCKET {
                break;
            }
        }
        Ok(blocks)
    }

    async fn note_delivered(&self, ledger: &LedgerKey, next: u64) -> Result<(), StoreError> {
        const OPERATION: &str = "note delivered blocks";
        let next = next.cast_signed();
        let values = (&*ledger.tenant.0, ledger.campaign.0.cast_signed(), next, next);
        self.0.write(OPERATION, &NOTE_DELIVERED, values).await
    }

    async fn delivered(&self, ledger: &LedgerKey) -> Result<u64, StoreError> {
        const OPERATION: &str = "read delivered blocks";
        let values = (&*ledger.tenant.0, ledger.campaign.0.cast_signed());
        let row: Option<(Option<i64>,)> = self.0.row(OPERATION, &DELIVERED, values).await?;
        Ok(row.and_then(|(next,)| next).map_or(0, i64::cast_unsigned))
    }
}
