//! What the device is owed: a Status for each of its commands.

use syncml::{Command, Item, Message, StatusCode};

use super::super::{
    record::{Owed, Ref},
    session::{Reply, ServerSession},
};

/// Statuses kept for one session. A device that sends more commands than this in one package gets none for the rest.
const OWED_MAX: usize = 1024;

impl ServerSession {
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

    pub(super) fn refuse(&mut self, message: &Message<'_>, command: &Command<'_>, code: StatusCode) {
        let (cmd_id, name, no_resp) = head(command);
        self.owe(message, cmd_id, name, no_resp, code);
        let (Command::Atomic(group) | Command::Sequence(group)) = command else { return };
        for inner in &group.commands {
            self.refuse(message, inner, code);
        }
    }

    /// Notes a Status to send. A command without a `CmdID` is malformed, whatever else it is.
    pub(super) fn owe(
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

    /// One Status where all items fare alike, else one an item. Without `codes` all are well.
    pub(super) fn owe_items(
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
pub(super) fn refusal_of(command: &Command<'_>) -> StatusCode {
    match command {
        Command::Map(_) | Command::Move(_) | Command::Put(_) | Command::Search(_) | Command::Sync(_) => {
            StatusCode::COMMAND_NOT_IMPLEMENTED
        }
        _ => StatusCode::COMMAND_NOT_ALLOWED,
    }
}

fn item_ref(item: &Item<'_>) -> Option<Ref> {
    let of = |location: &syncml::Location<'_>| -> Box<str> { location.loc_uri.as_ref().into() };
    let source = item.source.as_ref().map(|location| Ref::Source(of(location)));
    source.or_else(|| item.target.as_ref().map(|location| Ref::Target(of(location))))
}
