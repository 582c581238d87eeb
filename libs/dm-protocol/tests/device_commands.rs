//! What a device answers to commands, in order, from its tree.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod device_common;

use device_common::*;
use dm_protocol::device::{
    Answer, DeviceConfig, DeviceCredentials, DeviceEnding, DeviceError, GenericAlert, Version,
};
use syncml::{Command, Data, Encoding, Item, ItemCommand, Meta, StatusCode};

fn open(talk: &mut Talk) -> Vec<Command<'static>> {
    let msg_id = talk.said().hdr.msg_id;
    vec![header_ok(msg_id, 200)]
}

/// The answer to these commands, in a fresh session.
fn answer(commands: Vec<Command<'static>>) -> (Vec<String>, Talk) {
    let mut talk = plain();
    let mut all = open(&mut talk);
    all.extend(commands);
    let said = talk.tell(all, true);
    assert!(said.body.is_final);
    (statuses(&said), talk)
}

#[test]
fn package_1_says_who_and_why() {
    for encoding in [Encoding::Xml, Encoding::Wbxml] {
        for (version, dtd, proto) in [(Version::V1_1, "1.1", "DM/1.1"), (Version::V1_2, "1.2", "DM/1.2")] {
            let mut config = DeviceConfig::new(DEVICE, URL);
            (config.encoding, config.version) = (encoding, version);
            (config.server_initiated, config.max_msg_size) = (version == Version::V1_1, Some(8192));
            let event = GenericAlert {
                code: 1226,
                correlator: Some("fw-1".into()),
                source: Some("FwUpdate".into()),
                type_: Some("Reversed-Domain-Name: org.example.update".into()),
                format: Some("int".into()),
                mark: Some("informational".into()),
                data: Some("200".into()),
            };
            let talk = start(&config, &DeviceCredentials::open(SERVER), vec![event]);
            let said = talk.said();
            assert_eq!((&*said.hdr.ver_dtd, &*said.hdr.ver_proto), (dtd, proto));
            assert_eq!((said.hdr.msg_id, &*said.hdr.session_id, said.body.is_final), (1, "2A", true));
            assert_eq!((&*said.hdr.target.loc_uri, &*said.hdr.source.loc_uri), (URL, DEVICE));
            assert_eq!(said.hdr.meta.as_ref().and_then(|meta| meta.max_msg_size), Some(8192));
            let code = if version == Version::V1_1 { 1200 } else { 1201 };
            assert_eq!(alert_codes(&said), [code, 1226]);
            let Command::Alert(event) = &said.body.commands[1] else { panic!("{said:#?}") };
            assert_eq!(event.correlator.as_deref(), Some("fw-1"));
            assert_eq!(event.items[0].source.as_ref().unwrap().loc_uri, "./FwUpdate");
            let Command::Replace(devinfo) = &said.body.commands[2] else { panic!("{said:#?}") };
            let leaves: Vec<_> = devinfo
                .items
                .iter()
                .map(|item| {
                    (&*item.source.as_ref().unwrap().loc_uri, item.data.as_ref().unwrap().as_text().unwrap())
                })
                .collect();
            assert_eq!(
                leaves,
                [
                    ("./DevInfo/DevId", DEVICE),
                    ("./DevInfo/DmV", "1.2"),
                    ("./DevInfo/Lang", "en"),
                    ("./DevInfo/Man", "Example Works"),
                    ("./DevInfo/Mod", "EW-42"),
                ]
            );
        }
    }
}

#[test]
fn a_server_without_commands_ends_the_session() {
    let mut talk = plain();
    let ending =
        talk.end(vec![header_ok(1, 200), status(1, "1", "Alert", 200), status(1, "2", "Replace", 200)]);
    assert_eq!(ending, DeviceEnding::Done);
    let hdr = talk.hdr();
    assert_eq!(talk.send(&message(hdr, vec![], true)), Err(DeviceError::Ended));
}

#[test]
fn every_command_has_its_status_in_order() {
    let copy = Item { source: at("./Vendor/Host"), ..item("./Vendor/Copy", None) };
    let (said, talk) = answer(vec![
        get("4", &["./DevDetail/SwV", "./DevDetail/None"]),
        get("5", &["./DevDetail/SwV", "./DevDetail/FwV"]),
        replace("6", "./Vendor/Host", "new"),
        add("7", "./Vendor/Host", "again"),
        add("8", "./Vendor/Host/Below/More", "x"),
        delete("9", "./DevInfo"),
        Command::Copy(items("10", vec![copy])),
        exec("11", "./FwUpdate", Some("c-1")),
        Command::Exec(items("12", vec![])),
        Command::Exec(items("13", vec![item("./FwUpdate", None), item("./FwUpdate", None)])),
        get("14", &["./FwUpdate/State"]),
        Command::Replace(items("15", vec![Item::default()])),
        Command::Put(items("16", vec![item("./x", None)])),
        alert("17", 1222, &[]),
        alert("18", 1201, &[]),
        replace("19", "./DevInfo/Man", "x"),
    ]);
    assert_eq!(
        said,
        [
            "4 Get ./DevDetail/SwV 200",
            "4 Get ./DevDetail/None 404",
            "5 Get 200",
            "6 Replace ./Vendor/Host 200",
            "7 Add ./Vendor/Host 418",
            "8 Add ./Vendor/Host/Below/More 405",
            "9 Delete ./DevInfo 405",
            "10 Copy ./Vendor/Copy 200",
            "11 Exec ./FwUpdate 202",
            "12 Exec 412",
            "13 Exec 412",
            "14 Get ./FwUpdate/State 200",
            "15 Replace 412",
            "16 Put 501",
            "17 Alert 200",
            "18 Alert 406",
            "19 Replace ./DevInfo/Man 405",
        ]
    );
    assert_eq!(talk.host.execs, [("./FwUpdate".to_owned(), Some("c-1".to_owned()), None)]);
    let message = talk.said();
    let values: Vec<_> = results(&message)
        .iter()
        .flat_map(|results| &results.items)
        .map(|item| item.data.as_ref().unwrap().as_text().unwrap().to_owned())
        .collect();
    assert_eq!(values, ["7.1.4-eng", "7.1.4-eng", "1 < 2 & 3", "30"]);
    assert_eq!(talk.tree.text("Vendor/Copy"), Some("new"));
    // Each Results comes after the Status of its Get.
    let order = message.body.commands.iter().map(|command| match command {
        Command::Status(status) => format!("S{}", status.cmd_ref),
        Command::Results(results) => format!("R{}", results.cmd_ref.as_deref().unwrap()),
        other => panic!("{other:?}"),
    });
    let order: Vec<_> = order.filter(|text| text.ends_with('4') || text.ends_with('5')).collect();
    assert_eq!(order, ["S4", "S4", "R4", "S5", "R5", "S14", "R14", "S15"]);
    // The culprit of an implicit Add is named.
    let Some(Command::Status(status)) = message
        .body
        .commands
        .iter()
        .find(|command| matches!(command, Command::Status(status) if &*status.cmd_ref == "8"))
    else {
        panic!("{message:#?}")
    };
    assert_eq!(status.items[0].target.as_ref().unwrap().loc_uri, "./Vendor/Host/Below");
}

#[test]
fn a_command_without_id_is_a_bad_request_and_does_nothing() {
    let (said, talk) =
        answer(vec![replace("", "./Vendor/Host", "new"), Command::Sequence(group("", vec![]))]);
    assert_eq!(said, [" Replace 400", " Sequence 400"]);
    assert_eq!(talk.tree.text("Vendor/Host"), Some("old"));
}

#[test]
fn no_resp_silences_the_status_and_not_the_command() {
    let silent = ItemCommand { no_resp: true, ..items("4", vec![item("./Vendor/Host", Some("new"))]) };
    let (said, talk) = answer(vec![Command::Replace(silent), get("5", &["./Vendor/Host"])]);
    assert_eq!(said, ["5 Get ./Vendor/Host 200"]);
    assert_eq!(talk.tree.text("Vendor/Host"), Some("new"));
}

#[test]
fn meta_of_item_wins_over_that_of_its_command_and_of_the_group() {
    let meta = |format: &'static str| Some(Box::new(Meta { format: Some(format.into()), ..Meta::default() }));
    let own = Item { meta: meta("int"), ..item("./Vendor/A", Some("1")) };
    let of_command =
        ItemCommand { meta: meta("bool"), ..items("5", vec![own, item("./Vendor/B", Some("true"))]) };
    let mut sequence = group("4", vec![Command::Add(of_command), add("6", "./Vendor/C", "2001-01-01")]);
    sequence.meta = meta("date");
    let (said, talk) = answer(vec![Command::Sequence(sequence)]);
    assert_eq!(said, ["4 Sequence 200", "5 Add 200", "6 Add ./Vendor/C 200"]);
    for (uri, format) in [("Vendor/A", "int"), ("Vendor/B", "bool"), ("Vendor/C", "date")] {
        assert_eq!(talk.tree.leaf(uri).unwrap().format.as_str(), format, "{uri}");
    }
}

#[test]
fn atomic_is_all_or_nothing() {
    let nested = Command::Atomic(group("6", vec![add("7", "./Vendor/N", "1")]));
    for (children, want, is_done) in [
        (
            vec![replace("5", "./Vendor/Host", "new"), add("6", "./Vendor/A", "1")],
            &["4 Atomic 200", "5 Replace ./Vendor/Host 200", "6 Add ./Vendor/A 200"][..],
            true,
        ),
        (
            vec![
                replace("5", "./Vendor/Host", "new"),
                delete("6", "./Vendor/None"),
                add("7", "./Vendor/A", "1"),
            ],
            &["4 Atomic 507", "5 Replace ./Vendor/Host 216", "6 Delete ./Vendor/None 404", "7 Add 215"],
            false,
        ),
        (
            vec![replace("5", "./Vendor/Host", "new"), nested],
            &["4 Atomic 507", "5 Replace ./Vendor/Host 216", "6 Atomic 500", "7 Add 215"],
            false,
        ),
        (
            vec![replace("5", "./Vendor/Host", "new"), get("6", &["./Vendor/Host"])],
            &["4 Atomic 507", "5 Replace ./Vendor/Host 216", "6 Get 500"],
            false,
        ),
        (
            vec![
                replace("5", "./Vendor/Host", "new"),
                exec("6", "./FwUpdate", None),
                delete("7", "./Vendor"),
            ],
            &["4 Atomic 507", "5 Replace ./Vendor/Host 216", "6 Exec 500", "7 Delete 215"],
            false,
        ),
        (
            vec![replace("5", "./Vendor/Host", "new"), chunk("6", "./Vendor/Octets", "AA", Some(8), true)],
            &["4 Atomic 507", "5 Replace ./Vendor/Host 216", "6 Replace ./Vendor/Octets 500"],
            false,
        ),
    ] {
        let (said, talk) = answer(vec![Command::Atomic(group("4", children))]);
        assert_eq!(said, want);
        assert_eq!(talk.tree.text("Vendor/Host"), Some(if is_done { "new" } else { "old" }), "{want:?}");
        assert!(talk.host.execs.is_empty());
        assert_eq!(is_done, talk.tree != tree());
    }
}

#[test]
fn the_users_no_ends_a_sequence_and_fails_an_atomic() {
    let children = || vec![alert("5", 1101, &["DR=1", "Sure?"]), replace("6", "./Vendor/Host", "new")];
    for (code, in_sequence, in_atomic) in [
        (200, ["4 Sequence 200", "5 Alert 200", "6 Replace ./Vendor/Host 200"], {
            ["4 Atomic 200", "5 Alert 200", "6 Replace ./Vendor/Host 200"]
        }),
        (
            304,
            ["4 Sequence 200", "5 Alert 304", "6 Replace 215"],
            ["4 Atomic 507", "5 Alert 304", "6 Replace 215"],
        ),
        (
            214,
            ["4 Sequence 200", "5 Alert 214", "6 Replace 215"],
            ["4 Atomic 507", "5 Alert 214", "6 Replace 215"],
        ),
        (
            408,
            ["4 Sequence 200", "5 Alert 408", "6 Replace 215"],
            ["4 Atomic 507", "5 Alert 408", "6 Replace 215"],
        ),
    ] {
        for (command, want) in [
            (Command::Sequence(group("4", children())), in_sequence),
            (Command::Atomic(group("4", children())), in_atomic),
        ] {
            let mut talk = plain();
            talk.host.answer = Some(Answer { code: StatusCode(code), items: vec![] });
            let said = talk.tell(vec![header_ok(1, 200), command], true);
            // 214 is a success by its first digit, and is none in an Atomic.
            assert_eq!(statuses(&said), want, "user said {code}");
        }
    }
    let mut talk = plain();
    talk.host.answer = Some(Answer { code: StatusCode(304), items: vec![] });
    let commands =
        vec![header_ok(1, 200), alert("5", 1101, &["", "Sure?"]), replace("6", "./Vendor/Host", "new")];
    assert_eq!(statuses(&talk.tell(commands, true)), ["5 Alert 304", "6 Replace ./Vendor/Host 200"]);
}

#[test]
fn the_user_is_asked_with_all_options_and_the_answers_come_back() {
    let mut talk = plain();
    talk.host.answer = Some(Answer { code: StatusCode(200), items: vec!["1".into(), "2".into()] });
    let ask = alert("4", 1104, &["MINDT=5&MAXDT=90&DR=1-3&X=y", "Which?", "Mail", "Calendar"]);
    let said = talk
        .tell(vec![header_ok(1, 200), ask, alert("5", 1103, &["", "Which?"]), alert("6", 1100, &[])], true);
    assert_eq!(statuses(&said), ["4 Alert 200", "5 Alert 412", "6 Alert 412"]);
    let Command::Status(status) = &said.body.commands[1] else { panic!("{said:#?}") };
    let items: Vec<_> = status.items.iter().map(|item| item.data.as_ref().and_then(Data::as_text)).collect();
    assert_eq!(items, [Some("1"), Some("2")]);
    let asked = &talk.host.asked[0];
    for part in [
        "display_s_min: Some(5)",
        "wait_s_max: Some(90)",
        "\"1-3\"",
        "\"Which?\"",
        "[\"Mail\", \"Calendar\"]",
    ] {
        assert!(asked.contains(part), "{part} in {asked}");
    }
    assert_eq!(talk.host.asked.len(), 1, "what is incomplete is not asked");
}

#[test]
fn octets_travel_as_each_encoding_can() {
    for (encoding, format) in [(Encoding::Xml, "b64"), (Encoding::Wbxml, "bin")] {
        let mut config = DeviceConfig::new(DEVICE, URL);
        config.encoding = encoding;
        let mut talk = start(&config, &DeviceCredentials::open(SERVER), vec![]);
        let meta = Meta { format: Some("bin".into()), ..Meta::default() };
        let item = Item {
            meta: Some(Box::new(meta)),
            data: Some(Data::Bytes(vec![9, 0, 255].into())),
            ..item("./Vendor/New", None)
        };
        let said = talk.tell(
            vec![header_ok(1, 200), Command::Add(items("4", vec![item])), get("5", &["./Vendor/Octets"])],
            true,
        );
        assert_eq!(statuses(&said), ["4 Add ./Vendor/New 200", "5 Get ./Vendor/Octets 200"]);
        assert_eq!(*talk.tree.leaf("Vendor/New").unwrap().value, [9, 0, 255]);
        let got = &results(&said)[0].items[0];
        assert_eq!(got.meta.as_ref().unwrap().format.as_deref(), Some(format));
        match got.data.as_ref().unwrap() {
            Data::Bytes(bytes) => assert_eq!(**bytes, [0, 1, 254, 255]),
            Data::Text(text) => assert_eq!(text, "AAH+/w=="),
        }
    }
}

#[test]
fn lists_and_properties_have_addresses_of_their_own() {
    let mut talk = plain();
    let asked = ["DevDetail?list=StructData", "./Vendor?prop=ACL", "./Vendor/Host?list=TNDS", "./DevDetail"];
    let said = talk.tell(vec![header_ok(1, 200), get("4", &asked)], true);
    let answer = results(&said);
    assert_eq!(answer.len(), 1);
    let items: Vec<_> = answer[0]
        .items
        .iter()
        .map(|item| (&*item.source.as_ref().unwrap().loc_uri, item.data.as_ref().and_then(Data::as_text)))
        .collect();
    assert_eq!(
        items[..3],
        [
            ("./DevDetail", None),
            ("./DevDetail/FwV", Some("1 < 2 & 3")),
            ("./DevDetail/SwV", Some("7.1.4-eng")),
        ]
    );
    assert_eq!(items[3], ("./Vendor?prop=ACL", Some("Add=*&Delete=*&Exec=*&Get=*&Replace=*")));
    assert_eq!(items[4].0, "./Vendor/Host");
    assert!(items[4].1.unwrap().starts_with("<MgmtTree"));
    assert_eq!(items[5], ("./DevDetail", Some("FwV/SwV")));
    let meta = answer[0].items[5].meta.as_ref().unwrap();
    assert_eq!((meta.format.as_deref(), meta.type_.as_deref()), (Some("node"), Some("text/plain")));
}

#[test]
fn what_belongs_to_another_session_or_came_before_changes_nothing() {
    let mut talk = plain();
    talk.tell(vec![header_ok(1, 200), replace("4", "./Vendor/Host", "new")], true);
    let before = talk.session.clone();
    let mut other = talk.hdr();
    other.session_id = "2B".into();
    let step = talk.send(&message(other, vec![], true));
    assert_eq!(step, Err(DeviceError::OtherSession { expected: "2A".into(), got: "2B".into() }));
    talk.msg_id = 0;
    let hdr = talk.hdr();
    let step = talk.send(&message(hdr, vec![replace("4", "./Vendor/Host", "again")], true));
    assert_eq!(step, Err(DeviceError::OldMessage { last: 1, got: 1 }));
    assert_eq!(talk.tree.text("Vendor/Host"), Some("new"));
    assert!(talk.session == before, "a message that was refused leaves no trace");
}

#[test]
fn endings_have_their_names() {
    for (commands, want) in [
        (vec![header_ok(1, 200), alert("2", 1223, &[])], DeviceEnding::AbortedByServer),
        (vec![header_ok(1, 503)], DeviceEnding::Refused(StatusCode(503))),
        (vec![header_ok(1, 513)], DeviceEnding::Refused(StatusCode(513))),
        (vec![header_ok(1, 401)], DeviceEnding::Unauthenticated),
        (vec![header_ok(1, 407)], DeviceEnding::Unauthenticated),
    ] {
        let mut talk = plain();
        assert_eq!(talk.end(commands), want);
        assert_eq!(talk.session.ending(), Some(want));
    }
    let mut talk = plain();
    let said = talk.session.abort();
    let dm_protocol::device::Step::Send { body, .. } = said else { panic!("{said:?}") };
    talk.body = body;
    assert_eq!(alert_codes(&talk.said()), [1223]);
    assert!(talk.said().body.is_final);
    assert_eq!(talk.end(vec![header_ok(2, 200)]), DeviceEnding::Aborted);
}

#[test]
fn a_server_that_never_gets_on_is_left() {
    let mut talk = plain();
    let mut messages = 0;
    loop {
        messages += 1;
        let said = talk.tell(vec![header_ok(messages, 200), alert("2", 1222, &[])], false);
        if alert_codes(&said).contains(&1223) {
            break;
        }
        assert!(messages < 30, "it goes on for ever");
    }
    assert_eq!(talk.end(vec![header_ok(messages + 1, 200)]), DeviceEnding::Stalled);
}

#[test]
fn the_next_message_goes_where_the_server_says() {
    let mut talk = plain();
    let mut hdr = talk.hdr();
    hdr.resp_uri = Some("https://dm.example.org/dm?s=7f3a".into());
    talk.send(&message(hdr, vec![header_ok(1, 200), get("2", &["."])], true)).unwrap();
    assert_eq!(talk.uri, "https://dm.example.org/dm?s=7f3a");
    assert_eq!(talk.said().hdr.target.loc_uri, "https://dm.example.org/dm?s=7f3a");
}

#[test]
fn answers_to_alerts_are_told_apart() {
    let mut config = DeviceConfig::new(DEVICE, URL);
    config.encoding = Encoding::Xml;
    let event = |data: &str| GenericAlert { code: 1226, data: Some(data.into()), ..GenericAlert::default() };
    let mut talk = start(&config, &DeviceCredentials::open(SERVER), vec![event("1"), event("2"), event("3")]);
    // The statuses of the alerts 2 to 4; the one of alert 3 never comes.
    talk.end(vec![header_ok(1, 200), status(1, "1", "Alert", 200), status(1, "2", "Alert", 202), {
        status(1, "4", "Alert", 415)
    }]);
    let answers: Vec<_> = talk.session.alert_answers().map(|answer| (answer.index, answer.code.0)).collect();
    assert_eq!(answers, [(0, 202), (2, 415)]);
}
