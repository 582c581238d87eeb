//! Sessions in flight: an index in memory over records in files that are only ever appended to.
//!
//! A session is written a few times within seconds and then never read again. An ordered engine would
//! sort and merge all of that for nothing, and would make these writes wait behind the syncs of the others.
//! Here a write is one system call, a read another, and what has expired goes away with whole files. The
//! files are read back at opening, so a killed process loses nothing; they are never synced, so a machine
//! that loses power may, which [`SessionStore`] allows.

mod segment;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use async_trait::async_trait;
use segment::{Place, Segment};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::{Embedded, commit::clock_us, keys};
use crate::{Revision, SessionKey, SessionStore, StoreError, Versioned};

/// Parts that are locked and appended to independently.
const SHARDS: usize = 16;
/// How often what has expired is removed.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// Octets of a record at most: a message and its answer, with room.
const RECORD_MAX: usize = 8 << 20;

/// All sessions, and the thread that removes the expired ones.
pub(crate) struct Sessions {
    shared: Arc<Shared>,
    sweeper: Option<JoinHandle<()>>,
}

struct Shared {
    dir: PathBuf,
    shards: [Mutex<Shard>; SHARDS],
    /// Keys come from devices: without a secret seed one could choose them to meet in one place.
    seed: u64,
    next_revision: AtomicU64,
    next_segment: AtomicU64,
    closing: Mutex<bool>,
    close: Condvar,
}

#[derive(Default)]
struct Shard {
    index: HashMap<u128, Entry>,
    active: Option<Arc<Segment>>,
}

/// Where a session's newest record is.
#[derive(Clone)]
struct Entry {
    segment: Arc<Segment>,
    place: Place,
    revision: u64,
    expires_us: u64,
    /// When it may be forgotten: not before every older record of the session has expired too, or an older
    /// one, read back after a restart, would stand up again.
    forget_us: u64,
}

impl Sessions {
    /// Reads back what the files have and begins to sweep.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        let mut shared = Shared {
            dir: dir.to_owned(),
            shards: Default::default(),
            seed: u64::from_le_bytes(seed),
            next_revision: AtomicU64::new(clock_us()),
            next_segment: AtomicU64::new(0),
            closing: Mutex::new(false),
            close: Condvar::new(),
        };
        shared.read_back()?;
        let shared = Arc::new(shared);
        let swept = Arc::clone(&shared);
        let sweeper = std::thread::Builder::new()
            .name("storage-sessions".into())
            .spawn(move || swept.sweep_until_closing())?;
        Ok(Self { shared, sweeper: Some(sweeper) })
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        *self.shared.closing.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.close.notify_all();
        if let Some(sweeper) = self.sweeper.take()
            && sweeper.join().is_err()
        {
            tracing::error!("session sweeper panicked");
        }
        self.shared.keep_files();
    }
}

impl Shared {
    fn place_of(&self, key: &[u8]) -> (u128, MutexGuard<'_, Shard>) {
        let hash = xxh3_128_with_seed(key, self.seed);
        let shard = &self.shards[(hash % SHARDS as u128) as usize];
        // A shard is whole between any two statements, so a panic elsewhere leaves nothing half done.
        (hash, shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn read_back(&mut self) -> io::Result<()> {
        let now = clock_us();
        for segment in segment::open_all(&self.dir)? {
            self.next_segment.fetch_max(segment.number() + 1, Ordering::Relaxed);
            for found in segment.read_back()? {
                self.next_revision.fetch_max(found.revision + 1, Ordering::Relaxed);
                let (hash, mut shard) = self.place_of(&found.key);
                let known = shard.index.get_mut(&hash);
                let forget_us = known.as_ref().map_or(0, |known| known.forget_us).max(found.expires_us);
                match known {
                    Some(known) if known.revision > found.revision => known.forget_us = forget_us,
                    _ => {
                        let (revision, expires_us) = (found.revision, found.expires_us);
                        let segment = Arc::clone(&segment);
                        let place = found.place;
                        shard.index.insert(hash, Entry { segment, place, revision, expires_us, forget_us });
                    }
                }
            }
        }
        for shard in &mut self.shards {
            let shard = shard.get_mut().unwrap_or_else(PoisonError::into_inner);
            shard.index.retain(|_, entry| entry.forget_us > now);
        }
        Ok(())
    }

    fn load(&self, key: &[u8]) -> Result<Option<Versioned<Vec<u8>>>, ReadError> {
        let entry = {
            let (hash, shard) = self.place_of(key);
            match shard.index.get(&hash) {
                Some(entry) if entry.expires_us > clock_us() => entry.clone(),
                _ => return Ok(None),
            }
        };
        let value = entry.segment.read(entry.place, key)?;
        Ok(Some(Versioned { value, revision: Revision(entry.revision) }))
    }

    /// `None`: someone else wrote first.
    fn put(
        &self,
        key: &[u8],
        expected: Option<Revision>,
        record: &[u8],
        keep: Duration,
    ) -> io::Result<Option<Revision>> {
        let keep_us = u64::try_from(keep.as_micros()).unwrap_or(u64::MAX);
        let now = clock_us();
        let expires_us = now.saturating_add(keep_us);
        let (hash, mut shard) = self.place_of(key);
        let known = shard.index.get(&hash);
        let forget_us = known.map_or(0, |known| known.forget_us).max(expires_us);
        let alive = known.filter(|known| known.expires_us > now);
        if alive.map(|known| Revision(known.revision)) != expected {
            return Ok(None);
        }
        let revision = self.next_revision.fetch_add(1, Ordering::Relaxed);
        let segment = self.active(&mut shard)?;
        let place = segment.append(key, revision, expires_us, record)?;
        shard.index.insert(hash, Entry { segment, place, revision, expires_us, forget_us });
        Ok(Some(Revision(revision)))
    }

    /// The file a shard appends to, a new one where it has none or the one it has is full.
    fn active(&self, shard: &mut Shard) -> io::Result<Arc<Segment>> {
        if let Some(active) = shard.active.as_ref().filter(|active| !active.is_full()) {
            return Ok(Arc::clone(active));
        }
        let number = self.next_segment.fetch_add(1, Ordering::Relaxed);
        let segment = Arc::new(Segment::create(&self.dir, number)?);
        shard.active = Some(Arc::clone(&segment));
        Ok(segment)
    }

    fn sweep_until_closing(&self) {
        let mut closing = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        while !*closing {
            closing = self.close.wait_timeout(closing, SWEEP_EVERY).unwrap_or_else(PoisonError::into_inner).0;
            if !*closing {
                self.sweep();
            }
        }
    }

    /// Forgets what has expired. A file goes when nothing in it is left.
    fn sweep(&self) {
        let now = clock_us();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.index.retain(|_, entry| entry.forget_us > now);
            if shard.index.is_empty() {
                shard.active = None;
            }
        }
    }

    /// From here on a file that is closed stays.
    fn keep_files(&self) {
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for entry in shard.index.values() {
                entry.segment.keep();
            }
        }
    }
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("record does not match its checksum")]
    Checksum,
}

fn session_key(operation: &'static str, key: &SessionKey) -> Result<Vec<u8>, StoreError> {
    let session = key.session.as_bytes();
    if session.len() > keys::NAME_MAX {
        let reason =
            format!("expected a session id of at most {} octets, got {}", keys::NAME_MAX, session.len());
        return Err(StoreError::too_large(operation, reason));
    }
    let mut octets = keys::device_end(operation, &key.tenant, &key.device)?;
    octets.extend_from_slice(session);
    Ok(octets)
}

#[async_trait]
impl SessionStore for Embedded {
    async fn load(&self, key: &SessionKey) -> Result<Option<Versioned<Vec<u8>>>, StoreError> {
        const OPERATION: &str = "load session";
        let key = session_key(OPERATION, key)?;
        self.0.sessions.shared.load(&key).map_err(|error| match error {
            ReadError::Checksum => StoreError::corrupt(OPERATION, error),
            ReadError::Io(_) => StoreError::unavailable(OPERATION, error),
        })
    }

    async fn put(
        &self,
        key: &SessionKey,
        expected: Option<Revision>,
        record: &[u8],
        keep: Duration,
    ) -> Result<Revision, StoreError> {
        const OPERATION: &str = "put session";
        if record.len() > RECORD_MAX {
            let reason = format!("expected a record of at most {RECORD_MAX} octets, got {}", record.len());
            return Err(StoreError::too_large(OPERATION, reason));
        }
        let key = session_key(OPERATION, key)?;
        let written = self.0.sessions.shared.put(&key, expected, record, keep);
        written
            .map_err(|error| StoreError::unavailable(OPERATION, error))?
            .ok_or_else(|| StoreError::conflict(OPERATION))
    }
}
