//! What a device may send, and what it is told (DM Protocol 1.2, sections 8 and 9).

use dm_protocol::server::{DeviceAlert, Event};

use crate::support::*;

#[test]
fn each_command_gets_its_status() {
    let item = "<Item><Target><LocURI>./A</LocURI></Target><Data>x</Data></Item>";
    let generic = |meta: &str| {
        format!(
            "<Alert><CmdID>7</CmdID><Data>1226</Data><Item><Source><LocURI>./FwUpdate</LocURI></Source>\
             <Meta>{meta}</Meta><Data>200</Data></Item></Alert>"
        )
    };
    let type_ = "<Type xmlns='syncml:metinf'>org.example.thing</Type>";
    for (command, want) in [
        (format!("<Add><CmdID>7</CmdID>{item}</Add>"), vec!["7 Add 405"]),
        (format!("<Get><CmdID>7</CmdID>{item}</Get>"), vec!["7 Get 405"]),
        (format!("<Delete><CmdID>7</CmdID>{item}</Delete>"), vec!["7 Delete 405"]),
        (format!("<Copy><CmdID>7</CmdID>{item}</Copy>"), vec!["7 Copy 405"]),
        (format!("<Exec><CmdID>7</CmdID>{item}</Exec>"), vec!["7 Exec 405"]),
        (
            format!("<Atomic><CmdID>7</CmdID><Add><CmdID>8</CmdID>{item}</Add></Atomic>"),
            vec!["7 Atomic 405", "8 Add 405"],
        ),
        (format!("<Sequence><CmdID>7</CmdID><Get><CmdID>8</CmdID>{item}</Get></Sequence>"), {
            vec!["7 Sequence 405", "8 Get 405"]
        }),
        (format!("<Put><CmdID>7</CmdID>{item}</Put>"), vec!["7 Put 501"]),
        (format!("<Replace><CmdID>7</CmdID>{item}</Replace>"), vec!["7 Replace 405"]),
        ("<Replace><CmdID>7</CmdID></Replace>".into(), vec!["7 Replace 412"]),
        (format!("<Replace>{item}</Replace>"), vec![" Replace 400"]),
        ("<Alert><Data>1201</Data></Alert>".into(), vec![" Alert 400"]),
        ("<Alert><CmdID>7</CmdID></Alert>".into(), vec!["7 Alert 412"]),
        ("<Alert><CmdID>7</CmdID><Data>1200</Data></Alert>".into(), vec!["7 Alert 200"]),
        ("<Alert><CmdID>7</CmdID><Data>1100</Data></Alert>".into(), vec!["7 Alert 406"]),
        ("<Alert><CmdID>7</CmdID><Data>1221</Data></Alert>".into(), vec!["7 Alert 406"]),
        ("<Alert><CmdID>7</CmdID><Data>1225</Data></Alert>".into(), vec!["7 Alert 200"]),
        ("<Alert><CmdID>7</CmdID><Data>1226</Data></Alert>".into(), vec!["7 Alert 412"]),
        (generic(type_), vec!["7 Alert 200"]),
        (generic(&format!("{type_}<Format xmlns='syncml:metinf'>int</Format>")), vec!["7 Alert 200"]),
        (generic(&format!("{type_}<Format xmlns='syncml:metinf'>jpeg</Format>")), vec!["7 Alert 415"]),
        (generic(type_).replace("1226", "1224"), vec!["7 Alert 200"]),
        (generic("").replace("1226", "1224"), vec!["7 Alert 406"]),
        ("<Alert><CmdID>7</CmdID><NoResp/><Data>1200</Data></Alert>".into(), vec![]),
    ] {
        let answer = Bench::new(nobody_asks()).send(1, &format!("{}{command}<Final/>", dev_info_only()));
        assert_eq!(answer.statuses()[2..], want, "{command}");
    }
}

fn dev_info_only() -> &'static str {
    "<Replace><CmdID>1</CmdID><Item><Source><LocURI>./DevInfo/DevId</LocURI></Source><Data>x</Data></Item></Replace>"
}

#[test]
fn items_that_fare_differently_are_told_apart() {
    let body = "<Replace><CmdID>1</CmdID>\
        <Item><Source><LocURI>./DevInfo/Man</LocURI></Source><Data>M</Data></Item>\
        <Item><Source><LocURI>./Secrets</LocURI></Source><Data>S</Data></Item></Replace><Final/>";
    let answer = Bench::new(nobody_asks()).send(1, body);
    assert_eq!(answer.statuses()[1..], ["1 Replace 200 #./DevInfo/Man", "1 Replace 405 #./Secrets"]);
    assert_eq!(answer.events[1], Event::DevInfo(vec![("DevInfo/Man".into(), dm_tree::Leaf::text("M"))]));
}

#[test]
fn only_what_changed_of_dev_info_is_told() {
    let item = |name: &str, meta: &str, value: &str| {
        let address = format!("<Source><LocURI>./DevInfo/{name}</LocURI></Source>");
        format!("<Item>{address}{meta}<Data>{value}</Data></Item>")
    };
    let chr = "<Meta><Format xmlns='syncml:metinf'>chr</Format><Type xmlns='syncml:metinf'>text/plain</Type></Meta>";
    let int = "<Meta><Format xmlns='syncml:metinf'>int</Format></Meta>";
    let known = vec![("DevInfo/Man", "M"), ("DevInfo/Lang", "7"), ("", "M")];
    let text = dm_tree::Leaf::text;
    let number = dm_tree::Leaf { format: dm_tree::Format::Int, ..text("7") };
    for (items, want) in [
        ([item("Man", "", "M"), item("Lang", chr, "7")], vec![]),
        ([item("Man", "", "N"), item("Lang", "", "7")], vec![("DevInfo/Man".into(), text("N"))]),
        ([item("Mod", "", "M"), item("Lang", "", "7")], vec![("DevInfo/Mod".into(), text("M"))]),
        ([item("Man", "", "M"), item("Lang", int, "7")], vec![("DevInfo/Lang".into(), number)]),
    ] {
        let mut bench = Bench::new(nobody_asks());
        bench.dev_info = known.clone();
        let answer = bench.send(1, &format!("<Replace><CmdID>1</CmdID>{}</Replace><Final/>", items.concat()));
        assert_eq!(answer.statuses()[1..], ["1 Replace 200"], "{items:?}");
        let told = answer.events.iter().find_map(|event| match event {
            Event::DevInfo(leaves) => Some(leaves.clone()),
            _ => None,
        });
        assert_eq!(told.unwrap_or_default(), want, "{items:?}");
    }
}

#[test]
fn generic_alerts_reach_the_caller_item_by_item() {
    let body = "<Alert><CmdID>1</CmdID><Data>1226</Data><Correlator>fw-1</Correlator>\
        <Item><Source><LocURI>./FwUpdate/Pkg1</LocURI></Source><Meta><Type xmlns='syncml:metinf'>Reversed-Domain-Name: org.x</Type>\
        <Format xmlns='syncml:metinf'>int</Format><Mark xmlns='syncml:metinf'>critical</Mark></Meta><Data>410</Data></Item>\
        <Item><Meta><Type xmlns='syncml:metinf'>org.y</Type></Meta><Data>b</Data></Item></Alert><Final/>";
    let answer = Bench::new(nobody_asks()).send(1, body);
    let first = DeviceAlert {
        code: 1226,
        correlator: Some("fw-1".into()),
        source: Some("FwUpdate/Pkg1".into()),
        type_: Some("Reversed-Domain-Name: org.x".into()),
        format: Some("int".into()),
        mark: Some("critical".into()),
        data: b"410".to_vec(),
    };
    let second = DeviceAlert {
        source: None,
        type_: Some("org.y".into()),
        format: None,
        mark: None,
        data: b"b".to_vec(),
        ..first.clone()
    };
    assert_eq!(answer.events[1..3], [Event::Alert(first), Event::Alert(second)]);
    assert_eq!(answer.statuses()[1..], ["1 Alert 200"]);
}

#[test]
fn nothing_in_an_unauthenticated_message_is_acted_on() {
    let mut bench = Bench::new(with_client(dm_protocol::Scheme::Md5));
    let body = package_1(1).replace(
        "<Final/>",
        "<Alert><CmdID>3</CmdID><Data>1223</Data></Alert><Get><CmdID>4</CmdID><Item/></Get><Final/>",
    );
    let answer = bench.send(1, &body);
    assert_eq!(answer.events, []);
    assert_eq!(answer.statuses()[3..], ["3 Alert 407", "4 Get 407"]);
    assert!(!bench.kept.unwrap().is_over());
}
