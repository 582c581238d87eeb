//! What a device's message brings: Statuses and Results for our commands, alerts, and its DevInfo.

mod answers;
mod objects;
mod owed;
mod told;

use syncml::{Command, Message, Status, StatusCode, alert};

use super::{
    Ending,
    record::OwnPackage,
    session::{Input, ServerSession},
    settings::Settings,
};
use crate::{Scheme, auth};

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
                    self.refuse(message, other, owed::refusal_of(other));
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
