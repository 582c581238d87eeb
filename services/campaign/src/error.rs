//! Why an operation on a campaign was not done.

use campaign::{CampaignId, CodecError};
use storage::StoreError;

/// Why an operation on a campaign was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// There is no campaign of that id.
    #[error("no campaign {0}")]
    NotFound(CampaignId),
    /// The definition names an artifact that was never added.
    #[error("no artifact {0}")]
    NoArtifact(String),
    /// The target matches nobody.
    #[error("the target matches none of {devices} devices; allow_zero_members would allow that")]
    NoMembers {
        /// Devices looked at.
        devices: u32,
    },
    /// The campaign is not in a state for it.
    #[error("expected {campaign} to be {expected}, it is {found}")]
    WrongState {
        /// The campaign.
        campaign: CampaignId,
        /// The states it may be in.
        expected: &'static str,
        /// The state it is in.
        found: &'static str,
    },
    /// The service is shutting down, or has only begun to run.
    #[error("the campaign's owner is not running")]
    Unavailable,
    /// The process that owns the campaign has not answered in time. It may still do what was asked.
    #[error("the owner of {campaign} has not answered in {waited_s} s: it may still do it within {kept_s} s")]
    NoAnswer {
        /// The campaign.
        campaign: CampaignId,
        /// How long it was waited for, in seconds.
        waited_s: u64,
        /// How long from the asking on it may still be done, in seconds.
        kept_s: u64,
    },
    /// A stored record cannot be read.
    #[error("could not read {campaign}")]
    Corrupt {
        /// The campaign.
        campaign: CampaignId,
        /// Why.
        #[source]
        source: CodecError,
    },
    /// A store could not do its part. Whether it was done anyway is known only for some kinds.
    #[error("the store failed")]
    Store(#[from] StoreError),
}
