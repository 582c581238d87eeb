//! Campaigns: one row each, conditional on its revision; what is large stands beside it under a version that the row
//! names, so that members and state change together.

mod chunks;
mod create;

use async_trait::async_trait;
use campaign::CampaignId;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use storage::{CampaignRecord, CampaignStore, Revision, StoreError, TenantId, Versioned};

use crate::{
    Scylla,
    lwt::{Done, Stamp},
    statement::Cql,
};

/// Octets of a state that stand in the row.
const HEAD: usize = 64 << 10;
/// Octets of an idempotency key at most.
const KEY_MAX: usize = 255;
/// Campaigns read at once by one call.
const AT_ONCE: usize = 16;
/// Reads of a campaign whose parts are replaced meanwhile.
const TRIES: usize = 8;

const LOAD: Cql = Cql::read(
    "SELECT revision, definition, state, state_octets, state_version, members_octets, members_version \
     FROM campaign WHERE tenant = ? AND id = ?",
);
const REVISION: Cql = Cql::serial_read("SELECT revision FROM campaign WHERE tenant = ? AND id = ?");
const PUT_STATE: Cql = Cql::conditional(
    "UPDATE campaign SET revision = ?, state = ?, state_octets = ?, state_version = ? \
     WHERE tenant = ? AND id = ? IF revision = ?",
);
const PUT_ALL: Cql = Cql::conditional(
    "UPDATE campaign SET revision = ?, state = ?, state_octets = ?, state_version = ?, members_octets = ?, \
     members_version = ? WHERE tenant = ? AND id = ? IF revision = ?",
);

/// A state as it is stored: its beginning in the row, the rest in chunks.
struct Parts<'a> {
    head: &'a [u8],
    rest: &'a [u8],
    octets: i32,
}

impl<'a> Parts<'a> {
    fn of(operation: &'static str, state: &'a [u8]) -> Result<Self, StoreError> {
        let (head, rest) = state.split_at_checked(HEAD).unwrap_or((state, &[]));
        Ok(Self { head, rest, octets: octets(operation, state)? })
    }
}

fn octets(operation: &'static str, part: &[u8]) -> Result<i32, StoreError> {
    i32::try_from(part.len()).map_err(|error| StoreError::too_large(operation, error))
}

/// A campaign's row. Columns of bytes are null where they are empty.
struct Row {
    revision: Stamp,
    definition: Vec<u8>,
    head: Vec<u8>,
    state_octets: usize,
    state_version: Option<i64>,
    members_octets: usize,
    members_version: Option<i64>,
}

impl Scylla {
    async fn campaign_row(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        id: CampaignId,
    ) -> Result<Option<Row>, StoreError> {
        type Columns =
            (i64, Option<Vec<u8>>, Option<Vec<u8>>, Option<i32>, Option<i64>, Option<i32>, Option<i64>);
        let row: Option<Columns> = self.row(operation, &LOAD, (&*tenant.0, id.0.cast_signed())).await?;
        let length = |stored: Option<i32>| usize::try_from(stored.unwrap_or(0)).unwrap_or(0);
        Ok(row.map(|(revision, definition, head, state, state_version, members, members_version)| Row {
            revision: Stamp::from_bigint(revision),
            definition: definition.unwrap_or_default(),
            head: head.unwrap_or_default(),
            state_octets: length(state),
            state_version,
            members_octets: length(members),
            members_version,
        }))
    }

    /// A campaign with its whole state, and its members where asked for.
    async fn whole_campaign(
        &self,
        operation: &'static str,
        tenant: &TenantId,
        id: CampaignId,
        with_members: bool,
    ) -> Result<Option<Versioned<CampaignRecord>>, StoreError> {
        for _ in 0..TRIES {
            let Some(row) = self.campaign_row(operation, tenant, id).await? else { return Ok(None) };
            let mut state = row.head;
            state.extend(self.read_chunks(operation, (tenant, id), row.state_version).await?);
            let members_version = row.members_version.filter(|_| with_members);
            let members = self.read_chunks(operation, (tenant, id), members_version).await?;
            // A version that is shorter than its row says was removed by a writer of the row since.
            if state.len() == row.state_octets && (!with_members || members.len() == row.members_octets) {
                let value = CampaignRecord { id, definition: row.definition, members, state };
                return Ok(Some(Versioned { value, revision: Revision(row.revision.0) }));
            }
        }
        Err(StoreError::corrupt(operation, format!("campaign {id} lacks chunks of its state or members")))
    }
}

#[async_trait]
impl CampaignStore for Scylla {
    async fn create(
        &self,
        tenant: &TenantId,
        key: Option<&str>,
        definition: &[u8],
        state: &[u8],
    ) -> Result<CampaignId, StoreError> {
        const OPERATION: &str = "create campaign";
        if let Some(key) = key
            && (key.len() > KEY_MAX || key.is_empty())
        {
            let reason = format!("expected a key of 1 to {KEY_MAX} octets, got {}", key.len());
            return Err(StoreError::too_large(OPERATION, reason));
        }
        self.create_campaign(OPERATION, tenant, key, definition, state).await
    }

    async fn load(
        &self,
        tenant: &TenantId,
        id: CampaignId,
    ) -> Result<Option<Versioned<CampaignRecord>>, StoreError> {
        self.whole_campaign("load campaign", tenant, id, true).await
    }

    async fn load_head(
        &self,
        tenant: &TenantId,
        id: CampaignId,
    ) -> Result<Option<Versioned<CampaignRecord>>, StoreError> {
        let row = self.campaign_row("load campaign", tenant, id).await?;
        Ok(row.map(|row| {
            let value =
                CampaignRecord { id, definition: row.definition, members: Vec::new(), state: row.head };
            Versioned { value, revision: Revision(row.revision.0) }
        }))
    }

    async fn list(&self, tenant: &TenantId) -> Result<Vec<Versioned<CampaignRecord>>, StoreError> {
        const OPERATION: &str = "list campaigns";
        let last = self.last_noted(OPERATION, tenant).await?;
        let read = |id: u64| self.whole_campaign(OPERATION, tenant, CampaignId(id), false);
        let noted: Vec<Option<_>> = stream::iter(1..=last).map(read).buffered(AT_ONCE).try_collect().await?;
        let mut campaigns: Vec<_> = noted.into_iter().flatten().collect();
        for id in last + 1.. {
            let Some(campaign) = read(id).await? else { break };
            campaigns.push(campaign);
        }
        Ok(campaigns)
    }

    async fn put(
        &self,
        tenant: &TenantId,
        id: CampaignId,
        expected: Revision,
        members: Option<&[u8]>,
        state: &[u8],
    ) -> Result<Revision, StoreError> {
        const OPERATION: &str = "put campaign";
        let parts = Parts::of(OPERATION, state)?;
        let row = self.campaign_row(OPERATION, tenant, id).await?;
        let Some(row) = row.filter(|row| row.revision.0 == expected.0) else {
            return Err(StoreError::conflict(OPERATION));
        };
        let place = (tenant, id);
        let (before, stamp) = (row.revision, row.revision.next(OPERATION)?);
        let state_version = self.write_chunks(OPERATION, place, parts.rest).await?;
        let was_it_done = || async move {
            let values = (&*tenant.0, id.0.cast_signed());
            let found: Option<(i64,)> = self.row(OPERATION, &REVISION, values).await?;
            let found = found.map(|(revision,)| Stamp::from_bigint(revision));
            Ok::<Done, StoreError>(stamp.judge(Some(before), found))
        };
        let (new, old, key) = (stamp.as_bigint(), before.as_bigint(), id.0.cast_signed());
        let (applied, members_version) = if let Some(members) = members {
            let members_octets = octets(OPERATION, members)?;
            let version = self.write_chunks(OPERATION, place, members).await?;
            let state = (parts.head, parts.octets, state_version);
            let values = (new, state.0, state.1, state.2, members_octets, version, &*tenant.0, key, old);
            (self.lwt_resolved(OPERATION, &PUT_ALL, values, was_it_done).await?, version)
        } else {
            let values = (new, parts.head, parts.octets, state_version, &*tenant.0, key, old);
            (self.lwt_resolved(OPERATION, &PUT_STATE, values, was_it_done).await?, None)
        };
        if !applied {
            self.remove_chunks(OPERATION, place, state_version).await;
            self.remove_chunks(OPERATION, place, members_version).await;
            return Err(StoreError::conflict(OPERATION));
        }
        self.remove_chunks(OPERATION, place, row.state_version).await;
        if members.is_some() {
            self.remove_chunks(OPERATION, place, row.members_version).await;
        }
        Ok(Revision(stamp.0))
    }
}
