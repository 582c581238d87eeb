//! Large objects, both ways (DM Protocol 1.2, section 7).

use dm_protocol::server::{Draft, DraftItem, DraftValue, Event};
use dm_tree::Format;
use syncml::{Command, Data, StatusCode};

use crate::support::*;

const NEXT: &str = "<Alert><CmdID>3</CmdID><Data>1222</Data></Alert>";

fn octets(length: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from(index * 31 % 251).unwrap()).collect()
}

fn replace(format: Format, value: DraftValue) -> Draft {
    let type_ = Some("application/octet-stream".into());
    Draft::Replace(DraftItem { target: "./FwUpdate/Pkg1/Update/PkgData".into(), format, type_, value })
}

struct Received {
    octets: Vec<u8>,
    sizes: Vec<Option<u64>>,
}

/// Takes chunks in until the server has none left, as a device does.
fn receive(bench: &mut Bench, first: crate::support::Answer, limit: usize) -> (Received, u32, String) {
    let mut received = Received { octets: Vec::new(), sizes: Vec::new() };
    let (mut answer, mut msg_id) = (first, 1);
    loop {
        assert!(answer.bytes.len() <= limit, "{} octets", answer.bytes.len());
        let message = answer.message();
        let Some(Command::Replace(command)) = message.body.commands.last() else { panic!("no chunk") };
        let item = &command.items[0];
        received.sizes.push(item.meta.as_ref().and_then(|meta| meta.size));
        received.octets.extend(item.data.as_ref().map(Data::as_bytes).unwrap());
        assert_eq!(answer.is_final(), !item.more_data, "no Final while inside an object");
        if answer.is_final() {
            return (received, msg_id, command.cmd_id.to_string());
        }
        let body = status(1, msg_id, "0", "SyncHdr", 200)
            + &status(2, msg_id, &command.cmd_id, "Replace", 213)
            + NEXT;
        msg_id += 1;
        answer = bench.send(msg_id, &body);
        assert_eq!(answer.events.iter().filter(|event| matches!(event, Event::Status { .. })).count(), 0);
    }
}

#[test]
fn objects_go_out_in_chunks_that_fill_the_messages() {
    let meta = "<MaxMsgSize xmlns='syncml:metinf'>1024</MaxMsgSize>";
    let text: Vec<u8> = "ein größeres Stück <Text> & mehr; ".repeat(200).into_bytes();
    for (name, wbxml, format, value, base64) in [
        ("octets in XML", false, Format::Bin, octets(5000), true),
        ("octets in WBXML", true, Format::Bin, octets(5000), false),
        ("text in XML", false, Format::Xml, text.clone(), false),
        ("text in WBXML", true, Format::Chr, text, false),
    ] {
        for artifact in [false, true] {
            let draft = if artifact {
                DraftValue::Artifact { digest: [7; 32], size: u64::try_from(value.len()).unwrap() }
            } else {
                DraftValue::Inline(value.clone())
            };
            let mut bench = Bench::new(nobody_asks()).meta(meta).draft(1, replace(format, draft));
            bench.artifact = value.clone();
            if wbxml {
                bench = bench.wbxml();
            }
            let first = bench.send(1, &package_1(1));
            let mut received = Vec::new();
            let mut answer = first;
            let mut msg_id = 1;
            let mut messages = 0;
            loop {
                messages += 1;
                assert!(answer.bytes.len() <= 1024, "{name}: {} octets", answer.bytes.len());
                let message = answer.message();
                let command = message.body.commands.iter().find_map(|command| match command {
                    Command::Replace(command) => Some(command),
                    _ => None,
                });
                let command = command.unwrap();
                let item = &command.items[0];
                let size = item.meta.as_ref().and_then(|meta| meta.size);
                let transported = if base64 { value.len().div_ceil(3) * 4 } else { value.len() };
                let announced = (messages == 1).then(|| u64::try_from(transported).unwrap());
                assert_eq!(size, announced, "{name}: message {messages}");
                received.extend(item.data.as_ref().map(Data::as_bytes).unwrap());
                assert_eq!(answer.is_final(), !item.more_data, "{name}: no Final while inside an object");
                let code = if item.more_data { 213 } else { 200 };
                let mut body = status(1, msg_id, "0", "SyncHdr", 200);
                body += &status(2, msg_id, &command.cmd_id, "Replace", code);
                body += if item.more_data { NEXT } else { "<Final/>" };
                let more = item.more_data;
                msg_id += 1;
                answer = bench.send(msg_id, &body);
                if !more {
                    break;
                }
            }
            if base64 {
                received = dm_protocol::auth::parse_base64(std::str::from_utf8(&received).unwrap()).unwrap();
            }
            assert!(received == value, "{name}");
            assert!(messages >= value.len() / 1024, "{name}: {messages} messages");
            let codes: Vec<(u32, u16)> = answer
                .events
                .iter()
                .filter_map(|event| match event {
                    Event::Status { tag, code, .. } => Some((*tag, code.0)),
                    _ => None,
                })
                .collect();
            assert_eq!(codes, [(1, 200)], "{name}");
            assert!(bench.kept.unwrap().is_over());
        }
    }
}

#[test]
fn an_object_that_fits_goes_whole() {
    let value = DraftValue::Artifact { digest: [7; 32], size: 100 };
    let mut bench = Bench::new(nobody_asks()).draft(1, replace(Format::Bin, value)).wbxml();
    bench.artifact = octets(100);
    let first = bench.send(1, &package_1(1));
    let (received, _, _) = receive(&mut bench, first, usize::MAX);
    assert_eq!((received.octets, received.sizes), (octets(100), vec![None]));
}

#[test]
fn an_object_that_the_device_loses_is_told_and_the_session_goes_on() {
    let meta = "<MaxMsgSize xmlns='syncml:metinf'>1024</MaxMsgSize>";
    for (name, answer_to_chunk, want) in [
        ("refused", status(2, 1, "4", "Replace", 413) + NEXT, 413),
        ("taken for the whole", status(2, 1, "4", "Replace", 200) + "<Final/>", 406),
        ("lost", "<Alert><CmdID>2</CmdID><Data>1225</Data></Alert>".to_owned() + NEXT, 424),
    ] {
        let value = replace(Format::Bin, DraftValue::Inline(octets(5000)));
        let mut bench = Bench::new(nobody_asks()).meta(meta).draft(1, value);
        assert!(!bench.send(1, &package_1(1)).is_final());
        bench.drafts.push_back((2, get(&["./A"])));
        let answer = bench.send(2, &answer_to_chunk);
        let status = Event::Status { tag: 1, target: None, code: StatusCode(want), items: vec![] };
        assert!(answer.events.contains(&status), "{name}: {:?}", answer.events);
        assert_eq!(answer.commands().len(), 1, "{name}");
        assert!(answer.commands()[0].ends_with("Get ./A"), "{name}");
        assert!(answer.is_final(), "{name}");
    }
}

#[test]
fn an_object_larger_than_the_device_takes_is_not_sent() {
    let meta = "<MaxObjSize xmlns='syncml:metinf'>132</MaxObjSize>";
    // 100 octets are 136 characters of base64.
    for (length, wbxml, want) in
        [(100, false, Some(413)), (99, false, None), (100, true, None), (133, true, Some(413))]
    {
        let value = replace(Format::Bin, DraftValue::Inline(octets(length)));
        let mut bench = Bench::new(nobody_asks()).meta(meta).draft(1, value);
        if wbxml {
            bench = bench.wbxml();
        }
        let answer = bench.send(1, &package_1(1));
        let code = answer.events.iter().find_map(|event| match event {
            Event::Status { code, .. } => Some(code.0),
            _ => None,
        });
        assert_eq!(code, want, "{length}");
        let asked = answer.events.iter().filter(|event| **event == Event::WantsCommands).count();
        assert_eq!(asked, if want.is_some() { 2 } else { 1 }, "the caller may have something else");
    }
}

fn chunk(uri: &str, size: Option<usize>, data: &str, more: bool) -> String {
    let size = size.map(|size| format!("<Size xmlns='syncml:metinf'>{size}</Size>")).unwrap_or_default();
    let more = if more { "<MoreData/>" } else { "" };
    format!(
        "<Results><CmdID>7</CmdID><MsgRef>1</MsgRef><CmdRef>4</CmdRef><Item><Source><LocURI>{uri}</LocURI></Source>\
         <Meta>{size}</Meta><Data>{data}</Data>{more}</Item></Results>"
    )
}

/// A session that waits for the values of two nodes.
fn asked() -> Bench {
    let mut bench = Bench::new(nobody_asks()).draft(1, get(&["./Log", "./Other"]));
    bench.settings.max_obj_size = 50;
    bench.send(1, &package_1(1));
    bench
}

#[test]
fn chunks_of_a_value_are_joined() {
    let mut bench = asked();
    let answer = bench
        .send(2, &(status(1, 1, "4", "Get", 200) + &chunk("./Log", Some(40), "boot ok; modem ok; b", true)));
    assert_eq!(answer.statuses(), ["0 SyncHdr 200", "7 Results 213"]);
    assert_eq!(answer.commands(), ["3 Alert 1222"]);
    assert!(!answer.is_final());
    let body =
        status(1, 2, "0", "SyncHdr", 200) + &chunk("./Log", None, "attery 81%; idle 00h", false) + "<Final/>";
    let answer = bench.send(3, &body);
    let leaf = dm_tree::Leaf::text("boot ok; modem ok; battery 81%; idle 00h");
    assert_eq!(answer.events[0], Event::Result { tag: 1, uri: "Log".into(), leaf });
    assert_eq!(answer.statuses(), ["0 SyncHdr 200"]);
    assert!(bench.kept.unwrap().is_over());
}

#[test]
fn broken_values_are_told_with_their_codes() {
    let told = |answer: &Answer| {
        answer.events.iter().find_map(|event| match event {
            Event::Status { tag: 1, target: Some(uri), code, .. } => Some((uri.clone(), code.0)),
            _ => None,
        })
    };
    for (name, chunks, want) in [
        ("no size", vec![chunk("./Log", None, "a", true), chunk("./Log", None, "b", false)], 411),
        ("too large", vec![chunk("./Log", Some(51), "a", true), chunk("./Log", None, "b", false)], 413),
        ("too short", vec![chunk("./Log", Some(9), "a", true), chunk("./Log", None, "b", false)], 424),
        ("too long", vec![chunk("./Log", Some(3), "aa", true), chunk("./Log", None, "bb", false)], 424),
        ("far too long", vec![chunk("./Log", Some(1), "aa", true), chunk("./Log", None, "b", false)], 424),
    ] {
        let mut bench = asked();
        let mut codes = Vec::new();
        let mut statuses = Vec::new();
        let mut events = Vec::new();
        for (msg_id, chunk) in (2..).zip(&chunks) {
            let end = if msg_id == 3 { "<Final/>" } else { "" };
            let answer = bench.send(msg_id, &(status(1, 1, "4", "Get", 200) + chunk + end));
            codes.extend(told(&answer));
            statuses.extend(answer.statuses().into_iter().filter(|status| status.contains("Results")));
            events.extend(answer.events);
        }
        assert_eq!(codes, [("Log".to_owned(), want)], "{name}");
        assert!(statuses.contains(&format!("7 Results {want}")), "{name}: {statuses:?}");
        assert!(!events.iter().any(|event| matches!(event, Event::Result { .. })), "{name}");
    }
}

#[test]
fn a_value_broken_off_by_another_is_told_by_1225() {
    let mut bench = asked();
    bench.send(2, &chunk("./Log", Some(40), "boot ok", true));
    let answer = bench.send(3, &(chunk("./Other", None, "whole", false) + "<Final/>"));
    assert_eq!(answer.commands(), ["2 Alert 1225 ./Log"]);
    let code = StatusCode::SIZE_MISMATCH;
    let lost = Event::Status { tag: 1, target: Some("Log".into()), code, items: vec![] };
    let leaf = dm_tree::Leaf::text("whole");
    assert_eq!(answer.events[..2], [lost, Event::Result { tag: 1, uri: "Other".into(), leaf }]);
}

#[test]
fn values_are_read_as_the_encoding_carries_them() {
    for (wbxml, format, data, want) in [
        (false, "bin", "AAEC", &[0, 1, 2][..]),
        (false, "b64", "AAEC", b"AAEC"),
        (false, "BIN", "A A\nEC", &[0, 1, 2]),
        (false, "bin", "plain!", b"plain!"),
        (true, "bin", "AAEC", b"AAEC"),
        (true, "chr", "x", b"x"),
    ] {
        let mut bench = Bench::new(nobody_asks()).draft(1, get(&["./Log"]));
        if wbxml {
            bench = bench.wbxml();
        }
        bench.send(1, &package_1(1));
        let body = chunk("./Log", None, data, false)
            .replace("<Meta>", &format!("<Meta><Format xmlns='syncml:metinf'>{format}</Format>"));
        let answer = bench.send(2, &(body + "<Final/>"));
        let Event::Result { leaf, .. } = &answer.events[0] else { panic!("no result") };
        assert_eq!(&*leaf.value, want, "{format} {data}");
    }
}
