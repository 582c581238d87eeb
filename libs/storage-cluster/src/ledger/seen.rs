//! What this process has seen of a ledger: where its blocks begin, and the last of them whole.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use campaign::JobEvent;
use tokio::sync::watch;

use crate::{ledger_blocks::BlockHead, stored::Entry};

/// Blocks of this process's own writing that are kept for those who read them right away.
const RECENT: usize = 8;

#[derive(Debug)]
pub(super) struct Seen {
    index: Mutex<Index>,
    /// The offset of the next event.
    end: watch::Sender<u64>,
    claimed: AtomicBool,
    /// The number behind the last block that has to be delivered.
    owed: AtomicU64,
}

#[derive(Debug, Default)]
struct Index {
    /// By block: the offset of its first event.
    firsts: Vec<u64>,
    recent: VecDeque<(u64, Arc<Vec<JobEvent>>)>,
}

/// Where an offset is to be found.
pub(super) enum Place {
    /// Beyond all that was seen.
    Beyond,
    /// In this block; it and those behind it that were seen.
    Block { number: u64, blocks: u64 },
    /// In this block, which is at hand.
    Recent { first: u64, events: Arc<Vec<JobEvent>> },
}

impl Default for Seen {
    fn default() -> Self {
        let (claimed, owed) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { index: Mutex::default(), end: watch::Sender::new(0), claimed, owed }
    }
}

impl Seen {
    /// A block was written or found. One that was seen before, or too early, is left out.
    pub(super) fn grow(&self, head: &BlockHead, entries: Option<Vec<Entry>>) {
        let mut index = self.index();
        if head.number != index.firsts.len() as u64 {
            return;
        }
        index.firsts.push(head.first);
        if let Some(entries) = entries {
            let events = entries.into_iter().map(|entry| entry.event).collect();
            index.recent.push_back((head.number, Arc::new(events)));
            if index.recent.len() > RECENT {
                index.recent.pop_front();
            }
        }
        drop(index);
        self.end.send_replace(head.first + u64::from(head.count));
    }

    /// The number of the first block that was not seen.
    pub(super) fn next_number(&self) -> u64 {
        self.index().firsts.len() as u64
    }

    pub(super) fn end(&self) -> u64 {
        *self.end.borrow()
    }

    pub(super) fn watch_end(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// Whether this process writes the ledger, so that nothing is in it that was not seen, unless another has taken it.
    pub(super) fn is_claimed(&self) -> bool {
        self.claimed.load(Ordering::Acquire)
    }

    pub(super) fn set_claimed(&self, claimed: bool) {
        self.claimed.store(claimed, Ordering::Release);
    }

    /// All blocks before this have to be delivered, where something in them has to be.
    pub(super) fn owed(&self) -> u64 {
        self.owed.load(Ordering::Acquire)
    }

    pub(super) fn owe(&self, next: u64) {
        self.owed.store(next, Ordering::Release);
    }

    pub(super) fn place(&self, offset: u64) -> Place {
        let index = self.index();
        if offset >= self.end() {
            return Place::Beyond;
        }
        // Blocks without events begin where the next one does, so the last that begins there has the event.
        let Some(number) = index.firsts.partition_point(|&first| first <= offset).checked_sub(1) else {
            return Place::Beyond;
        };
        let recent = index.recent.iter().find(|(at, _)| *at == number as u64);
        if let Some((_, events)) = recent {
            return Place::Recent { first: index.firsts[number], events: Arc::clone(events) };
        }
        let blocks = (index.firsts.len() - number) as u64;
        Place::Block { number: number as u64, blocks }
    }

    fn index(&self) -> std::sync::MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
