//! One file of session records.
//!
//! ```text
//! header:  "flotses" 1
//! record:  checksum u64 | length u32 | revision u64 | expires u64 | key length u16 | key | record
//! ```
//!
//! Numbers are little-endian; the checksum (XXH3) is of all that follows it, the length of all that
//! follows the length. Reading back ends at the first record that is cut or does not match: only what was
//! being written when the process ended can stand there.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use xxhash_rust::xxh3::xxh3_64;

use super::ReadError;

const MAGIC: &[u8; 8] = b"flotses\x01";
/// Octets after which a file takes no more.
const SEGMENT_BYTES: u64 = 16 << 20;
/// Checksum and length.
const HEAD: usize = 12;
/// What stands between the length and the key.
const FIXED: usize = 18;

/// Where a record is in its file, checksum included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    offset: u64,
    length: u32,
}

/// A record found when reading back.
pub(super) struct Found {
    pub(super) key: Vec<u8>,
    pub(super) revision: u64,
    pub(super) expires_us: u64,
    pub(super) place: Place,
}

/// A file of records. Closed when the last record in it is forgotten, it is removed.
pub(super) struct Segment {
    file: File,
    path: PathBuf,
    number: u64,
    /// Only who has the shard's lock moves it.
    end: AtomicU64,
    kept: AtomicBool,
}

impl Segment {
    pub(super) fn create(dir: &Path, number: u64) -> io::Result<Self> {
        let path = dir.join(format!("{number:016x}.ses"));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        file.write_all_at(MAGIC, 0)?;
        let end = AtomicU64::new(MAGIC.len() as u64);
        Ok(Self { file, path, number, end, kept: AtomicBool::new(false) })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn is_full(&self) -> bool {
        self.end.load(Ordering::Relaxed) >= SEGMENT_BYTES
    }

    /// The file outlives this value.
    pub(super) fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    /// Writes a record at the end. The caller has the shard's lock.
    pub(super) fn append(
        &self,
        key: &[u8],
        revision: u64,
        expires_us: u64,
        record: &[u8],
    ) -> io::Result<Place> {
        let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let key_length = u16::try_from(key.len()).map_err(too_long)?;
        let length = u32::try_from(FIXED + key.len() + record.len()).map_err(too_long)?;
        let mut octets = Vec::with_capacity(HEAD + length as usize);
        octets.extend_from_slice(&[0; 8]);
        octets.extend_from_slice(&length.to_le_bytes());
        octets.extend_from_slice(&revision.to_le_bytes());
        octets.extend_from_slice(&expires_us.to_le_bytes());
        octets.extend_from_slice(&key_length.to_le_bytes());
        octets.extend_from_slice(key);
        octets.extend_from_slice(record);
        let checksum = xxh3_64(&octets[8..]);
        octets[..8].copy_from_slice(&checksum.to_le_bytes());

        let offset = self.end.load(Ordering::Relaxed);
        self.file.write_all_at(&octets, offset)?;
        self.end.store(offset + octets.len() as u64, Ordering::Relaxed);
        Ok(Place { offset, length: octets.len() as u32 })
    }

    /// The record at a place, if it is this key's.
    pub(super) fn read(&self, place: Place, key: &[u8]) -> Result<Vec<u8>, ReadError> {
        let mut octets = vec![0; place.length as usize];
        self.file.read_exact_at(&mut octets, place.offset)?;
        let record = parse(&octets).filter(|record| record.key == key).ok_or(ReadError::Checksum)?;
        let start = octets.len() - record.value.len();
        octets.drain(..start);
        Ok(octets)
    }

    /// All whole records from the beginning on.
    pub(super) fn read_back(&self) -> io::Result<Vec<Found>> {
        let octets = fs::read(&self.path)?;
        let mut found = Vec::new();
        let Some(mut rest) = octets.strip_prefix(MAGIC) else {
            // Killed before the first octets were there.
            return Ok(found);
        };
        while let Some(record) = parse(rest) {
            let offset = (octets.len() - rest.len()) as u64;
            found.push(Found {
                key: record.key.to_vec(),
                revision: record.revision,
                expires_us: record.expires_us,
                place: Place { offset, length: record.length as u32 },
            });
            rest = &rest[record.length..];
        }
        Ok(found)
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Relaxed)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "expired session file stays");
        }
    }
}

struct Record<'a> {
    key: &'a [u8],
    value: &'a [u8],
    revision: u64,
    expires_us: u64,
    /// Octets in all.
    length: usize,
}

/// The record that `octets` begin with, if it is whole.
fn parse(octets: &[u8]) -> Option<Record<'_>> {
    let (checksum, rest) = octets.split_first_chunk()?;
    let (length, _) = rest.split_first_chunk()?;
    let length = HEAD.checked_add(u32::from_le_bytes(*length) as usize)?;
    let checked = octets.get(8..length)?;
    if xxh3_64(checked) != u64::from_le_bytes(*checksum) {
        return None;
    }
    let (revision, rest) = checked.get(4..)?.split_first_chunk()?;
    let (expires_us, rest) = rest.split_first_chunk()?;
    let (key_length, rest) = rest.split_first_chunk()?;
    let (key, value) = rest.split_at_checked(u16::from_le_bytes(*key_length).into())?;
    let (revision, expires_us) = (u64::from_le_bytes(*revision), u64::from_le_bytes(*expires_us));
    Some(Record { key, value, revision, expires_us, length })
}

/// The files of a folder, in the order they were begun.
pub(super) fn open_all(dir: &Path) -> io::Result<Vec<Arc<Segment>>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".ses"))
            .and_then(|number| u64::from_str_radix(number, 16).ok());
        let Some(number) = number else { continue };
        let file = File::open(&path)?;
        let end = AtomicU64::new(file.metadata()?.len());
        segments.push(Arc::new(Segment { file, path, number, end, kept: AtomicBool::new(false) }));
    }
    segments.sort_by_key(|segment| segment.number);
    Ok(segments)
}
