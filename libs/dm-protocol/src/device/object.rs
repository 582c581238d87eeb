//! Large objects that come in chunks (DM Protocol 1.2, section 7).

use serde::{Deserialize, Serialize};
use syncml::{Item, StatusCode};

/// An object of which more is to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Incoming {
    /// As the server wrote it.
    pub(super) target: String,
    /// `Add` or `Replace`.
    pub(super) command: String,
    /// Of the first chunk.
    pub(super) format: Option<String>,
    /// Of the first chunk.
    pub(super) type_: Option<String>,
    /// Octets there will be.
    pub(super) size: u64,
    /// So far.
    pub(super) data: Vec<u8>,
}

/// What a chunk led to.
pub(super) enum Chunk {
    /// More is to come.
    Kept,
    /// The object is whole.
    Whole(Incoming),
    /// The object is dropped.
    Refused(StatusCode),
}

impl Incoming {
    /// Begins an object with its first chunk.
    pub(super) fn begin(
        item: &Item<'_>,
        command: &str,
        size: Option<u64>,
        size_max: u64,
    ) -> Result<Self, StatusCode> {
        let size = size.ok_or(StatusCode::SIZE_REQUIRED)?;
        if size > size_max {
            return Err(StatusCode::REQUEST_ENTITY_TOO_LARGE);
        }
        let target = item.target.as_ref().ok_or(StatusCode::INCOMPLETE_COMMAND)?;
        Ok(Self {
            target: target.loc_uri.clone().into_owned(),
            command: command.to_owned(),
            format: None,
            type_: None,
            size,
            data: Vec::new(),
        })
    }

    /// Whether an item goes on with this object.
    pub(super) fn goes_on_with(&self, item: &Item<'_>, command: &str) -> bool {
        let target = item.target.as_ref().map(|target| &*target.loc_uri);
        self.command == command
            && target.is_some_and(|uri| dm_tree::normalise(uri) == dm_tree::normalise(&self.target))
    }

    /// Takes a chunk. The size is checked before memory is spent on what goes beyond it.
    pub(super) fn push(mut self, item: &Item<'_>, keep: &mut Option<Self>) -> Chunk {
        let data = item.data.as_ref().map_or(&[][..], |data| data.as_bytes());
        let length = (self.data.len() + data.len()) as u64;
        if length > self.size || (!item.more_data && length != self.size) {
            return Chunk::Refused(StatusCode::SIZE_MISMATCH);
        }
        self.data.extend_from_slice(data);
        if item.more_data {
            *keep = Some(self);
            return Chunk::Kept;
        }
        Chunk::Whole(self)
    }
}
