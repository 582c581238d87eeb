//! The mailboxes of campaigns: a partition each, of what was asked lately.

use async_trait::async_trait;
use campaign::CampaignId;
use storage::{RequestId, RequestStore, StoreError, TenantId};

use crate::{
    Scylla,
    lwt::Lwt,
    statement::{Cql, Values},
};

const ASK: Cql =
    Cql::conditional("INSERT INTO request (tenant, campaign, id, request) VALUES (?, ?, ?, ?) IF NOT EXISTS");
const ASKED: Cql = Cql::read("SELECT id, request, answer FROM request WHERE tenant = ? AND campaign = ?");
const ANSWER: Cql = Cql::conditional(
    "UPDATE request SET answer = ? WHERE tenant = ? AND campaign = ? AND id = ? \
     IF request != null AND answer = null",
);
const ANSWERED: Cql = Cql::read("SELECT answer FROM request WHERE tenant = ? AND campaign = ? AND id = ?");
const FORGET: Cql =
    Cql::conditional("DELETE FROM request WHERE tenant = ? AND campaign = ? AND id = ? IF EXISTS");

impl Scylla {
    /// A conditional write that is the same done twice, and nothing where its condition does not hold.
    async fn lwt_once(
        &self,
        operation: &'static str,
        cql: &Cql,
        values: impl Values,
    ) -> Result<(), StoreError> {
        match self.lwt(operation, cql, values).await? {
            Lwt::Applied | Lwt::NotApplied(_) => Ok(()),
            Lwt::Unknown(unknown) => Err(unknown.error),
        }
    }
}

#[async_trait]
impl RequestStore for Scylla {
    async fn ask(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        id: RequestId,
        request: &[u8],
    ) -> Result<(), StoreError> {
        self.lwt_once("ask owner", &ASK, (&*tenant.0, campaign.0.cast_signed(), &id.0[..], request)).await
    }

    async fn asked(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
    ) -> Result<Vec<(RequestId, Vec<u8>)>, StoreError> {
        type Row = (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>);
        const OPERATION: &str = "read requests";
        let rows: Vec<Row> = self.rows(OPERATION, &ASKED, (&*tenant.0, campaign.0.cast_signed())).await?;
        let mut asked = Vec::new();
        for (id, request, answer) in rows {
            // A request is forgotten by time a little before its answer is.
            if let (Some(request), None) = (request, answer) {
                let id = <[u8; 16]>::try_from(id);
                let id =
                    id.map_err(|id| StoreError::corrupt(OPERATION, format!("a request is named {id:?}")))?;
                asked.push((RequestId(id), request));
            }
        }
        Ok(asked)
    }

    async fn answer(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        id: RequestId,
        answer: &[u8],
    ) -> Result<(), StoreError> {
        let values = (answer, &*tenant.0, campaign.0.cast_signed(), &id.0[..]);
        self.lwt_once("answer request", &ANSWER, values).await
    }

    async fn answered(
        &self,
        tenant: &TenantId,
        campaign: CampaignId,
        id: RequestId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let values = (&*tenant.0, campaign.0.cast_signed(), &id.0[..]);
        let row: Option<(Option<Vec<u8>>,)> = self.row("read answer", &ANSWERED, values).await?;
        Ok(row.and_then(|(answer,)| answer))
    }

    async fn forget(&self, tenant: &TenantId, campaign: CampaignId, id: RequestId) -> Result<(), StoreError> {
        self.lwt_once("forget request", &FORGET, (&*tenant.0, campaign.0.cast_signed(), &id.0[..])).await
    }
}
