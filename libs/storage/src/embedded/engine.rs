//! The engine below: fjall, with one keyspace for each kind of record. Nothing outside this file and
//! `commit.rs` knows its types.

use std::{ops::Bound, path::Path};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, Slice};

use super::Options;
use crate::StoreError;

/// The kinds of records, each in a keyspace of its own so that a scan of one reads nothing of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Space {
    /// Device by name: revision, ordinal, last seen, sealed account. Written on every visit, so it is small.
    Accounts,
    /// Device by ordinal: name, labels, inventory.
    Inventory,
    /// Counters of a tenant, and the idempotency keys of campaigns.
    Meta,
    /// The jobs in flight of a device, all in one record, so that asking for them is one point read.
    Jobs,
    /// The highest attempt released, by campaign and device.
    Attempts,
    /// Events by campaign and offset.
    Ledger,
    /// Where the events of a device are in the ledgers, newest first.
    DeviceEvents,
    /// The parts of campaigns.
    Campaigns,
    /// The tree a device has now.
    Heads,
    /// The trees a device had before.
    History,
    /// Pages of trees by the hash of what they hold.
    Blobs,
    /// Records of artifacts; the octets are files.
    Artifacts,
    /// Devices to be asked to come, by when.
    Triggers,
}

impl Space {
    pub(super) const ALL: [(Self, &'static str); 13] = [
        (Self::Accounts, "accounts"),
        (Self::Inventory, "inventory"),
        (Self::Meta, "meta"),
        (Self::Jobs, "jobs"),
        (Self::Attempts, "attempts"),
        (Self::Ledger, "ledger"),
        (Self::DeviceEvents, "device-events"),
        (Self::Campaigns, "campaigns"),
        (Self::Heads, "heads"),
        (Self::History, "history"),
        (Self::Blobs, "blobs"),
        (Self::Artifacts, "artifacts"),
        (Self::Triggers, "triggers"),
    ];

    /// Megabytes written to memory before they become a file: more for what many visits write.
    fn memtable_mib(self) -> u64 {
        match self {
            Self::Accounts | Self::Jobs | Self::Ledger | Self::Heads | Self::Blobs | Self::DeviceEvents => 16,
            Self::Inventory | Self::Attempts | Self::History | Self::Triggers => 8,
            Self::Meta | Self::Campaigns | Self::Artifacts => 2,
        }
    }
}

/// The open engine.
pub(crate) struct Engine {
    pub(super) database: Database,
    spaces: Vec<Keyspace>,
}

impl Engine {
    pub(crate) fn open(dir: &Path, options: &Options) -> Result<Self, fjall::Error> {
        let database =
            Database::builder(dir).cache_size(options.cache_bytes).max_journaling_size(256 << 20).open()?;
        let mut spaces = Vec::with_capacity(Space::ALL.len());
        for (space, name) in Space::ALL {
            let settings = || KeyspaceCreateOptions::default().max_memtable_size(space.memtable_mib() << 20);
            spaces.push(database.keyspace(name, settings)?);
        }
        Ok(Self { database, spaces })
    }

    pub(super) fn space(&self, space: Space) -> &Keyspace {
        &self.spaces[space as usize]
    }

    /// One record.
    pub(crate) fn read(
        &self,
        operation: &'static str,
        space: Space,
        key: &[u8],
    ) -> Result<Option<Slice>, StoreError> {
        self.space(space).get(key).map_err(|error| engine_error(operation, error))
    }

    /// Whether there is a record.
    pub(crate) fn has(&self, operation: &'static str, space: Space, key: &[u8]) -> Result<bool, StoreError> {
        self.space(space).contains_key(key).map_err(|error| engine_error(operation, error))
    }

    /// The records whose key begins with `prefix`, from `from` on (a whole key, `prefix` included), in order.
    pub(crate) fn scan(
        &self,
        operation: &'static str,
        space: Space,
        prefix: &[u8],
        from: Bound<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = Result<(Slice, Slice), StoreError>> + use<> {
        let end = super::keys::after_prefix(prefix);
        let from = from.map(<[u8]>::to_vec);
        let end = end.map_or(Bound::Unbounded, Bound::Excluded);
        self.space(space)
            .range::<Vec<u8>, _>((from, end))
            .map(move |row| row.into_inner().map_err(|error| engine_error(operation, error)))
    }

    /// The last record whose key begins with `prefix`, at or below `to`.
    pub(crate) fn last(
        &self,
        operation: &'static str,
        space: Space,
        prefix: &[u8],
        to: Option<&[u8]>,
    ) -> Result<Option<(Slice, Slice)>, StoreError> {
        let end = match to {
            Some(to) => Bound::Included(to.to_vec()),
            None => super::keys::after_prefix(prefix).map_or(Bound::Unbounded, Bound::Excluded),
        };
        let row = self.space(space).range::<Vec<u8>, _>((Bound::Included(prefix.to_vec()), end)).next_back();
        row.map(|row| row.into_inner().map_err(|error| engine_error(operation, error))).transpose()
    }
}

/// The engine's error as ours: what it holds cannot be read, or it cannot be reached any more.
pub(crate) fn engine_error(operation: &'static str, error: fjall::Error) -> StoreError {
    match error {
        fjall::Error::Io(_) | fjall::Error::Poisoned => StoreError::unavailable(operation, error),
        _ => StoreError::corrupt(operation, error),
    }
}
