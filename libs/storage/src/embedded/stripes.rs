//! Locks by key, for compare-and-set.
//!
//! A caller holds its key's lock from reading the record until the write is durable: the guards travel
//! with the batch, so they are held to the end also when the caller's future is dropped half-way.

use std::{collections::BTreeSet, sync::Arc};

use tokio::sync::{Mutex, OwnedMutexGuard};
use xxhash_rust::xxh3::xxh3_64;

/// A guard of one stripe.
pub(crate) type Guard = OwnedMutexGuard<()>;

/// A fixed number of locks, shared by all keys by their hash.
pub(crate) struct Stripes(Box<[Arc<Mutex<()>>]>);

impl Stripes {
    /// `count` locks. More of them, fewer strangers wait for each other.
    pub(crate) fn new(count: usize) -> Self {
        Self((0..count.max(1)).map(|_| Arc::default()).collect())
    }

    /// The lock of one key.
    pub(crate) async fn lock(&self, key: &[u8]) -> Guard {
        Arc::clone(&self.0[self.index(key)]).lock_owned().await
    }

    /// The locks of many keys. They are taken in one order by everyone, so nobody waits in a circle.
    pub(crate) async fn lock_all(&self, keys: impl Iterator<Item: AsRef<[u8]>>) -> Vec<Guard> {
        let wanted: BTreeSet<usize> = keys.map(|key| self.index(key.as_ref())).collect();
        let mut guards = Vec::with_capacity(wanted.len());
        for index in wanted {
            guards.push(Arc::clone(&self.0[index]).lock_owned().await);
        }
        guards
    }

    fn index(&self, key: &[u8]) -> usize {
        (xxh3_64(key) % self.0.len() as u64) as usize
    }
}
