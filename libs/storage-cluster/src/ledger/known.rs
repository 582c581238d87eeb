//! What a writer must know of a ledger to go on with it.

use std::collections::{BTreeMap, HashMap};

use roaring::RoaringBitmap;
use storage::{StoreError, records};

use crate::{
    ledger_blocks::{Block, BlockHead},
    stored::{self, Entry, Notes, Source},
};

/// The fold of all blocks of a ledger, without their events.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The number of the next block.
    pub(super) next_number: u64,
    /// The offset of the next event.
    pub(super) next_offset: u64,
    /// The last claim.
    pub(super) epoch: u64,
    seen: Seen,
}

/// Which releases and which writes of jobs are in the ledger.
#[derive(Debug, Default)]
struct Seen {
    released: BTreeMap<u16, RoaringBitmap>,
    /// The last revision by ordinal and attempt. A job's writes come in the order of their revisions, because each is
    /// published before anyone learns the revision that the next one needs; so what is not above it was there before.
    heard: HashMap<(u32, u16), u32>,
}

impl Seen {
    fn is_released(&self, ordinal: u32, attempt: u16) -> bool {
        self.released.range(attempt..).any(|(_, ordinals)| ordinals.contains(ordinal))
    }

    fn has_heard(&self, ordinal: u32, attempt: u16, revision: u32) -> bool {
        self.heard.get(&(ordinal, attempt)).is_some_and(|&heard| heard >= revision)
    }

    /// Whether the entry says something new, by what was seen.
    fn is_news(&self, entry: &Entry) -> bool {
        let (ordinal, attempt) = (entry.event.ordinal, entry.event.attempt);
        match entry.source {
            Source::Owner => true,
            Source::Released { .. } => !self.is_released(ordinal, attempt),
            Source::Session { revision } => !self.has_heard(ordinal, attempt, revision),
            Source::Missing => !self.has_heard(ordinal, attempt, u32::MAX),
        }
    }

    fn note(&mut self, entry: &Entry) {
        let (ordinal, attempt) = (entry.event.ordinal, entry.event.attempt);
        match entry.source {
            Source::Owner => {}
            Source::Released { .. } => {
                self.released.entry(attempt).or_default().insert(ordinal);
            }
            Source::Session { revision } => self.hear(ordinal, attempt, revision),
            Source::Missing => {
                self.released.entry(attempt).or_default().insert(ordinal);
                self.hear(ordinal, attempt, u32::MAX);
            }
        }
    }

    fn hear(&mut self, ordinal: u32, attempt: u16, revision: u32) {
        let heard = self.heard.entry((ordinal, attempt)).or_default();
        *heard = revision.max(*heard);
    }
}

impl Known {
    /// Takes in a block that was read with its notes.
    pub(super) fn fold_block(&mut self, operation: &'static str, block: &Block) -> Result<(), StoreError> {
        self.check_next(operation, &block.head)?;
        let notes: Notes = records::decode(operation, &block.notes)?;
        for (attempt, ordinals) in &notes.released {
            let ordinals = RoaringBitmap::deserialize_from(&ordinals[..])
                .map_err(|error| StoreError::corrupt(operation, error))?;
            *self.seen.released.entry(*attempt).or_default() |= ordinals;
        }
        for &(ordinal, attempt, revision) in &notes.heard {
            self.seen.hear(ordinal, attempt, revision);
        }
        self.advance(&block.head);
        Ok(())
    }

    /// Takes in a block that this writer made.
    fn fold_draft(&mut self, head: &BlockHead, seen: Seen) {
        for (attempt, ordinals) in seen.released {
            *self.seen.released.entry(attempt).or_default() |= ordinals;
        }
        for ((ordinal, attempt), revision) in seen.heard {
            self.seen.hear(ordinal, attempt, revision);
        }
        self.advance(head);
    }

    fn check_next(&self, operation: &'static str, head: &BlockHead) -> Result<(), StoreError> {
        let expected = (self.next_number, self.next_offset);
        if (head.number, head.first) == expected {
            return Ok(());
        }
        let got = (head.number, head.first);
        let reason = format!("expected block and offset {expected:?} next in the ledger, got {got:?}");
        Err(StoreError::corrupt(operation, reason))
    }

    fn advance(&mut self, head: &BlockHead) {
        self.next_number = head.number + 1;
        self.next_offset = head.first + u64::from(head.count);
        self.epoch = self.epoch.max(head.epoch);
    }
}

/// A block in the making.
#[derive(Debug, Default)]
pub(super) struct Draft {
    entries: Vec<Entry>,
    seen: Seen,
    deliver: bool,
}

impl Draft {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes entries that belong together, and answers whether they say something new; if they do not, none is taken.
    pub(super) fn offer(&mut self, known: &Known, entries: Vec<Entry>) -> bool {
        let is_news =
            entries.first().is_some_and(|entry| known.seen.is_news(entry) && self.seen.is_news(entry));
        if is_news {
            for entry in entries {
                self.seen.note(&entry);
                self.push(entry);
            }
        }
        is_news
    }

    fn push(&mut self, entry: Entry) {
        // A write of a job's row brings its history with it.
        self.deliver |= match entry.source {
            Source::Owner => entry.event.device.is_some(),
            Source::Released { .. } => true,
            Source::Session { .. } | Source::Missing => false,
        };
        self.entries.push(entry);
    }

    /// The block, behind all that is known.
    pub(super) fn block(&self, known: &Known, epoch: u64, writer: u64) -> Block {
        let notes = Notes {
            released: self
                .seen
                .released
                .iter()
                .map(|(&attempt, ordinals)| (attempt, pack(ordinals)))
                .collect(),
            heard: self.heard(),
        };
        let head = BlockHead {
            number: known.next_number,
            epoch,
            writer,
            first: known.next_offset,
            count: u32::try_from(self.entries.len()).unwrap_or(u32::MAX),
            deliver: self.deliver,
        };
        Block { head, notes: records::encode(&notes), body: stored::encode_body(&self.entries) }
    }

    fn heard(&self) -> Vec<(u32, u16, u32)> {
        let heard = &self.seen.heard;
        let mut heard: Vec<_> =
            heard.iter().map(|(&(ordinal, attempt), &revision)| (ordinal, attempt, revision)).collect();
        heard.sort_unstable();
        heard
    }

    /// The block was inserted.
    pub(super) fn fold_into(self, known: &mut Known, head: &BlockHead) -> Vec<Entry> {
        known.fold_draft(head, self.seen);
        self.entries
    }
}

fn pack(ordinals: &RoaringBitmap) -> Vec<u8> {
    let mut packed = Vec::with_capacity(ordinals.serialized_size());
    // Writing to memory does not fail.
    ordinals.serialize_into(&mut packed).unwrap_or_else(|error| unreachable!("{error}"));
    packed
}
