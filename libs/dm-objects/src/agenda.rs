//! What one session is for: the reads the server owes itself, and the operation that waits for the device.
//!
//! An agenda is the state between a session's events and its commands. It is stored with the session's
//! record between two messages ([`Agenda::encode`], [`Agenda::decode`]), decides everything, and does no I/O.

use dm_protocol::server::{Draft, Event, Tag};
use dm_tree::Change;
use serde::{Deserialize, Serialize};
use syncml::StatusCode;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agenda {
    known: Known,
    task: Option<FirmwareTask>,
}

impl Agenda {
    /// A plan for a session that begins.
    pub fn new(known: Known, task: Option<FirmwareTask>) -> Self {
        Self { known, task }
    }

    /// Takes in what the session tells.
    pub fn handle_event(&mut self, _event: &Event) {}

    /// The next command for this package; `None` when the package is complete (or the session has nothing left).
    pub fn poll_command(&mut self) -> Option<(Tag, Draft)> {
        None
    }

    /// The next thing found out.
    pub fn poll_fact(&mut self) -> Option<Fact> {
        None
    }
}
