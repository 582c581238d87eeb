//! Pages in memory that are used again and again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Octets of pages by the key they are stored under. Two generations: what is used moves to the young one, and
/// when that is full the old one is forgotten whole.
#[derive(Debug)]
pub struct PageCache {
    bytes_max: usize,
    generations: Mutex<Generations>,
}

type Cached = HashMap<Vec<u8>, Arc<[u8]>>;

#[derive(Debug, Default)]
struct Generations {
    young: Cached,
    old: Cached,
    young_bytes: usize,
}

impl PageCache {
    /// A cache of at most so many octets of pages.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, generations: Mutex::default() }
    }

    /// The page, if it is here.
    pub fn find(&self, key: &[u8]) -> Option<Arc<[u8]>> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(octets) = generations.young.get(key) {
            return Some(Arc::clone(octets));
        }
        let (key, octets) = generations.old.remove_entry(key)?;
        generations.keep(key, Arc::clone(&octets), self.bytes_max);
        Some(octets)
    }

    /// Keeps a page.
    pub fn keep(&self, key: Vec<u8>, octets: Arc<[u8]>) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.keep(key, octets, self.bytes_max);
    }

    /// Forgets a page, which is not stored any more.
    pub fn forget(&self, key: &[u8]) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let generations = &mut *generations;
        if let Some(octets) = generations.young.remove(key) {
            generations.young_bytes -= octets.len();
        }
        generations.old.remove(key);
    }
}

impl Generations {
    fn keep(&mut self, key: Vec<u8>, octets: Arc<[u8]>, bytes_max: usize) {
        if self.young_bytes + octets.len() > bytes_max / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if octets.len() > bytes_max / 2 {
            return;
        }
        self.young_bytes += octets.len();
        if let Some(before) = self.young.insert(key, octets) {
            self.young_bytes -= before.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let cache = PageCache::new(1000);
        cache.keep(b"used".to_vec(), vec![1; 100].into());
        for number in 0..50_u8 {
            cache.keep(vec![number], vec![0; 100].into());
            assert!(cache.find(b"used").is_some(), "after {number} others");
        }
        assert!(cache.find(&[0]).is_none());
        cache.keep(b"huge".to_vec(), vec![0; 5000].into());
        assert!(cache.find(b"huge").is_none(), "a page larger than the cache is not kept");
        cache.forget(b"used");
        assert!(cache.find(b"used").is_none());
    }
}
