//! What real clients sent, against our server. The samples are a record of other sessions, so nonces and
//! command numbers do not fit; each message must get a sensible answer all the same.

use dm_protocol::{
    Account, ClientAuth, Nonces, Scheme, ServerAuth, auth,
    server::{Draft, Event, Handled, Input, ServerSession, Settings},
};
use jiff::Timestamp;
use syncml::{Command, Encoding, Limits, Message, StatusCode, decode};

fn account(client: Scheme, nonce: Option<&[u8]>) -> Account {
    Account {
        client: ClientAuth::Password {
            scheme: client,
            user: "device".into(),
            digest: auth::user_digest("device", "secret"),
        },
        server: Some(ServerAuth {
            server_id: "holdout".into(),
            password: "server-secret".into(),
            scheme: client,
        }),
        nonces: Nonces { client: nonce.map(<[u8]>::to_vec), ..Nonces::default() },
    }
}

/// Plays the messages in their order. Gives the code of the answer's SyncHdr and the events, message by message.
fn play(names: &[&str], mut account: Account, drafts: &[Draft]) -> Vec<(u16, Vec<Event>)> {
    let settings = Settings::default();
    let mut session: Option<ServerSession> = None;
    let mut heard = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let path = format!("{}/tests/captures/{name}", env!("CARGO_MANIFEST_DIR"));
        let body = std::fs::read(&path).unwrap();
        let encoding = if name.ends_with(".wbxml") { Encoding::Wbxml } else { Encoding::Xml };
        let message = decode(encoding, &body, &Limits::default()).unwrap();
        let mut current = session.take().unwrap_or_else(|| ServerSession::open(&message, encoding).unwrap());
        let input = Input {
            now: Timestamp::from_second(1_700_000_000).unwrap(),
            encoding,
            message: &message,
            body: &body,
            account: Some(&account),
            dev_info: &[],
            entropy: [u8::try_from(index).unwrap() + 1; 32],
        };
        let handled = current.handle_message(&settings, input);
        assert_ne!(handled, Handled::Repeated, "{name}");
        let mut events = Vec::new();
        while let Some(event) = current.poll_event() {
            if event == Event::WantsCommands && index == 0 {
                for (tag, draft) in (1..).zip(drafts) {
                    current.enqueue(tag, draft.clone()).unwrap();
                }
            }
            if let Event::NoncesChanged { nonces, .. } = &event {
                account.nonces = nonces.clone();
            }
            events.push(event);
        }
        let mut reply = Vec::new();
        current.write_reply(&settings, &mut reply);
        let answer = decode(encoding, &reply, &Limits::default()).unwrap();
        heard.push((check(name, &message, &answer), events));
        session = Some(current);
    }
    heard
}

/// The rules that hold for every answer.
fn check(name: &str, message: &Message<'_>, answer: &Message<'_>) -> u16 {
    assert_eq!(answer.hdr.session_id, message.hdr.session_id, "{name}");
    assert_eq!(answer.hdr.target.loc_uri, message.hdr.source.loc_uri, "{name}");
    assert_eq!(answer.hdr.ver_proto, message.hdr.ver_proto, "{name}");
    let Some(Command::Status(first)) = answer.body.commands.first() else {
        panic!("{name}: no Status first")
    };
    assert_eq!((&*first.cmd, first.msg_ref), ("SyncHdr", Some(message.hdr.msg_id)), "{name}");
    let owed = message.body.commands.iter().filter_map(|command| match command {
        Command::Alert(alert) => Some(alert.cmd_id.as_ref()),
        Command::Replace(replace) => Some(replace.cmd_id.as_ref()),
        _ => None,
    });
    let answered: Vec<&str> = answer.body.commands[1..]
        .iter()
        .filter_map(|command| match command {
            Command::Status(status) => Some(status.cmd_ref.as_ref()),
            _ => None,
        })
        .collect();
    assert_eq!(answered, owed.collect::<Vec<_>>(), "{name}");
    first.data.0
}

fn get(uri: &'static str) -> Draft {
    Draft::Get(vec![uri.into()])
}

#[test]
fn a_client_of_dm_1_1_2_with_basic_asks_for_our_credentials_and_gets_its_commands_again() {
    let names =
        ["motorola-1.1.2-basic-1.wbxml", "motorola-1.1.2-basic-2.wbxml", "motorola-1.1.2-basic-3.wbxml"];
    let drafts = [get("./DevDetail/FwV"), get("./DevInfo/DevId")];
    let heard = play(&names, account(Scheme::Basic, None), &drafts);
    let codes: Vec<u16> = heard.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [212, 200, 200]);
    // Refused for want of credentials is no outcome.
    assert!(!heard[1].1.iter().any(|event| matches!(event, Event::Status { .. })));
    let value =
        |tag, uri: &str, text| Event::Result { tag, uri: uri.into(), leaf: dm_tree::Leaf::text(text) };
    let status = |tag| Event::Status { tag, target: None, code: StatusCode::OK, items: vec![] };
    assert_eq!(
        heard[2].1[..4],
        [
            status(1),
            status(2),
            value(1, "DevDetail/FwV", "1.0.0"),
            value(2, "DevInfo/DevId", "IMEI:350077523237513")
        ]
    );
}

#[test]
fn a_client_with_md5_is_known_at_first_contact_when_nobody_gave_it_a_nonce() {
    for (name, nonce, code) in [
        ("motorola-1.2-md5-1.wbxml", None, 212),
        ("motorola-1.2-md5-1.wbxml", Some(&b"other"[..]), 401),
        ("intel-md5-1.wbxml", None, 212),
        ("intel-alerts-1.xml", None, 212),
        ("windows11-package1-user.xml", None, 407),
        ("windows11-unenroll-1226.xml", None, 407),
    ] {
        let heard = play(&[name], account(Scheme::Md5, nonce), &[]);
        assert_eq!(heard[0].0, code, "{name}");
        assert_eq!(heard[0].1.contains(&Event::Authenticated), code == 212, "{name}");
    }
}

#[test]
fn a_whole_session_of_libdmclient_is_understood() {
    let names = ["intel-multiget-1.xml", "intel-multiget-2.xml"];
    let uris = ["./DevDetail/FwV", "./DevDetail/SwV", "./DevDetail/HwV", "./DevDetail/None"];
    let all = Draft::Get(uris.iter().map(|uri| (*uri).into()).collect());
    let heard = play(&names, account(Scheme::Md5, None), &[all]);
    let codes: Vec<(Option<&str>, u16)> = heard[1]
        .1
        .iter()
        .filter_map(|event| match event {
            Event::Status { tag: 1, target, code, .. } => Some((target.as_deref(), code.0)),
            _ => None,
        })
        .collect();
    let want = [
        (Some("DevDetail/FwV"), 200),
        (Some("DevDetail/SwV"), 200),
        (Some("DevDetail/HwV"), 200),
        (Some("DevDetail/None"), 404),
    ];
    assert_eq!(codes, want);
    let results = heard[1].1.iter().filter(|event| matches!(event, Event::Result { .. })).count();
    assert_eq!(results, 3);
}

#[test]
fn the_alert_at_the_end_of_an_update_is_heard_once_the_client_is_known() {
    let names = ["intel-fumo-4.xml", "intel-fumo-5.xml"];
    let heard = play(&names, account(Scheme::Md5, Some(b"other")), &[]);
    assert_eq!(heard[0].0, 401);
    assert_eq!(heard[0].1, []);
    assert_eq!(heard[1].0, 401, "its digest was made for another challenge");
    let mut account = account(Scheme::Md5, None);
    account.client = ClientAuth::None;
    let heard = play(&names[..1], account, &[]);
    let Event::Alert(alert) = &heard[0].1[1] else { panic!("no alert: {:?}", heard[0].1) };
    assert_eq!(alert.correlator.as_deref(), Some("c-1"));
    assert_eq!(
        (alert.source.as_deref(), &alert.data[..]),
        (Some("FUMO/FwPkg/DownloadAndUpdate"), &b"503"[..])
    );
}
