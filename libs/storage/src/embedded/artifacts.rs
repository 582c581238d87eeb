//! Artifacts: the octets in a file named by their digest, the record in the engine.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::{Embedded, Inner, commit::Batch, engine::Space, keys};
use crate::{ArtifactMeta, ArtifactStore, StoreError, TenantId};

/// Octets taken and written at a time.
const CHUNK: usize = 256 << 10;

/// A file that has no name of its own yet. Dropped before it has one, it is removed.
struct Unfinished {
    path: PathBuf,
    kept: bool,
}

impl Unfinished {
    fn new(dir: &Path) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { path: dir.join(format!("{}-{number}.new", super::commit::clock_us())), kept: false }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "unfinished artifact stays");
        }
    }
}

/// The name of an artifact's file.
pub(super) fn file_name(digest: &[u8; 32]) -> String {
    use std::fmt::Write;
    digest.iter().fold(String::with_capacity(64), |mut name, octet| {
        // Writing to a string does not fail.
        let _ = write!(name, "{octet:02x}");
        name
    })
}

impl Inner {
    fn artifact(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        digest: &[u8; 32],
    ) -> Result<Option<ArtifactMeta>, StoreError> {
        let key = keys::with(&keys::tenant(operation, tenant)?, digest);
        let Some(stored) = self.engine.read(operation, Space::Artifacts, &key)? else {
            return Ok(None);
        };
        ArtifactMeta::decode(operation, *digest, &stored).map(Some)
    }
}

/// Copies `content` to a file and syncs it. Answers digest and size.
async fn take_in(
    operation: &'static str,
    path: &Path,
    size_max: u64,
    content: &mut (dyn AsyncRead + Send + Unpin),
) -> Result<([u8; 32], u64), StoreError> {
    let failed = |error: io::Error| StoreError::unavailable(operation, error);
    let mut file = tokio::fs::File::create(path).await.map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut size = 0;
    let mut chunk = vec![0; CHUNK];
    loop {
        let taken = content.read(&mut chunk).await.map_err(failed)?;
        if taken == 0 {
            break;
        }
        size += taken as u64;
        if size > size_max {
            let reason = format!("expected an artifact of at most {size_max} octets");
            return Err(StoreError::too_large(operation, reason));
        }
        hasher.update(&chunk[..taken]);
        file.write_all(&chunk[..taken]).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)?;
    file.sync_all().await.map_err(failed)?;
    Ok((hasher.finalize().into(), size))
}

#[async_trait]
impl ArtifactStore for Embedded {
    async fn add(
        &self,
        tenant: &TenantId,
        name: &str,
        version: &str,
        media_type: &str,
        size_max: u64,
        content: &mut (dyn AsyncRead + Send + Unpin),
    ) -> Result<ArtifactMeta, StoreError> {
        const OPERATION: &str = "add artifact";
        let failed = |error: io::Error| StoreError::unavailable(OPERATION, error);
        let tenant_key = keys::tenant(OPERATION, tenant)?;
        let dir = self.0.artifact_dir.clone();
        let mut unfinished = Unfinished::new(&dir);
        let (digest, size) = take_in(OPERATION, &unfinished.path, size_max, content).await?;

        let key = keys::with(&tenant_key, &digest);
        let guard = self.0.tenant_locks.lock(&key).await;
        if let Some(known) = self.0.artifact(OPERATION, tenant, &digest)? {
            return Ok(known);
        }
        tokio::fs::rename(&unfinished.path, dir.join(file_name(&digest))).await.map_err(failed)?;
        unfinished.kept = true;
        self.blocking(OPERATION, move |_| File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed))
            .await?;

        let meta = ArtifactMeta {
            digest,
            size,
            name: name.to_owned(),
            version: version.to_owned(),
            media_type: media_type.to_owned(),
            added: Timestamp::now(),
        };
        let mut batch = Batch::default();
        batch.put(Space::Artifacts, key, meta.encode());
        batch.hold([guard]);
        self.0.committer.commit(OPERATION, batch).await?;
        Ok(meta)
    }

    async fn meta(&self, tenant: &TenantId, digest: &[u8; 32]) -> Result<Option<ArtifactMeta>, StoreError> {
        self.0.artifact("load artifact", tenant, digest)
    }

    async fn list(&self, tenant: &TenantId) -> Result<Vec<ArtifactMeta>, StoreError> {
        const OPERATION: &str = "list artifacts";
        let prefix = keys::tenant(OPERATION, tenant)?;
        let mut artifacts = Vec::new();
        let from = std::ops::Bound::Included(prefix.as_slice());
        for row in self.0.engine.scan(OPERATION, Space::Artifacts, &prefix, from) {
            let (key, stored) = row?;
            let digest =
                key.last_chunk().ok_or_else(|| StoreError::corrupt(OPERATION, "key ends in no digest"))?;
            artifacts.push(ArtifactMeta::decode(OPERATION, *digest, &stored)?);
        }
        artifacts.sort_by(|a, b| b.added.cmp(&a.added).then(a.digest.cmp(&b.digest)));
        Ok(artifacts)
    }

    async fn read(
        &self,
        tenant: &TenantId,
        digest: &[u8; 32],
        offset: u64,
        len: usize,
    ) -> Result<Vec<u8>, StoreError> {
        const OPERATION: &str = "read artifact";
        let meta =
            self.0.artifact(OPERATION, tenant, digest)?.ok_or_else(|| StoreError::missing(OPERATION))?;
        let left = meta.size.saturating_sub(offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(len);
        let path = self.0.artifact_dir.join(file_name(digest));
        let read = move |_: &Inner| {
            let mut octets = vec![0; len];
            File::open(path).and_then(|file| file.read_exact_at(&mut octets, offset)).map_err(|error| {
                match error.kind() {
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound => {
                        StoreError::corrupt(OPERATION, error)
                    }
                    _ => StoreError::unavailable(OPERATION, error),
                }
            })?;
            Ok(octets)
        };
        self.blocking(OPERATION, read).await
    }
}
