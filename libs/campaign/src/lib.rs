#![doc = include_str!("../README.md")]

mod campaign;
mod codec;
mod counts;
mod definition;
mod event;
mod filter;
mod hash;
pub mod history;
mod job;
mod member;
mod outcome;
mod plan;
mod preview;
mod quantity;
mod record;
mod retry;
mod slots;
#[cfg(test)]
mod testing;
mod transition;
mod waves;

pub use campaign::{Campaign, Decision, Explanation, Tally};
pub use codec::CodecError;
pub use counts::Counts;
pub use definition::{
    ArtifactRef, Definition, DefinitionError, Digest, FailureGate, Gate, Method, Mistake, Operation, Timers,
    Wave,
};
pub use event::{EventKind, EventView, JobEvent, PauseCause};
pub use filter::{DeviceFacts, Filter, Refusal};
pub use job::{CampaignId, CampaignIdError, Job, Phase};
pub use member::Status;
pub use outcome::{Outcome, OutcomeKind, TimedPhase, Verdict};
pub use plan::{Artifact, Plan, Timer};
pub use preview::{ModelPreview, Preview, RefusalPreview, Selection, WavePreview};
pub use quantity::{Period, PeriodError, Share};
pub use record::{Run, Start, StoredState, View};
pub use retry::{RetryPolicy, RetryRule};
pub use transition::Transition;
pub use waves::{Waves, decode_members, encode_members};
