//! A data directory into a backup while it is used, and out of one into a new place.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use fjall::{PersistMode, Readable as _};

use super::{
    Embedded, Options, artifacts,
    engine::{Engine, Space, engine_error},
    open::{RESTORING, make_dir},
};
use crate::backup::{BackUp, BackupError, Head, Part, PartWriter, Parts, Totals};

/// Octets of one part, about.
const PART_OCTETS: usize = 1 << 20;

impl BackUp for Embedded {
    /// Visits go on meanwhile: what is read is a snapshot of the engine, and files of artifacts never change. Sessions in
    /// flight are left out, as they begin again by themselves.
    fn back_up(&self, head: &Head, out: &mut dyn Write) -> Result<Totals, BackupError> {
        const OPERATION: &str = "back up";
        let failed = |error| BackupError::Store(engine_error(OPERATION, error));
        let engine = &self.0.engine;
        let dir = &self.0.artifact_dir;
        let mut parts = PartWriter::begin(out, head)?;
        parts.write(&Part::Key(fs::read(dir.with_file_name("key")).map_err(placed(dir))?))?;

        // All keyspaces as of one instant: a step that was written as one is in it as one.
        let snapshot = engine.database.snapshot();
        for (space, name) in Space::ALL {
            let (mut rows, mut octets) = (Vec::new(), 0);
            for row in snapshot.iter(engine.space(space)) {
                let (key, value) = row.into_inner().map_err(failed)?;
                octets += key.len() + value.len();
                rows.push((key.to_vec(), value.to_vec()));
                if octets >= PART_OCTETS {
                    parts.write(&Part::Rows { space: name.to_owned(), rows: std::mem::take(&mut rows) })?;
                    octets = 0;
                }
            }
            if !rows.is_empty() {
                parts.write(&Part::Rows { space: name.to_owned(), rows })?;
            }
        }
        // An artifact's file is there before its record, and stays.
        let mut written = std::collections::BTreeSet::new();
        for row in snapshot.iter(engine.space(Space::Artifacts)) {
            let (key, _) = row.into_inner().map_err(failed)?;
            if let Some(digest) = key.last_chunk::<32>()
                && written.insert(*digest)
            {
                back_up_file(&mut parts, dir, digest)?;
            }
        }
        parts.end()
    }
}

fn back_up_file(parts: &mut PartWriter<'_>, dir: &Path, digest: &[u8; 32]) -> Result<(), BackupError> {
    let path = dir.join(artifacts::file_name(digest));
    let file = File::open(&path).map_err(placed(&path))?;
    let mut offset = 0;
    loop {
        let mut octets = vec![0; PART_OCTETS];
        let read = file.read_at(&mut octets, offset).map_err(placed(&path))?;
        // An empty file has a part too.
        if read == 0 && offset > 0 {
            return Ok(());
        }
        octets.truncate(read);
        parts.write(&Part::Artifact { digest: *digest, offset, octets })?;
        offset += read as u64;
        if read == 0 {
            return Ok(());
        }
    }
}

/// A data directory that a backup was written to and that nobody else opens before [`Restored::finish`].
#[derive(Debug)]
pub struct Restored {
    /// What it holds, opened, to be put right before it is used.
    pub store: Embedded,
    /// What the backup says of itself.
    pub head: Head,
    /// What was in it.
    pub totals: Totals,
    dir: PathBuf,
}

impl Restored {
    /// Closes it. From here on it is a data directory like any other.
    ///
    /// # Errors
    ///
    /// Those of the disk.
    pub fn finish(self) -> Result<(), BackupError> {
        let Self { store, dir, .. } = self;
        drop(store);
        let mark = dir.join(RESTORING);
        fs::remove_file(&mark).map_err(placed(&mark))?;
        File::open(&dir).and_then(|dir| dir.sync_all()).map_err(placed(&dir))
    }
}

impl Embedded {
    /// Writes a backup to `dir`, which is empty or not there. Blocks.
    ///
    /// What comes out is a store of the past, while devices have gone on: nonces, and jobs in flight, have to be put right
    /// before it is used. Until [`Restored::finish`], and if this fails on its way, the directory is refused by
    /// [`Embedded::open`].
    ///
    /// # Errors
    ///
    /// [`BackupError`]: the backup is damaged or of a later program, or there is something in `dir`.
    pub fn restore(dir: &Path, input: &mut dyn Read, options: &Options) -> Result<Restored, BackupError> {
        // Nothing is touched for a file that is no backup.
        let (mut parts, head) = Parts::open(input)?;
        check_empty(dir)?;
        make_dir(dir)?;
        let mark = dir.join(RESTORING);
        File::create_new(&mark).and_then(|file| file.sync_all()).map_err(placed(&mark))?;
        write_parts(dir, &mut parts, options)?;
        super::open::write_format(dir)?;
        let totals = parts.totals;
        let store = Self::open_restored(dir, options)?;
        Ok(Restored { store, head, totals, dir: dir.to_owned() })
    }
}

fn check_empty(dir: &Path) -> Result<(), BackupError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(placed(dir)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(placed(dir))?;
        // A volume of its own has that in it.
        if entry.file_name() != "lost+found" {
            return Err(BackupError::NotEmpty(entry.path()));
        }
    }
    Ok(())
}

fn write_parts(dir: &Path, parts: &mut Parts<'_>, options: &Options) -> Result<(), BackupError> {
    let failed = |error: fjall::Error| BackupError::Engine(error.into());
    let artifact_dir = dir.join("artifacts");
    fs::create_dir_all(&artifact_dir).map_err(placed(&artifact_dir))?;
    let engine = Engine::open(&dir.join("engine"), options).map_err(failed)?;
    while let Some(part) = parts.next()? {
        match part {
            Part::Rows { space, rows } => {
                let Some((space, _)) = Space::ALL.into_iter().find(|(_, name)| *name == space) else {
                    return Err(BackupError::Unknown(format!("records called {space:?}")));
                };
                let mut batch = engine.database.batch();
                for (key, value) in rows {
                    batch.insert(engine.space(space), key, value);
                }
                batch.commit().map_err(failed)?;
            }
            Part::Key(octets) => write_file(&dir.join("key"), 0, &octets)?,
            Part::Artifact { digest, offset, octets } => {
                write_file(&artifact_dir.join(artifacts::file_name(&digest)), offset, &octets)?;
            }
            Part::Head(_) | Part::End(_) => return Err(BackupError::Unknown("a second head".to_owned())),
        }
    }
    engine.database.persist(PersistMode::SyncAll).map_err(failed)?;
    File::open(&artifact_dir).and_then(|dir| dir.sync_all()).map_err(placed(&artifact_dir))
}

/// Writes a piece of a file that nobody but its owner may read.
fn write_file(path: &Path, offset: u64, octets: &[u8]) -> Result<(), BackupError> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let write = |file: File| {
        file.write_all_at(octets, offset)?;
        file.sync_all()
    };
    file.and_then(write).map_err(placed(path))
}

fn placed(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Place { path, source }
}

#[cfg(test)]
mod tests;
