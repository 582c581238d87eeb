//! An artifact on its way out: one block in memory, the next read only when that one has gone.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use service_kit::{
    admission::Slot,
    metrics::{DownloadResult, SessionMetrics},
};
use storage::{ArtifactStore, StoreError, TenantId};

/// Octets of a block. Large enough that reading costs little beside sending, small enough that a
/// thousand slow downloads fit into 128 MiB.
const BLOCK: usize = 128 * 1024;

type Read = Pin<Box<dyn Future<Output = Result<Vec<u8>, StoreError>> + Send>>;

/// Which octets of which artifact.
pub(crate) struct Part {
    pub(crate) tenant: TenantId,
    pub(crate) digest: [u8; 32],
    /// First octet.
    pub(crate) offset: u64,
    /// How many.
    pub(crate) length: u64,
    /// It is all of the artifact.
    pub(crate) is_whole: bool,
}

/// The octets of a part, and the slot that they are sent in.
pub(crate) struct ArtifactStream {
    store: Arc<dyn ArtifactStore>,
    metrics: SessionMetrics,
    part: Part,
    reading: Option<Read>,
    failed: bool,
    _slot: Slot,
}

impl ArtifactStream {
    pub(crate) fn new(
        store: Arc<dyn ArtifactStore>,
        metrics: SessionMetrics,
        part: Part,
        slot: Slot,
    ) -> Self {
        Self { store, metrics, part, reading: None, failed: false, _slot: slot }
    }

    /// Octets that are yet to be given out.
    pub(crate) fn remaining(&self) -> u64 {
        self.part.length
    }

    /// The next block; `None` after the last.
    pub(crate) fn poll_block(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, StoreError>>> {
        if self.part.length == 0 || self.failed {
            return Poll::Ready(None);
        }
        let reading = self.reading.get_or_insert_with(|| next_block(Arc::clone(&self.store), &self.part));
        let block = match reading.as_mut().poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(block) => block,
        };
        self.reading = None;
        match block {
            Ok(block) if !block.is_empty() && block.len() as u64 <= self.part.length => {
                self.part.offset += block.len() as u64;
                self.part.length -= block.len() as u64;
                self.metrics.download_bytes.add(block.len() as u64);
                Poll::Ready(Some(Ok(Bytes::from(block))))
            }
            Ok(_) => {
                self.failed = true;
                Poll::Ready(Some(Err(StoreError::corrupt(
                    "read artifact",
                    "it is shorter than its record says",
                ))))
            }
            Err(error) => {
                self.failed = true;
                tracing::warn!(%error, "artifact could not be read on");
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

fn next_block(store: Arc<dyn ArtifactStore>, part: &Part) -> Read {
    let (tenant, digest, offset) = (part.tenant.clone(), part.digest, part.offset);
    let length = usize::try_from(part.length).unwrap_or(BLOCK).min(BLOCK);
    Box::pin(async move { store.read(&tenant, &digest, offset, length).await })
}

impl Drop for ArtifactStream {
    fn drop(&mut self) {
        self.metrics.download(match self.part {
            _ if self.failed => DownloadResult::Failed,
            Part { length: 1.., .. } => DownloadResult::Cut,
            Part { is_whole: true, .. } => DownloadResult::Whole,
            Part { is_whole: false, .. } => DownloadResult::Part,
        });
    }
}

impl std::fmt::Debug for ArtifactStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArtifactStream").field("remaining", &self.part.length).finish_non_exhaustive()
    }
}
