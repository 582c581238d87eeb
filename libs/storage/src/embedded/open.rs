//! Opening a data directory: the lock, the format, the key, the engine.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Embedded, Inner, Options, claims::Claims, commit::Committer, engine::Engine, ledgers::Ledgers,
    sessions::Sessions, stripes::Stripes,
};
use crate::{KeyRing, merkle::PageCache, seal::KeyError};

/// The version of the data directory as a whole. Records carry versions of their own.
const FORMAT: u32 = 1;
/// What the format file says before the version.
const FORMAT_NAME: &str = "flotilla-data";

/// Stands in a directory that a backup is being written to.
pub(super) const RESTORING: &str = "restoring";

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it, or this one has it already.
    #[error("data directory {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// It was written by a newer or unknown program.
    #[error("data directory {} has format {found:?}, expected {FORMAT_NAME:?} version {FORMAT}", dir.display())]
    Format {
        /// The directory.
        dir: PathBuf,
        /// The first line of its format file.
        found: String,
    },
    /// A backup was to be restored into it, which did not come to its end.
    #[error("data directory {} was being restored from a backup, which broke off: empty it and restore again", .0.display())]
    Restoring(PathBuf),
    /// It has data but its format file is gone.
    #[error("data directory {} has data but no format file", .0.display())]
    NoFormat(PathBuf),
    /// The keys that its secrets are sealed with cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A file of it cannot be read or written.
    #[error("could not open {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The engine refused its files.
    #[error("could not open the engine in {}", dir.display())]
    Engine {
        /// Its folder.
        dir: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Embedded {
    /// Whether there is a data directory, of whichever format.
    pub fn is_at(dir: &Path) -> bool {
        dir.join("format").exists() || dir.join("engine").exists()
    }

    /// Whether this program could open the directory, by its format: nothing is opened, locked or written, so another
    /// process may have it. False where it is new.
    ///
    /// # Errors
    ///
    /// [`OpenError::Format`], [`OpenError::NoFormat`], or [`OpenError::Io`].
    pub fn check_format(dir: &Path) -> Result<bool, OpenError> {
        check_format(dir).map(|fresh| !fresh)
    }

    /// Opens a data directory, or makes one.
    ///
    /// Blocks while what was written last is read back. No more than one process can have it open.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says which file or which check; nothing was changed then.
    pub fn open(dir: &Path, options: &Options) -> Result<Self, OpenError> {
        make_dir(dir)?;
        let lock = take_lock(dir)?;
        if dir.join(RESTORING).exists() {
            return Err(OpenError::Restoring(dir.to_owned()));
        }
        Self::open_locked(dir, lock, options)
    }

    /// One that was restored just now, before it is put right.
    pub(super) fn open_restored(dir: &Path, options: &Options) -> Result<Self, OpenError> {
        Self::open_locked(dir, take_lock(dir)?, options)
    }

    fn open_locked(dir: &Path, lock: File, options: &Options) -> Result<Self, OpenError> {
        let at = |name: &str| dir.join(name);
        let fresh = check_format(dir)?;

        let keys = KeyRing::of_directory(&at("key"), fresh, options.key_file.as_deref())?;
        if fresh {
            write_format(dir)?;
        }

        let engine_dir = at("engine");
        let engine = Engine::open(&engine_dir, options)
            .map_err(|source| OpenError::Engine { dir: engine_dir.clone(), source: source.into() })?;
        let engine = Arc::new(engine);
        let ledgers = Arc::new(Ledgers::default());
        let committer = Committer::start(Arc::clone(&engine), Arc::clone(&ledgers)).map_err(io_at(dir))?;

        let session_dir = at("sessions");
        make_dir(&session_dir)?;
        let sessions = Sessions::open(&session_dir).map_err(io_at(&session_dir))?;
        let artifact_dir = at("artifacts");
        make_dir(&artifact_dir)?;
        remove_unfinished(&artifact_dir).map_err(io_at(&artifact_dir))?;
        if fresh {
            // The folders' names must be on the disk before the first write in them is acknowledged.
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_at(dir))?;
        }

        Ok(Self(Arc::new(Inner {
            committer,
            engine,
            ledgers,
            sessions,
            keys,
            artifact_dir,
            pages: PageCache::new(options.page_cache_bytes),
            gate: super::collect::Gate::default(),
            device_locks: Stripes::new(4096),
            causes: Default::default(),
            claims: Claims::default(),
            job_locks: Stripes::new(4096),
            snapshot_locks: Stripes::new(4096),
            triggers: Arc::default(),
            tenant_locks: Stripes::new(64),
            _lock: lock,
        })))
    }
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { path, source }
}

/// Makes it, where it is not there, for its owner alone.
pub(super) fn make_dir(dir: &Path) -> Result<(), OpenError> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).map_err(io_at(parent))?;
    }
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        made => made.map_err(io_at(dir)),
    }
}

fn take_lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(io_at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}

/// Whether the directory is new; an error if it is one that this program cannot read.
fn check_format(dir: &Path) -> Result<bool, OpenError> {
    let path = dir.join("format");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let line = text.lines().next().unwrap_or_default();
            if line == format!("{FORMAT_NAME} {FORMAT}") {
                return Ok(false);
            }
            Err(OpenError::Format { dir: dir.to_owned(), found: line.chars().take(80).collect() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if dir.join("engine").exists() {
                return Err(OpenError::NoFormat(dir.to_owned()));
            }
            Ok(true)
        }
        Err(source) => Err(OpenError::Io { path, source }),
    }
}

/// The format file comes after the key and before the engine: whoever finds it may rely on the key.
pub(super) fn write_format(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join("format");
    let unfinished = dir.join("format.new");
    let write = || {
        let mut file = File::create(&unfinished)?;
        writeln!(file, "{FORMAT_NAME} {FORMAT}")?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(io_at(&path))
}

/// What was being added when the process ended was never acknowledged.
fn remove_unfinished(artifact_dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(artifact_dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "new") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
