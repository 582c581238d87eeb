//! Packages, their messages, and how sessions end (DM Protocol 1.2, sections 6 and 8).

use dm_protocol::server::{Draft, Ending, Event, UNANSWERED};
use syncml::StatusCode;

use crate::support::*;

fn told(tag: u32, target: Option<&str>, code: u16) -> Event {
    let target = target.map(str::to_owned);
    Event::Status { tag, target, code: StatusCode(code), items: Vec::new() }
}

#[test]
fn a_session_with_nothing_to_do_is_over_with_the_first_answer() {
    let mut bench = Bench::new(nobody_asks());
    let answer = bench.send(1, &package_1(1));
    assert_eq!(answer.statuses(), ["0 SyncHdr 200", "1 Alert 200", "2 Replace 200"]);
    assert!(answer.is_final());
    let hdr = answer.message().hdr.into_owned();
    assert_eq!((hdr.cred, hdr.meta, hdr.resp_uri), (None, None, None));
    assert_eq!(answer.events.last(), Some(&Event::Ended(Ending::Done)));
}

#[test]
fn statuses_come_in_the_order_of_the_commands_and_before_ours() {
    let mut bench = Bench::new(nobody_asks()).draft(7, get(&["./DevDetail/FwV"]));
    let answer = bench.send(1, &package_1(5));
    assert_eq!(answer.statuses(), ["0 SyncHdr 200", "5 Alert 200", "6 Replace 200"]);
    assert_eq!(answer.commands(), ["4 Get ./DevDetail/FwV"]);
    assert!(answer.is_final());
}

#[test]
fn a_package_of_several_messages_is_asked_on_by_1222() {
    let mut bench = Bench::new(nobody_asks()).draft(1, get(&["./A"]));
    let half = "<Alert><CmdID>1</CmdID><Data>1201</Data></Alert>";
    let answer = bench.send(1, half);
    assert_eq!(answer.commands(), ["3 Alert 1222"]);
    assert!(!answer.is_final());
    assert!(!answer.events.contains(&Event::WantsCommands));
    let rest = "<Status><CmdID>1</CmdID><MsgRef>1</MsgRef><CmdRef>3</CmdRef><Cmd>Alert</Cmd><Data>200</Data>\
                </Status><Final/>";
    let answer = bench.send(2, rest);
    assert_eq!(answer.commands(), ["2 Get ./A"]);
    assert!(answer.is_final());
}

#[test]
fn final_may_be_missing_in_package_1() {
    let body = package_1(1).replace("<Final/>", "");
    let answer = Bench::new(nobody_asks()).send(1, &body);
    assert!(answer.is_final());
    assert_eq!(answer.events.last(), Some(&Event::Ended(Ending::Done)));
}

#[test]
fn every_command_has_one_outcome() {
    let two = || get(&["./A", "./B"]);
    for (name, body, want) in [
        ("one for all", status(1, 1, "4", "Get", 200), vec![told(1, None, 200)]),
        ("repeated", status(1, 1, "4", "Get", 200) + &status(2, 1, "4", "Get", 404), {
            // Two without names are meant item by item.
            vec![told(1, Some("A"), 200), told(1, Some("B"), 404)]
        }),
        ("none", String::new(), vec![told(1, None, UNANSWERED.0)]),
        ("of another command", status(1, 1, "9", "Get", 200), vec![told(1, None, UNANSWERED.0)]),
        ("of another message", status(1, 7, "4", "Get", 200), vec![told(1, None, UNANSWERED.0)]),
        (
            "by name, in any order",
            status(1, 1, "4", "Get", 404).replace("<Data>", "<TargetRef>B</TargetRef><Data>")
                + &status(2, 1, "4", "Get", 200).replace("<Data>", "<TargetRef>./A</TargetRef><Data>"),
            vec![told(1, Some("B"), 404), told(1, Some("A"), 200)],
        ),
        (
            "only one of two",
            status(1, 1, "4", "Get", 404).replace("<Data>", "<TargetRef>./B</TargetRef><Data>"),
            vec![told(1, Some("B"), 404), told(1, Some("A"), UNANSWERED.0)],
        ),
    ] {
        let mut bench = Bench::new(nobody_asks()).draft(1, two());
        bench.send(1, &package_1(1));
        let answer = bench.send(2, &format!("{}{body}<Final/>", status(1, 1, "0", "SyncHdr", 200)));
        let statuses: Vec<Event> =
            answer.events.into_iter().filter(|event| matches!(event, Event::Status { .. })).collect();
        assert_eq!(statuses, want, "{name}");
    }
}

#[test]
fn groups_are_numbered_and_answered_one_by_one() {
    let inner = vec![(11, Draft::Delete("./A".into())), (12, get(&["B"])), (13, exec("./C"))];
    let group = Draft::Sequence(vec![(10, Draft::Sequence(inner)), (14, Draft::Delete("./D".into()))]);
    let mut bench = Bench::new(nobody_asks()).draft(9, group).draft(15, get(&["./E"]));
    let answer = bench.send(1, &package_1(1));
    assert_eq!(
        answer.commands(),
        ["4 Sequence (5 Sequence (6 Delete ./A, 7 Get ./B, 8 Exec ./C), 9 Delete ./D)", "10 Get ./E"]
    );
    let body: String = (4..=10).map(|id: u16| status(1, 1, &id.to_string(), "x", 200 + id)).collect();
    let answer = bench.send(2, &(body + "<Final/>"));
    let want: Vec<Event> = (4..=10).map(|id| told(u32::from(id) + 5, None, 200 + id)).collect();
    assert_eq!(answer.events[..7], want);
}

fn exec(target: &'static str) -> Draft {
    Draft::Exec { target: target.into(), correlator: Some("c-1".into()), data: None }
}

#[test]
fn values_and_choices_reach_the_caller() {
    let ask = Draft::Interact { code: 1104, options: "MAXDT=90".into(), texts: vec!["Which?".into()] };
    let mut bench = Bench::new(nobody_asks()).draft(1, ask).draft(2, get(&["./DevInfo?list=Struct"]));
    let answer = bench.send(1, &package_1(1));
    assert_eq!(answer.commands(), ["4 Alert 1104", "5 Get ./DevInfo?list=Struct"]);
    let chosen = status(1, 1, "4", "Alert", 200)
        .replace("</Status>", "<Item><Data>1</Data></Item><Item><Data>3</Data></Item></Status>");
    let results = "<Results><CmdID>3</CmdID><MsgRef>1</MsgRef><CmdRef>5</CmdRef>\
        <Item><Source><LocURI>./DevInfo</LocURI></Source><Meta><Format xmlns='syncml:metinf'>node</Format></Meta>\
        </Item><Item><Source><LocURI>./DevInfo/Man</LocURI></Source></Item></Results>";
    let answer = bench.send(2, &format!("{chosen}{results}<Final/>"));
    let items = vec!["1".to_owned(), "3".to_owned()];
    assert_eq!(answer.events[0], Event::Status { tag: 1, target: None, code: StatusCode(200), items });
    let leaf = |format| dm_tree::Leaf { format, ..dm_tree::Leaf::default() };
    let result = |uri: &str, format| Event::Result { tag: 2, uri: uri.into(), leaf: leaf(format) };
    assert_eq!(answer.events[1], result("DevInfo", dm_tree::Format::Node));
    assert_eq!(answer.events[2], result("DevInfo/Man", dm_tree::Format::Chr));
    // A value stands for the Status that did not come with it.
    assert_eq!(answer.events[3], told(2, None, 200));
    assert_eq!(answer.statuses(), ["0 SyncHdr 200"], "Results are answered only when something is wrong");
}

#[test]
fn an_aborted_session_leaves_nothing_open() {
    let mut bench = Bench::new(nobody_asks()).draft(1, get(&["./A"])).draft(2, get(&["./B"]));
    bench.send(1, &package_1(1));
    let body = status(1, 1, "4", "Get", 404) + "<Alert><CmdID>2</CmdID><Data>1223</Data></Alert><Final/>";
    let answer = bench.send(2, &body);
    assert_eq!(
        answer.events,
        [told(1, None, 404), told(2, None, UNANSWERED.0), Event::Ended(Ending::AbortedByDevice)]
    );
    assert_eq!(answer.statuses(), ["0 SyncHdr 200", "2 Alert 200"]);
    assert_eq!(answer.commands(), [""; 0]);
    assert!(answer.is_final());
}

#[test]
fn a_device_that_brings_nothing_forward_is_given_up() {
    let mut bench = Bench::new(nobody_asks());
    let mut rounds = 0;
    bench.send(1, "<Alert><CmdID>1</CmdID><Data>1201</Data></Alert>");
    let answer = loop {
        rounds += 1;
        let answer = bench.send(rounds + 1, "<Alert><CmdID>1</CmdID><Data>1222</Data></Alert>");
        if bench.kept.as_ref().unwrap().is_over() {
            break answer;
        }
        assert_eq!(answer.commands(), ["3 Alert 1222"]);
    };
    assert_eq!(rounds, u32::from(bench.settings.idle_rounds_max) + 1);
    assert_eq!(answer.commands(), ["3 Alert 1223"]);
    assert!(answer.is_final());
    assert_eq!(answer.events.last(), Some(&Event::Ended(Ending::Broken)));
}

#[test]
fn a_header_that_the_device_cannot_serve_ends_the_session() {
    for (code, want) in
        [(417, true), (500, true), (503, true), (505, true), (513, true), (200, false), (400, false)]
    {
        let mut bench = Bench::new(nobody_asks()).draft(1, get(&["./A"]));
        bench.send(1, &package_1(1));
        bench.drafts.push_back((2, get(&["./B"])));
        bench.send(2, &(status(1, 1, "0", "SyncHdr", code) + "<Final/>"));
        assert_eq!(bench.kept.unwrap().ending() == Some(Ending::Broken), want, "{code}");
    }
}

#[test]
fn versions_are_answered_in_kind_or_refused() {
    for (dtd, proto, want_dtd, want_proto, code) in [
        ("1.2", "DM/1.2", "1.2", "DM/1.2", 200),
        ("1.1", "DM/1.1", "1.1", "DM/1.1", 200),
        ("1.2", "DM/1.3", "1.2", "DM/1.3", 200),
        ("1.1", "DM/1.2", "1.1", "DM/1.2", 200),
        ("1.0", "DM/1.2", "1.2", "DM/1.2", 505),
        ("2.0", "DM/2.0", "1.2", "DM/1.2", 505),
        ("1.2", "SyncML/1.2", "1.2", "DM/1.2", 513),
    ] {
        let mut bench = Bench::new(nobody_asks());
        let text = format!(
            "<SyncML xmlns=\"SYNCML:SYNCML1.2\"><SyncHdr><VerDTD>{dtd}</VerDTD><VerProto>{proto}</VerProto>\
             <SessionID>1</SessionID><MsgID>1</MsgID><Target><LocURI>x</LocURI></Target>\
             <Source><LocURI>{DEVICE}</LocURI></Source></SyncHdr><SyncBody>{}</SyncBody></SyncML>",
            package_1(1)
        );
        let answer = bench.send_text(&text);
        let message = answer.message();
        assert_eq!((&*message.hdr.ver_dtd, &*message.hdr.ver_proto), (want_dtd, want_proto));
        assert_eq!(answer.statuses()[0], format!("0 SyncHdr {code}"));
        assert_eq!(bench.kept.unwrap().ending() == Some(Ending::Broken), code != 200);
    }
}

#[test]
fn a_session_may_be_kept_apart_by_its_own_address() {
    let mut bench = Bench::new(nobody_asks()).draft(1, get(&["./A"]));
    bench.settings.resp_uri = Some(format!("{SERVER_URL}?s="));
    let answer = bench.send(1, &package_1(1));
    let address = answer.message().hdr.resp_uri.unwrap().into_owned();
    assert_eq!(address, format!("{SERVER_URL}?s=0101010101010101"));
    // A device that has not followed is told again.
    bench.drafts.push_back((2, get(&["./B"])));
    let answer = bench.send(2, &(status(1, 1, "4", "Get", 404) + "<Final/>"));
    assert_eq!(answer.message().hdr.resp_uri.as_deref(), Some(address.as_str()));
}

#[test]
fn what_does_not_fit_one_message_goes_in_the_next_package() {
    let meta = "<MaxMsgSize xmlns='syncml:metinf'>1500</MaxMsgSize>";
    for encoding in ["xml", "wbxml"] {
        let mut bench = Bench::new(nobody_asks()).meta(meta);
        if encoding == "wbxml" {
            bench = bench.wbxml();
        }
        for tag in 0..40 {
            bench.drafts.push_back((tag, get(&["./A/rather/long/address/of/a/node"])));
        }
        let mut answer = bench.send(1, &package_1(1));
        let (mut outcomes, mut msg_id) = (0, 1);
        while !bench.kept.as_ref().unwrap().is_over() {
            assert!(answer.bytes.len() <= 1500, "{encoding}: {}", answer.bytes.len());
            assert!(answer.is_final());
            let commands = answer.commands();
            let ids = commands.iter().map(|command| command.split(' ').next().unwrap());
            let body: String = ids.map(|id| status(1, msg_id, id, "Get", 200)).collect();
            msg_id += 1;
            answer = bench.send(msg_id, &(body + "<Final/>"));
            outcomes += answer.events.iter().filter(|event| matches!(event, Event::Status { .. })).count();
        }
        assert_eq!(outcomes, 40, "{encoding}");
        assert!(msg_id > 2, "{encoding}");
    }
}

#[test]
fn a_command_that_fits_no_message_is_split_or_refused() {
    let meta = "<MaxMsgSize xmlns='syncml:metinf'>700</MaxMsgSize>";
    let long = |index: usize| format!("./{}/{index}", "x".repeat(120)).into();
    let many = Draft::Get((0..8).map(long).collect());
    let hopeless = Draft::Delete(format!("./{}", "x".repeat(900)).into());
    let mut bench =
        Bench::new(nobody_asks()).meta(meta).draft(1, many).draft(2, hopeless).draft(3, exec("./E"));
    let mut answer = bench.send(1, &package_1(1));
    let (mut events, mut msg_id) = (answer.events.clone(), 1);
    while !bench.kept.as_ref().unwrap().is_over() {
        assert!(answer.bytes.len() <= 700, "{}", answer.bytes.len());
        let commands = answer.commands();
        let ids = commands.iter().map(|command| command.split(' ').next().unwrap());
        let mut body: String = ids.map(|id| status(1, msg_id, id, "x", 200)).collect();
        body +=
            if answer.is_final() { "<Final/>" } else { "<Alert><CmdID>9</CmdID><Data>1222</Data></Alert>" };
        msg_id += 1;
        answer = bench.send(msg_id, &body);
        events.extend(answer.events.clone());
    }
    let statuses: Vec<(u32, bool, u16)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Status { tag, target, code, .. } => Some((*tag, target.is_some(), code.0)),
            _ => None,
        })
        .collect();
    let mut want = vec![(1, true, 200); 8];
    want.extend([(2, false, 413), (3, false, 200)]);
    assert_eq!(statuses, want);
    assert_eq!(events.last(), Some(&Event::Ended(Ending::Done)));
}

#[test]
fn statuses_that_do_not_fit_are_sent_later() {
    let meta = "<MaxMsgSize xmlns='syncml:metinf'>600</MaxMsgSize>";
    let mut bench = Bench::new(nobody_asks()).meta(meta).draft(1, get(&["./A"]));
    let alerts: String =
        (3..20).map(|id| format!("<Alert><CmdID>{id}</CmdID><Data>1222</Data></Alert>")).collect();
    let mut answer = bench.send(1, &package_1(1).replace("<Final/>", &(alerts + "<Final/>")));
    let mut statuses = Vec::new();
    let mut msg_id = 1;
    loop {
        assert!(answer.bytes.len() <= 600);
        statuses.extend(answer.statuses().split_off(1));
        if answer.is_final() {
            break;
        }
        msg_id += 1;
        answer = bench.send(msg_id, "<Alert><CmdID>77</CmdID><NoResp/><Data>1222</Data></Alert>");
    }
    let mut want = vec!["1 Alert 200".to_owned(), "2 Replace 200".to_owned()];
    want.extend((3..20).map(|id| format!("{id} Alert 200")));
    assert_eq!(statuses, want);
    assert_eq!(answer.commands().len(), 1);
}
