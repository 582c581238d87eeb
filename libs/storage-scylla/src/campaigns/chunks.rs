//! What is too large for a campaign's row: by chunks of a version, written before the row that names it.

use campaign::CampaignId;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use storage::{StoreError, TenantId};

use crate::{Scylla, statement::Cql};

/// Octets of a chunk.
const CHUNK: usize = 512 << 10;
/// Chunks written at once by one call.
const AT_ONCE: usize = 4;

const WRITE: Cql =
    Cql::write("INSERT INTO campaign_chunk (tenant, id, version, chunk, octets) VALUES (?, ?, ?, ?, ?)");
const READ: Cql =
    Cql::read("SELECT octets FROM campaign_chunk WHERE tenant = ? AND id = ? AND version = ?").by_pages_of(4);
const REMOVE: Cql = Cql::write("DELETE FROM campaign_chunk WHERE tenant = ? AND id = ? AND version = ?");

impl Scylla {
    /// Writes `octets` under a version that nobody has, and answers it; `None` where there are none.
    pub(super) async fn write_chunks(
        &self,
        operation: &'static str,
        (tenant, id): (&TenantId, CampaignId),
        octets: &[u8],
    ) -> Result<Option<i64>, StoreError> {
        if octets.is_empty() {
            return Ok(None);
        }
        let random = getrandom::u64().map_err(|error| StoreError::unavailable(operation, error))?;
        let version = random.cast_signed();
        let numbers: Vec<(usize, i32)> = (0..octets.len().div_ceil(CHUNK)).zip(0..).collect();
        let writes = stream::iter(numbers).map(|(at, number)| async move {
            let chunk = &octets[at * CHUNK..octets.len().min((at + 1) * CHUNK)];
            let values = (&*tenant.0, id.0.cast_signed(), version, number, chunk);
            self.write(operation, &WRITE, values).await
        });
        writes.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        Ok(Some(version))
    }

    /// The octets of a version; fewer than there were when it has been removed.
    pub(super) async fn read_chunks(
        &self,
        operation: &'static str,
        (tenant, id): (&TenantId, CampaignId),
        version: Option<i64>,
    ) -> Result<Vec<u8>, StoreError> {
        let Some(version) = version else { return Ok(Vec::new()) };
        let values = (&*tenant.0, id.0.cast_signed(), version);
        let chunks: Vec<(Vec<u8>,)> = self.rows(operation, &READ, values).await?;
        Ok(chunks.into_iter().flat_map(|(octets,)| octets).collect())
    }

    /// Removes a version that no row names any more. Where that fails it stays for nothing, and harms nothing.
    pub(super) async fn remove_chunks(
        &self,
        operation: &'static str,
        (tenant, id): (&TenantId, CampaignId),
        version: Option<i64>,
    ) {
        let Some(version) = version else { return };
        let values = (&*tenant.0, id.0.cast_signed(), version);
        if let Err(error) = self.write(operation, &REMOVE, values).await {
            tracing::warn!(%id, version, %error, "old chunks of a campaign stay");
        }
    }
}
