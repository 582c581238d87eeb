//! Backups of a data directory: one file of parts, each with a digest over itself and all before it, so that a file that is
//! cut, damaged or put together anew is not taken.
//!
//! ```text
//! file   = "flotilla-backup\n" version:u8 part*
//! part   = length:u32be packed digest:32      packed: LZ4, its length first, of a postcard of `Part`
//! digest = BLAKE3(digest of the part before, length, packed)
//! ```
//!
//! The first part is the head and the last the end; a file without an end is not whole. Rows are as the engine holds them, so
//! each of them says its own version, and a later program reads a backup of this one as it reads this one's data directory.

use std::io::{self, Read, Write};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{StoreError, embedded::OpenError, records::instant};

/// What a file begins with.
const MAGIC: &[u8; 16] = b"flotilla-backup\n";
/// The version that is written. A later one is refused, an earlier one is read for ever.
pub const VERSION: u8 = 1;
/// Octets of one part, packed or not, at most.
const PART_MAX: usize = 1 << 30;

/// Why a backup could not be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The backup could not be written.
    #[error("could not write the backup")]
    Write(#[source] io::Error),
    /// The backup could not be read.
    #[error("could not read the backup")]
    Read(#[source] io::Error),
    /// It is something else.
    #[error("expected a backup of Flotilla, which begins with \"flotilla-backup\", got another file")]
    NotABackup,
    /// A later program made it.
    #[error("expected a backup of version {VERSION} or below, got version {0}: it needs a later program")]
    Version(u8),
    /// A part is not what was written.
    #[error("the backup is damaged: {problem} in part {part}, which begins at byte {at}")]
    Damaged {
        /// Its number, from 0.
        part: u64,
        /// Where it begins.
        at: u64,
        /// What was found.
        problem: &'static str,
    },
    /// It ends before its end.
    #[error("the backup is not whole: it ends at byte {0}, within or before a part")]
    NotWhole(u64),
    /// It has something that this program knows no place for.
    #[error("the backup has {0}, which this program does not know: it needs a later one")]
    Unknown(String),
    /// There is something where it is to go.
    #[error("expected an empty directory or none, {} is in it: a backup is restored into a new place", .0.display())]
    NotEmpty(std::path::PathBuf),
    /// A file or folder of the data directory.
    #[error("could not write {}", path.display())]
    Place {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The engine could not be opened or written.
    #[error("could not write the engine's files")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What was restored cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The version of the program that made it.
    pub program: String,
    /// The instant that it shows.
    #[serde(with = "instant")]
    pub taken: Timestamp,
}

/// What is in a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Rows of the engine.
    pub rows: u64,
    /// Files of artifacts.
    pub artifacts: u64,
    /// Octets of rows and files, before they are packed.
    pub octets: u64,
}

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Part {
    Head(Head),
    /// Rows of one keyspace, by its name.
    Rows {
        space: String,
        rows: Vec<(Vec<u8>, Vec<u8>)>,
    },
    /// The key that the data directory made for itself.
    Key(Vec<u8>),
    /// A piece of an artifact's file, in their order; the first one begins at 0.
    Artifact {
        digest: [u8; 32],
        offset: u64,
        octets: Vec<u8>,
    },
    End(Totals),
}

impl Totals {
    fn add(&mut self, part: &Part) {
        match part {
            Part::Rows { rows, .. } => {
                self.rows += rows.len() as u64;
                self.octets += rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>();
            }
            Part::Artifact { offset, octets, .. } => {
                self.artifacts += u64::from(*offset == 0);
                self.octets += octets.len() as u64;
            }
            Part::Head(_) | Part::Key(_) | Part::End(_) => {}
        }
    }
}

/// Something that can be copied whole while it is used.
pub trait BackUp: Send + Sync {
    /// Writes all of it as it is at one instant, which is during the call. Blocks.
    ///
    /// # Errors
    ///
    /// [`BackupError`]; what was written until then is no backup.
    fn back_up(&self, head: &Head, out: &mut dyn Write) -> Result<Totals, BackupError>;
}

/// Reads a backup from one end to the other, and keeps nothing of it.
///
/// # Errors
///
/// [`BackupError`] says what is wrong with it.
pub fn verify(input: &mut dyn Read) -> Result<(Head, Totals), BackupError> {
    let (mut parts, head) = Parts::open(input)?;
    while parts.next()?.is_some() {}
    Ok((head, parts.totals))
}

/// Writes the parts of a file.
pub(crate) struct PartWriter<'a> {
    out: &'a mut dyn Write,
    digest: [u8; 32],
    totals: Totals,
}

impl<'a> PartWriter<'a> {
    pub(crate) fn begin(out: &'a mut dyn Write, head: &Head) -> Result<Self, BackupError> {
        out.write_all(MAGIC).and_then(|()| out.write_all(&[VERSION])).map_err(BackupError::Write)?;
        let mut this = Self { out, digest: [0; 32], totals: Totals::default() };
        this.write(&Part::Head(head.clone()))?;
        Ok(this)
    }

    pub(crate) fn write(&mut self, part: &Part) -> Result<(), BackupError> {
        self.totals.add(part);
        let plain = postcard::to_allocvec(part).unwrap_or_else(|error| unreachable!("{error}"));
        let packed = lz4_flex::block::compress_prepend_size(&plain);
        let length = u32::try_from(packed.len()).ok().filter(|_| plain.len().max(packed.len()) <= PART_MAX);
        let length = length.ok_or_else(|| {
            BackupError::Write(io::Error::other("a record is larger than a part of a backup may be"))
        })?;
        self.digest = digest_of(&self.digest, length, &packed);
        let mut write = || {
            self.out.write_all(&length.to_be_bytes())?;
            self.out.write_all(&packed)?;
            self.out.write_all(&self.digest)
        };
        write().map_err(BackupError::Write)
    }

    pub(crate) fn end(mut self) -> Result<Totals, BackupError> {
        self.write(&Part::End(self.totals))?;
        self.out.flush().map_err(BackupError::Write)?;
        Ok(self.totals)
    }
}

fn digest_of(before: &[u8; 32], length: u32, packed: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before).update(&length.to_be_bytes()).update(packed);
    *hasher.finalize().as_bytes()
}

/// Reads the parts of a file.
pub(crate) struct Parts<'a> {
    input: &'a mut dyn Read,
    digest: [u8; 32],
    /// The part that comes next, and where it begins.
    next: (u64, u64),
    over: bool,
    pub(crate) totals: Totals,
}

impl<'a> Parts<'a> {
    pub(crate) fn open(input: &'a mut dyn Read) -> Result<(Self, Head), BackupError> {
        let mut begin = [0; MAGIC.len() + 1];
        input.read_exact(&mut begin).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BackupError::NotABackup,
            _ => BackupError::Read(error),
        })?;
        let (magic, version) = begin.split_at(MAGIC.len());
        match version {
            _ if magic != MAGIC => return Err(BackupError::NotABackup),
            [VERSION] => {}
            version => return Err(BackupError::Version(version[0])),
        }
        let at = begin.len() as u64;
        let totals = Totals::default();
        let mut this = Self { input, digest: [0; 32], next: (0, at), over: false, totals };
        match this.next()? {
            Some(Part::Head(head)) => Ok((this, head)),
            _ => Err(BackupError::Damaged { part: 0, at, problem: "there is no head" }),
        }
    }

    /// `None` behind the end.
    pub(crate) fn next(&mut self) -> Result<Option<Part>, BackupError> {
        if self.over {
            return Ok(None);
        }
        let (number, at) = self.next;
        let damaged = |problem| BackupError::Damaged { part: number, at, problem };
        let mut length = [0; 4];
        self.read(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length as usize > PART_MAX {
            return Err(damaged("the length is impossible"));
        }
        // What the file says is not yet to be believed, so memory is taken as octets come.
        let mut packed = Vec::new();
        self.input.take(length.into()).read_to_end(&mut packed).map_err(BackupError::Read)?;
        if packed.len() < length as usize {
            return Err(BackupError::NotWhole(at + 4 + packed.len() as u64));
        }
        self.next = (number + 1, at + 4 + u64::from(length));
        let mut digest = [0; 32];
        self.read(&mut digest)?;
        self.next.1 += 32;
        self.digest = digest_of(&self.digest, length, &packed);
        if digest != self.digest {
            return Err(damaged("the digest does not match"));
        }
        let size = packed.first_chunk().map_or(0, |size| u32::from_le_bytes(*size));
        if size as usize > PART_MAX {
            return Err(damaged("the size is impossible"));
        }
        let plain = lz4_flex::block::decompress_size_prepended(&packed)
            .map_err(|_| damaged("what is packed cannot be unpacked"))?;
        let part: Part = postcard::from_bytes(&plain).map_err(|_| damaged("what it says cannot be read"))?;
        if let Part::End(totals) = part {
            if totals != self.totals {
                return Err(damaged("its counts are others than of what came before"));
            }
            self.over = true;
        }
        self.totals.add(&part);
        Ok(Some(part).filter(|_| !self.over))
    }

    fn read(&mut self, octets: &mut [u8]) -> Result<(), BackupError> {
        let at = self.next.1;
        self.input.read_exact(octets).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BackupError::NotWhole(at),
            _ => BackupError::Read(error),
        })
    }
}
