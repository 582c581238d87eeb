//! Where a message belongs: next in the session, a repetition, the first of another session, or nowhere.

use jiff::Timestamp;
use syncml::{Command, Message, alert};

use super::{record::Record, settings::Settings};

/// Where a message belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// It is the next, or one further on: devices have been seen to jump.
    Next,
    /// It is the one that was answered last.
    Repeated,
    /// It opens another session under the same number: devices that count 1, 2, 3 start again after a restart.
    Reopens,
    /// It is of the past, of another session, or of one that is over.
    Stray,
}

/// Decides by `MsgID`, by a fingerprint of the octets, and by whether the message can open a session.
///
/// | MsgID | octets | session | the message | is |
/// |---|---|---|---|---|
/// | as last | the same | any; for MsgID 1 of a session that is over, within the window only | any | repeated |
/// | as last, 1 | others, or the same later | any | opens a session | a new session |
/// | as last, above 1 | others | any | any | repeated: the client built it anew |
/// | 1, last was above | those of the first message, within the window | goes on | any | stray: came late |
/// | 1, last was above | | any | opens a session | a new session |
/// | below last | | any | any | stray |
/// | above last | | goes on | any | next |
/// | above last | | over | any | stray |
pub(crate) fn order(
    record: &Record,
    settings: &Settings,
    now: Timestamp,
    message: &Message<'_>,
    fingerprint: u64,
) -> Order {
    let msg_id = message.hdr.msg_id;
    let last = &record.last;
    let over = record.ending.is_some();
    if last.msg_id == 0 {
        return Order::Next;
    }
    let recent = now.as_second().saturating_sub(last.at_s) <= i64::from(settings.repeat_window_s);
    let opens = msg_id == 1 && opens_session(message);
    if msg_id == last.msg_id {
        let same = fingerprint == last.fingerprint && (recent || !over || msg_id > 1);
        return if opens && !same { Order::Reopens } else { Order::Repeated };
    }
    if opens && !(fingerprint == record.opened_by && recent && !over) {
        return Order::Reopens;
    }
    if msg_id > last.msg_id && !over { Order::Next } else { Order::Stray }
}

/// Whether the message has what only package 1 has: alert 1200 or 1201, or the device's DevInfo.
pub(crate) fn opens_session(message: &Message<'_>) -> bool {
    message.body.commands.iter().any(|command| match command {
        Command::Alert(alert) => {
            matches!(alert.code, Some(alert::SERVER_INITIATED_MGMT | alert::CLIENT_INITIATED_MGMT))
        }
        Command::Replace(replace) => replace.items.iter().any(|item| {
            let location = item.source.as_ref().or(item.target.as_ref());
            location.is_some_and(|location| dm_tree::normalise(&location.loc_uri) == "DevInfo/DevId")
        }),
        _ => false,
    })
}

/// A fingerprint of a message's octets, to tell a repetition from another message of the same number.
///
/// It protects nothing: a device that makes two messages with one fingerprint gets an old answer itself.
/// So it is as quick as multiplying eight octets at a time, and it is stored, so it never changes.
pub(crate) fn fingerprint(body: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(MULTIPLIER).rotate_left(29);
    let mut words = body.chunks_exact(8);
    let mut hash = u64::try_from(body.len()).unwrap_or(u64::MAX);
    for word in &mut words {
        let mut octets = [0; 8];
        octets.copy_from_slice(word);
        hash = mix(hash, u64::from_le_bytes(octets));
    }
    let mut octets = [0; 8];
    let rest = words.remainder();
    octets[..rest.len()].copy_from_slice(rest);
    hash = mix(hash, u64::from_le_bytes(octets));
    mix(hash, hash >> 32)
}
