//! The JSON of the API: what its handlers answer and what its clients read, in one place.
//!
//! Nothing here carries a secret outwards: credentials go in as [`Secret`] and never come back.

mod artifact;
mod campaign;
mod device;
mod page;
mod problem;
mod secret;
mod secrets;
mod tree;

pub use artifact::ArtifactView;
pub(crate) use artifact::{hex, parse_digest};
pub use campaign::{
    CampaignSummary, CampaignView, EventsView, ExplainMember, ExplainView, MemberView, OutcomeView,
    PauseView, PreviewModel, PreviewRefusal, PreviewView, PreviewWave, VerifyView, WaveView,
};
pub(crate) use device::check_tags;
pub use device::{
    AuthScheme, BulkCounts, BulkLine, BulkResult, BulkRow, CredentialsInput, DeviceInput, DeviceView,
    InputError, NotifyAddressInput, TagsInput,
};
pub use page::Page;
pub use problem::{ProblemBody, problem_types};
pub use secret::Secret;
pub use secrets::SecretsView;
pub use tree::{ChangeView, DiffView, EventView, HistoryView, LeafView, NodeView, SnapshotView, TreeView};
