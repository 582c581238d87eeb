//! The device's side of a session, one step a message.
//!
//! [`DeviceSession::start`] opens a session with package 1; after that each answer of the server goes to
//! [`DeviceSession::handle_reply`], which runs the server's commands against the device's tree and gives the next message,
//! or the end. Between two steps a session can be stored ([`DeviceSession::encode`]).
//!
//! It does what the specification says a client does; where real clients differ, [`Quirks`] make it do as they do.

mod answer;
mod execute;
mod login;
mod object;
mod outbox;
mod pack;
mod session;

use dm_tree::{Tree, Uri};
use serde::{Deserialize, Serialize};
use syncml::{DecodeError, Encoding, StatusCode};

use crate::Scheme;

pub use session::DeviceSession;

/// How a device speaks, and to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceConfig {
    /// `./DevInfo/DevId`, the source of all messages.
    pub device_id: String,
    /// Where the first message goes.
    pub server_url: String,
    /// Of the protocol.
    pub version: Version,
    /// Of the messages.
    pub encoding: Encoding,
    /// The server asked for the session, by a trigger (alert 1200), or else the device wants it (1201).
    pub server_initiated: bool,
    /// Octets of the largest message the device takes; announced in package 1.
    pub max_msg_size: Option<u32>,
    /// Octets of the largest object the device takes; announced in package 1, and held to.
    pub max_obj_size: Option<u32>,
    /// What this client does differently.
    pub quirks: Quirks,
}

impl DeviceConfig {
    /// A client that does as the specification says: DM 1.2 in WBXML, on its own wish, without limits.
    pub fn new(device_id: &str, server_url: &str) -> Self {
        Self {
            device_id: device_id.to_owned(),
            server_url: server_url.to_owned(),
            version: Version::V1_2,
            encoding: Encoding::Wbxml,
            server_initiated: false,
            max_msg_size: None,
            max_obj_size: None,
            quirks: Quirks::default(),
        }
    }
}

/// A version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// SyncML DM 1.1.2.
    V1_1,
    /// OMA DM 1.2.
    V1_2,
}

impl Version {
    pub(crate) fn ver_dtd(self) -> &'static str {
        match self {
            Self::V1_1 => "1.1",
            Self::V1_2 => "1.2",
        }
    }

    pub(crate) fn ver_proto(self) -> &'static str {
        match self {
            Self::V1_1 => "DM/1.1",
            Self::V1_2 => "DM/1.2",
        }
    }
}

/// What real clients do differently (each was seen in one). Whether lists and documents are supported is said by the
/// tree's own [`dm_tree::Rules`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quirks {
    /// When the server has to prove itself.
    pub challenge: Challenge,
    /// The server is authenticated for one message at a time (200 instead of 212), and gets a nonce for each.
    pub authenticates_each_message: bool,
    /// Package 1 ends without `Final`.
    pub omits_final_in_package_1: bool,
    /// In an Alert, `Correlator` stands before `Data`.
    pub correlator_before_data: bool,
    /// A Status has no `CmdID`.
    pub omits_status_cmd_id: bool,
    /// A Status names no target.
    pub omits_target_ref: bool,
    /// The header does not name the user.
    pub omits_loc_name: bool,
    /// Large objects are sent and taken in chunks; else a chunk is answered 406, and a Get that does not fit, 413.
    pub large_objects: bool,
    /// Atomic is done; else answered 406.
    pub atomic: bool,
    /// Each value that was read has a `Results` of its own.
    pub results_apart: bool,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            challenge: Challenge::WhenNeeded,
            authenticates_each_message: false,
            omits_final_in_package_1: false,
            correlator_before_data: false,
            omits_status_cmd_id: false,
            omits_target_ref: false,
            omits_loc_name: false,
            large_objects: true,
            atomic: true,
            results_apart: false,
        }
    }
}

/// When a device asks the server to prove itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Challenge {
    /// Never: the transport has authenticated the server.
    Never,
    /// When it sends commands without the right credentials.
    WhenNeeded,
    /// When it sends commands the first time in a session, whatever credentials came with them: a client that keeps no
    /// nonce between its sessions.
    Always,
}

/// The secrets of a device's account with one server, and the nonces of both directions.
///
/// The session changes it; what [`DeviceSession::credentials`] gives after a step is what the next session needs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceCredentials {
    /// The server's identifier: its name in access control lists and in its own credentials.
    pub server_id: String,
    /// How the device proves itself; `None` where it never does.
    pub client: Option<ClientSecret>,
    /// How the server proves itself; `None` where the device does not ask.
    pub server: Option<ServerSecret>,
    /// For the device's next MD5 credential, as the server gave it.
    pub client_nonce: Option<Vec<u8>>,
    /// For the server's next MD5 credential, as the device gave it.
    pub server_nonce: Option<Vec<u8>>,
}

/// How the device proves itself to the server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSecret {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: String,
    /// What is tried first; afterwards, what the server asked for.
    pub scheme: Scheme,
}

/// How the server proves itself to the device.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSecret {
    /// The server's password for this device.
    pub password: String,
    /// What is asked for.
    pub scheme: Scheme,
}

impl DeviceCredentials {
    /// An account with nothing to prove on either side.
    pub fn open(server_id: &str) -> Self {
        Self {
            server_id: server_id.to_owned(),
            client: None,
            server: None,
            client_nonce: None,
            server_nonce: None,
        }
    }
}

impl std::fmt::Debug for DeviceCredentials {
    /// Shows no secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceCredentials").field("server_id", &self.server_id).finish_non_exhaustive()
    }
}

/// An event to tell the server (DM Protocol 1.2, section 8.7), one an alert.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenericAlert {
    /// 1226, or 1224 for a client event.
    pub code: u16,
    /// Of the Exec it reports on.
    pub correlator: Option<String>,
    /// The management object or the node that was run, normalised or not.
    pub source: Option<String>,
    /// What kind of event, such as `Reversed-Domain-Name: org.…`.
    pub type_: Option<String>,
    /// Of the data.
    pub format: Option<String>,
    /// Severity.
    pub mark: Option<String>,
    /// The value; `None` leaves `Data` out.
    pub data: Option<String>,
}

/// What the server said to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertAnswer {
    /// Which of the alerts given to [`DeviceSession::start`], from 0.
    pub index: usize,
    /// The server has it if this is a success; 401 and 407 mean it was not looked at.
    pub code: StatusCode,
}

/// An Exec that the tree's lists and access types allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exec<'a> {
    /// The node.
    pub uri: &'a Uri,
    /// To be echoed by the alert that reports the end.
    pub correlator: Option<&'a str>,
    /// An argument.
    pub data: Option<&'a [u8]>,
}

/// A question or notice to the user: alerts 1100 to 1104 (DM Protocol 1.2, section 8.5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interaction<'a> {
    /// 1100 to 1104.
    pub code: u16,
    /// `MINDT`: seconds the text stays at least.
    pub display_s_min: Option<u32>,
    /// `MAXDT`: seconds to wait for the user.
    pub wait_s_max: Option<u32>,
    /// `DR`: what is preselected, decoded.
    pub preselected: Option<String>,
    /// `MAXLEN`: characters of a text at most.
    pub chars_max: Option<u32>,
    /// `IT`: the kind of text, such as `A` or `N`.
    pub input_type: Option<String>,
    /// `ET`: `T` shows the text, `P` hides it.
    pub echo_type: Option<String>,
    /// What is shown.
    pub text: &'a str,
    /// What there is to choose from.
    pub choices: Vec<&'a str>,
}

/// What the user did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200 done or yes, 304 no, 214 cancelled, 408 too late, 406 there is no such interaction, 416 it cannot be shown.
    pub code: StatusCode,
    /// The text, or the numbers of the choices from 1.
    pub items: Vec<String>,
}

/// What only the device itself can do.
pub trait Host {
    /// Runs a node: 200 when it is done, 202 when it has begun and an alert will report, else an error. What the run
    /// changes in the tree is changed here.
    fn exec(&mut self, tree: &mut Tree, exec: Exec<'_>) -> StatusCode;

    /// Talks to the user. A device without one does not support it.
    fn interact(&mut self, interaction: &Interaction<'_>) -> Answer {
        let _ = interaction;
        Answer { code: StatusCode::OPTIONAL_FEATURE_NOT_SUPPORTED, items: Vec::new() }
    }
}

/// What to do after a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this, and give the answer to [`DeviceSession::handle_reply`]. If no answer comes, send the very same again.
    Send {
        /// The address.
        uri: String,
        /// The message, in the configured encoding.
        body: Vec<u8>,
    },
    /// The session is over.
    Done(DeviceEnding),
}

/// How a session ended, for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DeviceEnding {
    /// The server had nothing more to say.
    Done,
    /// The server sent alert 1223.
    AbortedByServer,
    /// The device ended it by [`DeviceSession::abort`].
    Aborted,
    /// The server does not take the device's credentials.
    Unauthenticated,
    /// The server could not prove itself.
    ServerUnauthenticated,
    /// The server refused the session with this status of the header.
    Refused(StatusCode),
    /// Too many messages without progress.
    Stalled,
}

/// Why an answer of the server could not be taken. The session is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// Not a message.
    #[error("the server's answer is no message")]
    Decode(#[from] DecodeError),
    /// Not even of a known encoding.
    #[error("the server's answer is neither XML nor WBXML")]
    Encoding(#[from] syncml::UnsupportedMediaType),
    /// Of another session.
    #[error("expected session {expected:?}, got {got:?}")]
    OtherSession {
        /// Ours.
        expected: Box<str>,
        /// The message's.
        got: Box<str>,
    },
    /// An answer that was handled before, or one from before that.
    #[error("expected a message after {last}, got {got}")]
    OldMessage {
        /// The last that was handled.
        last: u32,
        /// The message's.
        got: u32,
    },
    /// The session has ended.
    #[error("expected no message after the end")]
    Ended,
}

/// Why stored octets are no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoredError {
    /// Of a version that is not known here.
    #[error("expected version {expected}, got {got:?}")]
    Version {
        /// What is read.
        expected: u8,
        /// The first octet, if there was one.
        got: Option<u8>,
    },
    /// Damaged.
    #[error("stored session is damaged")]
    Damaged(#[from] postcard::Error),
}
