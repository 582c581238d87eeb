//! Artifacts: octets in chunks under the id of their upload, which a digest and then a tenant's record name when they
//! are complete. What is read is never half there, and what a dead process left is removed by a later upload.

mod upload;

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use storage::{ArtifactMeta, ArtifactStore, StoreError, TenantId};
use tokio::io::AsyncRead;

use crate::{Scylla, lwt::Lwt, statement::Cql};

/// Octets of a chunk.
const CHUNK: u64 = 256 << 10;
/// Chunks of a partition: 16 MiB.
const BLOCK: u64 = 64;
/// Chunks read or written at once by one call.
const AT_ONCE: usize = 4;

const META: Cql = Cql::read("SELECT record, upload FROM artifact WHERE tenant = ? AND digest = ?");
const META_SERIAL: Cql =
    Cql::serial_read("SELECT record, upload FROM artifact WHERE tenant = ? AND digest = ?");
const LIST: Cql = Cql::read("SELECT digest, record FROM artifact WHERE tenant = ?");
const ADD: Cql = Cql::conditional(
    "INSERT INTO artifact (tenant, digest, record, upload) VALUES (?, ?, ?, ?) IF NOT EXISTS",
);
const CHUNK_READ: Cql =
    Cql::read("SELECT octets FROM artifact_chunk WHERE upload = ? AND block = ? AND chunk = ?");

/// Where a chunk is: its partition and its number.
fn place(chunk: u64) -> (i32, i32) {
    // An artifact of 2^31 partitions would have 32 PiB.
    let block = i32::try_from(chunk / BLOCK).unwrap_or(i32::MAX);
    (block, i32::try_from(chunk % BLOCK).unwrap_or(i32::MAX))
}

impl Scylla {
    async fn artifact(
        &self,
        operation: &'static str,
        cql: &Cql,
        tenant: &TenantId,
        digest: &[u8; 32],
    ) -> Result<Option<(ArtifactMeta, Vec<u8>)>, StoreError> {
        let row: Option<(Vec<u8>, Vec<u8>)> = self.row(operation, cql, (&*tenant.0, &digest[..])).await?;
        row.map(|(record, upload)| Ok((ArtifactMeta::decode(operation, *digest, &record)?, upload)))
            .transpose()
    }

    /// Octets of one chunk: those of it that are within `from..to` of the artifact.
    async fn chunk_part(
        &self,
        operation: &'static str,
        upload: &[u8],
        chunk: u64,
        (from, to): (u64, u64),
    ) -> Result<Vec<u8>, StoreError> {
        let (block, number) = place(chunk);
        let row: Option<(Vec<u8>,)> = self.row(operation, &CHUNK_READ, (upload, block, number)).await?;
        let start = chunk * CHUNK;
        let within = |at: u64| usize::try_from(at.saturating_sub(start).min(CHUNK)).unwrap_or(0);
        let part = row.as_ref().and_then(|(octets,)| octets.get(within(from)..within(to)));
        let missing =
            || StoreError::corrupt(operation, format!("chunk {chunk} is not as long as it should be"));
        part.map(<[u8]>::to_vec).ok_or_else(missing)
    }
}

#[async_trait]
impl ArtifactStore for Scylla {
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
        let (digest, size, upload) = self.take_in(OPERATION, size_max, content).await?;
        let meta = ArtifactMeta {
            digest,
            size,
            name: name.to_owned(),
            version: version.to_owned(),
            media_type: media_type.to_owned(),
            added: Timestamp::now(),
        };
        let values = (&*tenant.0, &digest[..], meta.encode(), upload);
        let added = self.lwt(OPERATION, &ADD, values).await?;
        if matches!(added, Lwt::Applied) {
            return Ok(meta);
        }
        // There already, or its answer was lost: what the row says is so.
        match (self.artifact(OPERATION, &META_SERIAL, tenant, &digest).await?, added) {
            (Some((known, _)), _) => Ok(known),
            (None, Lwt::Unknown(unknown)) => Err(unknown.error),
            (None, _) => Err(StoreError::conflict(OPERATION)),
        }
    }

    async fn meta(&self, tenant: &TenantId, digest: &[u8; 32]) -> Result<Option<ArtifactMeta>, StoreError> {
        Ok(self.artifact("load artifact", &META, tenant, digest).await?.map(|(meta, _)| meta))
    }

    async fn list(&self, tenant: &TenantId) -> Result<Vec<ArtifactMeta>, StoreError> {
        const OPERATION: &str = "list artifacts";
        let rows: Vec<(Vec<u8>, Vec<u8>)> = self.rows(OPERATION, &LIST, (&*tenant.0,)).await?;
        let mut artifacts = Vec::with_capacity(rows.len());
        for (digest, record) in rows {
            let not_a_digest = |_| StoreError::corrupt(OPERATION, "expected a digest of 32 octets");
            let digest: [u8; 32] = digest.try_into().map_err(not_a_digest)?;
            artifacts.push(ArtifactMeta::decode(OPERATION, digest, &record)?);
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
        let (meta, upload) = self
            .artifact(OPERATION, &META, tenant, digest)
            .await?
            .ok_or_else(|| StoreError::missing(OPERATION))?;
        let from = offset.min(meta.size);
        let to = from.saturating_add(u64::try_from(len).unwrap_or(u64::MAX)).min(meta.size);
        let upload = &upload[..];
        let parts = stream::iter(from / CHUNK..to.div_ceil(CHUNK))
            .map(|chunk| self.chunk_part(OPERATION, upload, chunk, (from, to)))
            .buffered(AT_ONCE);
        let octets = Vec::with_capacity(usize::try_from(to - from).unwrap_or(0));
        parts
            .try_fold(octets, |mut octets, part| async move {
                octets.extend_from_slice(&part);
                Ok(octets)
            })
            .await
    }
}
