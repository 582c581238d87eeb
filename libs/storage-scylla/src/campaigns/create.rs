//! Ids, dense from 1, and idempotency keys.
//!
//! An id is taken by inserting the campaign under it, if nobody has: the row is the claim, so a crash leaves neither a
//! gap nor half a campaign. A key first notes the id that it will make. Who finds that note goes on from it: either the
//! campaign of that id has the key, and that is it; or it is free, and may be inserted by anyone with the key; or it is
//! another's, and the note moves on.

use campaign::CampaignId;
use storage::{StoreError, TenantId};

use super::Parts;
use crate::{
    Scylla,
    lwt::{Lwt, Stamp},
    statement::Cql,
};

/// Tries against others who create campaigns of the same tenant.
const TRIES: u32 = 200;
/// Answers of one insert that may be lost.
const ANSWERS_LOST_MAX: u32 = 3;

const LAST: Cql = Cql::read("SELECT last FROM campaign_sequence WHERE tenant = ?");
// A timestamp that grows with the id: the highest stays, whoever writes last.
const NOTE_LAST: Cql = Cql::write("UPDATE campaign_sequence USING TIMESTAMP ? SET last = ? WHERE tenant = ?");
const EXISTS: Cql = Cql::read("SELECT revision FROM campaign WHERE tenant = ? AND id = ?");
const INSERT: Cql = Cql::conditional(
    "INSERT INTO campaign (tenant, id, revision, key, definition, state, state_octets, state_version) \
     VALUES (?, ?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS",
);
const KEY: Cql = Cql::serial_read("SELECT id FROM campaign_key WHERE tenant = ? AND key = ?");
const KEY_NOTE: Cql =
    Cql::conditional("INSERT INTO campaign_key (tenant, key, id) VALUES (?, ?, ?) IF NOT EXISTS");
const KEY_MOVE: Cql =
    Cql::conditional("UPDATE campaign_key SET id = ? WHERE tenant = ? AND key = ? IF id = ?");

impl Scylla {
    pub(super) async fn create_campaign(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        key: Option<&str>,
        definition: &[u8],
        state: &[u8],
    ) -> Result<CampaignId, StoreError> {
        // One stamp for all tries: one whose answer was lost is known again by it.
        let stamp = Stamp::first(operation)?;
        for _ in 0..TRIES {
            let free = self.first_free(operation, tenant).await?;
            let id = match key {
                None => free,
                Some(key) => self.noted(operation, tenant, key, free).await?,
            };
            if self.insert(operation, (tenant, id), stamp, key, definition, state).await? {
                self.note_last(operation, tenant, id).await;
                return Ok(id);
            }
            if let Some(key) = key {
                // Taken by another: whether the note moves to here or elsewhere is seen by the next look at it.
                let free = self.first_free(operation, tenant).await?;
                let values = (free.0.cast_signed(), &*tenant.0, key, id.0.cast_signed());
                self.lwt(operation, &KEY_MOVE, values).await?;
            }
        }
        Err(StoreError::unavailable(operation, format!("{TRIES} others were faster to create campaigns")))
    }

    /// The last id that is noted; there may be more.
    pub(super) async fn last_noted(
        &self,
        operation: &'static str,
        tenant: &TenantId,
    ) -> Result<u64, StoreError> {
        let row: Option<(Option<i64>,)> = self.row(operation, &LAST, (&*tenant.0,)).await?;
        Ok(row.and_then(|(last,)| last).map_or(0, i64::cast_unsigned))
    }

    /// The first id that has no campaign.
    async fn first_free(&self, operation: &'static str, tenant: &TenantId) -> Result<CampaignId, StoreError> {
        let mut id = CampaignId(self.last_noted(operation, tenant).await? + 1);
        let mut passed = false;
        while self.campaign_exists(operation, tenant, id).await? {
            id.0 += 1;
            passed = true;
        }
        if passed {
            self.note_last(operation, tenant, CampaignId(id.0 - 1)).await;
        }
        Ok(id)
    }

    async fn campaign_exists(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        id: CampaignId,
    ) -> Result<bool, StoreError> {
        let row: Option<(i64,)> = self.row(operation, &EXISTS, (&*tenant.0, id.0.cast_signed())).await?;
        Ok(row.is_some())
    }

    async fn note_last(&self, operation: &'static str, tenant: &TenantId, id: CampaignId) {
        let id = id.0.cast_signed();
        if let Err(error) = self.write(operation, &NOTE_LAST, (id, id, &*tenant.0)).await {
            tracing::debug!(id, %error, "last campaign is not noted; the next finds it by looking");
        }
    }

    /// The id that a key is noted with; `free` where it is new.
    async fn noted(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        key: &str,
        free: CampaignId,
    ) -> Result<CampaignId, StoreError> {
        let read = || self.row::<(i64,)>(operation, &KEY, (&*tenant.0, key));
        if let Some((id,)) = read().await? {
            return Ok(CampaignId(id.cast_unsigned()));
        }
        match self.lwt(operation, &KEY_NOTE, (&*tenant.0, key, free.0.cast_signed())).await? {
            Lwt::Applied => Ok(free),
            Lwt::NotApplied(_) => {
                let (id,) = read().await?.ok_or_else(|| StoreError::conflict(operation))?;
                Ok(CampaignId(id.cast_unsigned()))
            }
            Lwt::Unknown(unknown) => match read().await? {
                Some((id,)) => Ok(CampaignId(id.cast_unsigned())),
                None => Err(unknown.error),
            },
        }
    }

    /// Inserts a campaign. True also where it is there already, by this call or under the same key.
    async fn insert(
        &self,
        operation: &'static str,
        (tenant, id): (&TenantId, CampaignId),
        stamp: Stamp,
        key: Option<&str>,
        definition: &[u8],
        state: &[u8],
    ) -> Result<bool, StoreError> {
        let parts = Parts::of(operation, state)?;
        let version = self.write_chunks(operation, (tenant, id), parts.rest).await?;
        let revision = stamp.as_bigint();
        let mut tries = 0;
        let is_there = loop {
            let (head, octets) = (parts.head, parts.octets);
            let values = (&*tenant.0, id.0.cast_signed(), revision, key, definition, head, octets, version);
            match self.lwt(operation, &INSERT, values).await? {
                Lwt::Applied => return Ok(true),
                Lwt::NotApplied(row) if row.bigint("revision") == Some(revision) => return Ok(true),
                Lwt::NotApplied(row) => break key.is_some() && row.text("key") == key,
                // Inserting the same under the same id again says what came of it; another id would make two.
                Lwt::Unknown(_) if tries < ANSWERS_LOST_MAX => tries += 1,
                Lwt::Unknown(unknown) => return Err(unknown.error),
            }
        };
        self.remove_chunks(operation, (tenant, id), version).await;
        Ok(is_there)
    }
}
