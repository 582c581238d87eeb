//! A map in bounded memory, which forgets what was not used for longest, roughly.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::{BuildHasher, Hash},
    mem,
    sync::{Mutex, PoisonError},
};

/// Parts, so that callers seldom wait for each other.
const SHARDS: usize = 16;

/// Two generations: what is used moves to the young one; when that is full the old one is dropped, and the young one is old.
pub(super) struct Table<K, V> {
    shards: Vec<Mutex<Shard<K, V>>>,
    hasher: RandomState,
    young_max: usize,
}

struct Shard<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Hash + Eq + Clone, V: Default> Table<K, V> {
    /// Holds `entries_max` at least, and at most about twice as many.
    pub(super) fn new(entries_max: usize) -> Self {
        let shard = || Mutex::new(Shard { young: HashMap::new(), old: HashMap::new() });
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            young_max: entries_max.div_ceil(SHARDS).max(1),
        }
    }

    /// Works on a value, a new one where there is none.
    pub(super) fn with<T>(&self, key: &K, work: impl FnOnce(&mut V) -> T) -> T {
        let mut shard = self.shard(key);
        let shard = &mut *shard;
        if let Some(value) = shard.young.get_mut(key) {
            return work(value);
        }
        let mut value = shard.old.remove(key).unwrap_or_default();
        let done = work(&mut value);
        if shard.young.len() >= self.young_max {
            shard.old = mem::take(&mut shard.young);
        }
        shard.young.insert(key.clone(), value);
        done
    }

    /// Looks at a value, where there is one.
    pub(super) fn look<T>(&self, key: &K, look: impl FnOnce(&V) -> T) -> Option<T> {
        let shard = self.shard(key);
        shard.young.get(key).or_else(|| shard.old.get(key)).map(look)
    }

    fn shard(&self, key: &K) -> std::sync::MutexGuard<'_, Shard<K, V>> {
        // The remainder is below the number of shards.
        let at = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let shards = self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner));
        shards.map(|shard| shard.young.len() + shard.old.len()).sum()
    }
}
