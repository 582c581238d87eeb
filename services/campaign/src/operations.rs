//! What operators do with campaigns.

use campaign::{Artifact, ArtifactRef, CampaignId, Definition, Digest, Plan, Preview, StoredState};

use crate::{
    CampaignService, ServiceError,
    ask::Ask,
    service::{Inner, decode_plan},
};

impl CampaignService {
    /// Creates a campaign, as a draft. With a `key`, a second call answers the first one's id.
    ///
    /// # Errors
    ///
    /// [`ServiceError::NoArtifact`], or a store's.
    pub async fn create(
        &self,
        definition: Definition,
        key: Option<&str>,
    ) -> Result<CampaignId, ServiceError> {
        let plan = self.plan(definition).await?;
        let stored = StoredState { created: Some((self.0.process.clock)()), ..StoredState::default() };
        let Inner { stores, tenant, .. } = &*self.0;
        let id = stores.campaigns.create(tenant, key, &plan.encode(), &stored.encode()).await?;
        tracing::info!(campaign = %id, name = plan.definition.name, "campaign created");
        Ok(id)
    }

    /// What a definition would do, without creating anything.
    ///
    /// # Errors
    ///
    /// [`ServiceError::NoArtifact`], or a store's.
    pub async fn preview(&self, definition: Definition) -> Result<Preview, ServiceError> {
        let plan = self.plan(definition).await?;
        let selection = self.select(&plan, None).await?;
        Ok(selection.preview(&plan))
    }

    /// What a draft would do if it were started now.
    ///
    /// # Errors
    ///
    /// [`ServiceError::NotFound`], or a store's.
    pub async fn preview_of(&self, id: CampaignId) -> Result<Preview, ServiceError> {
        let plan = decode_plan(&self.load_light(id).await?.value)?;
        Ok(self.select(&plan, Some(id)).await?.preview(&plan))
    }

    /// Gives no more work until somebody resumes; what is in flight goes on.
    ///
    /// # Errors
    ///
    /// [`ServiceError::WrongState`], [`ServiceError::NotFound`], [`ServiceError::NoAnswer`], or a store's.
    pub async fn pause(&self, id: CampaignId, by: &str, reason: &str) -> Result<(), ServiceError> {
        self.ask(id, Ask::Pause { by: by.into(), reason: reason.into() }).await
    }

    /// Goes on: after a pause, over the gate that held it, or with an approval that was asked for.
    ///
    /// # Errors
    ///
    /// [`ServiceError::WrongState`], [`ServiceError::NotFound`], [`ServiceError::NoAnswer`], or a store's.
    pub async fn resume(&self, id: CampaignId, by: &str) -> Result<(), ServiceError> {
        self.ask(id, Ask::Resume { by: by.into() }).await
    }

    /// Resumes a campaign that awaits somebody's approval for its next wave, and no other.
    ///
    /// # Errors
    ///
    /// [`ServiceError::WrongState`] when none is awaited, [`ServiceError::NotFound`], [`ServiceError::NoAnswer`], or
    /// a store's.
    pub async fn approve(&self, id: CampaignId, by: &str) -> Result<(), ServiceError> {
        self.ask(id, Ask::Approve { by: by.into() }).await
    }

    /// Ends the campaign: devices that were not sent an Exec are left alone, and the others come to their own end; with
    /// `hard` their ledger entries end at once, as cancelled.
    ///
    /// # Errors
    ///
    /// [`ServiceError::WrongState`], [`ServiceError::NotFound`], [`ServiceError::NoAnswer`], or a store's.
    pub async fn stop(&self, id: CampaignId, by: &str, hard: bool) -> Result<(), ServiceError> {
        self.ask(id, Ask::Stop { by: by.into(), hard }).await
    }

    /// Fills in what a definition leaves open.
    async fn plan(&self, definition: Definition) -> Result<Plan, ServiceError> {
        let artifacts = self.0.stores.artifacts.list(&self.0.tenant).await?;
        let wanted: &ArtifactRef = &definition.artifact;
        // The newest comes first.
        let found = artifacts.into_iter().find(|artifact| match &wanted.digest {
            Some(digest) => digest.0 == artifact.digest,
            None => {
                wanted.name.as_ref() == Some(&artifact.name)
                    && wanted.version.as_ref().is_none_or(|version| *version == artifact.version)
            }
        });
        let found = found.ok_or_else(|| ServiceError::NoArtifact(wanted.to_string()))?;
        let artifact = Artifact {
            digest: Digest(found.digest),
            size: found.size,
            name: found.name,
            version: found.version,
        };
        Ok(Plan::new(definition, artifact, self.draw_seed()))
    }

    fn draw_seed(&self) -> u64 {
        let mut seed = [0; 8];
        (self.0.process.entropy)(&mut seed);
        // What was drawn is stored and shown; definitions are written in TOML too, whose numbers have 63 bits.
        u64::from_le_bytes(seed) >> 1
    }
}
