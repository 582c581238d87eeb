#![doc = include_str!("../README.md")]

mod artifact;
mod campaigns;
mod collect;
mod device;
pub mod embedded;
mod error;
pub mod faults;
mod jobs;
mod key;
pub mod laws;
pub mod merkle;
mod ownership;
mod requests;
pub mod seal;
mod session;
mod snapshot;
mod starts;
mod stores;

pub use artifact::{ArtifactMeta, ArtifactStore};
pub use campaigns::{CampaignRecord, CampaignStore};
pub use collect::{Collected, Collection, Collector};
pub use device::{Device, DeviceStore, Inventory, InventoryRow};
pub use embedded::Embedded;
pub use error::{ErrorKind, StoreError};
pub use jobs::{Epoch, JobStore, Release};
pub use key::{Revision, SessionKey, TenantId, Versioned};
pub use ownership::{Ownership, OwnsAll, OwnsNone};
pub use requests::{REQUEST_KEEP, RequestId, RequestStore};
pub use seal::KeyRing;
pub use session::SessionStore;
pub use snapshot::{SnapshotId, SnapshotRef, SnapshotStore};
pub use starts::{StartStore, Started};
pub use stores::Stores;
