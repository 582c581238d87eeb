//! Keys. The tenant is part of every one.

use std::{fmt, sync::Arc};

use dm_protocol::DevId;
use serde::{Deserialize, Serialize};

/// Names a tenant: 1 to 32 lower-case letters, digits and `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TenantId(pub Arc<str>);

impl Default for TenantId {
    fn default() -> Self {
        Self("default".into())
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names a session: the ids that the device chose, under its tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// Whose device it is.
    pub tenant: TenantId,
    /// The device.
    pub device: DevId,
    /// `SyncHdr/SessionID`, unchanged.
    pub session: Box<str>,
}

/// Which write of a record this is; it grows with every write. Opaque to callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Revision(pub u64);

/// A record with the revision to compare when it is written again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The record.
    pub value: T,
    /// Its revision.
    pub revision: Revision,
}
