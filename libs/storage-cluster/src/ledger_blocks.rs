//! What the cluster asks of the blocks of ledgers. `storage-scylla` has them; tests and simulations have
//! `testing::MemoryBlocks`.

use async_trait::async_trait;
use campaign::CampaignId;
use storage::{StoreError, TenantId};

/// Names a ledger: a campaign of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LedgerKey {
    /// Whose campaign it is.
    pub tenant: TenantId,
    /// The campaign.
    pub campaign: CampaignId,
}

/// What is known of a block without its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHead {
    /// Its place in the ledger, from 0. Numbers are dense.
    pub number: u64,
    /// The claim it was written under. The claim of a ledger is a block itself, and its epoch is its number and one.
    pub epoch: u64,
    /// Drawn by the writer, who knows the block again by it.
    pub writer: u64,
    /// The offset of its first event; of a block without events that of the next.
    pub first: u64,
    /// How many events it has.
    pub count: u32,
    /// Something in it has to be carried elsewhere: jobs to their topic, events to the histories of devices.
    pub deliver: bool,
}

/// A block, or as much of it as was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What is known without the contents.
    pub head: BlockHead,
    /// What its releases and events are about, for the next writer: empty where it was not asked for.
    pub notes: Vec<u8>,
    /// Its events: empty where they were not asked for.
    pub body: Vec<u8>,
}

/// How much of a block is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// [`BlockHead`] alone.
    Head,
    /// And the notes.
    Notes,
    /// And the events, without the notes.
    Body,
}

/// Blocks of ledgers by number. Each write is durable when its call returns.
#[async_trait]
pub trait LedgerBlocks: Send + Sync {
    /// Inserts a block if its number is free, and answers whether it was.
    ///
    /// # Errors
    ///
    /// After [`storage::ErrorKind::TimedOut`] or [`storage::ErrorKind::Unavailable`] it may be there:
    /// [`LedgerBlocks::confirm`] tells.
    async fn insert(&self, ledger: &LedgerKey, block: &Block) -> Result<bool, StoreError>;

    /// The block of this number with its notes, after every insert of it that was ever begun is either done or will never be.
    async fn confirm(&self, ledger: &LedgerKey, number: u64) -> Result<Option<Block>, StoreError>;

    /// Up to `limit` blocks from a number on, dense: it stops before one that is not there. Every insert that was
    /// answered is seen. It may answer less than there is, but at least one if there is one.
    async fn read(
        &self,
        ledger: &LedgerKey,
        from: u64,
        limit: usize,
        part: Part,
    ) -> Result<Vec<Block>, StoreError>;

    /// Notes that all blocks before `next` have been delivered, where they had to be.
    async fn note_delivered(&self, ledger: &LedgerKey, next: u64) -> Result<(), StoreError>;

    /// What was last noted by [`LedgerBlocks::note_delivered`], or a note before it; 0: nothing.
    async fn delivered(&self, ledger: &LedgerKey) -> Result<u64, StoreError>;
}
