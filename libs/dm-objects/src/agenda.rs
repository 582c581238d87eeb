//! What one session is for: the reads the server owes itself, and the operation that waits for the device.
//!
//! An agenda is the state between a session's events and its commands. It is stored with the session's
//! record between two messages ([`Agenda::encode`], [`Agenda::decode`]), decides everything, and does no I/O.

use std::collections::VecDeque;

use dm_protocol::server::{Draft, Event, Tag};
use dm_tree::Change;
use serde::{Deserialize, Serialize};
use syncml::StatusCode;

use crate::fumo::Operation;

mod locate;
mod plan;
mod report;
mod work;

use work::{Sent, What, Work};

/// What is known of the device when a session begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// DevDetail has been read before, and nothing since asks for reading it again.
    pub dev_detail_fresh: bool,
    /// Where the device's FUMO node is: set for its model, or found earlier.
    pub fumo_root: Option<String>,
    /// Roots under which to look for it level by level, where it is not known and `?list=Struct` is refused.
    /// Empty: the usual ones (`./FUMO`, `./FwUpdate`, ...).
    pub fumo_search_roots: Vec<String>,
}

/// A firmware operation for this device, as far as it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareTask {
    /// Unique for the attempt; the Exec carries it and the final alert echoes it.
    pub correlator: String,
    /// What to do.
    pub method: FirmwareMethod,
    /// The package's name, written to `PkgName` where the node exists.
    pub package_name: String,
    /// The package's version, written to `PkgVersion` where the node exists.
    pub package_version: String,
    /// The value that `./DevDetail/FwV` must have afterwards.
    pub target_version: String,
    /// How far this attempt has come.
    pub stage: FirmwareStage,
}

/// How the package gets to the device (FUMO 1.0, section 5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FirmwareMethod {
    /// Exec DownloadAndUpdate where the device has it, else Download and then Update.
    Url(String),
    /// Exec Download, and Update as a second Exec when the download has been reported.
    DownloadThenUpdate(String),
    /// Replace `Update/PkgData` as a large object, then Exec Update.
    InBand {
        /// SHA-256 of the artifact.
        digest: [u8; 32],
        /// Octets.
        size: u64,
    },
}

/// How far an attempt has come, as recorded with the job. It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirmwareStage {
    /// Nothing has been sent that cannot be sent again.
    Pending,
    /// The Exec of Download (of a download and a separate update) may have left: it is never sent again.
    DownloadExecSent,
    /// The device accepted the Download.
    Downloading,
    /// The device reported the download complete, or the package was pushed in-band: Update comes next.
    Downloaded,
    /// The last Exec (Update or DownloadAndUpdate) may have left: it is never sent again in this attempt.
    ExecSent,
    /// The device accepted it; its final alert is awaited.
    Updating,
    /// The device reported success; the version is yet to be read back.
    Reported,
}

/// What an agenda found out, for the stores and the campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fact {
    /// The device's tree, as far as it was seen.
    Tree(Change),
    /// DevDetail has been read whole.
    DevDetailRead,
    /// Where the device's FUMO node is.
    FumoRoot(String),
    /// The firmware task moved.
    Firmware(FirmwareFact),
    /// An alert that belongs to no task: kept in the device's history.
    Alert(dm_protocol::server::DeviceAlert),
}

/// What became of a firmware task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirmwareFact {
    /// The stage moved forward. For the `…Sent` stages this fact must be durable before the answer leaves.
    Stage(FirmwareStage),
    /// The device already has the target version; no Exec was sent.
    AlreadyCurrent {
        /// What `./DevDetail/FwV` says.
        version: String,
    },
    /// The device has no FUMO node, or none of the operations.
    NotCapable {
        /// What was looked for.
        reason: String,
    },
    /// A command was refused before anything ran on the device.
    Refused {
        /// The status of the command at fault.
        code: StatusCode,
        /// Which command, such as `Exec ./FUMO/Pkg/DownloadAndUpdate`.
        command: String,
    },
    /// The device reported a result code other than success.
    Failed {
        /// The FUMO result code, verbatim.
        code: u16,
    },
    /// The device reported success and its version was read back. The campaign compares it with the target.
    Done {
        /// The FUMO result code, verbatim.
        code: u16,
        /// What `./DevDetail/FwV` says.
        version: String,
    },
    /// The Exec was sent in an earlier session, no report came, and the device's State shows that nothing runs
    /// and nothing ran: it never arrived. Only a new attempt may send another.
    ExecLost,
}

/// The plan of one session.
///
/// ```text
/// agenda = Agenda::new(known, task)
/// for every event of the session:  agenda.handle_event(&event)
/// on Event::WantsCommands:         while let Some((tag, draft)) = agenda.poll_command() { session.enqueue(tag, draft) }
/// after every message:             while let Some(fact) = agenda.poll_fact() { ... }
/// ```
///
/// Facts are drained after every message; they are no part of what [`Agenda::encode`] writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agenda {
    known: Known,
    task: Option<FirmwareTask>,
    work: Work,
    #[serde(skip)]
    facts: VecDeque<Fact>,
}

impl Agenda {
    /// A plan for a session that begins.
    pub fn new(mut known: Known, task: Option<FirmwareTask>) -> Self {
        if let Some(root) = &mut known.fumo_root {
            *root = normalised(root).to_owned();
        }
        Self { known, task, work: Work::default(), facts: VecDeque::new() }
    }

    /// Takes in what the session tells.
    pub fn handle_event(&mut self, event: &Event) {
        match event {
            Event::Authenticated => self.work.begun = true,
            Event::DevInfo(leaves) => {
                for (uri, leaf) in leaves {
                    self.facts.push_back(Fact::Tree(Change::Leaf { uri: uri.clone(), leaf: leaf.clone() }));
                }
            }
            Event::Alert(alert) => self.handle_alert(alert),
            Event::Status { tag, target: _, code, items: _ } => self.handle_status(*tag, *code),
            Event::Result { tag, uri, leaf } => self.handle_result(*tag, uri, leaf),
            Event::WantsCommands => self.plan(),
            _ => {}
        }
    }

    /// The next command for this package; `None` when the package is complete (or the session has nothing left).
    ///
    /// An Exec that is handed out here moves the task's stage: the fact of it must be durable before the answer leaves.
    pub fn poll_command(&mut self) -> Option<(Tag, Draft)> {
        let (tag, draft) = self.work.outbox.pop_front()?;
        if let Some(Sent { what: What::Exec(operation), .. }) =
            self.work.sent.iter().find(|sent| sent.tag == tag)
        {
            let stage = match operation {
                Operation::Download => FirmwareStage::DownloadExecSent,
                Operation::Update | Operation::DownloadAndUpdate => FirmwareStage::ExecSent,
            };
            self.work.exec_here = true;
            self.advance(stage);
        }
        Some((tag, draft))
    }

    /// The next thing found out.
    pub fn poll_fact(&mut self) -> Option<Fact> {
        self.facts.pop_front()
    }

    /// The firmware task as far as it has come; `None` without one.
    pub fn task(&self) -> Option<&FirmwareTask> {
        self.task.as_ref()
    }

    /// Writes the plan for the session's record: a version octet, then postcard.
    ///
    /// # Errors
    ///
    /// [`AgendaError::TooLarge`] beyond [`ENCODED_MAX`] octets: a correlator, URL or search root was too long.
    pub fn encode(&self) -> Result<Vec<u8>, AgendaError> {
        self.encode_behind(Vec::with_capacity(64))
    }

    /// The same behind what `bytes` has already.
    ///
    /// # Errors
    ///
    /// As [`Agenda::encode`]; `bytes` are gone then.
    pub fn encode_behind(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>, AgendaError> {
        let begins_at = bytes.len();
        bytes.push(VERSION);
        let bytes = postcard::to_extend(self, bytes)?;
        let length = bytes.len() - begins_at;
        if length > ENCODED_MAX {
            return Err(AgendaError::TooLarge(length));
        }
        Ok(bytes)
    }

    /// Reads what [`Agenda::encode`] wrote.
    ///
    /// # Errors
    ///
    /// [`AgendaError`] for a version this build does not know, and for anything that is no agenda.
    pub fn decode(bytes: &[u8]) -> Result<Self, AgendaError> {
        if bytes.len() > ENCODED_MAX {
            return Err(AgendaError::TooLarge(bytes.len()));
        }
        match bytes.split_first() {
            Some((&VERSION, rest)) => Ok(postcard::from_bytes(rest)?),
            Some((&version, _)) => Err(AgendaError::Version(version)),
            None => Err(AgendaError::Empty),
        }
    }

    /// Moves the stage forward, and tells of it; a stage already passed changes nothing.
    fn advance(&mut self, stage: FirmwareStage) {
        if let Some(task) = &mut self.task
            && stage > task.stage
        {
            task.stage = stage;
            self.facts.push_back(Fact::Firmware(FirmwareFact::Stage(stage)));
        }
    }

    /// Ends the task with a fact.
    fn end(&mut self, fact: FirmwareFact) {
        if !self.work.ended {
            self.work.ended = true;
            self.work.outbox.retain(|(_, draft)| !matches!(draft, Draft::Exec { .. }));
            self.facts.push_back(Fact::Firmware(fact));
        }
    }
}

/// An encoded agenda is never larger, in octets.
pub const ENCODED_MAX: usize = 64 * 1024;

/// First octet of an encoded agenda.
const VERSION: u8 = 1;

/// Why an agenda could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum AgendaError {
    /// Nothing is there.
    #[error("expected an agenda, got no octet")]
    Empty,
    /// Of another time.
    #[error("expected an agenda of version {VERSION} at byte 0, got version {0}")]
    Version(u8),
    /// Beyond the bound.
    #[error("expected an agenda of at most {ENCODED_MAX} octets, got {0}")]
    TooLarge(usize),
    /// Not an agenda.
    #[error("expected an agenda after its version octet")]
    Malformed(#[from] postcard::Error),
}

/// An address without the leading `./` that may stand there.
fn normalised(uri: &str) -> &str {
    uri.strip_prefix("./").unwrap_or(uri).trim_end_matches('/')
}

/// The same address as messages show it.
fn shown(uri: &str) -> String {
    if uri == "." { uri.to_owned() } else { format!("./{uri}") }
}

#[cfg(test)]
mod tests;
