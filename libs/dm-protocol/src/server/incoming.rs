//! What a device's message brings: Statuses and Results for our commands, alerts, and its DevInfo.

use syncml::{Alert, Command, Item, ItemCommand, Message, Meta, Results, Status, StatusCode, Str, alert};

use super::{
    DeviceAlert, Draft, Ending, Event, UNANSWERED,
    object::{Chunk, Inbound, InboundOf, leaf, read_value, transported},
    outstanding::{Answer, Part, Sent},
    proof::ServerState,
    record::{Owed, OwnPackage, Ref, Waiting},
    session::{Input, Reply, ServerSession},
    settings::Settings,
};
use crate::{Scheme, auth};

/// Statuses kept for one session. A device that sends more commands than this in one package gets none for the rest.
const OWED_MAX: usize = 1024;

impl ServerSession {
    /// Finds the Status for our header and takes its verdict on our credentials.
    pub(crate) fn handle_header_status(&mut self, message: &Message<'_>) -> HeaderSaid {
        let status = message.body.commands.iter().find_map(|command| match command {
            Command::Status(status) if is_for_header(status) => Some(status),
            _ => None,
        });
        let Some(status) = status else { return HeaderSaid::default() };
        let chal = status.chal.as_deref();
        let asked = chal.and_then(|chal| chal.type_.as_deref()).and_then(Scheme::parse);
        let nonce = chal
            .filter(|_| asked != Some(Scheme::Basic))
            .and_then(|chal| chal.next_nonce.as_deref())
            .and_then(auth::parse_base64)
            .filter(|nonce| (1..=NONCE_OCTETS_MAX).contains(&nonce.len()));
        let refused =
            matches!(status.data, StatusCode::INVALID_CREDENTIALS | StatusCode::MISSING_CREDENTIALS);
        // A header's Status without its MsgRef can only be for the last message.
        let last = self.step.answered_msg_id;
        let msg_id = status.msg_ref.filter(|&id| id != 0).unwrap_or(last);
        self.record.server.handle_status(status.data, msg_id, asked.filter(|_| refused), nonce.is_some());
        self.step.fatal = matches!(status.data.0, 417 | 500 | 503 | 505 | 513);
        HeaderSaid { asked: asked.filter(|_| refused), nonce: nonce.filter(|_| asked == Some(Scheme::Md5)) }
    }

    /// Acts on every command of an authenticated message.
    pub(crate) fn handle_commands(&mut self, settings: &Settings, input: Input<'_>) {
        let message = input.message;
        let is_final = message.body.is_final || ends_package_1(message);
        let goes_on = self.record.package == OwnPackage::Continuing;
        self.step.is_open = !is_final && !goes_on;
        let mut aborted = false;
        for command in &message.body.commands {
            match command {
                Command::Status(status) if is_for_header(status) => {}
                Command::Status(status) => self.handle_status(message, status),
                Command::Results(results) => self.handle_results(settings, input, results),
                Command::Alert(alert) => {
                    aborted |= alert.code == Some(alert::SESSION_ABORT);
                    self.handle_alert(settings, input, alert);
                }
                Command::Replace(replace) => self.handle_replace(input, replace),
                other => {
                    self.break_off_inbound();
                    self.refuse(message, other, refusal_of(other));
                }
            }
        }
        // Whoever has more of an object to send is not done, also when it says so.
        let has_object = self.record.inbound.as_ref().is_some_and(|inbound| !inbound.discarding);
        self.step.is_open |= has_object && !goes_on;
        if (is_final && !has_object) || self.step.object_lost {
            self.close_package();
        }
        if aborted {
            self.end(Ending::AbortedByDevice);
        } else if self.step.fatal {
            self.end(Ending::Broken);
        }
    }

    /// Answers all commands of a message that is not acted on with the same code.
    pub(crate) fn refuse_commands(&mut self, message: &Message<'_>, code: StatusCode) {
        for command in &message.body.commands {
            if !matches!(command, Command::Status(_) | Command::Results(_)) {
                self.refuse(message, command, code);
            }
        }
    }

    /// Prepares the answer to a message that belongs nowhere. Nothing of it is acted on or kept.
    pub(crate) fn answer_stray(&mut self, message: &Message<'_>, code: StatusCode) {
        self.step.reply = Reply::Stray;
        self.step.hdr.code = code;
        let code = if code == StatusCode::OK { StatusCode::COMMAND_NOT_ALLOWED } else { code };
        let kept = std::mem::take(&mut self.record.owed);
        self.refuse_commands(message, code);
        self.step.stray = std::mem::replace(&mut self.record.owed, kept);
    }

    fn refuse(&mut self, message: &Message<'_>, command: &Command<'_>, code: StatusCode) {
        let (cmd_id, name, no_resp) = head(command);
        self.owe(message, cmd_id, name, no_resp, code);
        let (Command::Atomic(group) | Command::Sequence(group)) = command else { return };
        for inner in &group.commands {
            self.refuse(message, inner, code);
        }
    }

    /// Notes a Status to send. A command without a `CmdID` is malformed, whatever else it is.
    fn owe(
        &mut self,
        message: &Message<'_>,
        cmd_id: &str,
        cmd: &'static str,
        no_resp: bool,
        code: StatusCode,
    ) {
        if no_resp || message.hdr.no_resp || self.record.owed.len() >= OWED_MAX {
            return;
        }
        let code = if cmd_id.is_empty() { StatusCode::BAD_REQUEST } else { code };
        self.record.owed.push(Owed::new(message.hdr.msg_id, cmd_id, cmd, code));
    }

    fn handle_status(&mut self, message: &Message<'_>, status: &Status<'_>) {
        let Ok(cmd_ref) = status.cmd_ref.trim().parse::<u32>() else { return };
        let found = self.record.outstanding.iter().enumerate().find_map(|(index, sent)| {
            sent.position(status.msg_ref.filter(|&id| id != 0), cmd_ref).map(|position| (index, position))
        });
        let Some((index, position)) = found else { return };
        if self.record.outstanding[index].part == Part::Chunk {
            self.step.progress = true;
            self.record.outstanding.remove(index);
            return self.handle_chunk_status(status.data);
        }
        let challenged = self.record.server.is_challenged();
        let refused =
            matches!(status.data, StatusCode::INVALID_CREDENTIALS | StatusCode::MISSING_CREDENTIALS);
        if challenged && refused {
            if let Some(answer) = self.record.outstanding[index].answers.get_mut(position) {
                answer.refused = true;
            }
            return;
        }
        if status.data == StatusCode::CHUNK_ACCEPTED {
            return;
        }
        let items: Vec<String> = status.items.iter().filter_map(item_text).collect();
        let sent = &mut self.record.outstanding[index];
        let outcomes = answer(sent, position, message, status);
        self.step.progress |= !outcomes.is_empty();
        let Some((tag, _)) = sent.at(position) else { return };
        push_statuses(&mut self.step.events, tag, outcomes, status.data, &items);
    }

    fn handle_results(&mut self, settings: &Settings, input: Input<'_>, results: &Results<'_>) {
        let uri = |item: &Item<'_>| -> Option<String> {
            let location = item.source.as_ref().or(item.target.as_ref());
            let reference = results.source_ref.as_ref().or(results.target_ref.as_ref());
            let uri = location.map(|location| &location.loc_uri).or(reference)?;
            Some(dm_tree::normalise(uri).to_owned())
        };
        let found = self.find_get(results, results.items.first().and_then(uri).as_deref());
        let mut code = None;
        for item in &results.items {
            let Some((index, position)) = found else {
                code = item.more_data.then_some(StatusCode::NOT_FOUND);
                continue;
            };
            let sent = &mut self.record.outstanding[index];
            if let Some(answer) = sent.answers.get_mut(position) {
                answer.has_results = true;
            }
            let Some((tag, draft)) = sent.at(position) else { continue };
            let Some(uri) = uri(item).or_else(|| only_uri(draft)) else {
                code = Some(StatusCode::INCOMPLETE_COMMAND);
                continue;
            };
            let meta = item.meta.as_deref().or(results.meta.as_deref());
            let (format, mime) = (format_of(meta), mime_of(meta));
            let what = InboundOf::Value { tag: Some(tag), uri, format, mime };
            code = self.handle_object(settings, input, what, meta.and_then(|meta| meta.size), item);
        }
        // Results are answered only where there is something to say.
        if let Some(code) = code {
            self.owe(input.message, &results.cmd_id, "Results", false, code);
        }
    }

    fn find_get(&self, results: &Results<'_>, uri: Option<&str>) -> Option<(usize, usize)> {
        let cmd_ref = results.cmd_ref.as_deref().map_or(Some(1), |cmd_ref| cmd_ref.trim().parse().ok());
        let by_ref = |msg_ref: Option<u32>| {
            let cmd_ref = cmd_ref?;
            self.record.outstanding.iter().enumerate().find_map(|(index, sent)| {
                let position = sent.position(msg_ref, cmd_ref)?;
                let (_, draft) = sent.at(position)?;
                matches!(draft, Draft::Get(_)).then_some((index, position))
            })
        };
        let by_uri = || {
            let uri = uri?;
            self.record.outstanding.iter().enumerate().find_map(|(index, sent)| {
                let position = (0..sent.answers.len()).find(|&position| {
                    sent.at(position).is_some_and(|(_, draft)| draft.item_of(uri).is_some())
                })?;
                Some((index, position))
            })
        };
        // Absent means 1, but not all who leave it out mean it.
        by_ref(Some(results.msg_ref.unwrap_or(1)))
            .or_else(|| results.msg_ref.is_none().then(|| by_ref(None)).flatten())
            .or_else(by_uri)
    }

    /// Takes in a value, whole or a chunk of it. Gives the Status that is due for it.
    fn handle_object(
        &mut self,
        settings: &Settings,
        input: Input<'_>,
        what: InboundOf,
        size: Option<u64>,
        item: &Item<'_>,
    ) -> Option<StatusCode> {
        let data = transported(item.data.as_ref());
        let goes_on = self.record.inbound.as_ref().is_some_and(|open| open.what.is_same(&what));
        if !goes_on {
            self.break_off_inbound();
            if !item.more_data {
                self.step.progress |= matches!(what, InboundOf::Value { .. });
                self.deliver(input, what, data);
                return None;
            }
            let (inbound, judged) = Inbound::open(what, size, settings.max_obj_size);
            if let Err(code) = judged {
                self.report_inbound(&inbound.what, code);
                self.record.inbound = Some(inbound);
                return Some(code);
            }
            self.record.inbound = Some(inbound);
        }
        let lost = self.record.inbound.as_ref().map(|open| open.what.clone());
        match Inbound::push(&mut self.record.inbound, data, item.more_data) {
            Chunk::Accepted => {
                // To begin objects for ever would be no progress; to go on with one comes to its end.
                self.step.progress |= goes_on;
                Some(StatusCode::CHUNK_ACCEPTED)
            }
            Chunk::Complete(inbound) => {
                self.step.progress = true;
                self.deliver(input, inbound.what, &inbound.data);
                None
            }
            Chunk::Refused(code) => {
                if let Some(what) = lost {
                    self.report_inbound(&what, code);
                }
                Some(code)
            }
            Chunk::Dropped => None,
        }
    }

    fn deliver(&mut self, input: Input<'_>, what: InboundOf, octets: &[u8]) {
        let event = match what {
            InboundOf::Value { tag: Some(tag), uri, format, mime } => {
                Event::Result { tag, uri, leaf: leaf(octets, format, mime, input.encoding) }
            }
            InboundOf::Value { tag: None, .. } => return,
            InboundOf::Alert(mut alert) => {
                let format = alert.format.as_deref().and_then(dm_tree::Format::parse).unwrap_or_default();
                alert.data = read_value(octets, format, input.encoding).into_vec();
                Event::Alert(alert)
            }
        };
        self.step.events.push_back(event);
    }

    fn report_inbound(&mut self, what: &InboundOf, code: StatusCode) {
        if let InboundOf::Value { tag: Some(tag), uri, .. } = what {
            let target = Some(uri.clone());
            self.step.events.push_back(Event::Status { tag: *tag, target, code, items: Vec::new() });
        }
    }

    /// Something else came while an object was open: the device hears so by alert 1225.
    fn break_off_inbound(&mut self) {
        let Some(inbound) = self.record.inbound.take() else { return };
        if !inbound.discarding {
            self.report_inbound(&inbound.what, StatusCode::SIZE_MISMATCH);
            self.step.broken_object = Some(dm_tree::full(inbound.what.uri()));
        }
    }

    fn handle_alert(&mut self, settings: &Settings, input: Input<'_>, alert: &Alert<'_>) {
        let code = match alert.code {
            _ if alert.cmd_id.is_empty() => StatusCode::BAD_REQUEST,
            None => StatusCode::INCOMPLETE_COMMAND,
            Some(alert::SERVER_INITIATED_MGMT | alert::CLIENT_INITIATED_MGMT) => {
                self.break_off_inbound();
                StatusCode::OK
            }
            Some(alert::NEXT_MESSAGE | alert::SESSION_ABORT) => StatusCode::OK,
            Some(alert::NO_END_OF_DATA) => {
                self.lose_outbound(StatusCode::SIZE_MISMATCH);
                StatusCode::OK
            }
            Some(alert::CLIENT_EVENT | alert::GENERIC_ALERT) => {
                return self.handle_device_alert(settings, input, alert);
            }
            Some(_) => StatusCode::OPTIONAL_FEATURE_NOT_SUPPORTED,
        };
        self.owe(input.message, &alert.cmd_id, "Alert", alert.no_resp, code);
    }

    fn handle_device_alert(&mut self, settings: &Settings, input: Input<'_>, alert: &Alert<'_>) {
        let mut codes = Vec::with_capacity(alert.items.len());
        for item in &alert.items {
            let code = judge_alert(alert.code, item);
            let code = if code == StatusCode::OK {
                let what = InboundOf::Alert(device_alert(alert, item));
                let size = item.meta.as_ref().and_then(|meta| meta.size);
                self.handle_object(settings, input, what, size, item).unwrap_or(StatusCode::OK)
            } else {
                code
            };
            codes.push(code);
        }
        self.owe_items(input.message, &alert.cmd_id, "Alert", alert.no_resp, &alert.items, &codes);
    }

    fn handle_replace(&mut self, input: Input<'_>, replace: &ItemCommand<'_>) {
        self.break_off_inbound();
        let mut leaves = Vec::new();
        let mut codes = Vec::new();
        for (index, item) in replace.items.iter().enumerate() {
            let uri = item_uri(item).map(|uri| dm_tree::normalise(uri)).unwrap_or_default();
            if replace.cmd_id.is_empty() || item.more_data || !uri.starts_with("DevInfo/") {
                codes.resize(index, StatusCode::OK);
                codes.push(StatusCode::COMMAND_NOT_ALLOWED);
                continue;
            }
            let meta = item.meta.as_deref().or(replace.meta.as_deref());
            let octets = transported(item.data.as_ref());
            // Every session begins with DevInfo, and nearly always with the same.
            if is_known(input.dev_info, uri, octets) && is_plain(meta) {
                continue;
            }
            leaves.push((uri.to_owned(), leaf(octets, format_of(meta), mime_of(meta), input.encoding)));
        }
        if !leaves.is_empty() {
            self.step.events.push_back(Event::DevInfo(leaves));
        }
        if !codes.is_empty() {
            codes.resize(replace.items.len(), StatusCode::OK);
        }
        self.owe_items(input.message, &replace.cmd_id, "Replace", replace.no_resp, &replace.items, &codes);
    }

    /// One Status where all items fare alike, else one an item. Without `codes` all are well.
    fn owe_items(
        &mut self,
        message: &Message<'_>,
        cmd_id: &str,
        cmd: &'static str,
        no_resp: bool,
        items: &[Item<'_>],
        codes: &[StatusCode],
    ) {
        if items.is_empty() {
            return self.owe(message, cmd_id, cmd, no_resp, StatusCode::INCOMPLETE_COMMAND);
        }
        let first = codes.first().copied().unwrap_or(StatusCode::OK);
        let unlike = codes.iter().find(|code| **code != first);
        if unlike.is_none() || cmd_id.is_empty() || items.iter().any(|item| item_ref(item).is_none()) {
            // What cannot be named cannot be told apart, so the command is as good as its worst item.
            let worst = codes.iter().copied().find(|code| !code.is_success()).unwrap_or(first);
            return self.owe(message, cmd_id, cmd, no_resp, worst);
        }
        if no_resp || message.hdr.no_resp {
            return;
        }
        for (item, code) in items.iter().zip(codes) {
            if let Some(item) = item_ref(item)
                && self.record.owed.len() < OWED_MAX
            {
                let owed = Owed::new(message.hdr.msg_id, cmd_id, cmd, *code);
                self.record.owed.push(owed.with_item(item));
            }
        }
    }

    /// The device has said all it has to say about the commands that are out.
    ///
    /// What it refused for want of credentials goes out again; and all of the message whose header it refused, if
    /// it says no more than that. What has no Status in a refusal that names others is not sent again: it may have run.
    pub(crate) fn close_package(&mut self) {
        let outstanding = std::mem::take(&mut self.record.outstanding);
        let is_untouched = |sent: &Sent| sent.answers.iter().all(Answer::is_empty);
        let is_named = |sent: &Sent| !is_untouched(sent) || sent.answers.iter().any(|answer| answer.refused);
        let refused_msg_id = match self.record.server.state {
            ServerState::Challenged { msg_id } => Some(msg_id),
            _ => None,
        };
        let refused_whole = refused_msg_id.filter(|_| !outstanding.iter().any(is_named));
        let mut again = Vec::new();
        for sent in outstanding {
            let is_refused =
                sent.answers.iter().any(|answer| answer.refused) || refused_whole == Some(sent.msg_id);
            if sent.part == Part::Chunk {
                continue;
            }
            if is_refused && is_untouched(&sent) {
                again.push(Waiting { tag: sent.tag, draft: sent.draft, part: sent.part });
            } else {
                self.report_unanswered(&sent);
            }
        }
        for waiting in again.into_iter().rev() {
            self.record.queue.push_front(waiting);
        }
    }

    pub(crate) fn abandon_outstanding(&mut self) {
        for sent in std::mem::take(&mut self.record.outstanding) {
            if sent.part != Part::Chunk {
                self.report_unanswered(&sent);
            }
        }
    }

    fn report_unanswered(&mut self, sent: &Sent) {
        for (position, answer) in sent.answers.iter().enumerate() {
            let Some((tag, draft)) = sent.at(position) else { continue };
            if answer.whole {
                continue;
            }
            // A value is as good as the Status that should have come with it.
            let code = match answer {
                Answer { has_results: true, .. } => StatusCode::OK,
                Answer { refused: true, .. } => StatusCode::INVALID_CREDENTIALS,
                _ => UNANSWERED,
            };
            let outcomes = if answer.items.is_empty() && sent.part != Part::Items {
                vec![None]
            } else {
                unanswered_items(draft, &answer.items)
            };
            push_statuses(&mut self.step.events, tag, outcomes, code, &[]);
        }
    }

    fn handle_chunk_status(&mut self, code: StatusCode) {
        let challenged = self.record.server.is_challenged();
        match code {
            StatusCode::CHUNK_ACCEPTED => {}
            StatusCode::INVALID_CREDENTIALS | StatusCode::MISSING_CREDENTIALS if challenged => {
                if let Some(outbound) = self.record.outbound.take() {
                    let waiting = Waiting { tag: outbound.tag, draft: outbound.draft, part: Part::Whole };
                    self.record.queue.push_front(waiting);
                }
            }
            // Whoever takes a chunk for the whole object does not know large objects.
            code if code.is_success() => self.lose_outbound(StatusCode::OPTIONAL_FEATURE_NOT_SUPPORTED),
            code => self.lose_outbound(code),
        }
    }

    fn lose_outbound(&mut self, code: StatusCode) {
        if let Some(outbound) = self.record.outbound.take() {
            self.record.outstanding.retain(|sent| sent.part != Part::Chunk);
            self.step.object_lost = true;
            self.report(outbound.tag, code);
        }
    }
}

/// What a device says of our credentials.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeaderSaid {
    /// The scheme it asks for, where it refused them.
    pub(crate) asked: Option<Scheme>,
    /// For the next MD5 credential.
    pub(crate) nonce: Option<Vec<u8>>,
}

/// A nonce of more octets than this is none.
const NONCE_OCTETS_MAX: usize = 256;

fn is_for_header(status: &Status<'_>) -> bool {
    status.cmd_ref.trim() == "0" || status.cmd == "SyncHdr"
}

/// Some clients leave Final out of package 1, which nevertheless is all they have to say.
fn ends_package_1(message: &Message<'_>) -> bool {
    let commands = &message.body.commands;
    let has_more = commands.iter().any(|command| match command {
        Command::Alert(alert) => {
            alert.code == Some(alert::NEXT_MESSAGE) || alert.items.iter().any(|item| item.more_data)
        }
        Command::Replace(replace) => replace.items.iter().any(|item| item.more_data),
        _ => false,
    });
    let has_dev_info = commands.iter().any(|command| matches!(command, Command::Replace(_)));
    has_dev_info && !has_more && super::order::opens_session(message)
}

/// `CmdID`, name and NoResp of a command.
fn head<'a>(command: &'a Command<'_>) -> (&'a str, &'static str, bool) {
    match command {
        Command::Add(c) => (&c.cmd_id, "Add", c.no_resp),
        Command::Alert(c) => (&c.cmd_id, "Alert", c.no_resp),
        Command::Atomic(c) => (&c.cmd_id, "Atomic", c.no_resp),
        Command::Copy(c) => (&c.cmd_id, "Copy", c.no_resp),
        Command::Delete(c) => (&c.cmd_id, "Delete", c.no_resp),
        Command::Exec(c) => (&c.cmd_id, "Exec", c.no_resp),
        Command::Get(c) => (&c.cmd_id, "Get", c.no_resp),
        Command::Map(c) => (&c.cmd_id, "Map", false),
        Command::Move(c) => (&c.cmd_id, "Move", c.no_resp),
        Command::Put(c) => (&c.cmd_id, "Put", c.no_resp),
        Command::Replace(c) => (&c.cmd_id, "Replace", c.no_resp),
        Command::Results(c) => (&c.cmd_id, "Results", true),
        Command::Search(c) => (&c.cmd_id, "Search", c.no_resp),
        Command::Sequence(c) => (&c.cmd_id, "Sequence", c.no_resp),
        Command::Status(c) => (&c.cmd_id, "Status", true),
        Command::Sync(c) => (&c.cmd_id, "Sync", c.no_resp),
    }
}

/// What a device may not send: commands of management are for the server alone, and data synchronisation is not spoken.
fn refusal_of(command: &Command<'_>) -> StatusCode {
    match command {
        Command::Map(_) | Command::Move(_) | Command::Put(_) | Command::Search(_) | Command::Sync(_) => {
            StatusCode::COMMAND_NOT_IMPLEMENTED
        }
        _ => StatusCode::COMMAND_NOT_ALLOWED,
    }
}

fn item_uri<'a>(item: &'a Item<'_>) -> Option<&'a Str<'a>> {
    item.source.as_ref().or(item.target.as_ref()).map(|location| &location.loc_uri)
}

fn item_ref(item: &Item<'_>) -> Option<Ref> {
    let of = |location: &syncml::Location<'_>| -> Box<str> { location.loc_uri.as_ref().into() };
    let source = item.source.as_ref().map(|location| Ref::Source(of(location)));
    source.or_else(|| item.target.as_ref().map(|location| Ref::Target(of(location))))
}

/// What an item of a Status says: a choice of the user, or the node that was at fault.
fn item_text(item: &Item<'_>) -> Option<String> {
    let data = item.data.as_ref().and_then(|data| data.as_text());
    data.or_else(|| item_uri(item).map(AsRef::as_ref)).map(str::to_owned)
}

fn format_of(meta: Option<&Meta<'_>>) -> dm_tree::Format {
    meta.and_then(|meta| meta.format.as_deref()).and_then(dm_tree::Format::parse).unwrap_or_default()
}

fn is_plain(meta: Option<&Meta<'_>>) -> bool {
    format_of(meta) == dm_tree::Format::Chr && mime_of(meta).is_none()
}

/// Whether the caller has this value of DevInfo already.
fn is_known(known: &[(&str, &str)], uri: &str, octets: &[u8]) -> bool {
    known.iter().any(|(known_uri, value)| *known_uri == uri && value.as_bytes() == octets)
}

fn mime_of(meta: Option<&Meta<'_>>) -> Option<Box<str>> {
    let mime = meta.and_then(|meta| meta.type_.as_deref())?.trim();
    (!mime.is_empty() && mime != "text/plain").then(|| mime.into())
}

fn only_uri(draft: &Draft) -> Option<String> {
    match draft {
        Draft::Get(uris) if uris.len() == 1 => Some(dm_tree::normalise(&uris[0]).to_owned()),
        _ => None,
    }
}

/// Whether an alert's item can be understood; what it means is for others to say.
fn judge_alert(code: Option<u16>, item: &Item<'_>) -> StatusCode {
    let meta = item.meta.as_deref();
    let format = meta.and_then(|meta| meta.format.as_deref());
    if meta.and_then(|meta| meta.type_.as_deref()).is_none_or(|type_| type_.trim().is_empty()) {
        // An event of no type cannot be understood; a generic alert of none may still be known by its source.
        return match code {
            Some(alert::CLIENT_EVENT) => StatusCode::OPTIONAL_FEATURE_NOT_SUPPORTED,
            _ if item.source.is_some() => StatusCode::OK,
            _ => StatusCode::INCOMPLETE_COMMAND,
        };
    }
    if format.is_some_and(|format| dm_tree::Format::parse(format).is_none()) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE_OR_FORMAT;
    }
    StatusCode::OK
}

fn device_alert(alert: &Alert<'_>, item: &Item<'_>) -> DeviceAlert {
    let meta = item.meta.as_deref();
    let owned = |text: Option<&Str<'_>>| text.map(|text| text.as_ref().to_owned());
    DeviceAlert {
        code: alert.code.unwrap_or(alert::GENERIC_ALERT),
        correlator: owned(alert.correlator.as_ref()),
        source: item.source.as_ref().map(|source| dm_tree::normalise(&source.loc_uri).to_owned()),
        type_: owned(meta.and_then(|meta| meta.type_.as_ref())),
        format: owned(meta.and_then(|meta| meta.format.as_ref())),
        mark: owned(meta.and_then(|meta| meta.mark.as_ref())),
        data: Vec::new(),
    }
}

/// Notes a Status with the command it is for. Gives the targets whose outcome it newly tells; `None` is all.
fn answer(
    sent: &mut Sent,
    position: usize,
    message: &Message<'_>,
    status: &Status<'_>,
) -> Vec<Option<String>> {
    let part = sent.part;
    let Some((_, draft)) = sent.at(position) else { return Vec::new() };
    let Some(answer) = sent.answers.get(position) else { return Vec::new() };
    let count = draft.item_count();
    let open = |index: &usize| !answer.items.iter().any(|done| usize::from(*done) == *index);
    if answer.whole {
        return Vec::new();
    }
    let refs: Vec<usize> = status
        .target_refs
        .iter()
        .chain(&status.source_refs)
        .filter_map(|reference| draft.item_of(reference))
        .collect();
    let indices: Vec<usize> = if count == 1 {
        vec![0]
    } else if !refs.is_empty() {
        refs.into_iter().filter(|index| open(index)).collect()
    } else if !status.target_refs.is_empty() || !status.source_refs.is_empty() {
        Vec::new()
    } else if unnamed(message, status) > 1 {
        // Without names, several Statuses for one command can only be meant in the order of its items.
        (0..count).find(|index| open(index)).into_iter().collect()
    } else {
        (0..count).filter(|index| open(index)).collect()
    };
    let is_all = indices.len() == count;
    let outcomes = if is_all && part != Part::Items {
        vec![None]
    } else {
        indices.iter().map(|&index| item_name(draft, index)).collect()
    };
    let answer = &mut sent.answers[position];
    answer.items.extend(indices.iter().filter_map(|&index| u16::try_from(index).ok()));
    if answer.items.len() >= count {
        answer.whole = true;
        answer.items = Vec::new();
    }
    outcomes
}

/// How many Statuses of the message are for the same command and name no item.
fn unnamed(message: &Message<'_>, status: &Status<'_>) -> usize {
    let is_alike = |command: &&Command<'_>| {
        matches!(command, Command::Status(other) if other.cmd_ref == status.cmd_ref
            && other.msg_ref == status.msg_ref && other.target_refs.is_empty() && other.source_refs.is_empty())
    };
    message.body.commands.iter().filter(is_alike).count()
}

fn item_name(draft: &Draft, index: usize) -> Option<String> {
    match draft {
        Draft::Get(uris) => uris.get(index).map(|uri| dm_tree::normalise(uri).to_owned()),
        _ => None,
    }
}

fn unanswered_items(draft: &Draft, answered: &[u16]) -> Vec<Option<String>> {
    (0..draft.item_count())
        .filter(|index| !answered.iter().any(|done| usize::from(*done) == *index))
        .map(|index| item_name(draft, index))
        .collect()
}

fn push_statuses(
    events: &mut std::collections::VecDeque<Event>,
    tag: super::Tag,
    targets: Vec<Option<String>>,
    code: StatusCode,
    items: &[String],
) {
    for target in targets {
        events.push_back(Event::Status { tag, target, code, items: items.to_vec() });
    }
}
