//! Large objects in transit, both ways (DM Protocol 1.2, section 7).

use dm_tree::Leaf;
use serde::{Deserialize, Serialize};
use syncml::{Data, Encoding, StatusCode};

use super::{DeviceAlert, Draft, DraftItem, DraftValue, Tag};
use crate::auth;

/// An object on its way to the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outbound {
    pub(crate) tag: Tag,
    /// An Add or a Replace.
    pub(crate) draft: Draft,
    /// Octets of the value that have been sent.
    pub(crate) sent: u64,
}

/// An object on its way from the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inbound {
    pub(crate) what: InboundOf,
    /// Octets in all, as transported and as announced.
    pub(crate) size: u64,
    /// What has come. Empty while the rest is being discarded.
    pub(crate) data: Vec<u8>,
    pub(crate) discarding: bool,
}

/// What an inbound object is the value of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum InboundOf {
    /// A Results.
    Value { tag: Option<Tag>, uri: String, format: dm_tree::Format, mime: Option<Box<str>> },
    /// A generic alert.
    Alert(DeviceAlert),
}

impl InboundOf {
    pub(crate) fn uri(&self) -> &str {
        match self {
            Self::Value { uri, .. } => uri,
            Self::Alert(alert) => alert.source.as_deref().unwrap_or_default(),
        }
    }

    /// Whether a later chunk is of the same object.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Value { uri: left, .. }, Self::Value { uri: right, .. }) => left == right,
            (Self::Alert(left), Self::Alert(right)) => {
                left.source == right.source && left.correlator == right.correlator
            }
            _ => false,
        }
    }
}

/// What became of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// More is to come.
    Accepted,
    /// It was the last, and this is all of it.
    Complete(Inbound),
    /// The object is refused; what else comes of it is dropped in silence.
    Refused(StatusCode),
    /// It belongs to an object that was refused before.
    Dropped,
}

impl Inbound {
    /// Begins an object with its first chunk.
    pub(crate) fn open(what: InboundOf, size: Option<u64>, max: u32) -> (Self, Result<(), StatusCode>) {
        let judged = match size {
            None => Err(StatusCode::SIZE_REQUIRED),
            Some(size) if size > u64::from(max) => Err(StatusCode::REQUEST_ENTITY_TOO_LARGE),
            Some(_) => Ok(()),
        };
        let inbound = Self { what, size: size.unwrap_or(0), data: Vec::new(), discarding: judged.is_err() };
        (inbound, judged)
    }

    /// Takes a chunk in. `slot` is empty afterwards when the object is.
    pub(crate) fn push(slot: &mut Option<Self>, data: &[u8], more: bool) -> Chunk {
        let Some(mut inbound) = slot.take() else { return Chunk::Dropped };
        if inbound.discarding {
            if more {
                *slot = Some(inbound);
            }
            return Chunk::Dropped;
        }
        inbound.data.extend_from_slice(data);
        let length = u64::try_from(inbound.data.len()).unwrap_or(u64::MAX);
        if length > inbound.size || (!more && length < inbound.size) {
            if more {
                inbound.data = Vec::new();
                inbound.discarding = true;
                *slot = Some(inbound);
            }
            return Chunk::Refused(StatusCode::SIZE_MISMATCH);
        }
        if more {
            *slot = Some(inbound);
            return Chunk::Accepted;
        }
        Chunk::Complete(inbound)
    }
}

impl DraftItem {
    /// Octets of the value.
    pub(crate) fn value_len(&self) -> u64 {
        match &self.value {
            DraftValue::Inline(value) => u64::try_from(value.len()).unwrap_or(u64::MAX),
            DraftValue::Artifact { size, .. } => *size,
        }
    }

    /// Octets of the value as transported: XML carries binary as base64.
    pub(crate) fn transported_len(&self, encoding: Encoding) -> u64 {
        let length = self.value_len();
        if self.is_base64(encoding) { length.div_ceil(3).saturating_mul(4) } else { length }
    }

    /// Whether the value goes as base64, which only XML needs and only for octets.
    pub(crate) fn is_base64(&self, encoding: Encoding) -> bool {
        encoding == Encoding::Xml && self.format == dm_tree::Format::Bin
    }
}

/// The value of an item as a device sent it: what XML carries as base64 is decoded.
pub(crate) fn read_value(octets: &[u8], format: dm_tree::Format, encoding: Encoding) -> Box<[u8]> {
    if encoding == Encoding::Xml && format == dm_tree::Format::Bin {
        let decoded = std::str::from_utf8(octets).ok().and_then(auth::parse_base64);
        // A device that writes its octets plainly, and could, is taken at its word.
        return decoded.map_or_else(|| octets.into(), Into::into);
    }
    octets.into()
}

/// The octets of an item's data as transported.
pub(crate) fn transported<'a>(data: Option<&'a Data<'_>>) -> &'a [u8] {
    data.map(Data::as_bytes).unwrap_or_default()
}

/// A leaf from a value as it came.
pub(crate) fn leaf(
    octets: &[u8],
    format: dm_tree::Format,
    mime: Option<Box<str>>,
    encoding: Encoding,
) -> Leaf {
    Leaf { format, mime, value: read_value(octets, format, encoding) }
}
