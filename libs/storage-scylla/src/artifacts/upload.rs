//! Taking an artifact in, and removing what was never finished.

use std::time::Duration;

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use sha2::{Digest as _, Sha256};
use storage::StoreError;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::Instant,
};

use super::{AT_ONCE, CHUNK, place};
use crate::{Scylla, lwt::Lwt, statement::Cql};

/// How long an upload may take.
const UPLOAD_MAX: Duration = Duration::from_secs(12 * 3600);
/// After how long one that has not ended is removed: long after it may end, whatever clocks say.
const LEFTOVER_AFTER: Duration = Duration::from_secs(36 * 3600);

const BEGIN: Cql =
    Cql::write("INSERT INTO artifact_upload (part, upload, started_ms) VALUES ('uploads', ?, ?)");
const NAME: Cql = Cql::write("UPDATE artifact_upload SET digest = ? WHERE part = 'uploads' AND upload = ?");
const END: Cql = Cql::write("DELETE FROM artifact_upload WHERE part = 'uploads' AND upload = ?");
const LEFTOVERS: Cql =
    Cql::read("SELECT upload, started_ms, digest FROM artifact_upload WHERE part = 'uploads'");
const WRITE: Cql =
    Cql::write("INSERT INTO artifact_chunk (upload, block, chunk, octets) VALUES (?, ?, ?, ?)");
const BLOCK_IS_THERE: Cql =
    Cql::read("SELECT chunk FROM artifact_chunk WHERE upload = ? AND block = ? LIMIT 1");
const REMOVE: Cql = Cql::write("DELETE FROM artifact_chunk WHERE upload = ? AND block = ?");
const CLAIM: Cql =
    Cql::conditional("INSERT INTO artifact_content (digest, upload) VALUES (?, ?) IF NOT EXISTS");
const CONTENT: Cql = Cql::serial_read("SELECT upload FROM artifact_content WHERE digest = ?");

impl Scylla {
    /// Stores what `content` gives, if nobody has stored the same, and answers its digest, its size, and the upload
    /// that has its octets.
    pub(super) async fn take_in(
        &self,
        operation: &'static str,
        size_max: u64,
        content: &mut (dyn AsyncRead + Send + Unpin),
    ) -> Result<([u8; 32], u64, Vec<u8>), StoreError> {
        if let Err(error) = self.remove_leftovers(operation).await {
            tracing::warn!(%error, "unfinished uploads stay until the next");
        }
        let started = Instant::now();
        let mut upload = vec![0; 16];
        getrandom::fill(&mut upload).map_err(|error| StoreError::unavailable(operation, error))?;
        let now = jiff::Timestamp::now().as_millisecond();
        self.write(operation, &BEGIN, (&upload, now)).await?;
        let written = self.write_content(operation, &upload, size_max, content).await;
        let (digest, size) = match written {
            Ok(written) => written,
            Err(error) => {
                self.forget(operation, &upload).await;
                return Err(error);
            }
        };
        self.write(operation, &NAME, (&digest[..], &upload)).await?;
        if started.elapsed() > UPLOAD_MAX {
            let reason = format!("expected an upload of at most {UPLOAD_MAX:?}");
            return Err(StoreError::too_large(operation, reason));
        }
        let content = self.claim(operation, &digest, &upload).await?;
        if content == upload {
            if let Err(error) = self.write(operation, &END, (&upload,)).await {
                tracing::debug!(%error, "a finished upload is noted as unfinished until the next");
            }
        } else {
            self.forget(operation, &upload).await;
        }
        Ok((digest, size, content))
    }

    async fn write_content(
        &self,
        operation: &'static str,
        upload: &[u8],
        size_max: u64,
        content: &mut (dyn AsyncRead + Send + Unpin),
    ) -> Result<([u8; 32], u64), StoreError> {
        let mut hasher = Sha256::new();
        let (mut size, mut number) = (0_u64, 0_u64);
        let mut writing = FuturesUnordered::new();
        loop {
            let mut chunk = Vec::new();
            let taken = (&mut *content).take(CHUNK).read_to_end(&mut chunk).await;
            taken.map_err(|error| StoreError::unavailable(operation, error))?;
            if chunk.is_empty() {
                break;
            }
            size = size.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            if size > size_max {
                let reason = format!("expected an artifact of at most {size_max} octets");
                return Err(StoreError::too_large(operation, reason));
            }
            hasher.update(&chunk);
            let (block, at) = place(number);
            number += 1;
            while writing.len() >= AT_ONCE {
                writing.next().await.transpose()?;
            }
            writing.push(async move { self.write(operation, &WRITE, (upload, block, at, chunk)).await });
        }
        while writing.next().await.transpose()?.is_some() {}
        Ok((hasher.finalize().into(), size))
    }

    /// Names `upload` as what has the octets of a digest, and answers the one that is named then.
    async fn claim(
        &self,
        operation: &'static str,
        digest: &[u8; 32],
        upload: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        let claimed = self.lwt(operation, &CLAIM, (&digest[..], upload)).await?;
        if matches!(claimed, Lwt::Applied) {
            return Ok(upload.to_vec());
        }
        match (self.content_of(operation, digest).await?, claimed) {
            (Some(content), _) => Ok(content),
            (None, Lwt::Unknown(unknown)) => Err(unknown.error),
            (None, _) => Err(StoreError::conflict(operation)),
        }
    }

    async fn content_of(
        &self,
        operation: &'static str,
        digest: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let row: Option<(Vec<u8>,)> = self.row(operation, &CONTENT, (digest,)).await?;
        Ok(row.map(|(upload,)| upload))
    }

    /// Removes an upload; where that fails a later one does it.
    async fn forget(&self, operation: &'static str, upload: &[u8]) {
        if let Err(error) = self.remove_upload(operation, upload).await {
            tracing::debug!(%error, "an unfinished upload stays for a while");
        }
    }

    async fn remove_upload(&self, operation: &'static str, upload: &[u8]) -> Result<(), StoreError> {
        for block in 0.. {
            let there: Option<(i32,)> = self.row(operation, &BLOCK_IS_THERE, (upload, block)).await?;
            if there.is_none() {
                break;
            }
            self.write(operation, &REMOVE, (upload, block)).await?;
        }
        self.write(operation, &END, (upload,)).await
    }

    /// Removes what uploads have left that cannot end any more.
    async fn remove_leftovers(&self, operation: &'static str) -> Result<(), StoreError> {
        type Columns = (Vec<u8>, Option<i64>, Option<Vec<u8>>);
        let rows: Vec<Columns> = self.rows(operation, &LEFTOVERS, ()).await?;
        let now = jiff::Timestamp::now().as_millisecond();
        let old = i64::try_from(LEFTOVER_AFTER.as_millis()).unwrap_or(i64::MAX);
        for (upload, started_ms, digest) in rows {
            // One whose begin was overtaken by its end has no time, and nothing else.
            if started_ms.is_some_and(|started| now.saturating_sub(started) < old) {
                continue;
            }
            let content = match &digest {
                Some(digest) => self.content_of(operation, digest).await?,
                None => None,
            };
            if content.as_ref() == Some(&upload) {
                self.write(operation, &END, (&upload,)).await?;
            } else {
                self.remove_upload(operation, &upload).await?;
            }
        }
        Ok(())
    }
}
