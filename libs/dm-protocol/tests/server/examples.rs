//! Whole conversations as the protocol reference tells them, message by message.
//!
//! What differs from the reference by choice: our nonces are our own, `Source` is the server's id where the
//! account has one, and `RespURI` is repeated until the device has followed it.

use dm_protocol::{
    Account, Nonces, Scheme,
    server::{Draft, DraftItem, DraftValue, Ending, Event},
};
use dm_tree::Format;
use syncml::{Encoding, StatusCode};

use crate::support::*;

fn account() -> Account {
    let client = with_client(Scheme::Md5).client;
    Account { client, ..with_server(Scheme::Md5) }
}

fn chr(target: &'static str, value: &str, type_: Option<&'static str>) -> DraftItem {
    let value = DraftValue::Inline(value.as_bytes().to_vec());
    DraftItem { target: target.into(), format: Format::Chr, type_: type_.map(Into::into), value }
}

fn status_event(tag: u32, target: Option<&str>, code: u16) -> Event {
    Event::Status { tag, target: target.map(str::to_owned), code: StatusCode(code), items: vec![] }
}

/// The body of an answer, without what stands around it.
fn body(answer: &Answer) -> String {
    let text = String::from_utf8(answer.bytes.clone()).unwrap();
    let (_, rest) = text.split_once("<SyncBody>").unwrap();
    rest.strip_suffix("</SyncBody></SyncML>").unwrap().to_owned()
}

#[test]
fn a_session_from_challenge_to_end() {
    let mut bench = Bench::new(account())
        .meta("<MaxMsgSize xmlns='syncml:metinf'>8192</MaxMsgSize><MaxObjSize xmlns='syncml:metinf'>1048576</MaxObjSize>");
    bench.settings.resp_uri = Some(format!("{SERVER_URL}?s="));

    let answer = bench.send(1, &package_1(1));
    let nonce = answer.chal().unwrap().1.unwrap();
    let challenge = dm_protocol::auth::format_base64(&nonce);
    assert_eq!(
        body(&answer),
        format!(
            "<Status><CmdID>1</CmdID><MsgRef>1</MsgRef><CmdRef>0</CmdRef><Cmd>SyncHdr</Cmd>\
             <TargetRef>{SERVER_URL}</TargetRef><SourceRef>{DEVICE}</SourceRef>\
             <Chal><Meta><Format xmlns=\"syncml:metinf\">b64</Format><Type xmlns=\"syncml:metinf\">syncml:auth-md5</Type>\
             <NextNonce xmlns=\"syncml:metinf\">{challenge}</NextNonce></Meta></Chal><Data>407</Data></Status>\
             <Status><CmdID>2</CmdID><MsgRef>1</MsgRef><CmdRef>1</CmdRef><Cmd>Alert</Cmd><Data>407</Data></Status>\
             <Status><CmdID>3</CmdID><MsgRef>1</MsgRef><CmdRef>2</CmdRef><Cmd>Replace</Cmd><Data>407</Data></Status><Final/>"
        )
    );

    let ask = Draft::Interact {
        code: 1101,
        options: "MAXDT=60&DR=1".into(),
        texts: vec!["Apply the new mail settings?".into()],
    };
    let host = Draft::Replace(chr("./Vendor/Mail/Host", "mail.example.org", Some("text/plain")));
    bench.drafts.push_back((1, get(&["./DevDetail/SwV", "./DevDetail/NoSuchNode"])));
    bench.drafts.push_back((2, Draft::Sequence(vec![(3, ask), (4, host)])));
    let again = status(1, 1, "0", "SyncHdr", 200) + &package_1(2);
    let answer = bench.send_with(2, &md5(&nonce), &again);
    let message = answer.message();
    assert_eq!(answer.cred().as_deref(), Some("bKokE4M4XNf1tJH7b7VR+A=="));
    assert!(message.hdr.resp_uri.is_some());
    let meta = message.hdr.meta.as_ref().unwrap();
    assert_eq!(meta.max_obj_size, Some(u64::from(bench.settings.max_obj_size)));
    assert_eq!(answer.statuses(), ["0 SyncHdr 212", "2 Alert 200", "3 Replace 200"]);
    let (_, commands) = body(&answer).split_once("<Get>").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert_eq!(
        commands,
        "<CmdID>4</CmdID><Item><Target><LocURI>./DevDetail/SwV</LocURI></Target></Item>\
         <Item><Target><LocURI>./DevDetail/NoSuchNode</LocURI></Target></Item></Get>\
         <Sequence><CmdID>5</CmdID><Alert><CmdID>6</CmdID><Data>1101</Data><Item><Data>MAXDT=60&amp;DR=1</Data></Item>\
         <Item><Data>Apply the new mail settings?</Data></Item></Alert><Replace><CmdID>7</CmdID>\
         <Item><Target><LocURI>./Vendor/Mail/Host</LocURI></Target>\
         <Meta><Format xmlns=\"syncml:metinf\">chr</Format><Type xmlns=\"syncml:metinf\">text/plain</Type></Meta>\
         <Data>mail.example.org</Data></Item></Replace></Sequence><Final/>"
    );

    let m2: Vec<u8> = (0xB0..=0xBF).collect();
    let named = |code: u16, uri: &str| {
        status(2, 2, "4", "Get", code).replace("<Data>", &format!("<TargetRef>{uri}</TargetRef><Data>"))
    };
    let package_3 = header_status(2, 212, "syncml:auth-md5", Some(&m2))
        + &named(200, "./DevDetail/SwV")
        + &named(404, "./DevDetail/NoSuchNode")
        + "<Results><CmdID>4</CmdID><MsgRef>2</MsgRef><CmdRef>4</CmdRef><Item><Source><LocURI>./DevDetail/SwV\
           </LocURI></Source><Data>7.1.4-eng</Data></Item></Results>"
        + &status(5, 2, "5", "Sequence", 200)
        + &status(6, 2, "6", "Alert", 304)
        + &status(7, 2, "7", "Replace", 215)
        + "<Final/>";
    let answer = bench.send(3, &package_3);
    assert_eq!(bench.account.as_ref().unwrap().nonces.server, Some(m2));
    assert_eq!(
        answer.events[1..],
        [
            status_event(1, Some("DevDetail/SwV"), 200),
            status_event(1, Some("DevDetail/NoSuchNode"), 404),
            Event::Result { tag: 1, uri: "DevDetail/SwV".into(), leaf: dm_tree::Leaf::text("7.1.4-eng") },
            status_event(2, None, 200),
            status_event(3, None, 304),
            status_event(4, None, 215),
            Event::WantsCommands,
            Event::Ended(Ending::Done),
        ]
    );
    assert_eq!(
        body(&answer),
        format!(
            "<Status><CmdID>1</CmdID><MsgRef>3</MsgRef><CmdRef>0</CmdRef><Cmd>SyncHdr</Cmd><TargetRef>{SERVER_URL}\
             </TargetRef><SourceRef>{DEVICE}</SourceRef><Data>200</Data></Status><Final/>"
        )
    );
    let hdr = answer.message().hdr.into_owned();
    assert_eq!((hdr.cred, hdr.meta, hdr.resp_uri), (None, None, None));
}

#[test]
fn a_large_object_in_base64() {
    // The reference's octets, and so many more of their kind that it pays to split them.
    let octets: Vec<u8> = (0..360_u32).map(|index| (index * 7 + 3).to_le_bytes()[0]).collect();
    let base64 = dm_protocol::auth::format_base64(&octets);
    assert!(base64.starts_with("AwoRGB8mLTQ7QklQV15lbHN6gYiPlp2kq7K5wMfO1dzj6vH4"));
    let item = DraftItem {
        target: "./FwUpdate/Pkg1/Update/PkgData".into(),
        format: Format::Bin,
        type_: Some("application/octet-stream".into()),
        value: DraftValue::Inline(octets),
    };
    let mut bench = Bench::new(nobody_asks()).meta("<MaxMsgSize xmlns='syncml:metinf'>1200</MaxMsgSize>");
    bench = bench.draft(1, Draft::Replace(item));
    let data = |text: &str| {
        let (_, rest) = text.split_once("<Data>").unwrap();
        rest.split_once("</Data>").unwrap().0.to_owned()
    };
    let answer = bench.send(1, &package_1(1));
    let chunk = body(&answer);
    let (_, replace) = chunk.split_once("<Replace>").unwrap();
    let first = data(replace);
    assert_eq!(
        replace,
        format!(
            "<CmdID>4</CmdID><Item><Target><LocURI>./FwUpdate/Pkg1/Update/PkgData</LocURI></Target>\
             <Meta><Format xmlns=\"syncml:metinf\">b64</Format><Type xmlns=\"syncml:metinf\">\
             application/octet-stream</Type><Size xmlns=\"syncml:metinf\">480</Size></Meta>\
             <Data>{first}</Data><MoreData/></Item></Replace>"
        )
    );
    let accepted = status(1, 1, "0", "SyncHdr", 200)
        + &status(2, 1, "4", "Replace", 213)
        + "<Alert><CmdID>3</CmdID><Data>1222</Data></Alert>";
    let answer = bench.send(2, &accepted);
    assert_eq!(answer.statuses(), ["0 SyncHdr 200", "3 Alert 200"]);
    let chunk = body(&answer);
    let (_, replace) = chunk.split_once("<Replace>").unwrap();
    let last = data(replace);
    assert_eq!(
        replace,
        format!(
            "<CmdID>3</CmdID><Item><Target><LocURI>./FwUpdate/Pkg1/Update/PkgData</LocURI></Target>\
             <Meta><Format xmlns=\"syncml:metinf\">b64</Format><Type xmlns=\"syncml:metinf\">\
             application/octet-stream</Type></Meta><Data>{last}</Data></Item></Replace><Final/>"
        )
    );
    assert_eq!(first + &last, base64);
    let answer = bench.send(3, &(status(2, 2, "3", "Replace", 200) + "<Final/>"));
    assert_eq!(answer.events[0], status_event(1, None, 200));
}

#[test]
fn a_firmware_update_begins_and_its_end_is_reported() {
    for encoding in [Encoding::Xml, Encoding::Wbxml] {
        let url =
            chr("./FwUpdate/Pkg1/DownloadAndUpdate/PkgURL", "https://fw.example.org/ew42/7.2.0.bin", None);
        let exec = Draft::Exec {
            target: "./FwUpdate/Pkg1/DownloadAndUpdate".into(),
            correlator: Some("fw-20417-a".into()),
            data: None,
        };
        let mut bench = Bench::new(nobody_asks()).draft(1, Draft::Replace(url)).draft(2, exec);
        bench.encoding = encoding;
        bench.session_id = "2D";
        let answer = bench.send(1, &package_1(2));
        assert_eq!(
            answer.commands(),
            [
                "4 Replace ./FwUpdate/Pkg1/DownloadAndUpdate/PkgURL",
                "5 Exec ./FwUpdate/Pkg1/DownloadAndUpdate"
            ]
        );
        let syncml::Command::Exec(exec) = &answer.message().body.commands[4] else { panic!("no exec") };
        assert_eq!(exec.correlator.as_deref(), Some("fw-20417-a"));
        let accepted = status(1, 1, "0", "SyncHdr", 200)
            + &status(2, 1, "4", "Replace", 200)
            + &status(3, 1, "5", "Exec", 202)
            + "<Final/>";
        let answer = bench.send(2, &accepted);
        assert_eq!(answer.events[..2], [status_event(1, None, 200), status_event(2, None, 202)]);
        assert!(bench.kept.unwrap().is_over());
    }

    let mut account = account();
    account.nonces = Nonces { client: Some((0x10..=0x1F).collect()), ..Nonces::default() };
    let mut bench = Bench::new(account);
    bench.session_id = "31";
    let report = "<Alert><CmdID>2</CmdID><Data>1226</Data><Correlator>fw-20417-a</Correlator><Item><Source><LocURI>\
        ./FwUpdate/Pkg1</LocURI></Source><Meta><Type xmlns=\"syncml:metinf\">Reversed-Domain-Name: \
        org.openmobilealliance.dm.firmwareupdate.downloadandupdate</Type><Format xmlns=\"syncml:metinf\">int</Format>\
        <Mark xmlns=\"syncml:metinf\">informational</Mark></Meta><Data>200</Data></Item></Alert>";
    let package = package_1(1).replace("<Replace><CmdID>2", &format!("{report}<Replace><CmdID>3"));
    let answer = bench.send_with(1, &cred("syncml:auth-md5", "5kwGbwV0xlqsRDkgR5I4bw=="), &package);
    assert_eq!(answer.statuses(), ["0 SyncHdr 212", "1 Alert 200", "2 Alert 200", "3 Replace 200"]);
    assert_eq!(answer.cred(), None, "no credentials in a package that ends the session");
    assert!(answer.is_final() && answer.chal().unwrap().1.is_some());
    assert!(matches!(&answer.events[2], Event::Alert(alert) if alert.data == b"200"));
    assert_eq!(answer.events.last(), Some(&Event::Ended(Ending::Done)));
}

#[test]
fn wbxml_is_answered_in_wbxml() {
    let mut bench = Bench::new(account()).wbxml();
    let answer = bench.send(1, &package_1(1));
    assert!(answer.bytes.starts_with(&[0x02, 0xA4, 0x01, 0x6A, 0x00]));
    assert_eq!(answer.statuses(), ["0 SyncHdr 407", "1 Alert 407", "2 Replace 407"]);
}
