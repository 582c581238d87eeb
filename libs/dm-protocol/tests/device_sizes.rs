//! Messages within their limits, objects in chunks, and what a client's habits change on the wire.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod device_common;

use std::collections::BTreeMap;

use device_common::*;
use dm_protocol::device::{DeviceConfig, DeviceCredentials, DeviceEnding, GenericAlert, Step};
use dm_tree::{Access, Leaf, Node};
use jiff::Timestamp;
use syncml::{Command, Encoding, Item, Message, Meta};

fn config(encoding: Encoding) -> DeviceConfig {
    let mut config = DeviceConfig::new(DEVICE, URL);
    config.encoding = encoding;
    config
}

fn talk(config: &DeviceConfig) -> Talk {
    start(config, &DeviceCredentials::open(SERVER), vec![])
}

/// Says it with a limit on what the device may send.
fn tell_limited(
    talk: &mut Talk,
    limit: u64,
    commands: Vec<Command<'static>>,
    is_final: bool,
) -> Message<'static> {
    let mut hdr = talk.hdr();
    hdr.meta = Some(Box::new(Meta { max_msg_size: Some(limit), ..Meta::default() }));
    let step = talk.send(&message(hdr, commands, is_final)).unwrap();
    assert!(matches!(step, Step::Send { .. }), "{step:?}");
    talk.said()
}

#[test]
fn an_object_in_chunks_is_whole_only_at_its_end() {
    let mut talk = plain();
    let uri = "./Vendor/Octets";
    let said = talk.tell(vec![header_ok(1, 200), chunk("2", uri, "AwoRGB8", Some(16), true)], false);
    assert_eq!(statuses(&said), ["2 Replace ./Vendor/Octets 213"]);
    assert_eq!((alert_codes(&said), said.body.is_final), (vec![1222], false));
    talk.is_stored = true;
    let status_of_1222 = status(2, "3", "Alert", 200);
    let said =
        talk.tell(vec![header_ok(2, 200), status_of_1222, chunk("3", uri, "mLTQ7Q", None, true)], false);
    assert_eq!(statuses(&said), ["3 Replace ./Vendor/Octets 213"]);
    assert_eq!(*talk.tree.leaf(uri).unwrap().value, [0, 1, 254, 255], "nothing took effect yet");
    let said = talk.tell(vec![header_ok(3, 200), chunk("2", uri, "klQ", None, false)], true);
    assert_eq!(
        (statuses(&said), said.body.is_final),
        (vec!["2 Replace ./Vendor/Octets 200".to_owned()], true)
    );
    assert_eq!(*talk.tree.leaf(uri).unwrap().value, [3, 10, 17, 24, 31, 38, 45, 52, 59, 66, 73, 80]);
}

#[test]
fn chunks_that_break_the_rules_are_answered_so() {
    let uri = "./Vendor/Octets";
    let first = |size| chunk("2", uri, "AAAA", size, true);
    for (large_objects, max_obj_size, commands, want) in [
        (true, None, vec![first(None)], &["2 Replace ./Vendor/Octets 411"][..]),
        (true, Some(64), vec![first(Some(65))], &["2 Replace ./Vendor/Octets 413"]),
        (true, None, vec![first(Some(1 << 40))], &["2 Replace ./Vendor/Octets 413"]),
        (true, None, vec![first(Some(3))], &["2 Replace ./Vendor/Octets 424"]),
        (false, None, vec![first(Some(8))], &["2 Replace ./Vendor/Octets 406"]),
        (true, Some(2), vec![replace("2", uri, "whole")], &["2 Replace ./Vendor/Octets 413"]),
        (
            true,
            None,
            vec![first(Some(8)), chunk("3", uri, "AAA", None, false)],
            &["2 Replace ./Vendor/Octets 213", "3 Replace ./Vendor/Octets 424"],
        ),
        (
            true,
            None,
            vec![first(Some(8)), chunk("3", uri, "AAAAA", None, false)],
            &["2 Replace ./Vendor/Octets 213", "3 Replace ./Vendor/Octets 424"],
        ),
        (
            true,
            None,
            vec![first(Some(8)), chunk("3", uri, "AAAA", None, false)],
            &["2 Replace ./Vendor/Octets 213", "3 Replace ./Vendor/Octets 200"],
        ),
    ] {
        let mut config = config(Encoding::Xml);
        config.quirks.large_objects = large_objects;
        config.max_obj_size = max_obj_size;
        let mut talk = talk(&config);
        let mut all = vec![header_ok(1, 200)];
        all.extend(commands);
        let said = talk.tell(all, true);
        assert_eq!(statuses(&said), want);
        let is_done = want.last().unwrap().ends_with("200");
        assert_eq!(*talk.tree.leaf(uri).unwrap().value == [0, 1, 254, 255], !is_done, "{want:?}");
    }
}

#[test]
fn a_new_command_breaks_an_open_object_off() {
    for other in [get("3", &["."]), replace("3", "./Vendor/Host", "new"), exec("3", "./FwUpdate", None)] {
        let mut talk = plain();
        talk.tell(vec![header_ok(1, 200), chunk("2", "./Vendor/Octets", "AAAA", Some(8), true)], false);
        let said = talk.tell(vec![header_ok(2, 200), other], true);
        assert_eq!(alert_codes(&said), [1225]);
        let Some(Command::Alert(alert)) = said.body.commands.last() else { panic!("{said:#?}") };
        assert_eq!(alert.items[0].target.as_ref().unwrap().loc_uri, "./Vendor/Octets");
        // The server may start over.
        let said =
            talk.tell(vec![header_ok(3, 200), chunk("2", "./Vendor/Octets", "AAAA", Some(8), true)], false);
        assert_eq!(statuses(&said), ["2 Replace ./Vendor/Octets 213"]);
    }
}

/// What the device gives back for a Get of a large leaf, chunk by chunk.
fn upload(encoding: Encoding, leaf: Leaf, limit: u64) -> (usize, Vec<u8>, Option<u64>) {
    let mut talk = talk(&config(encoding));
    let node = Node::leaf(leaf).permanent(Access::GET);
    talk.tree.install("Vendor/Log", node, Timestamp::UNIX_EPOCH).unwrap();
    talk.is_stored = true;
    let mut said = tell_limited(
        &mut talk,
        limit,
        vec![header_ok(1, 200), get("3", &["./Vendor/Log", "./DevInfo/Man"])],
        true,
    );
    let (mut data, mut size, mut messages) = (Vec::new(), None, 1);
    loop {
        assert!(talk.body.len() as u64 <= limit, "{} octets, {limit} are taken", talk.body.len());
        let chunks: Vec<_> = results(&said).iter().flat_map(|results| &results.items).cloned().collect();
        let of_log = chunks.iter().find(|item| item.source.as_ref().unwrap().loc_uri == "./Vendor/Log");
        if let Some(item) = of_log {
            let stated = item.meta.as_ref().and_then(|meta| meta.size);
            assert!(data.is_empty() || stated.is_none(), "the size stands in the first chunk alone");
            size = size.or(stated);
            data.extend_from_slice(item.data.as_ref().unwrap().as_bytes());
        }
        if said.body.is_final {
            let man = chunks.iter().any(|item| item.source.as_ref().unwrap().loc_uri == "./DevInfo/Man");
            assert!(man, "what fits whole comes whole, after the object");
            return (messages, data, size);
        }
        messages += 1;
        let msg_ref = said.hdr.msg_id;
        let mut next = vec![header_ok(msg_ref, 200), alert("3", 1222, &[])];
        // The first message may have no room for a chunk.
        match said.body.commands.last() {
            Some(Command::Results(last)) if last.items[0].more_data => {
                next.push(status(msg_ref, &last.cmd_id, "Results", 213));
            }
            Some(Command::Results(_)) => {}
            _ => assert!(
                data.is_empty() || Some(data.len() as u64) == size,
                "chunks stand in consecutive messages"
            ),
        }
        said = tell_limited(&mut talk, limit, next, false);
    }
}

#[test]
fn a_value_that_does_not_fit_goes_in_chunks() {
    let text: String = (0..3000).map(|n| if n % 7 == 0 { "ż<&" } else { "a" }).collect();
    let octets: Vec<u8> = (0..3000_u32).map(|n| u8::try_from(n % 256).unwrap()).collect();
    for encoding in [Encoding::Xml, Encoding::Wbxml] {
        for limit in [700, 1000, 2000] {
            let (messages, data, size) = upload(encoding, Leaf::text(&text), limit);
            assert_eq!((data.len(), size), (text.len(), Some(text.len() as u64)), "{encoding} {limit}");
            assert_eq!(data, text.as_bytes());
            assert!(messages > 2);
            let (_, data, size) = upload(encoding, Leaf::new(dm_tree::Format::Bin, &octets), limit);
            assert_eq!(size, Some(data.len() as u64));
            let decoded = match encoding {
                Encoding::Xml => {
                    dm_protocol::auth::parse_base64(std::str::from_utf8(&data).unwrap()).unwrap()
                }
                Encoding::Wbxml => data,
            };
            assert_eq!(decoded, octets, "{encoding} {limit}");
        }
    }
}

#[test]
fn a_server_that_does_not_want_the_rest_gets_no_more_of_it() {
    for (code, is_alert) in [(413, false), (424, false), (1225, true)] {
        let mut talk = talk(&config(Encoding::Xml));
        let node = Node::leaf(Leaf::text(&"x".repeat(5000)));
        talk.tree.install("Vendor/Log", node, Timestamp::UNIX_EPOCH).unwrap();
        let said = tell_limited(&mut talk, 1000, vec![header_ok(1, 200), get("3", &["./Vendor/Log"])], true);
        let Some(Command::Results(last)) = said.body.commands.last() else { panic!("{said:#?}") };
        let no =
            if is_alert { alert("2", code, &[]) } else { status(2, &last.cmd_id.clone(), "Results", code) };
        let said = talk.tell(vec![header_ok(2, 200), no, alert("3", 1222, &[])], false);
        assert!(results(&said).is_empty() && said.body.is_final, "{said:#?}");
    }
}

#[test]
fn without_chunks_a_value_that_does_not_fit_is_too_large() {
    let mut config = config(Encoding::Xml);
    config.quirks.large_objects = false;
    let mut talk = talk(&config);
    let node = Node::leaf(Leaf::text(&"x".repeat(5000)));
    talk.tree.install("Vendor/Log", node, Timestamp::UNIX_EPOCH).unwrap();
    let said = tell_limited(&mut talk, 2000, vec![header_ok(1, 200), get("3", &["./Vendor/Log"])], true);
    assert_eq!(statuses(&said), ["3 Get ./Vendor/Log 413"]);
    // MaxObjSize binds with chunks too.
    let mut talk = self::talk(&self::config(Encoding::Xml));
    let mut hdr = talk.hdr();
    hdr.meta = Some(Box::new(Meta { max_obj_size: Some(5), ..Meta::default() }));
    talk.send(&message(hdr, vec![header_ok(1, 200), get("3", &["./DevInfo/Man", "./DevInfo/Lang"])], true))
        .unwrap();
    assert_eq!(statuses(&talk.said()), ["3 Get ./DevInfo/Man 413", "3 Get ./DevInfo/Lang 200"]);
}

#[test]
fn a_long_answer_is_spread_over_messages_that_keep_the_limit() {
    for encoding in [Encoding::Xml, Encoding::Wbxml] {
        for is_apart in [false, true] {
            for limit in [if encoding == Encoding::Xml { 640 } else { 512 }, 900, 3000] {
                let mut config = config(encoding);
                config.quirks.results_apart = is_apart;
                let mut talk = talk(&config);
                talk.is_stored = true;
                let commands = (2..40).map(|n| {
                    let id = n.to_string();
                    match n % 3 {
                        0 => get(&id, &["./DevInfo/Man", "./DevInfo/DevId", "./DevDetail?list=StructData"]),
                        1 => add(&id, &format!("./Vendor/N{n}"), "value"),
                        _ => replace(&id, "./Vendor/None", "value"),
                    }
                });
                let mut all = vec![header_ok(1, 200)];
                all.extend(commands);
                let mut said = tell_limited(&mut talk, limit, all, true);
                let (mut seen, mut values, mut messages) = (Vec::new(), BTreeMap::<String, usize>::new(), 1);
                loop {
                    assert!(talk.body.len() as u64 <= limit, "{encoding} {limit}: {}", talk.body.len());
                    // Those of 1222 are for another message.
                    let of_first = statuses(&said).into_iter().filter(|text| !text.contains("Alert"));
                    seen.extend(of_first.map(|text| text.split(' ').next().unwrap().parse::<u32>().unwrap()));
                    for answer in results(&said) {
                        *values.entry(answer.cmd_ref.clone().unwrap().into_owned()).or_default() +=
                            answer.items.len();
                    }
                    if said.body.is_final {
                        break;
                    }
                    messages += 1;
                    let msg_ref = said.hdr.msg_id;
                    said = tell_limited(
                        &mut talk,
                        limit,
                        vec![header_ok(msg_ref, 200), alert("2", 1222, &[])],
                        false,
                    );
                }
                let ids: Vec<u32> = (2..40).collect();
                assert_eq!(seen, ids, "each once and in order: {encoding} {limit}");
                assert!(values.values().all(|count| *count == 5) && values.len() == 13, "{values:?}");
                assert!(messages > 1);
            }
        }
    }
}

#[test]
fn habits_show_on_the_wire() {
    let event = GenericAlert {
        code: 1226,
        correlator: Some("c-1".into()),
        data: Some("200".into()),
        ..GenericAlert::default()
    };
    for encoding in [Encoding::Xml, Encoding::Wbxml] {
        let mut config = config(encoding);
        let usual = start(&config, &DeviceCredentials::open(SERVER), vec![event.clone()]);
        config.quirks.correlator_before_data = true;
        let swapped = start(&config, &DeviceCredentials::open(SERVER), vec![event.clone()]);
        assert_ne!(usual.body, swapped.body);
        assert_eq!(usual.said(), swapped.said(), "the order does not change what it says");

        config.quirks.omits_final_in_package_1 = true;
        let mut open_ended = talk(&config);
        assert!(!open_ended.said().body.is_final);
        let said = open_ended.tell(vec![header_ok(1, 200), get("2", &["."])], true);
        assert!(said.body.is_final);

        config.quirks.omits_status_cmd_id = true;
        config.quirks.omits_target_ref = true;
        let mut short = talk(&config);
        let said =
            short.tell(vec![header_ok(1, 200), get("2", &["."]), get("3", &["./DevInfo", "./None"])], true);
        let ids = said.body.commands.iter().filter_map(|command| match command {
            Command::Status(status) => Some(&*status.cmd_id),
            _ => None,
        });
        assert!(ids.into_iter().all(str::is_empty));
        // Where the items differ there is no other way to tell which is which.
        assert_eq!(statuses(&said), ["2 Get 200", "3 Get ./DevInfo 200", "3 Get ./None 404"]);

        config.quirks.atomic = false;
        let mut simple = talk(&config);
        let atomic = Command::Atomic(group("2", vec![replace("3", "./Vendor/Host", "new")]));
        let said = simple.tell(vec![header_ok(1, 200), atomic], true);
        assert_eq!(statuses(&said), ["2 Atomic 406", "3 Replace 215"]);
        assert_eq!(simple.tree.text("Vendor/Host"), Some("old"));
    }
}

#[test]
fn a_session_may_be_stored_between_any_two_steps() {
    let run = |is_stored| {
        let mut talk = plain();
        talk.is_stored = is_stored;
        let mut bodies = vec![talk.body.clone()];
        let more = Item { more_data: true, ..item("./Vendor/Octets", Some("AA")) };
        let meta = Meta { size: Some(4), format: Some("b64".into()), ..Meta::default() };
        let first = Command::Replace(items("2", vec![Item { meta: Some(Box::new(meta)), ..more }]));
        for (commands, is_final) in [
            (vec![header_ok(1, 200), get("2", &["./DevInfo"])], true),
            (vec![header_ok(2, 200), first], false),
            (vec![header_ok(3, 200), chunk("2", "./Vendor/Octets", "AA", None, false)], true),
        ] {
            talk.tell(commands, is_final);
            bodies.push(talk.body.clone());
        }
        assert_eq!(talk.end(vec![header_ok(4, 200)]), DeviceEnding::Done);
        (bodies, talk.tree)
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn a_session_that_was_stored_long_ago_still_reads() {
    let mut talk = talk(&config(Encoding::Xml));
    let said =
        talk.tell(vec![header_ok(1, 200), chunk("2", "./Vendor/Octets", "AAAA", Some(8), true)], false);
    assert_eq!(statuses(&said), ["2 Replace ./Vendor/Octets 213"]);
    let stored = talk.session.encode().unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/device-session-v1.postcard");
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !std::fs::exists(path).unwrap() {
        std::fs::write(path, &stored).unwrap();
    }
    let golden = std::fs::read(path).unwrap();
    assert_eq!(golden.first(), Some(&1));
    talk.session = dm_protocol::device::DeviceSession::decode(&golden).unwrap();
    let said = talk.tell(vec![header_ok(2, 200), chunk("2", "./Vendor/Octets", "AAAA", None, false)], true);
    assert_eq!(statuses(&said), ["2 Replace ./Vendor/Octets 200"]);
    for stored in [&[][..], &[0], &[2, 1, 2], &golden[..golden.len() / 2]] {
        assert!(dm_protocol::device::DeviceSession::decode(stored).is_err());
    }
}
