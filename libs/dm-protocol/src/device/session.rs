//! The session's state, and its step.

use std::collections::VecDeque;

use dm_tree::{Actor, Tree};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use syncml::{Command, Encoding, Limits, Message, Status, StatusCode, SyncHdr, alert, decode};

use super::{
    AlertAnswer, DeviceConfig, DeviceCredentials, DeviceEnding, DeviceError, GenericAlert, Host, Step,
    StoredError,
    execute::{Executor, refuse_all},
    login::Login,
    object::Incoming,
    outbox::{Out, OutItem},
    pack::{HeaderStatus, MSG_SIZE_SMALL},
};

/// Messages in a row that may say nothing new.
const IDLE_MAX: u8 = 10;
/// The first octet of a stored session.
const STORED_VERSION: u8 = 1;
/// What is taken where the device announced no limit.
const OBJECT_OCTETS_MAX: u64 = 16 << 20;

/// The device's side of one session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSession {
    pub(super) config: DeviceConfig,
    pub(super) login: Login,
    pub(super) session_id: String,
    pub(super) next_msg_id: u32,
    /// Of the server's messages, the last that was handled.
    server_msg_id: u32,
    /// Where the next message goes.
    pub(super) uri: String,
    /// What package 1 has, for when it has to be sent again.
    opening: Vec<Out>,
    /// Package 1 is not over yet.
    pub(super) is_opening: bool,
    /// Limits have been told to the server.
    pub(super) announced: bool,
    /// The last message had a credential.
    pub(super) sent_cred: bool,
    /// Answers that go before the rest of an earlier answer.
    pub(super) urgent: VecDeque<Out>,
    pub(super) outbox: VecDeque<Out>,
    /// Octets of the first of the outbox that have been sent.
    pub(super) object_offset: usize,
    /// The message and command that carried them last.
    pub(super) object_sent: Option<(u32, String)>,
    incoming: Option<Incoming>,
    /// The server has ended its package, and it is our turn.
    pub(super) their_package_is_done: bool,
    pub(super) server_max_msg_size: Option<u64>,
    server_max_obj_size: Option<u64>,
    /// Which message and command carried which alert.
    pub(super) events_sent: Vec<(u32, String, usize)>,
    answers: Vec<(usize, u16)>,
    idle: u8,
    ending: Option<DeviceEnding>,
    /// The last word has been sent; the server's answer to it ends the session.
    is_closing: bool,
}

impl std::fmt::Debug for DeviceSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("DeviceSession");
        out.field("device_id", &self.config.device_id).field("session_id", &self.session_id);
        out.field("next_msg_id", &self.next_msg_id).field("ending", &self.ending).finish_non_exhaustive()
    }
}

impl DeviceSession {
    /// Opens a session: gives it and its first message, which goes to [`DeviceConfig::server_url`].
    ///
    /// The DevInfo that package 1 carries is read from the tree. `session_id` is the trigger's, in hexadecimal, or any
    /// text of up to four characters that the device has not used lately.
    pub fn start(
        config: DeviceConfig,
        credentials: DeviceCredentials,
        alerts: Vec<GenericAlert>,
        tree: &Tree,
        session_id: &str,
    ) -> (Self, Vec<u8>) {
        let opening = opening(&config, alerts, tree);
        let mut session = Self {
            login: Login::new(credentials),
            session_id: session_id.to_owned(),
            next_msg_id: 1,
            server_msg_id: 0,
            uri: config.server_url.clone(),
            urgent: VecDeque::new(),
            outbox: opening.iter().cloned().collect(),
            opening,
            is_opening: true,
            announced: false,
            sent_cred: false,
            object_offset: 0,
            object_sent: None,
            incoming: None,
            their_package_is_done: true,
            server_max_msg_size: None,
            server_max_obj_size: None,
            events_sent: Vec::new(),
            answers: Vec::new(),
            idle: 0,
            ending: None,
            is_closing: false,
            config,
        };
        let body = match session.write(None) {
            Step::Send { body, .. } => body,
            Step::Done(_) => Vec::new(),
        };
        (session, body)
    }

    /// Takes the server's answer to the last message.
    ///
    /// `entropy` must be fresh for each step: a nonce may be made of it.
    ///
    /// # Errors
    ///
    /// [`DeviceError`] for an answer that cannot be taken; session and tree are then as they were.
    pub fn handle_reply(
        &mut self,
        now: Timestamp,
        entropy: [u8; 12],
        body: &[u8],
        tree: &mut Tree,
        host: &mut dyn Host,
    ) -> Result<Step, DeviceError> {
        if self.ending.is_some_and(|_| !self.is_closing) {
            return Err(DeviceError::Ended);
        }
        let message = decode(Encoding::of(None, body)?, body, &Limits::default())?;
        self.check(&message.hdr)?;
        if let Some(ending) = self.ending {
            return Ok(self.end(ending));
        }
        self.take_header(&message.hdr);
        let commands = &message.body.commands;
        if has_alert(commands, alert::SESSION_ABORT) {
            return Ok(self.end(DeviceEnding::AbortedByServer));
        }
        if let Some(step) = self.take_statuses(&message, &entropy) {
            return Ok(step);
        }
        let has_commands = commands.iter().any(is_real);
        let verdict = self.login.check_server(&message.hdr, has_commands, &self.config.quirks, &entropy);
        let mut header = HeaderStatus { verdict, ..header_of(&message.hdr) };
        self.their_package_is_done |= message.body.is_final;
        if header.verdict.is_refused {
            let code = header.verdict.code;
            self.outbox.extend(refuse_all(commands, code, message.hdr.msg_id, &self.config.quirks));
            // A refused package is over, whatever it said: the server has to begin it again.
            self.their_package_is_done = true;
            if header.verdict.challenge.is_none() {
                return Ok(self.close(header, DeviceEnding::ServerUnauthenticated));
            }
            return Ok(self.write(Some(header)));
        }
        let gets_on = has_commands || !(self.outbox.is_empty() && self.urgent.is_empty());
        self.execute(now, &message, tree, host);
        let says_something = commands.iter().any(|command| !matches!(command, Command::Status(_)));
        if message.body.is_final && !says_something && self.outbox.is_empty() {
            return Ok(self.end(DeviceEnding::Done));
        }
        self.idle = if gets_on { 0 } else { self.idle + 1 };
        if self.idle > IDLE_MAX {
            return Ok(self.close(header, DeviceEnding::Stalled));
        }
        if message.hdr.no_resp {
            header.verdict.code = StatusCode::OK;
        }
        Ok(self.write(Some(header)))
    }

    /// Ends the session of the device's own will: gives the message that says so. Its answer, if one comes, may be given
    /// to [`DeviceSession::handle_reply`] or dropped.
    pub fn abort(&mut self) -> Step {
        let header = HeaderStatus {
            msg_ref: self.server_msg_id,
            target_ref: self.config.device_id.clone(),
            source_ref: self.config.server_url.clone(),
            verdict: super::login::Verdict { code: StatusCode::OK, challenge: None, is_refused: false },
        };
        self.close(header, DeviceEnding::Aborted)
    }

    /// The credentials and nonces as they are now. The device keeps them for its next session, after every step.
    pub fn credentials(&self) -> &DeviceCredentials {
        &self.login.credentials
    }

    /// What the server has said to the alerts so far. An alert that it accepted need not be sent again.
    pub fn alert_answers(&self) -> impl Iterator<Item = AlertAnswer> {
        self.answers.iter().map(|(index, code)| AlertAnswer { index: *index, code: StatusCode(*code) })
    }

    /// How it ended, once it has.
    pub fn ending(&self) -> Option<DeviceEnding> {
        self.ending.filter(|_| !self.is_closing)
    }

    /// The session as octets: a version, then a compact form.
    ///
    /// # Errors
    ///
    /// None is known.
    pub fn encode(&self) -> Result<Vec<u8>, StoredError> {
        Ok(postcard::to_extend(self, vec![STORED_VERSION])?)
    }

    /// A session from its octets.
    ///
    /// # Errors
    ///
    /// [`StoredError`] if they are none of ours.
    pub fn decode(stored: &[u8]) -> Result<Self, StoredError> {
        match stored.split_first() {
            Some((&STORED_VERSION, rest)) => Ok(postcard::from_bytes(rest)?),
            first => Err(StoredError::Version { expected: STORED_VERSION, got: first.map(|(got, _)| *got) }),
        }
    }
}

impl DeviceSession {
    fn check(&self, hdr: &SyncHdr<'_>) -> Result<(), DeviceError> {
        if !hdr.session_id.eq_ignore_ascii_case(&self.session_id) {
            return Err(DeviceError::OtherSession {
                expected: (&*self.session_id).into(),
                got: (&*hdr.session_id).into(),
            });
        }
        if hdr.msg_id <= self.server_msg_id {
            return Err(DeviceError::OldMessage { last: self.server_msg_id, got: hdr.msg_id });
        }
        Ok(())
    }

    fn take_header(&mut self, hdr: &SyncHdr<'_>) {
        self.server_msg_id = hdr.msg_id;
        if let Some(uri) = &hdr.resp_uri {
            self.uri = uri.clone().into_owned();
        }
        let meta = hdr.meta.as_deref();
        self.server_max_msg_size = meta.and_then(|meta| meta.max_msg_size).or(self.server_max_msg_size);
        self.server_max_obj_size = meta.and_then(|meta| meta.max_obj_size).or(self.server_max_obj_size);
    }

    /// What the server says to our last message. Gives a step where that decides it.
    fn take_statuses(&mut self, message: &Message<'_>, entropy: &[u8; 12]) -> Option<Step> {
        let mut header = None;
        for command in &message.body.commands {
            let Command::Status(status) = command else { continue };
            if &*status.cmd_ref == "0" {
                header = header.or(Some(status));
            } else {
                self.take_status(status);
            }
        }
        let header = header?;
        let challenge = header.chal.as_deref();
        match header.data {
            StatusCode::AUTHENTICATION_ACCEPTED => self.login.accepted(true, challenge),
            StatusCode::INVALID_CREDENTIALS | StatusCode::MISSING_CREDENTIALS => {
                if !self.login.challenged(challenge) {
                    return Some(self.end(DeviceEnding::Unauthenticated));
                }
                let quirks = &self.config.quirks;
                let verdict = self.login.check_server(&message.hdr, false, quirks, entropy);
                let header = HeaderStatus { verdict, ..header_of(&message.hdr) };
                self.open_again();
                return Some(self.write(Some(header)));
            }
            code if code.is_success() => {
                if self.sent_cred {
                    self.login.accepted(false, challenge);
                }
            }
            code => return Some(self.end(DeviceEnding::Refused(code))),
        }
        None
    }

    fn take_status(&mut self, status: &Status<'_>) {
        let is_of = |msg_id: u32, cmd_id: &str| {
            status.msg_ref.is_none_or(|msg_ref| msg_ref == msg_id) && status.cmd_ref == *cmd_id
        };
        let event = self.events_sent.iter().position(|(msg_id, cmd_id, _)| is_of(*msg_id, cmd_id));
        if let Some(event) = event.filter(|_| &*status.cmd == "Alert") {
            let (_, _, index) = self.events_sent.remove(event);
            self.answers.retain(|(known, _)| *known != index);
            self.answers.push((index, status.data.0));
        }
        let is_of_object = self.object_sent.as_ref().is_some_and(|(msg_id, cmd_id)| is_of(*msg_id, cmd_id));
        if is_of_object && !status.data.is_success() {
            self.drop_object();
        }
    }

    /// The server does not want the rest of what is being sent.
    fn drop_object(&mut self) {
        if self.object_offset > 0 {
            self.outbox.pop_front();
        }
        self.object_offset = 0;
        self.object_sent = None;
    }

    /// Back to package 1: nothing of what was said so far counts.
    fn open_again(&mut self) {
        self.urgent.clear();
        self.outbox = self.opening.iter().cloned().collect();
        self.is_opening = true;
        self.announced = false;
        self.object_offset = 0;
        self.object_sent = None;
        self.incoming = None;
        self.their_package_is_done = true;
        self.events_sent.clear();
    }

    fn execute(&mut self, now: Timestamp, message: &Message<'_>, tree: &mut Tree, host: &mut dyn Host) {
        let own_max = self.config.max_obj_size.map_or(OBJECT_OCTETS_MAX, u64::from);
        let mut executor = Executor {
            tree,
            host,
            actor: Actor { server_id: &self.login.credentials.server_id, now },
            encoding: self.config.encoding,
            quirks: &self.config.quirks,
            msg_ref: message.hdr.msg_id,
            incoming: &mut self.incoming,
            takes_octets_max: own_max,
            gives_octets_max: gives_max(
                self.config.quirks.large_objects,
                self.server_max_msg_size,
                self.server_max_obj_size,
            ),
            out: Vec::new(),
            broken: None,
            lost_ours: false,
        };
        for command in &message.body.commands {
            executor.run(command, None);
        }
        let Executor { out, broken, lost_ours, .. } = executor;
        if lost_ours {
            self.drop_object();
        }
        let out = out.into_iter().filter(|_| !message.hdr.no_resp);
        if self.outbox.is_empty() {
            self.outbox.extend(out);
        } else {
            // What is owed to "next message" must not wait behind the chunks of an object.
            let (urgent, rest) = out.partition::<Vec<_>, _>(|out| matches!(out, Out::Status(_)));
            // A server that takes so little sends one of those for each message that it gets, and an answer to each
            // would fill the message.
            if self.server_max_msg_size.is_none_or(|size| size >= MSG_SIZE_SMALL as u64) {
                self.urgent.extend(urgent);
            }
            self.outbox.extend(rest);
        }
        self.outbox.extend(broken.map(Out::NoEndOfData));
    }

    fn end(&mut self, ending: DeviceEnding) -> Step {
        self.ending = Some(ending);
        self.is_closing = false;
        Step::Done(ending)
    }

    /// Sends a last message that ends the session.
    fn close(&mut self, header: HeaderStatus, ending: DeviceEnding) -> Step {
        self.drop_object();
        // The end first, so that it fits whatever else is owed.
        self.outbox.retain(|out| matches!(out, Out::Status(_)));
        self.urgent.clear();
        self.urgent.push_back(Out::Abort);
        self.their_package_is_done = true;
        self.ending = Some(ending);
        self.is_closing = true;
        self.write((header.msg_ref > 0).then_some(header))
    }
}

fn opening(config: &DeviceConfig, alerts: Vec<GenericAlert>, tree: &Tree) -> Vec<Out> {
    let code = match config.server_initiated {
        true => alert::SERVER_INITIATED_MGMT,
        false => alert::CLIENT_INITIATED_MGMT,
    };
    let mut out = vec![Out::Opening(code)];
    out.extend(alerts.into_iter().enumerate().map(|(index, alert)| Out::Event(index, alert)));
    let items = tree.walk_from("DevInfo").filter_map(|(uri, node)| {
        let leaf = node.as_leaf()?;
        let reading = dm_tree::Reading {
            uri: dm_tree::full(&uri),
            format: Some(leaf.format),
            type_: leaf.mime.as_deref().map(str::to_owned),
            value: Some(leaf.value.to_vec()),
        };
        Some(OutItem::of(reading, None, config.encoding))
    });
    out.push(Out::DevInfo(items.collect()));
    out
}

fn header_of(hdr: &SyncHdr<'_>) -> HeaderStatus {
    HeaderStatus {
        msg_ref: hdr.msg_id,
        target_ref: hdr.target.loc_uri.clone().into_owned(),
        source_ref: hdr.source.loc_uri.clone().into_owned(),
        verdict: super::login::Verdict { code: StatusCode::OK, challenge: None, is_refused: false },
    }
}

/// Octets of the largest value that can be given: without chunks it has to fit into one message, beside the rest.
fn gives_max(in_chunks: bool, msg_size: Option<u64>, obj_size: Option<u64>) -> u64 {
    let by_message =
        msg_size.filter(|_| !in_chunks).map_or(u64::MAX, |size| size.max(512).saturating_sub(400));
    by_message.min(obj_size.unwrap_or(u64::MAX))
}

/// Whether it asks something of the tree or the user.
fn is_real(command: &Command<'_>) -> bool {
    match command {
        Command::Status(_) | Command::Results(_) => false,
        Command::Alert(alert) => alert.code != Some(alert::NEXT_MESSAGE),
        _ => true,
    }
}

fn has_alert(commands: &[Command<'_>], code: u16) -> bool {
    commands.iter().any(|command| matches!(command, Command::Alert(alert) if alert.code == Some(code)))
}
