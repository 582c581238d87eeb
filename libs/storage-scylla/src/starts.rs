//! The order of starts: a row a start, inserted only if its number is free.

use async_trait::async_trait;
use campaign::CampaignId;
use storage::{StartStore, Started, StoreError, TenantId};

use crate::{Scylla, lwt::Done, statement::Cql};

const NUMBER: Cql = Cql::read("SELECT number FROM start WHERE tenant = ? AND number = ?");
const LOAD: Cql =
    Cql::read("SELECT campaign, state, upload, chunks FROM start WHERE tenant = ? AND number = ?");
const UPLOAD: Cql = Cql::serial_read("SELECT upload FROM start WHERE tenant = ? AND number = ?");
const INSERT: Cql = Cql::conditional(
    "INSERT INTO start (tenant, number, campaign, state, upload, chunks) VALUES (?, ?, ?, ?, ?, ?) IF NOT EXISTS",
);
const LAST: Cql = Cql::read("SELECT last FROM start_sequence WHERE tenant = ?");
// The number is the write's time too, so that the highest stays however late another comes.
const NOTE_LAST: Cql =
    Cql::write("INSERT INTO start_sequence (tenant, last) VALUES (?, ?) USING TIMESTAMP ?");
const PUT_CHUNK: Cql =
    Cql::write("INSERT INTO start_chunk (tenant, upload, chunk, octets) VALUES (?, ?, ?, ?)");
const CHUNKS: Cql =
    Cql::read("SELECT octets FROM start_chunk WHERE tenant = ? AND upload = ?").by_pages_of(4);
const DROP_CHUNKS: Cql = Cql::write("DELETE FROM start_chunk WHERE tenant = ? AND upload = ?");

/// Octets of a chunk of members.
const CHUNK: usize = 512 << 10;

fn bigint(operation: &'static str, number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::conflict(operation))
}

impl Scylla {
    async fn has_start(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        number: i64,
    ) -> Result<bool, StoreError> {
        Ok(self.row::<(i64,)>(operation, &NUMBER, (&*tenant.0, number)).await?.is_some())
    }

    async fn put_members(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        upload: &[u8],
        members: &[u8],
    ) -> Result<i32, StoreError> {
        let mut chunks = 0;
        for octets in members.chunks(CHUNK) {
            self.write(operation, &PUT_CHUNK, (&*tenant.0, upload, chunks, octets)).await?;
            chunks += 1;
        }
        Ok(chunks)
    }
}

#[async_trait]
impl StartStore for Scylla {
    async fn last_start(&self, tenant: &TenantId) -> Result<u64, StoreError> {
        const OPERATION: &str = "find last start";
        let noted: Option<(i64,)> = self.row(OPERATION, &LAST, (&*tenant.0,)).await?;
        let mut last = noted.map_or(0, |(last,)| last);
        while self.has_start(OPERATION, tenant, last + 1).await? {
            last += 1;
        }
        Ok(last.cast_unsigned())
    }

    async fn start(&self, tenant: &TenantId, number: u64) -> Result<Option<Started>, StoreError> {
        const OPERATION: &str = "load start";
        let Ok(number) = i64::try_from(number) else { return Ok(None) };
        let row: Option<(i64, Vec<u8>, Vec<u8>, i32)> =
            self.row(OPERATION, &LOAD, (&*tenant.0, number)).await?;
        let Some((campaign, state, upload, chunks)) = row else { return Ok(None) };
        let octets: Vec<(Vec<u8>,)> = self.rows(OPERATION, &CHUNKS, (&*tenant.0, &upload)).await?;
        if i32::try_from(octets.len()) != Ok(chunks) {
            let reason = format!("expected {chunks} chunks of members, got {}", octets.len());
            return Err(StoreError::corrupt(OPERATION, reason));
        }
        let members = octets.into_iter().flat_map(|(octets,)| octets).collect();
        Ok(Some(Started { campaign: CampaignId(campaign.cast_unsigned()), members, state }))
    }

    async fn append_start(&self, tenant: &TenantId, number: u64, start: &Started) -> Result<(), StoreError> {
        const OPERATION: &str = "append start";
        let number = bigint(OPERATION, number)?;
        // What is there stays, so this still holds when the row is inserted.
        if number < 1 || (number > 1 && !self.has_start(OPERATION, tenant, number - 1).await?) {
            return Err(StoreError::conflict(OPERATION));
        }
        let mut upload = [0; 16];
        getrandom::fill(&mut upload).map_err(|error| StoreError::unavailable(OPERATION, error))?;
        let chunks = self.put_members(OPERATION, tenant, &upload, &start.members).await?;
        let campaign = start.campaign.0.cast_signed();
        let values = (&*tenant.0, number, campaign, &start.state, &upload[..], chunks);
        let was_it_done = async || {
            let found: Option<(Vec<u8>,)> = self.row(OPERATION, &UPLOAD, (&*tenant.0, number)).await?;
            Ok(match found {
                Some((found,)) if found == upload => Done::Ours,
                Some(_) => Done::Never,
                None => Done::NotYet,
            })
        };
        if !self.lwt_resolved(OPERATION, &INSERT, values, was_it_done).await? {
            let _ = self.write(OPERATION, &DROP_CHUNKS, (&*tenant.0, &upload[..])).await;
            return Err(StoreError::conflict(OPERATION));
        }
        // Only makes the next search short.
        if let Err(error) = self.write(OPERATION, &NOTE_LAST, (&*tenant.0, number, number)).await {
            tracing::debug!(%error, "the last start is not noted");
        }
        Ok(())
    }
}
