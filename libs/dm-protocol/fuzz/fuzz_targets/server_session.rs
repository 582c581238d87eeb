//! A list of messages, split at NUL lines, goes into one server session that has commands to send. Nothing may panic, every
//! message gets an answer within the bound that decodes, and the record stays small and comes back as it was.
#![no_main]

use dm_protocol::{
    Account, ClientAuth, Nonces, Scheme, ServerAuth, auth,
    server::{Draft, Event, Handled, Input, ServerSession, Settings},
};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use syncml::{Encoding, Limits, decode};

const SEPARATOR: &[u8] = b"\0\n\0";

fuzz_target!(|input: &[u8]| {
    let Some((&first, rest)) = input.split_first() else { return };
    let settings = Settings { max_obj_size: 4096, ..Settings::default() };
    let account = account(first);
    let mut session: Option<ServerSession> = None;
    for (step, body) in (0_u8..).zip(messages(rest)) {
        let encoding = if body.first() == Some(&b'<') { Encoding::Xml } else { Encoding::Wbxml };
        let Ok(message) = decode(encoding, body, &Limits::default()) else { continue };
        let mut current = match session.take() {
            Some(session) => session,
            None => match ServerSession::open(&message, encoding) {
                Ok(session) => session,
                Err(_) => continue,
            },
        };
        let input = Input {
            now: Timestamp::UNIX_EPOCH,
            encoding,
            message: &message,
            body,
            account: Some(&account),
            dev_info: &[],
            entropy: [step; 32],
        };
        let handled = current.handle_message(&settings, input);
        let mut asked = 0;
        while let Some(event) = current.poll_event() {
            match event {
                Event::WantsCommands if asked < 4 => {
                    asked += 1;
                    for (tag, draft) in drafts(first) {
                        let _ = current.enqueue(tag, draft);
                    }
                }
                Event::WantsChunk { len, .. } => current.supply_chunk(&vec![7; len]),
                _ => {}
            }
        }
        let mut reply = Vec::new();
        current.write_reply(&settings, &mut reply);
        while current.poll_event().is_some() {}
        assert!(decode(current_encoding(&reply), &reply, &Limits::default()).is_ok(), "{handled:?}");
        if handled != Handled::Repeated {
            assert_eq!(current.kept_reply(), reply);
        }
        let record = current.encode();
        assert!(record.len() < 2 << 20, "{} octets", record.len());
        let restored = ServerSession::decode(&record).expect("it was encoded here");
        assert_eq!(restored.encode(), record);
        session = Some(restored);
    }
});

fn messages(mut rest: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let Some(at) = rest.windows(SEPARATOR.len()).position(|window| window == SEPARATOR) {
        messages.push(&rest[..at]);
        rest = &rest[at + SEPARATOR.len()..];
    }
    messages.push(rest);
    messages.truncate(16);
    messages
}

fn current_encoding(reply: &[u8]) -> Encoding {
    if reply.first() == Some(&b'<') { Encoding::Xml } else { Encoding::Wbxml }
}

fn account(choice: u8) -> Account {
    let client = match choice % 3 {
        0 | 1 => ClientAuth::None,
        _ => {
            let digest = auth::user_digest("device", "secret");
            ClientAuth::Password { scheme: Scheme::Basic, user: "device".into(), digest }
        }
    };
    let server = ServerAuth { server_id: "holdout".into(), password: "x".into(), scheme: Scheme::Md5 };
    Account { client, server: (choice % 2 == 0).then_some(server), nonces: Nonces::default() }
}

fn drafts(choice: u8) -> Vec<(u32, Draft)> {
    let get = Draft::Get(vec!["./DevDetail/FwV".into(), "./DevInfo".into()]);
    let exec = Draft::Exec { target: "./FUMO/Update".into(), correlator: None, data: None };
    let group = Draft::Sequence(vec![(4, Draft::Delete("./A".into())), (5, get.clone())]);
    match choice / 8 % 3 {
        0 => vec![(1, get), (2, exec)],
        1 => vec![(3, group)],
        _ => Vec::new(),
    }
}
