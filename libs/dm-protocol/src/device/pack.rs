//! Fills one message from the outbox, within what the server takes.

use std::{borrow::Cow, collections::VecDeque};

use syncml::{Alert, Command, Encoding, Location, Meta, Status, SyncHdr, Writer, alert::NEXT_MESSAGE};

use super::{
    DeviceSession, Step,
    login::Verdict,
    outbox::{Out, OutResults},
};
use crate::{Scheme, auth};

/// What a server may say it takes at least; less would leave no room for an answer.
const MSG_SIZE_MIN: usize = 512;
/// Below this the header's Status names nobody, for the sake of the rest.
pub(super) const MSG_SIZE_SMALL: usize = 1024;
/// Kept free for alert 1222 while the server's package is open, in the longer of the encodings.
const NEXT_MESSAGE_SIZE: usize = 80;
/// A chunk smaller than this waits for a message of its own.
const CHUNK_MIN: usize = 32;

/// The Status of the server's header, which every message begins with but the first.
pub(super) struct HeaderStatus {
    pub(super) msg_ref: u32,
    pub(super) target_ref: String,
    pub(super) source_ref: String,
    pub(super) verdict: Verdict,
}

struct Packer<'s, 'b> {
    session: &'s mut DeviceSession,
    writer: Writer<'b>,
    limit: usize,
    /// The size of the message with nothing but its header and the header's Status.
    bare: usize,
    next_cmd_id: u32,
    msg_id: u32,
    /// Something else than the header's Status is in the message.
    is_filled: bool,
}

/// What became of a command that was to be sent whole.
enum Pushed {
    Whole,
    /// It waits for the next message.
    Later,
    /// It has to be cut.
    TooLarge,
}

impl DeviceSession {
    /// Writes the next message.
    pub(super) fn write(&mut self, header: Option<HeaderStatus>) -> Step {
        let msg_id = self.next_msg_id;
        self.next_msg_id += 1;
        let mut body = Vec::new();
        let config = self.config.clone();
        let announces = !self.announced && (config.max_msg_size.is_some() || config.max_obj_size.is_some());
        let meta = Meta {
            max_msg_size: config.max_msg_size.map(u64::from),
            max_obj_size: config.max_obj_size.map(u64::from),
            ..Meta::default()
        };
        let cred = self.login.cred();
        let user = self.login.credentials.client.as_ref().map(|secret| secret.user.clone());
        let session_id = self.session_id.clone();
        let uri = self.uri.clone();
        let hdr = SyncHdr {
            ver_dtd: config.version.ver_dtd().into(),
            ver_proto: config.version.ver_proto().into(),
            session_id: session_id.into(),
            msg_id,
            target: Location { loc_uri: (&*uri).into(), loc_name: None },
            source: Location {
                loc_uri: (&*config.device_id).into(),
                loc_name: user.filter(|_| cred.is_some() && !config.quirks.omits_loc_name).map(Cow::Owned),
            },
            cred,
            meta: announces.then(|| Box::new(meta)),
            ..SyncHdr::default()
        };
        self.sent_cred = hdr.cred.is_some();
        self.announced = true;
        let limit = self
            .server_max_msg_size
            .map_or(usize::MAX, |size| usize::try_from(size).unwrap_or(usize::MAX).max(MSG_SIZE_MIN));
        let mut writer = Writer::begin(config.encoding, &hdr, &mut body);
        let mut next_cmd_id = 1;
        let is_refusal = header
            .as_ref()
            .is_some_and(|header| header.verdict.is_refused && header.verdict.challenge.is_some());
        if let Some(mut header) = header {
            if limit < MSG_SIZE_SMALL {
                header.target_ref.clear();
                header.source_ref.clear();
            }
            let id = if config.quirks.omits_status_cmd_id { String::new() } else { next_cmd_id.to_string() };
            writer.push(&Command::Status(header.status(&id)));
            next_cmd_id += 1;
        }
        let bare = writer.size_if_finished(true);
        let mut packer = Packer { session: self, writer, limit, bare, next_cmd_id, msg_id, is_filled: false };
        let begin = packer.writer.mark();
        packer.fill();
        if is_refusal && !packer.session.outbox.is_empty() {
            // Some commands named would mean that the others were done. The header's Status alone refuses all of them,
            // and the server begins its package again at once.
            packer.writer.rollback(begin);
            packer.session.outbox.clear();
            packer.session.urgent.clear();
        }
        packer.finish();
        if config.quirks.correlator_before_data {
            swap_correlators(config.encoding, &mut body);
        }
        Step::Send { uri, body }
    }
}

impl Packer<'_, '_> {
    fn fill(&mut self) {
        let begin = (self.writer.mark(), self.next_cmd_id);
        let urgent = self.session.urgent.clone();
        self.fill_urgent();
        let is_filled = self.is_filled;
        if !self.fill_queue() && is_filled && !self.session.outbox.is_empty() {
            // In a message this small the answers to "next message" would keep out for ever what is next.
            self.writer.rollback(begin.0);
            (self.next_cmd_id, self.is_filled) = (begin.1, false);
            self.session.urgent = urgent;
            self.fill_queue();
            self.fill_urgent();
        }
    }

    fn fill_urgent(&mut self) {
        while let Some(urgent) = self.session.urgent.pop_front() {
            if !matches!(self.push_whole(&urgent), Pushed::Whole) {
                self.session.urgent.push_front(urgent);
                return;
            }
        }
    }

    /// Gives back whether anything of the queue went into the message.
    fn fill_queue(&mut self) -> bool {
        let before = self.next_cmd_id;
        let mut queue = std::mem::take(&mut self.session.outbox);
        while let Some(front) = queue.front() {
            if self.session.object_offset == 0 {
                match self.push_whole(front) {
                    Pushed::Whole => {
                        queue.pop_front();
                        continue;
                    }
                    Pushed::Later => break,
                    Pushed::TooLarge => {}
                }
            }
            let Out::Results(results) = front else { break };
            if results.items.len() > 1 {
                split_first(&mut queue);
                continue;
            }
            match self.push_chunk(results) {
                Some(true) => {
                    queue.pop_front();
                }
                Some(false) | None => break,
            }
        }
        self.session.outbox = queue;
        self.next_cmd_id > before
    }

    /// Pushes a command if it fits, or if it can neither be cut nor would fit into a message of its own.
    fn push_whole(&mut self, out: &Out) -> Pushed {
        let mark = self.writer.mark();
        let before = self.writer.size_if_finished(true);
        let id = self.cmd_id(out);
        self.writer.push(&out.command(&id));
        let size = self.writer.size_if_finished(true);
        let fits = size + self.reserve() <= self.limit;
        let fits_alone = self.bare + (size - before) + self.reserve() <= self.limit;
        let can_be_cut = match out {
            Out::Results(results) => {
                results.items.len() > 1
                    || (self.session.config.quirks.large_objects
                        && results.items.first().is_some_and(|item| item.data.is_some()))
            }
            _ => false,
        };
        if !(fits || (!self.is_filled && !fits_alone && !can_be_cut)) {
            self.writer.rollback(mark);
            return if fits_alone || !can_be_cut { Pushed::Later } else { Pushed::TooLarge };
        }
        if let Out::Event(index, _) = out {
            self.session.events_sent.push((self.msg_id, id, *index));
        }
        self.pushed();
        Pushed::Whole
    }

    /// Pushes as much of an object as fits. `true`: that was the last of it; `None`: there is no room.
    fn push_chunk(&mut self, results: &OutResults) -> Option<bool> {
        let offset = self.session.object_offset;
        let id = self.next_cmd_id.to_string();
        let mark = self.writer.mark();
        self.writer.push(&results.chunk(&id, offset, 0).0);
        let room = self.limit.saturating_sub(self.writer.size_if_finished(true) + self.reserve());
        self.writer.rollback(mark);
        // Escaping may make the text longer than it is, so the room is a first guess.
        let mut len = room;
        if len < CHUNK_MIN {
            if self.is_filled {
                return None;
            }
            len = CHUNK_MIN;
        }
        let is_last = loop {
            let (command, taken) = results.chunk(&id, offset, len);
            self.writer.push(&command);
            let is_last = !has_more(&command);
            let fits = self.writer.size_if_finished(true) + self.reserve() <= self.limit;
            if fits || len <= CHUNK_MIN {
                self.session.object_offset = if is_last { 0 } else { offset + taken };
                break is_last;
            }
            self.writer.rollback(mark);
            if self.is_filled && len < 4 * CHUNK_MIN {
                return None;
            }
            len = (len * 3 / 4).max(CHUNK_MIN);
        };
        self.session.object_sent = (!is_last).then_some((self.msg_id, id));
        self.pushed();
        Some(is_last)
    }

    fn finish(mut self) {
        let their_package_is_open = !self.session.their_package_is_done;
        let is_empty = self.session.outbox.is_empty() && self.session.urgent.is_empty();
        let is_final = !their_package_is_open && is_empty;
        if their_package_is_open && is_empty {
            self.writer.push(&Command::Alert(Alert {
                cmd_id: self.next_cmd_id.to_string().into(),
                code: Some(NEXT_MESSAGE),
                ..Alert::default()
            }));
        }
        let omits = self.session.is_opening && self.session.config.quirks.omits_final_in_package_1;
        self.writer.finish(is_final && !omits);
        if is_final {
            self.session.their_package_is_done = false;
            self.session.is_opening = false;
        }
    }

    fn cmd_id(&self, out: &Out) -> String {
        let omits = matches!(out, Out::Status(_)) && self.session.config.quirks.omits_status_cmd_id;
        if omits { String::new() } else { self.next_cmd_id.to_string() }
    }

    fn pushed(&mut self) {
        self.next_cmd_id += 1;
        self.is_filled = true;
    }

    fn reserve(&self) -> usize {
        if self.session.their_package_is_done { 0 } else { NEXT_MESSAGE_SIZE }
    }
}

impl HeaderStatus {
    fn status(&self, cmd_id: &str) -> Status<'_> {
        Status {
            cmd_id: cmd_id.to_owned().into(),
            msg_ref: Some(self.msg_ref),
            cmd_ref: "0".into(),
            cmd: "SyncHdr".into(),
            target_refs: named(&self.target_ref),
            source_refs: named(&self.source_ref),
            chal: self
                .verdict
                .challenge
                .as_ref()
                .map(|(scheme, nonce)| Box::new(chal(*scheme, nonce.as_deref()))),
            data: self.verdict.code,
            ..Status::default()
        }
    }
}

fn named(text: &str) -> Vec<Cow<'_, str>> {
    if text.is_empty() { Vec::new() } else { vec![text.into()] }
}

fn chal(scheme: Scheme, nonce: Option<&[u8]>) -> Meta<'static> {
    Meta {
        format: Some("b64".into()),
        type_: Some(match scheme {
            Scheme::Basic => auth::BASIC.into(),
            Scheme::Md5 => auth::MD5.into(),
        }),
        next_nonce: nonce.map(|nonce| auth::format_base64(nonce).into()),
        ..Meta::default()
    }
}

fn has_more(command: &Command<'_>) -> bool {
    match command {
        Command::Results(results) => results.items.iter().any(|item| item.more_data),
        _ => false,
    }
}

/// Makes several Results of one, an item each.
fn split_first(queue: &mut VecDeque<Out>) {
    if let Some(Out::Results(OutResults { msg_ref, cmd_ref, items })) = queue.pop_front() {
        for item in items.into_iter().rev() {
            let results = OutResults { msg_ref, cmd_ref: cmd_ref.clone(), items: vec![item] };
            queue.push_front(Out::Results(results));
        }
    }
}

/// Puts each `Correlator` before the `Data` in front of it, as some clients write it.
fn swap_correlators(encoding: Encoding, body: &mut [u8]) {
    let (start, data_end, correlator_end): (&[u8], &[u8], &[u8]) = match encoding {
        Encoding::Xml => (b"<Data>1226</Data><Correlator>", b"<Correlator>", b"</Correlator>"),
        Encoding::Wbxml => (b"\x4f\x031226\x00\x01\x7c\x03", b"\x7c\x03", b"\x00\x01"),
    };
    let mut from = 0;
    while let Some(at) = find(body, start, from) {
        let middle = at + start.len() - data_end.len();
        let Some(end) = find(body, correlator_end, middle) else { return };
        let end = end + correlator_end.len();
        body[at..end].rotate_left(middle - at);
        from = end;
    }
}

fn find(body: &[u8], what: &[u8], from: usize) -> Option<usize> {
    body.get(from..)?.windows(what.len()).position(|window| window == what).map(|at| at + from)
}
