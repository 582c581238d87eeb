//! What is stored of a session between two of its messages.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use syncml::{Encoding, StatusCode};

use super::{
    Draft, Ending, Tag,
    object::{Inbound, Outbound},
    outstanding::{Part, Sent},
    proof::{ClientProof, ServerProof},
};
use crate::DevId;

/// The first octet of a stored record.
const VERSION: u8 = 1;

/// A session as it is stored: everything that must outlive a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) device: DevId,
    pub(crate) session_id: Box<str>,
    /// Written into `RespURI`.
    pub(crate) key: Option<[u8; 8]>,
    pub(crate) encoding: Encoding,
    pub(crate) version: Version,
    pub(crate) ending: Option<Ending>,
    /// The device's last message.
    pub(crate) last: Seen,
    /// Fingerprint of the message that opened the session.
    pub(crate) opened_by: u64,
    /// Of the last answer.
    pub(crate) reply_msg_id: u32,
    /// The device's `MaxMsgSize`, as it stated it.
    pub(crate) max_msg_size: Option<u32>,
    /// The device's `MaxObjSize`.
    pub(crate) max_obj_size: Option<u64>,
    /// Our own limits have been stated.
    pub(crate) limits_stated: bool,
    pub(crate) client: ClientProof,
    pub(crate) server: ServerProof,
    /// Messages in a row without progress.
    pub(crate) idle_rounds: u8,
    /// Statuses that the last answers had no room for.
    pub(crate) owed: Vec<Owed>,
    /// Commands that are out, or whose package is not complete yet.
    pub(crate) outstanding: Vec<Sent>,
    /// Commands that are yet to be sent.
    pub(crate) queue: VecDeque<Waiting>,
    /// How our last message ended.
    pub(crate) package: OwnPackage,
    pub(crate) outbound: Option<Outbound>,
    pub(crate) inbound: Option<Inbound>,
    /// The answer to the last message.
    pub(crate) reply: Vec<u8>,
}

/// A command that is yet to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) tag: Tag,
    pub(crate) draft: Draft,
    pub(crate) part: Part,
}

/// How our last message ended, which is what a message without Final means after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OwnPackage {
    /// With Final: what comes now is the device's package.
    #[default]
    Closed,
    /// Without, asking for the rest of the device's package by alert 1222.
    Asking,
    /// Without, because more of ours is to come: what comes now only lets us go on.
    Continuing,
}

/// Which of the device's messages came last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// 0: none yet.
    pub(crate) msg_id: u32,
    pub(crate) fingerprint: u64,
    /// Seconds since 1970.
    pub(crate) at_s: i64,
}

/// Versions as the device writes them, so that it is answered in kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version {
    pub(crate) dtd: Dtd,
    pub(crate) proto: Proto,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Dtd {
    V1_1,
    V1_2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Proto {
    Dm1_1,
    Dm1_2,
    Dm1_3,
}

impl Version {
    /// What a device is answered in whose own version we do not know.
    pub(crate) const KNOWN: Self = Self { dtd: Dtd::V1_2, proto: Proto::Dm1_2 };

    /// Reads both; a mixture of a 1.1 and a 1.2 is tolerated.
    ///
    /// # Errors
    ///
    /// The status for SyncHdr: 505 or 513.
    pub(crate) fn parse(ver_dtd: &str, ver_proto: &str) -> Result<Self, StatusCode> {
        let dtd = match ver_dtd.trim() {
            "1.1" => Dtd::V1_1,
            "1.2" => Dtd::V1_2,
            _ => return Err(StatusCode::DTD_VERSION_NOT_SUPPORTED),
        };
        let proto = match ver_proto.trim() {
            "DM/1.1" => Proto::Dm1_1,
            "DM/1.2" => Proto::Dm1_2,
            "DM/1.3" => Proto::Dm1_3,
            _ => return Err(StatusCode::PROTOCOL_VERSION_NOT_SUPPORTED),
        };
        Ok(Self { dtd, proto })
    }

    pub(crate) fn ver_dtd(self) -> &'static str {
        match self.dtd {
            Dtd::V1_1 => "1.1",
            Dtd::V1_2 => "1.2",
        }
    }

    pub(crate) fn ver_proto(self) -> &'static str {
        match self.proto {
            Proto::Dm1_1 => "DM/1.1",
            Proto::Dm1_2 => "DM/1.2",
            Proto::Dm1_3 => "DM/1.3",
        }
    }
}

/// A Status the device is owed for one of its commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owed {
    pub(crate) msg_ref: u32,
    pub(crate) cmd_ref: CmdRef,
    /// Index into `COMMANDS`.
    cmd: u8,
    /// One of several items.
    pub(crate) item: Option<Ref>,
    pub(crate) code: u16,
}

/// Which item of a command a Status is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ref {
    Target(Box<str>),
    Source(Box<str>),
}

/// A `CmdID` of the device: nearly always a number, which then costs no memory of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CmdRef {
    Number(u32),
    Text(Box<str>),
}

impl CmdRef {
    pub(crate) fn new(cmd_id: &str) -> Self {
        match cmd_id.parse::<u32>() {
            Ok(number) if !cmd_id.starts_with(['0', '+']) => Self::Number(number),
            _ => Self::Text(cmd_id.into()),
        }
    }
}

impl Owed {
    const COMMANDS: [&'static str; 17] = [
        "Add", "Alert", "Atomic", "Copy", "Delete", "Exec", "Get", "Map", "Move", "Put", "Replace",
        "Results", "Search", "Sequence", "Status", "Sync", "SyncHdr",
    ];

    pub(crate) fn new(msg_ref: u32, cmd_id: &str, cmd: &'static str, code: StatusCode) -> Self {
        let index = Self::COMMANDS.iter().position(|name| *name == cmd).unwrap_or(0);
        let cmd = u8::try_from(index).unwrap_or(0);
        Self { msg_ref, cmd_ref: CmdRef::new(cmd_id), cmd, item: None, code: code.0 }
    }

    pub(crate) fn with_item(mut self, item: Ref) -> Self {
        self.item = Some(item);
        self
    }

    pub(crate) fn cmd(&self) -> &'static str {
        Self::COMMANDS.get(usize::from(self.cmd)).copied().unwrap_or("Alert")
    }
}

/// Why octets are no record of a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Nothing there.
    #[error("expected a session record, got no octets")]
    Empty,
    /// Written by a later release.
    #[error("expected a session record of version {VERSION}, got version {0}")]
    Version(u8),
    /// The octets are damaged.
    #[error("session record is damaged")]
    Damaged(#[source] postcard::Error),
}

impl Record {
    pub(crate) fn encode_behind(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.reserve(self.reply.len() + 256);
        bytes.push(VERSION);
        // Writing into a vector cannot fail, and every field is of a kind that postcard has.
        postcard::to_extend(self, bytes).unwrap_or_default()
    }

    /// The record, and what stands behind it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), RecordError> {
        match bytes.split_first() {
            None => Err(RecordError::Empty),
            Some((&VERSION, rest)) => postcard::take_from_bytes(rest).map_err(RecordError::Damaged),
            Some((&version, _)) => Err(RecordError::Version(version)),
        }
    }
}
