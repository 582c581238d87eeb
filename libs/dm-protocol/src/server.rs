//! The server's side of a session, one step a message.
//!
//! The vocabulary between the session machine, what it manages (`dm-objects`) and who does the I/O.

mod incoming;
mod object;
mod order;
mod outbound;
mod outstanding;
mod proof;
mod record;
mod reply;
mod session;
mod settings;

use std::borrow::Cow;

use dm_tree::Leaf;
use serde::{Deserialize, Serialize};
use syncml::StatusCode;

pub use self::{
    proof::Guess,
    record::RecordError,
    session::{EnqueueError, Handled, Input, OpenError, ServerSession},
    settings::Settings,
};
use crate::Nonces;

/// The outcome of a command that the device passed over: its package is complete and has no Status for it,
/// or the session ended before one came. Whether the command ran is not known.
///
/// Besides what devices say, the session itself tells 413 (no message or object of the device's can hold the
/// command), 215 (the session ended before the command was sent), 424 (chunks of an object were lost) and 406
/// (the device took a chunk for the whole object).
pub const UNANSWERED: StatusCode = StatusCode(0);

/// Names a command that was enqueued, in the events that tell of its outcome. Chosen by who enqueues it.
pub type Tag = u32;

/// What a session tells its caller, in order.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The device has proved itself, or need not.
    Authenticated,
    /// These nonces (and the scheme the device asks of the server) must be durable before the answer leaves.
    NoncesChanged {
        /// All of the account's nonces from now on.
        nonces: Nonces,
        /// The scheme the device asked the server to use, where it did.
        server_scheme: Option<crate::Scheme>,
    },
    /// The device sent (part of) its DevInfo; addresses normalised (`DevInfo/DevId`). What the caller said it has
    /// ([`Input::dev_info`]) is left out, and with nothing left there is no event.
    DevInfo(Vec<(String, Leaf)>),
    /// The device sent a generic alert (1226) or a client event (1224), one event an item.
    Alert(DeviceAlert),
    /// A command's outcome for one target.
    Status {
        /// The command.
        tag: Tag,
        /// The target the status is for; `None`: for all.
        target: Option<String>,
        /// The outcome.
        code: StatusCode,
        /// What came with it, such as the user's choices.
        items: Vec<String>,
    },
    /// One item of the answer to a Get, complete: chunks have been joined.
    Result {
        /// The Get.
        tag: Tag,
        /// The node or property, normalised, with its query (`FwUpdate/Pkg?prop=Type`).
        uri: String,
        /// The value; an interior node has [`dm_tree::Format::Node`] and its children's names joined by `/`.
        leaf: Leaf,
    },
    /// Every outstanding command has its outcome, and commands may be enqueued now.
    WantsCommands,
    /// The next chunk of an artifact that is being sent is needed before the reply can be written.
    WantsChunk {
        /// The artifact, as named in the draft.
        digest: [u8; 32],
        /// First octet.
        offset: u64,
        /// At most this many octets.
        len: usize,
    },
    /// The session is over.
    Ended(Ending),
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Ending {
    /// Nothing was left to say.
    Done,
    /// The device sent alert 1223.
    AbortedByDevice,
    /// The device could not prove itself.
    Unauthenticated,
    /// The server could not prove itself to the device.
    ServerRefused,
    /// Neither side made progress for too many messages, or the peer broke the rules beyond repair.
    Broken,
}

/// One item of a generic alert (DM Protocol 1.2, section 8.7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceAlert {
    /// 1226 or 1224.
    pub code: u16,
    /// Of the Exec it reports on.
    pub correlator: Option<String>,
    /// The management object or the executed node, normalised.
    pub source: Option<String>,
    /// As it came: `Reversed-Domain-Name: org.…` or bare.
    pub type_: Option<String>,
    /// As it came.
    pub format: Option<String>,
    /// Severity.
    pub mark: Option<String>,
    /// The value.
    pub data: Vec<u8>,
}

/// A command to send. Addresses may be given with or without a leading `./`; they are sent with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Draft {
    /// Create a leaf.
    Add(DraftItem),
    /// Overwrite a leaf, or a property.
    Replace(DraftItem),
    /// Delete a subtree.
    Delete(Cow<'static, str>),
    /// Read values, properties or lists: one command with an item each.
    Get(Vec<Cow<'static, str>>),
    /// Copy a leaf.
    Copy {
        /// From here.
        source: Cow<'static, str>,
        /// To here.
        target: Cow<'static, str>,
    },
    /// Run a node.
    Exec {
        /// The node.
        target: Cow<'static, str>,
        /// Echoed by the alert that reports the end.
        correlator: Option<String>,
        /// An argument.
        data: Option<String>,
    },
    /// Talk to the user: code 1100 to 1104, options, texts.
    Interact {
        /// 1100 to 1104.
        code: u16,
        /// `MINDT=…&MAXDT=…`; may be empty.
        options: String,
        /// The text, then the choices.
        texts: Vec<String>,
    },
    /// In this order.
    Sequence(Vec<(Tag, Draft)>),
    /// All or nothing.
    Atomic(Vec<(Tag, Draft)>),
}

/// The target and value of an Add or Replace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DraftItem {
    /// The node or property.
    pub target: Cow<'static, str>,
    /// Its format; `Node` creates an interior node.
    pub format: dm_tree::Format,
    /// The media type, or a management object's id for an interior node.
    pub type_: Option<Cow<'static, str>>,
    /// The value.
    pub value: DraftValue,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DraftValue {
    /// Here it is.
    Inline(Vec<u8>),
    /// Too large to carry in the session's record; read by chunks ([`Event::WantsChunk`]).
    Artifact {
        /// SHA-256 of the artifact.
        digest: [u8; 32],
        /// Octets.
        size: u64,
    },
}
