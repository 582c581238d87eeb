//! Whatever a server sends, a device answers in order, or refuses, and never falls over.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod device_common;

use device_common::*;
use dm_protocol::device::{DeviceConfig, DeviceCredentials, Step};
use jiff::Timestamp;
use proptest::{collection::vec, prelude::*, sample::select};
use syncml::{Command, Encoding, encode};

const URIS: [&str; 10] = [
    ".",
    "./DevInfo/Man",
    "./Vendor/Host",
    "./Vendor/New/Deep",
    "./Vendor",
    "./FwUpdate",
    "./None",
    "./Vendor?prop=ACL",
    "./Vendor?list=StructData",
    "..//%",
];

fn command() -> impl Strategy<Value = Command<'static>> {
    let leaf = prop_oneof![
        (vec(select(&URIS[..]), 0..3)).prop_map(|uris| get("", &uris)),
        (select(&URIS[..]), "[ -~]{0,8}").prop_map(|(uri, data)| replace("", uri, &data)),
        (select(&URIS[..]), "[ -~]{0,8}").prop_map(|(uri, data)| add("", uri, &data)),
        select(&URIS[..]).prop_map(|uri| delete("", uri)),
        select(&URIS[..]).prop_map(|uri| exec("", uri, Some("c"))),
        (select(&[1100, 1101, 1104, 1222, 1225, 1226, 7][..]), vec("[ -~]{0,6}", 0..4)).prop_map(
            |(code, texts)| { alert("", code, &texts.iter().map(String::as_str).collect::<Vec<_>>()) }
        ),
        (select(&URIS[..]), proptest::option::of(0..12_u64), any::<bool>())
            .prop_map(|(uri, size, more)| chunk("", uri, "AAAA", size, more)),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|all| Command::Atomic(group("", all))),
            vec(inner, 0..4).prop_map(|all| Command::Sequence(group("", all))),
        ]
    })
}

/// Gives each command its id, from `next`, and collects them in the order of the message.
fn number(command: &mut Command<'static>, next: &mut u32, ids: &mut Vec<String>) {
    let id = next.to_string();
    *next += 1;
    ids.push(id.clone());
    let slot = match command {
        Command::Add(c) | Command::Replace(c) | Command::Delete(c) | Command::Exec(c) | Command::Get(c) => {
            &mut c.cmd_id
        }
        Command::Alert(c) => &mut c.cmd_id,
        Command::Atomic(c) | Command::Sequence(c) => &mut c.cmd_id,
        other => panic!("{other:?}"),
    };
    *slot = id.into();
    if let Command::Atomic(group) | Command::Sequence(group) = command {
        for child in &mut group.commands {
            number(child, next, ids);
        }
    }
}

proptest! {
    #[test]
    fn each_command_is_answered_once_and_in_order(
        mut commands in vec(command(), 1..8),
        is_final in any::<bool>(),
        is_wbxml in any::<bool>(),
    ) {
        let mut config = DeviceConfig::new(DEVICE, URL);
        config.encoding = if is_wbxml { Encoding::Wbxml } else { Encoding::Xml };
        let mut talk = start(&config, &DeviceCredentials::open(SERVER), vec![]);
        let (mut next, mut ids) = (10, Vec::new());
        for command in &mut commands {
            number(command, &mut next, &mut ids);
        }
        commands.insert(0, header_ok(1, 200));
        let said = talk.tell(commands, is_final);
        prop_assert_eq!(header_code(&said), 200);
        prop_assert_eq!(said.body.is_final, is_final);
        let mut answered: Vec<String> = statuses(&said)
            .iter()
            .map(|text| text.split(' ').next().unwrap().to_owned())
            .collect();
        // One Status an item stands side by side.
        answered.dedup();
        prop_assert_eq!(answered, ids);
        // Results follow the Status of their Get, with its success.
        let all = &said.body.commands;
        for (at, command) in all.iter().enumerate() {
            let Command::Results(results) = command else { continue };
            let cmd_ref = results.cmd_ref.as_deref().unwrap();
            prop_assert!(all[..at].iter().any(|earlier| matches!(
                earlier,
                Command::Status(status) if &*status.cmd_ref == cmd_ref && status.data.0 == 200
            )));
        }
    }

    #[test]
    fn a_failed_atomic_changes_nothing(commands in vec(command(), 0..6)) {
        let mut talk = plain();
        let before = talk.tree.clone();
        let mut atomic = Command::Atomic(group("", commands));
        number(&mut atomic, &mut 10, &mut Vec::new());
        let said = talk.tell(vec![header_ok(1, 200), atomic], true);
        let is_done = statuses(&said).first().unwrap() == "10 Atomic 200";
        prop_assert!(is_done || talk.tree == before);
        prop_assert!(talk.host.execs.is_empty(), "an Exec is not for an Atomic");
    }

    #[test]
    fn damaged_messages_are_refused_or_taken_and_nothing_worse(
        at in any::<prop::sample::Index>(),
        octet in any::<u8>(),
        cut in any::<prop::sample::Index>(),
        noise in vec(any::<u8>(), 0..64),
        is_wbxml in any::<bool>(),
    ) {
        let mut config = DeviceConfig::new(DEVICE, URL);
        config.encoding = if is_wbxml { Encoding::Wbxml } else { Encoding::Xml };
        let mut talk = start(&config, &DeviceCredentials::open(SERVER), vec![]);
        let hdr = talk.hdr();
        let commands = vec![header_ok(1, 200), get("2", &URIS), replace("3", "./Vendor/Host", "x")];
        let mut good = Vec::new();
        encode(config.encoding, &message(hdr, commands, true), &mut good);
        let mut damaged = good.clone();
        *at.get_mut(&mut damaged) = octet;
        for body in [&damaged[..], &good[..cut.index(good.len())], &noise] {
            let before = talk.session.clone();
            let step =
                talk.session.handle_reply(Timestamp::UNIX_EPOCH, [1; 12], body, &mut talk.tree, &mut talk.host);
            match step {
                Ok(Step::Send { .. } | Step::Done(_)) => break,
                Err(_) => prop_assert!(talk.session == before, "what is refused leaves no trace"),
            }
        }
    }

    #[test]
    fn damaged_storage_is_refused(at in any::<prop::sample::Index>(), octet in any::<u8>()) {
        let mut stored = plain().session.encode().unwrap();
        *at.get_mut(&mut stored) = octet;
        let _ = dm_protocol::device::DeviceSession::decode(&stored);
    }
}
