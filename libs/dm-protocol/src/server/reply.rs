//! Writing the answer: the Statuses that are owed, then what is to be done, never larger than the device takes.

use syncml::{Alert, Command, Cred, Item, Location, Meta, Status, StatusCode, SyncHdr, Writer, alert};

use super::{
    Draft, DraftValue, Ending,
    object::Outbound,
    outbound::{self, Piece, chunk_command, decimal},
    outstanding::{Answer, Part, Sent},
    record::{CmdRef, Dtd, Owed, OwnPackage, Ref, Waiting},
    session::{Reply, ServerSession},
    settings::Settings,
};
use crate::auth;

/// What a device that states less is taken to mean (every message has a header to carry).
const MSG_SIZE_MIN: u32 = 512;
/// Octets of an alert 1222 or 1223, and of a 1225 without the address in it.
const ALERT_ROOM: usize = 160;
/// Statuses that may wait for a later message. A device that takes so small messages does not send more commands.
const OWED_KEPT_MAX: usize = 64;
/// Below this many octets a message is written without the parts that no device needs.
const LEAN_BELOW: usize = 2048;

/// What became of the commands in an answer.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    commands: usize,
    /// The package goes on in the next message.
    unfinished: bool,
}

impl ServerSession {
    /// Writes the answer to the message that was handled last, and keeps it in the record.
    ///
    /// There always is an answer. It is at most as large as the device's `MaxMsgSize` (or 512 octets, if that
    /// is more) and [`Settings::reply_size_max`] allow, unless the header with one or two Statuses is larger.
    pub fn write_reply(&mut self, settings: &Settings, out: &mut Vec<u8>) {
        match self.step.reply {
            Reply::Kept => out.extend_from_slice(&self.record.reply),
            Reply::Stray => self.write_stray(settings, out),
            Reply::New => {
                let begins_at = out.len();
                self.write_new(settings, out);
                self.record.reply.clear();
                self.record.reply.extend_from_slice(out.get(begins_at..).unwrap_or_default());
                self.step.reply = Reply::Kept;
            }
        }
    }

    fn write_stray(&mut self, settings: &Settings, out: &mut Vec<u8>) {
        let limit = self.limit(settings);
        let stray = std::mem::take(&mut self.step.stray);
        let (mut writer, mut next_id) = self.begin(settings, out, true, limit);
        push_owed(&mut writer, &stray, &mut next_id, limit);
        writer.finish(true);
    }

    fn write_new(&mut self, settings: &Settings, out: &mut Vec<u8>) {
        let limit = self.limit(settings);
        let closing = self.is_over() || (self.may_send() && self.is_idle());
        let (mut writer, mut next_id) = self.begin(settings, out, closing, limit);
        let owed = std::mem::take(&mut self.record.owed);
        let told = push_owed(&mut writer, &owed, &mut next_id, limit.saturating_sub(self.alert_room()));
        self.record.owed = owed.into_iter().skip(told).take(OWED_KEPT_MAX).collect();
        self.push_alerts(&mut writer, &mut next_id);
        let mut written = Written::default();
        if self.may_send() && self.record.owed.is_empty() {
            written = self.push_commands(&mut writer, &mut next_id, limit, told > 0);
        }
        let goes_on = self.step.is_open || written.unfinished || !self.record.owed.is_empty();
        let is_final = self.is_over() || !goes_on;
        writer.finish(is_final);
        self.record.package = match (is_final, self.step.is_open) {
            (true, _) => OwnPackage::Closed,
            (false, true) => OwnPackage::Asking,
            (false, false) => OwnPackage::Continuing,
        };
        if is_final && self.may_send() && written.commands == 0 {
            self.end(Ending::Done);
        }
    }

    /// Octets to keep free for the alerts that must be in the answer.
    fn alert_room(&self) -> usize {
        let broken = self.step.broken_object.as_ref().map_or(0, |uri| uri.len() + ALERT_ROOM);
        let open = if self.step.is_open || self.step.abort { ALERT_ROOM } else { 0 };
        broken + open
    }

    /// The most octets that the answer may have.
    pub(crate) fn limit(&self, settings: &Settings) -> usize {
        let stated = self.record.max_msg_size.unwrap_or(u32::MAX).max(MSG_SIZE_MIN);
        usize::try_from(stated.min(settings.reply_size_max.max(MSG_SIZE_MIN))).unwrap_or(usize::MAX)
    }

    /// Writes the header and its Status, and gives the next free `CmdID`.
    fn begin<'b>(
        &mut self,
        settings: &Settings,
        out: &'b mut Vec<u8>,
        closing: bool,
        limit: usize,
    ) -> (Writer<'b>, u32) {
        // Where little fits, what is only good manners is left out.
        let lean = limit < LEAN_BELOW;
        let hdr = self.header(settings, closing, lean);
        let mut writer = Writer::begin(self.record.encoding, &hdr, out);
        writer.push(&self.header_status(lean));
        let stated = hdr.meta.is_some();
        let scheme = self.step.credential.as_ref().filter(|_| hdr.cred.is_some()).map(|cred| cred.scheme);
        if self.step.reply == Reply::New {
            self.record.limits_stated |= stated;
            self.record.server.handle_sent(scheme);
        }
        (writer, 2)
    }

    fn header<'a>(&'a self, settings: &'a Settings, closing: bool, lean: bool) -> SyncHdr<'a> {
        let record = &self.record;
        let given = record.client.is_given();
        let is_stray = self.step.reply == Reply::Stray;
        let server_id = self.step.server_id.as_deref();
        let cred = self.step.credential.as_ref().filter(|_| given && !closing);
        let states_limits = given && !closing && !lean && !record.limits_stated;
        SyncHdr {
            ver_dtd: record.version.ver_dtd().into(),
            ver_proto: record.version.ver_proto().into(),
            session_id: record.session_id.as_ref().into(),
            msg_id: if is_stray { record.reply_msg_id.max(self.step.msg_ref) } else { record.reply_msg_id },
            target: Location { loc_uri: record.device.as_str().into(), loc_name: None },
            source: Location {
                loc_uri: server_id.unwrap_or(&settings.server_uri).into(),
                loc_name: server_id.filter(|_| cred.is_some()).map(Into::into),
            },
            resp_uri: if closing { None } else { self.resp_uri(settings).map(Into::into) },
            no_resp: false,
            cred: cred.map(|cred| Cred {
                meta: Some(Box::new(Meta {
                    format: Some("b64".into()),
                    type_: Some(cred.scheme.name().into()),
                    ..Meta::default()
                })),
                data: cred.data.as_str().into(),
            }),
            meta: states_limits.then(|| {
                Box::new(Meta {
                    max_msg_size: Some(settings.max_msg_size.into()),
                    max_obj_size: Some(settings.max_obj_size.into()),
                    ..Meta::default()
                })
            }),
        }
    }

    /// Where the device shall go on, as long as it does not.
    fn resp_uri(&self, settings: &Settings) -> Option<String> {
        let key = self.record.key?;
        let uri = [settings.resp_uri.as_deref()?, &format_key(key)].concat();
        (uri != self.step.hdr.target).then_some(uri)
    }

    fn header_status(&self, lean: bool) -> Command<'_> {
        let hdr = &self.step.hdr;
        let chal = hdr.chal.as_ref().map(|chal| {
            Box::new(Meta {
                format: Some("b64".into()),
                type_: Some(chal.scheme.name().into()),
                next_nonce: chal.next_nonce.map(|nonce| auth::format_base64(&nonce).into()),
                ..Meta::default()
            })
        });
        let refs = |uri| if lean { Vec::new() } else { vec![uri] };
        Command::Status(Status {
            cmd_id: "1".into(),
            msg_ref: Some(self.step.msg_ref),
            cmd_ref: "0".into(),
            cmd: "SyncHdr".into(),
            target_refs: refs(hdr.target.as_str().into()),
            source_refs: refs(self.record.device.as_str().into()),
            cred: None,
            chal,
            data: hdr.code,
            items: Vec::new(),
        })
    }

    /// The alerts of the protocol itself: an object was broken off, more is awaited, or the session is given up.
    fn push_alerts(&self, writer: &mut Writer<'_>, next_id: &mut u32) {
        let mut push = |code, items| {
            let cmd_id = decimal(*next_id);
            *next_id += 1;
            writer.push(&Command::Alert(Alert { cmd_id, code: Some(code), items, ..Alert::default() }));
        };
        if let Some(uri) = &self.step.broken_object {
            let source = Location { loc_uri: uri.as_str().into(), loc_name: None };
            push(alert::NO_END_OF_DATA, vec![Item { source: Some(source), ..Item::default() }]);
        }
        if self.step.abort {
            push(alert::SESSION_ABORT, Vec::new());
        } else if self.step.is_open && !self.is_over() {
            push(alert::NEXT_MESSAGE, Vec::new());
        }
    }

    /// Writes as many whole commands as fit, and chunks of what fits no message.
    fn push_commands(
        &mut self,
        writer: &mut Writer<'_>,
        next_id: &mut u32,
        limit: usize,
        crowded: bool,
    ) -> Written {
        let mut written = Written::default();
        if let Some(outbound) = self.record.outbound.take() {
            self.push_chunk(writer, next_id, (limit, crowded), outbound, &mut written);
        }
        while !written.unfinished {
            let Some(waiting) = self.record.queue.pop_front() else { break };
            let is_artifact =
                waiting.draft.item().is_some_and(|item| matches!(item.value, DraftValue::Artifact { .. }));
            if !is_artifact && self.push_whole(writer, next_id, limit, &waiting) {
                self.sent(waiting, *next_id, Part::Whole);
                *next_id = self.after_last_sent();
                written.commands += 1;
            } else if written.commands > 0 {
                self.record.queue.push_front(waiting);
                break;
            } else if is_artifact || is_splittable(&waiting.draft) {
                let outbound = Outbound { tag: waiting.tag, draft: waiting.draft, sent: 0 };
                self.push_chunk(writer, next_id, (limit, crowded), outbound, &mut written);
            } else {
                self.make_room(waiting, crowded, &mut written);
            }
        }
        written
    }

    /// Writes a command if it fits.
    fn push_whole(
        &self,
        writer: &mut Writer<'_>,
        next_id: &mut u32,
        limit: usize,
        waiting: &Waiting,
    ) -> bool {
        let mark = writer.mark();
        let mut id = *next_id;
        let mut command = outbound::command(&waiting.draft, self.record.encoding, &mut id);
        if self.record.version.dtd == Dtd::V1_1 {
            outbound::leave_out_correlators(&mut command);
        }
        writer.push(&command);
        let fits = writer.size_if_finished(true) <= limit;
        if !fits {
            writer.rollback(mark);
        }
        fits
    }

    /// A command fits no message as it is: it is split, waits for an emptier message, or is given up.
    fn make_room(&mut self, waiting: Waiting, crowded: bool, written: &mut Written) {
        if let Draft::Get(uris) = &waiting.draft
            && uris.len() > 1
        {
            let (left, right) = uris.split_at(uris.len() / 2);
            for half in [right, left] {
                let draft = Draft::Get(half.to_vec());
                self.record.queue.push_front(Waiting { tag: waiting.tag, draft, part: Part::Items });
            }
        } else if crowded && self.record.package != OwnPackage::Continuing {
            self.record.queue.push_front(waiting);
            written.unfinished = true;
        } else {
            self.report_too_large(&waiting);
            // A message without commands would end the session, and the caller may have others.
            written.unfinished = self.record.queue.is_empty();
        }
    }

    fn report_too_large(&mut self, waiting: &Waiting) {
        match (&waiting.draft, waiting.part) {
            (Draft::Get(uris), Part::Items) => {
                for uri in uris {
                    let target = Some(dm_tree::normalise(uri).to_owned());
                    self.step.events.push_back(super::Event::Status {
                        tag: waiting.tag,
                        target,
                        code: StatusCode::REQUEST_ENTITY_TOO_LARGE,
                        items: Vec::new(),
                    });
                }
            }
            (draft, _) => self.report_all(waiting.tag, draft, StatusCode::REQUEST_ENTITY_TOO_LARGE),
        }
    }

    /// Notes a command that was written with the next free `CmdID`.
    fn sent(&mut self, waiting: Waiting, cmd_id: u32, part: Part) {
        let part = if waiting.part == Part::Items { Part::Items } else { part };
        let answers = vec![Answer::default(); waiting.draft.size()];
        let msg_id = self.record.reply_msg_id;
        let mut sent = Sent { msg_id, cmd_id, tag: waiting.tag, draft: waiting.draft, answers, part };
        if self.step.server_id.is_none() {
            // A server that cannot prove itself will not send it again when the device asks for that.
            sent.forget_values();
        }
        self.record.outstanding.push(sent);
    }

    fn after_last_sent(&self) -> u32 {
        let last = self.record.outstanding.last();
        last.map_or(1, |sent| sent.cmd_id + u32::try_from(sent.answers.len()).unwrap_or(1))
    }

    /// Writes the next chunk of an object, as large as fits.
    fn push_chunk(
        &mut self,
        writer: &mut Writer<'_>,
        next_id: &mut u32,
        (limit, crowded): (usize, bool),
        mut outbound: Outbound,
        written: &mut Written,
    ) {
        let encoding = self.record.encoding;
        self.record.outstanding.retain(|sent| sent.part != Part::Chunk);
        let Some(item) = outbound.draft.item() else { return };
        let total = item.value_len();
        let left = usize::try_from(total.saturating_sub(outbound.sent)).unwrap_or(usize::MAX);
        let chunk = self.step.chunk.take();
        let available: &[u8] = match &item.value {
            DraftValue::Inline(value) => {
                value.get(usize::try_from(outbound.sent).unwrap_or(usize::MAX)..).unwrap_or_default()
            }
            DraftValue::Artifact { .. } => chunk.as_deref().unwrap_or_default(),
        };
        let is_first = outbound.sent == 0;
        let taken = fit(writer, &outbound.draft, encoding, (*next_id, limit), available, (left, is_first));
        let Some(taken) = taken else {
            if !available.is_empty() && crowded && self.record.package != OwnPackage::Continuing {
                // The Statuses left no room; the next message has few.
                self.record.outbound = Some(outbound);
                written.unfinished = true;
                return;
            }
            // Either there is no room for a single octet, or the artifact cannot be read any more.
            let code = if available.is_empty() && left > 0 {
                StatusCode::NOT_EXECUTED
            } else {
                StatusCode::REQUEST_ENTITY_TOO_LARGE
            };
            self.report(outbound.tag, code);
            written.unfinished = self.record.queue.is_empty();
            return;
        };
        outbound.sent = outbound.sent.saturating_add(u64::try_from(taken).unwrap_or(u64::MAX));
        written.commands += 1;
        let (tag, is_last) = (outbound.tag, taken == left);
        if is_last {
            self.sent(Waiting { tag, draft: outbound.draft, part: Part::Whole }, *next_id, Part::Whole);
        } else {
            // The draft stays with the object; what stands here is never told to anybody.
            let draft = Draft::Delete(".".into());
            self.sent(Waiting { tag, draft, part: Part::Whole }, *next_id, Part::Chunk);
            self.record.outbound = Some(outbound);
            written.unfinished = true;
        }
        *next_id += 1;
    }
}

/// A session's key as it stands in `RespURI`.
pub(crate) fn format_key(key: [u8; 8]) -> String {
    format!("{:016x}", u64::from_be_bytes(key))
}

/// Writes as much of `available` as fits; gives how much that is, or `None` where it would be nothing.
fn fit(
    writer: &mut Writer<'_>,
    draft: &Draft,
    encoding: syncml::Encoding,
    (cmd_id, limit): (u32, usize),
    available: &[u8],
    (left, is_first): (usize, bool),
) -> Option<usize> {
    let item = draft.item()?;
    let mark = writer.mark();
    let mut push = |taken: &[u8]| {
        writer.rollback(mark);
        let piece = Piece { octets: taken, is_first, more: taken.len() < left };
        writer.push(&chunk_command(draft, encoding, cmd_id, piece)?);
        Some(writer.size_if_finished(true))
    };
    let empty = push(&[])?;
    // An OPAQUE states its length in one octet more, or two.
    let room = limit.saturating_sub(empty + 2);
    let is_octets = item.format == dm_tree::Format::Bin;
    let mut length =
        if item.is_base64(encoding) { room / 4 * 3 } else { room }.min(available.len()).min(left);
    loop {
        if length < left {
            // Pieces of base64 join without padding, and those of text without half a character.
            length = if item.is_base64(encoding) {
                length - length % 3
            } else if is_octets {
                length
            } else {
                text_boundary(available, length)
            };
        }
        if length == 0 && left > 0 {
            writer.rollback(mark);
            return None;
        }
        if push(available.get(..length)?)? <= limit {
            return Some(length);
        }
        // Escapes made it longer than it is.
        length = length / 4 * 3;
    }
}

/// The largest length up to `length` that does not end within a character.
fn text_boundary(octets: &[u8], length: usize) -> usize {
    match std::str::from_utf8(octets.get(..length).unwrap_or_default()) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => length,
    }
}

/// Whether a command can go in chunks.
fn is_splittable(draft: &Draft) -> bool {
    draft.item().is_some_and(|item| item.value_len() > 0)
}

/// Writes the Statuses that fit; gives how many.
fn push_owed(writer: &mut Writer<'_>, owed: &[Owed], next_id: &mut u32, limit: usize) -> usize {
    for (index, owed) in owed.iter().enumerate() {
        let mark = writer.mark();
        writer.push(&owed_status(owed, *next_id));
        // One is written at least, or the session would not come forward.
        if index > 0 && writer.size_if_finished(true) > limit {
            writer.rollback(mark);
            return index;
        }
        *next_id += 1;
    }
    owed.len()
}

fn owed_status(owed: &Owed, cmd_id: u32) -> Command<'_> {
    let (mut target_refs, mut source_refs) = (Vec::new(), Vec::new());
    match &owed.item {
        Some(Ref::Target(uri)) => target_refs.push(uri.as_ref().into()),
        Some(Ref::Source(uri)) => source_refs.push(uri.as_ref().into()),
        None => {}
    }
    let cmd_ref = match &owed.cmd_ref {
        CmdRef::Number(number) => decimal(*number),
        CmdRef::Text(text) => text.as_ref().into(),
    };
    Command::Status(Status {
        cmd_id: decimal(cmd_id),
        msg_ref: Some(owed.msg_ref),
        cmd_ref,
        cmd: owed.cmd().into(),
        target_refs,
        source_refs,
        cred: None,
        chal: None,
        data: StatusCode(owed.code),
        items: Vec::new(),
    })
}
