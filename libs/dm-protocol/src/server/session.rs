//! One session, from its first message to its last.

use std::collections::VecDeque;

use jiff::Timestamp;
use syncml::{Encoding, Message, StatusCode};

use super::{
    Draft, DraftValue, Ending, Event, Tag, UNANSWERED,
    object::Outbound,
    order::{self, Order},
    outstanding::Part,
    proof::{Chal, ClientProof, Credential, Guess, ServerProof},
    record::{OwnPackage, Record, RecordError, Seen, Version, Waiting},
    settings::Settings,
};
use crate::{Account, DevId, DevIdError, Nonces};

/// Commands that may wait in one session.
const QUEUE_MAX: usize = 256;
/// How often in one step the caller is asked again for commands after those it gave were refused at once.
const ASKED_AGAIN_MAX: u8 = 8;

/// The server's side of one session.
///
/// A step is: [`ServerSession::handle_message`]; then [`ServerSession::poll_event`] until it gives `None`,
/// answering [`Event::WantsCommands`] by [`ServerSession::enqueue`] and [`Event::WantsChunk`] by
/// [`ServerSession::supply_chunk`]; then [`ServerSession::write_reply`]; then `poll_event` again until `None`,
/// because only with the reply is it known whether the session is over; then [`ServerSession::encode`], store,
/// and answer. Between two steps the session is nothing but its record.
#[derive(Clone, Debug)]
pub struct ServerSession {
    pub(crate) record: Record,
    pub(crate) step: Step,
}

/// What lives only while one message is handled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    pub(crate) events: VecDeque<Event>,
    pub(crate) reply: Reply,
    /// How the answer's Status for SyncHdr reads.
    pub(crate) hdr: HdrStatus,
    /// Of the message that is answered.
    pub(crate) msg_ref: u32,
    /// Of our message before, which the device answers.
    pub(crate) answered_msg_id: u32,
    /// The most octets of the answer.
    pub(crate) limit: usize,
    pub(crate) credential: Option<Credential>,
    /// The server's identity towards this device, where its account names one.
    pub(crate) server_id: Option<String>,
    /// The device's message did not end its package.
    pub(crate) is_open: bool,
    /// The Source or Target of an object that was broken off.
    pub(crate) broken_object: Option<String>,
    /// The chunk that was asked for.
    pub(crate) chunk: Option<Vec<u8>>,
    pub(crate) chunk_asked: bool,
    /// The device ends the session with its Status for our header.
    pub(crate) fatal: bool,
    /// The object that was being sent will not arrive.
    pub(crate) object_lost: bool,
    /// Something was brought forward.
    pub(crate) progress: bool,
    /// The server gives up: the answer carries alert 1223.
    pub(crate) abort: bool,
    pub(crate) asked_again: u8,
    /// A command was refused before it was sent, so the caller may have others.
    pub(crate) refused_at_once: bool,
    /// The credential was refused, and made with the nonce that was accepted last.
    pub(crate) nonce_spent: bool,
    /// The credential was refused, and its maker knew all that goes into it but the password.
    pub(crate) wrong_guess: Option<Guess>,
    /// Answers to a message that belongs nowhere; they are not kept.
    pub(crate) stray: Vec<super::record::Owed>,
}

/// Which answer is to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The kept one, again.
    #[default]
    Kept,
    /// Statuses for a message that belongs nowhere.
    Stray,
    /// A new one.
    New,
}

/// The Status for SyncHdr.
#[derive(Clone, Debug)]
pub(crate) struct HdrStatus {
    pub(crate) code: StatusCode,
    pub(crate) chal: Option<Chal>,
    /// The address that the device used.
    pub(crate) target: String,
}

impl Default for HdrStatus {
    fn default() -> Self {
        Self { code: StatusCode::OK, chal: None, target: String::new() }
    }
}

/// A message with what the session must know beside it.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// When it arrived.
    pub now: Timestamp,
    /// The form it came in, which is the form of the answer.
    pub encoding: Encoding,
    /// The message.
    pub message: &'a Message<'a>,
    /// Its octets, by which a repetition is known.
    pub body: &'a [u8],
    /// The device's account as stored now; `None` for an unknown device, which is refused.
    pub account: Option<&'a Account>,
    /// What the caller has of the device's DevInfo: normalised addresses and plain values (`chr`, no media type). What
    /// is still the same is not told again ([`Event::DevInfo`]); empty: all is told.
    pub dev_info: &'a [(&'a str, &'a str)],
    /// Fresh random octets, from which nonces are made.
    pub entropy: [u8; 32],
}

/// What a message was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handled {
    /// The next of the session.
    New,
    /// The first of a new session that has the number of an earlier one, whose state is gone. What the caller
    /// keeps beside the record, such as an agenda, must begin anew too.
    Restarted,
    /// One that was answered before, or that came late, or after the end: nothing changed, and the record need
    /// not be stored. [`ServerSession::write_reply`] gives the kept answer, or one that only says what is wrong.
    Repeated,
}

/// Why no session can begin with a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// `Source/LocURI` names no device.
    #[error("source of the message names no device")]
    DevId(#[from] DevIdError),
    /// `SessionID` is empty or too long.
    #[error("expected a session id of 1 to 32 characters, got {0}")]
    SessionId(usize),
}

/// Why a command was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnqueueError {
    /// The device has not proved itself, or the session is over.
    #[error("expected a session that accepts commands, got one that does not")]
    NotNow,
    /// The session has as many commands as it can carry.
    #[error("expected at most {QUEUE_MAX} waiting commands, got one more")]
    Full,
    /// No device could understand it.
    #[error("expected {expected}")]
    Malformed {
        /// What should have come.
        expected: &'static str,
    },
}

impl ServerSession {
    /// Begins the session of a first message, which must be handled next.
    ///
    /// # Errors
    ///
    /// [`OpenError`] when the message names no device or no session.
    pub fn open(first: &Message<'_>, encoding: Encoding) -> Result<Self, OpenError> {
        let device = DevId::parse(first.hdr.source.loc_uri.trim())?;
        let chars = first.hdr.session_id.chars().count();
        if !(1..=32).contains(&chars) {
            return Err(OpenError::SessionId(chars));
        }
        let record = Record {
            device,
            session_id: first.hdr.session_id.as_ref().into(),
            key: None,
            encoding,
            version: Version::KNOWN,
            ending: None,
            last: Seen::default(),
            opened_by: 0,
            reply_msg_id: 0,
            max_msg_size: None,
            max_obj_size: None,
            limits_stated: false,
            client: ClientProof::default(),
            server: ServerProof::default(),
            idle_rounds: 0,
            owed: Vec::new(),
            outstanding: Vec::new(),
            queue: VecDeque::new(),
            package: OwnPackage::default(),
            outbound: None,
            inbound: None,
            reply: Vec::new(),
        };
        Ok(Self { record, step: Step::default() })
    }

    /// Takes a message in.
    pub fn handle_message(&mut self, settings: &Settings, input: Input<'_>) -> Handled {
        self.step = Step::default();
        self.step.msg_ref = input.message.hdr.msg_id;
        self.step.hdr.target = input.message.hdr.target.loc_uri.as_ref().to_owned();
        if let Some(server) = input.account.and_then(|account| account.server.as_ref()) {
            self.step.server_id = Some(server.server_id.clone());
        }
        let fingerprint = order::fingerprint(input.body);
        let order = order::order(&self.record, settings, input.now, input.message, fingerprint);
        // A session whose record was lost begins anew with a message to the lost one's address: that very message,
        // repeated, is answered as it was.
        let is_same = matches!(order, Order::Repeated) && fingerprint == self.record.last.fingerprint;
        if !is_same && !self.is_addressed(settings, input.message) {
            self.answer_stray(input.message, StatusCode::BAD_REQUEST);
            return Handled::Repeated;
        }
        match order {
            Order::Next => {
                self.handle_next(settings, input, fingerprint);
                Handled::New
            }
            Order::Reopens => {
                if let Ok(session) = Self::open(input.message, input.encoding) {
                    self.record = session.record;
                }
                self.handle_next(settings, input, fingerprint);
                Handled::Restarted
            }
            Order::Repeated => {
                self.step.reply = Reply::Kept;
                Handled::Repeated
            }
            Order::Stray => {
                self.answer_stray(input.message, self.stray_code());
                Handled::Repeated
            }
        }
    }

    /// Whether the message that was handled is refused for a nonce that the last good credential was made with: it is
    /// that message again, and whoever accepted it may be about to store the session that answers it.
    pub fn has_spent_nonce(&self) -> bool {
        self.step.nonce_spent
    }

    /// Whether the message that was handled is refused for a credential whose maker knew all that goes into it but the
    /// password: a guess, then. A digest with a nonce that is out of date is none.
    pub fn wrong_guess(&self) -> Option<Guess> {
        self.step.wrong_guess
    }

    /// Whether the sender of a message has heard what only the device was told: the key of the session's address stands in
    /// the message's target, or is `posted_to`, the key in the address that it was posted to. True where the session has
    /// no key yet.
    pub fn is_keyed(&self, settings: &Settings, message: &Message<'_>, posted_to: Option<&str>) -> bool {
        let Some(own) = self.record.key else { return true };
        let mut digits = [0; 16];
        for (pair, octet) in digits.chunks_exact_mut(2).zip(own) {
            pair.copy_from_slice(
                &[octet >> 4, octet & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]),
            );
        }
        let target = message.hdr.target.loc_uri.trim();
        let in_target = settings.resp_uri.as_deref().and_then(|base| target.strip_prefix(base));
        let keys = [in_target, posted_to].into_iter().flatten();
        keys.fold(false, |found, key| found | crate::auth::equal(key.as_bytes(), &digits))
    }

    /// What the caller has to know or do next.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.step.events.pop_front() {
            return Some(event);
        }
        if self.step.refused_at_once && self.may_send() && self.is_idle() {
            self.step.refused_at_once = false;
            self.step.asked_again += 1;
            if self.step.asked_again <= ASKED_AGAIN_MAX {
                return Some(Event::WantsCommands);
            }
        }
        self.wanted_chunk()
    }

    /// Takes a command to send, in the package that is being written or a later one.
    ///
    /// # Errors
    ///
    /// [`EnqueueError`]; the command is not taken then, and no event will name its tag.
    pub fn enqueue(&mut self, tag: Tag, draft: Draft) -> Result<(), EnqueueError> {
        if self.is_over() || !self.record.client.is_given() {
            return Err(EnqueueError::NotNow);
        }
        if self.record.queue.len() >= QUEUE_MAX {
            return Err(EnqueueError::Full);
        }
        super::outbound::check(&draft)?;
        if let (Some(item), Some(max)) = (draft.item(), self.record.max_obj_size)
            && item.transported_len(self.record.encoding) > max
        {
            self.report(tag, StatusCode::REQUEST_ENTITY_TOO_LARGE);
            self.step.refused_at_once = true;
            return Ok(());
        }
        self.record.queue.push_back(Waiting { tag, draft, part: Part::Whole });
        Ok(())
    }

    /// Gives the octets that [`Event::WantsChunk`] asked for; fewer only where the artifact ends.
    pub fn supply_chunk(&mut self, chunk: &[u8]) {
        self.step.chunk = Some(chunk.to_vec());
    }

    /// The answer to the last message that was new; empty before there is one.
    pub fn kept_reply(&self) -> &[u8] {
        &self.record.reply
    }

    /// Whether the session is over.
    pub fn is_over(&self) -> bool {
        self.record.ending.is_some()
    }

    /// How the session ended, if it has.
    pub fn ending(&self) -> Option<Ending> {
        self.record.ending
    }

    /// Whose session it is.
    pub fn device(&self) -> &DevId {
        &self.record.device
    }

    /// The session's number, as the device chose it.
    pub fn session_id(&self) -> &str {
        &self.record.session_id
    }

    /// The session as octets, between two steps: a version, then the record.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_behind(Vec::new())
    }

    /// The same behind what `bytes` has already.
    pub fn encode_behind(&self, bytes: Vec<u8>) -> Vec<u8> {
        self.record.encode_behind(bytes)
    }

    /// A session from its octets.
    ///
    /// # Errors
    ///
    /// [`RecordError`] when they are of a later release, or damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        Self::decode_before(bytes).map(|(session, _)| session)
    }

    /// The same, and the octets that stand behind it.
    ///
    /// # Errors
    ///
    /// As [`Self::decode`] has them.
    pub fn decode_before(bytes: &[u8]) -> Result<(Self, &[u8]), RecordError> {
        let (record, rest) = Record::decode(bytes)?;
        Ok((Self { record, step: Step::default() }, rest))
    }

    /// Whether the message is for this session, by its names and, where the device follows it, by our `RespURI`.
    fn is_addressed(&self, settings: &Settings, message: &Message<'_>) -> bool {
        let target = message.hdr.target.loc_uri.trim();
        let key = settings.resp_uri.as_deref().and_then(|base| target.strip_prefix(base));
        let is_ours = key.is_none_or(|key| {
            // A new session may begin where the last one ended.
            message.hdr.msg_id == 1 || self.record.key.is_none_or(|own| key == super::reply::format_key(own))
        });
        is_ours
            && message.hdr.source.loc_uri.trim() == self.record.device.as_str()
            && message.hdr.session_id.eq_ignore_ascii_case(&self.record.session_id)
    }

    fn stray_code(&self) -> StatusCode {
        match self.record.ending {
            Some(Ending::Unauthenticated) => StatusCode::INVALID_CREDENTIALS,
            // A device that still says something after the end is told that it was heard, and nothing else.
            Some(_) => StatusCode::OK,
            None => StatusCode::BAD_REQUEST,
        }
    }

    fn handle_next(&mut self, settings: &Settings, input: Input<'_>, fingerprint: u64) {
        let hdr = &input.message.hdr;
        if self.record.last.msg_id == 0 {
            self.record.opened_by = fingerprint;
            if settings.resp_uri.is_some() {
                let mut key = [0; 8];
                key.copy_from_slice(&input.entropy[16..24]);
                self.record.key = Some(key);
            }
        }
        self.record.last = Seen { msg_id: hdr.msg_id, fingerprint, at_s: input.now.as_second() };
        self.step.answered_msg_id = self.record.reply_msg_id;
        // A device whose session was lost here goes on with its numbers, and takes no answer below the last it heard.
        self.record.reply_msg_id = self.record.reply_msg_id.saturating_add(1).max(hdr.msg_id);
        self.record.encoding = input.encoding;
        self.step.reply = Reply::New;
        match Version::parse(&hdr.ver_dtd, &hdr.ver_proto) {
            Ok(version) => self.record.version = version,
            Err(code) => {
                self.step.hdr.code = code;
                self.refuse_commands(input.message, code);
                return self.end(Ending::Broken);
            }
        }
        if let Some(meta) = &hdr.meta {
            let size = meta.max_msg_size.map(|size| u32::try_from(size).unwrap_or(u32::MAX));
            self.record.max_msg_size = size.or(self.record.max_msg_size);
            self.record.max_obj_size = meta.max_obj_size.or(self.record.max_obj_size);
        }
        self.step.limit = self.limit(settings);
        self.authenticate_and_handle(settings, input);
    }

    fn authenticate_and_handle(&mut self, settings: &Settings, input: Input<'_>) {
        let was_given = self.record.client.is_given();
        let mut entropy = [0; 12];
        entropy.copy_from_slice(&input.entropy[..12]);
        let cred = input.message.hdr.cred.as_ref();
        let (verdict, spent) = self.record.client.judge(settings, input.account, cred, &entropy);
        self.step.nonce_spent = verdict.is_spent;
        self.step.wrong_guess = verdict.guess;
        self.step.hdr.code = verdict.code;
        self.step.hdr.chal = verdict.chal;
        if verdict.cut_off {
            self.refuse_commands(input.message, verdict.code);
            return self.end(Ending::Unauthenticated);
        }
        if !self.record.client.is_given() {
            return self.refuse_commands(input.message, verdict.code);
        }
        if !was_given {
            self.step.progress = true;
            self.step.events.push_back(Event::Authenticated);
        }
        if let Some(account) = input.account {
            self.prove_server(account, input.message, spent);
        }
        self.handle_commands(settings, input);
        self.close_round(settings, input);
    }

    /// Takes the device's verdict on our credentials, makes the next, and tells of nonces that changed.
    fn prove_server(&mut self, account: &Account, message: &Message<'_>, spent: Option<Nonces>) {
        let said = self.handle_header_status(message);
        let mut nonces = spent;
        if said.nonce.is_some() && said.nonce != account.nonces.server {
            nonces.get_or_insert_with(|| account.nonces.clone()).server = said.nonce;
        }
        if said.asked.is_some() {
            nonces.get_or_insert_with(|| account.nonces.clone());
        }
        let current = nonces.as_ref().unwrap_or(&account.nonces);
        self.step.credential = self.record.server.credential(account.server.as_ref(), current);
        if let Some(nonces) = nonces {
            self.step.events.push_back(Event::NoncesChanged { nonces, server_scheme: said.asked });
        }
    }

    /// After the commands of a message: what comes next.
    fn close_round(&mut self, settings: &Settings, input: Input<'_>) {
        let server = input.account.and_then(|account| account.server.as_ref());
        let refused =
            self.record.server.is_challenged() && (server.is_none() || self.record.server.refusals >= 2);
        if refused && !self.is_over() {
            self.end(Ending::ServerRefused);
        }
        if self.is_over() {
            return;
        }
        self.record.idle_rounds =
            if self.step.progress { 0 } else { self.record.idle_rounds.saturating_add(1) };
        if self.record.idle_rounds > settings.idle_rounds_max {
            self.step.abort = true;
            return self.end(Ending::Broken);
        }
        if self.may_send() && self.is_idle() {
            self.step.events.push_back(Event::WantsCommands);
        }
    }

    /// Whether commands may go into the answer.
    pub(crate) fn may_send(&self) -> bool {
        self.step.reply == Reply::New
            && !self.is_over()
            && self.record.client.is_given()
            && !self.step.is_open
    }

    /// Whether there is nothing to send.
    pub(crate) fn is_idle(&self) -> bool {
        self.record.queue.is_empty() && self.record.outbound.is_none()
    }

    /// Ends the session. Commands without an outcome get one.
    pub(crate) fn end(&mut self, ending: Ending) {
        if self.is_over() {
            return;
        }
        self.record.ending = Some(ending);
        self.abandon_outstanding();
        if let Some(Outbound { tag, .. }) = self.record.outbound.take() {
            self.report(tag, UNANSWERED);
        }
        for Waiting { tag, draft, .. } in std::mem::take(&mut self.record.queue) {
            self.report_all(tag, &draft, StatusCode::NOT_EXECUTED);
        }
        self.record.inbound = None;
        self.step.events.push_back(Event::Ended(ending));
    }

    /// Tells a command's outcome.
    pub(crate) fn report(&mut self, tag: Tag, code: StatusCode) {
        self.step.events.push_back(Event::Status { tag, target: None, code, items: Vec::new() });
    }

    /// Tells the same outcome of a command and of all inside it.
    pub(crate) fn report_all(&mut self, tag: Tag, draft: &Draft, code: StatusCode) {
        self.report(tag, code);
        for (tag, inner) in draft.inner() {
            self.report_all(*tag, inner, code);
        }
    }

    /// Asks for the next chunk of the artifact that is to be sent now, once in a step.
    fn wanted_chunk(&mut self) -> Option<Event> {
        if self.step.chunk_asked || !self.may_send() {
            return None;
        }
        let (draft, offset) = match (&self.record.outbound, self.record.queue.front()) {
            (Some(outbound), _) => (&outbound.draft, outbound.sent),
            (None, Some(waiting)) => (&waiting.draft, 0),
            _ => return None,
        };
        let DraftValue::Artifact { digest, size } = draft.item()?.value else { return None };
        let room = if draft.item()?.is_base64(self.record.encoding) {
            self.step.limit / 4 * 3
        } else {
            self.step.limit
        };
        let len = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX).min(room);
        self.step.chunk_asked = true;
        Some(Event::WantsChunk { digest, offset, len })
    }
}
