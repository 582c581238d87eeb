//! Starting a campaign, from any process: its members are devices that no other campaign has.

use campaign::{CampaignId, Counts, Plan, Run, Selection, Start, StoredState, encode_members};
use roaring::RoaringBitmap;
use storage::{ErrorKind, Started, StoreError, Versioned};

use crate::{
    CampaignService, ServiceError, select,
    service::{Inner, decode_plan, decode_state},
};

/// Starts that others may get in before this one, one after the other.
const TRIES_MAX: usize = 16;

impl CampaignService {
    /// Chooses the members and starts a draft. Starting one that was started is nothing.
    ///
    /// The members are chosen among the devices that no campaign started before has, and the start is appended behind
    /// just those: where another process was faster, they are chosen anew.
    ///
    /// # Errors
    ///
    /// [`ServiceError::NoMembers`], [`ServiceError::NotFound`], or a store's.
    pub async fn start(&self, id: CampaignId, by: &str) -> Result<(), ServiceError> {
        let _one_at_a_time = self.0.starting.lock().await;
        let Inner { stores, tenant, .. } = &*self.0;
        for _ in 0..TRIES_MAX {
            let last = stores.starts.last_start(tenant).await?;
            self.carry_through(last).await?;
            let stored = decode_state(&self.load_light(id).await?.value)?;
            if stored.start.is_some() {
                if !stored.run.is_over() {
                    self.note_started(id);
                }
                return Ok(());
            }
            let start = self.choose(id, by).await?;
            let number = last + 1;
            match stores.starts.append_start(tenant, number, &start).await {
                Err(error) if error.kind == ErrorKind::Conflict => continue,
                // It may have been done all the same: who stands there now says so.
                Err(error) if error.kind == ErrorKind::TimedOut => {
                    match stores.starts.start(tenant, number).await? {
                        Some(stands) if stands.campaign == id => {}
                        Some(_) => continue,
                        None => return Err(error.into()),
                    }
                }
                done => done?,
            }
            self.carry_through(number).await?;
            self.note_started(id);
            return Ok(());
        }
        Err(StoreError::unavailable("append start", "others start campaigns all the time").into())
    }

    async fn choose(&self, id: CampaignId, by: &str) -> Result<Started, ServiceError> {
        let record = self.load_light(id).await?.value;
        let (plan, stored) = (decode_plan(&record)?, decode_state(&record)?);
        let selection = self.select(&plan, Some(id)).await?;
        let members = selection.members();
        if members.is_empty() && !plan.definition.allow_zero_members {
            let devices = selection.preview(&plan).devices;
            return Err(ServiceError::NoMembers { devices });
        }
        let start = Start { at: (self.0.process.clock)(), by: by.into() };
        let count = u32::try_from(members.len()).unwrap_or(u32::MAX);
        let counts = Counts { pending: count, ..Counts::default() };
        let stored = StoredState { run: Run::Running, start: Some(start), counts, ..stored };
        Ok(Started { campaign: id, members: encode_members(members), state: stored.encode() })
    }

    /// Makes the campaign's record say what its start says. Whoever comes by does it: who appended it may have died.
    pub(crate) async fn carry_through(&self, number: u64) -> Result<(), ServiceError> {
        let Inner { stores, tenant, .. } = &*self.0;
        if number == 0 {
            return Ok(());
        }
        let Some(Started { campaign, members, state }) = stores.starts.start(tenant, number).await? else {
            return Err(StoreError::missing("load start").into());
        };
        loop {
            let Versioned { value, revision } = self.load_light(campaign).await?;
            if decode_state(&value)?.start.is_some() {
                return Ok(());
            }
            match stores.campaigns.put(tenant, campaign, revision, Some(&members), &state).await {
                Err(error) if error.kind == ErrorKind::Conflict => {}
                done => return Ok(done.map(drop)?),
            }
        }
    }

    /// Looks at every device for a plan; those that other campaigns have are refused.
    pub(crate) async fn select(
        &self,
        plan: &Plan,
        own: Option<CampaignId>,
    ) -> Result<Selection, ServiceError> {
        let mut taken = RoaringBitmap::new();
        for record in self.0.stores.campaigns.list(&self.0.tenant).await? {
            let id = record.value.id;
            let stored = decode_state(&record.value)?;
            if Some(id) == own || stored.start.is_none() || stored.run.is_over() {
                continue;
            }
            let Some(live) = self.view(id).await? else { continue };
            let state = live.read();
            let busy = state.0.members_from(0).filter(|(_, status)| !status.is_last());
            taken.extend(busy.map(|(ordinal, _)| ordinal));
        }
        let is_taken = |ordinal| taken.contains(ordinal);
        Ok(select::select(&self.0.stores, &self.0.tenant, plan, is_taken).await?)
    }
}
