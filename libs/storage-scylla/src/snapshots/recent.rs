//! What was lately so, in bounded memory.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

type Generation<V> = HashMap<Box<[u8]>, V>;

/// Values by key. Two generations: what is used moves to the young one, and when that is full the old one is forgotten.
#[derive(Debug)]
pub(super) struct Recent<V> {
    entries_max: usize,
    generations: Mutex<(Generation<V>, Generation<V>)>,
}

impl<V: Copy> Recent<V> {
    pub(super) fn new(entries_max: usize) -> Self {
        Self { entries_max, generations: Mutex::default() }
    }

    pub(super) fn find(&self, key: &[u8]) -> Option<V> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let (young, old) = &mut *generations;
        if let Some(value) = young.get(key) {
            return Some(*value);
        }
        let (key, value) = old.remove_entry(key)?;
        Self::insert(young, old, self.entries_max, key, value);
        Some(value)
    }

    pub(super) fn keep(&self, key: &[u8], value: V) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let (young, old) = &mut *generations;
        old.remove(key);
        Self::insert(young, old, self.entries_max, key.into(), value);
    }

    pub(super) fn forget(&self, key: &[u8]) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.0.remove(key);
        generations.1.remove(key);
    }

    fn insert(
        young: &mut Generation<V>,
        old: &mut Generation<V>,
        entries_max: usize,
        key: Box<[u8]>,
        value: V,
    ) {
        if young.len() >= entries_max / 2 {
            *old = std::mem::take(young);
        }
        young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_what_is_kept_anew_counts() {
        let recent = Recent::new(10);
        recent.keep(b"used", 1);
        for number in 0..50_u8 {
            recent.keep(&[number], 0);
            assert_eq!(recent.find(b"used"), Some(1));
        }
        assert_eq!(recent.find(&[0]), None);
        recent.keep(b"used", 2);
        assert_eq!(recent.find(b"used"), Some(2));
        recent.forget(b"used");
        assert_eq!(recent.find(b"used"), None);
    }
}
