//! Who proves themselves to whom, with which nonce.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod device_common;

use device_common::*;
use dm_protocol::{
    Scheme, auth,
    device::{Challenge, ClientSecret, DeviceConfig, DeviceCredentials, DeviceEnding, ServerSecret, Step},
};
use syncml::{Command, Cred, Encoding, Message, Meta, Status, StatusCode};

const USER: &str = "dev-0042";
const PASSWORD: &str = "k9-Lantern";
const SERVER_PASSWORD: &str = "Quarry-7s";

fn secrets(client: Option<Scheme>, server: Option<Scheme>) -> DeviceCredentials {
    DeviceCredentials {
        client: client.map(|scheme| ClientSecret { user: USER.into(), password: PASSWORD.into(), scheme }),
        server: server.map(|scheme| ServerSecret { password: SERVER_PASSWORD.into(), scheme }),
        ..DeviceCredentials::open(SERVER)
    }
}

fn talk(credentials: &DeviceCredentials, change: impl FnOnce(&mut DeviceConfig)) -> Talk {
    let mut config = DeviceConfig::new(DEVICE, URL);
    config.encoding = Encoding::Xml;
    change(&mut config);
    start(&config, credentials, vec![])
}

fn challenge(msg_ref: u32, code: u16, type_: &str, nonce: Option<&[u8]>) -> Command<'static> {
    let meta = Meta {
        type_: Some(type_.to_owned().into()),
        format: Some("b64".into()),
        next_nonce: nonce.map(|nonce| auth::format_base64(nonce).into()),
        ..Meta::default()
    };
    Command::Status(Status {
        cmd_id: "1".into(),
        msg_ref: Some(msg_ref),
        cmd_ref: "0".into(),
        cmd: "SyncHdr".into(),
        chal: Some(Box::new(meta)),
        data: StatusCode(code),
        ..Status::default()
    })
}

fn cred(message: &Message<'_>) -> Option<(String, String)> {
    let cred = message.hdr.cred.as_ref()?;
    let type_ = cred.meta.as_ref().unwrap().type_.as_deref().unwrap();
    Some((type_.to_owned(), cred.data.clone().into_owned()))
}

fn server_cred(scheme: Scheme, nonce: &[u8]) -> Cred<'static> {
    let (type_, data) = match scheme {
        Scheme::Basic => (auth::BASIC, auth::basic_credential(SERVER, SERVER_PASSWORD)),
        Scheme::Md5 => {
            let digest = auth::user_digest(SERVER, SERVER_PASSWORD);
            (auth::MD5, auth::md5_credential_base64(&digest, nonce))
        }
    };
    let meta = Meta { type_: Some(type_.into()), format: Some("b64".into()), ..Meta::default() };
    Cred { meta: Some(Box::new(meta)), data: data.into() }
}

/// The server says that with a credential of its own.
fn tell_with(
    talk: &mut Talk,
    cred: Option<Cred<'static>>,
    commands: Vec<Command<'static>>,
) -> Message<'static> {
    let mut hdr = talk.hdr();
    hdr.cred = cred;
    let step = talk.send(&message(hdr, commands, true)).unwrap();
    assert!(matches!(step, Step::Send { .. }), "{step:?}");
    talk.said()
}

fn challenge_of(message: &Message<'_>) -> Option<(String, Option<Vec<u8>>)> {
    let Some(Command::Status(status)) = message.body.commands.first() else { return None };
    let meta = status.chal.as_ref()?;
    let nonce = meta.next_nonce.as_deref().map(|nonce| auth::parse_base64(nonce).unwrap());
    Some((meta.type_.as_deref().unwrap().to_owned(), nonce))
}

#[test]
fn package_1_has_the_credentials_that_can_be_made() {
    for (client, nonce, want) in [
        (None, None, None),
        (Some(Scheme::Basic), None, Some((auth::BASIC, "ZGV2LTAwNDI6azktTGFudGVybg=="))),
        (Some(Scheme::Md5), None, None),
        (
            Some(Scheme::Md5),
            Some((0..16).collect::<Vec<u8>>()),
            Some((auth::MD5, "bo9eXGhmBpykCUP2dEQhYg==")),
        ),
    ] {
        let mut credentials = secrets(client, None);
        credentials.client_nonce = nonce;
        for omits_loc_name in [false, true] {
            let said = talk(&credentials, |config| config.quirks.omits_loc_name = omits_loc_name).said();
            let got = cred(&said);
            assert_eq!(got.as_ref().map(|(type_, data)| (&**type_, &**data)), want, "{client:?}");
            let name = want.filter(|_| !omits_loc_name).map(|_| USER);
            assert_eq!(said.hdr.source.loc_name.as_deref(), name);
        }
    }
}

#[test]
fn a_challenge_is_answered_by_package_1_again() {
    let nonce: Vec<u8> = (0..16).collect();
    let mut talk = talk(&secrets(Some(Scheme::Md5), None), |_| {});
    let first = talk.said();
    let mut hdr = talk.hdr();
    hdr.resp_uri = Some("https://dm.example.org/dm?s=7f3a".into());
    let refused = vec![challenge(1, 407, auth::MD5, Some(&nonce)), status(1, "1", "Alert", 407)];
    talk.send(&message(hdr, refused, true)).unwrap();
    let said = talk.said();
    assert_eq!(cred(&said), Some((auth::MD5.to_owned(), "bo9eXGhmBpykCUP2dEQhYg==".to_owned())));
    assert_eq!((header_code(&said), said.hdr.msg_id), (200, 2));
    assert_eq!(alert_codes(&said), alert_codes(&first));
    let devinfo = |message: &Message<'_>| match message.body.commands.last() {
        Some(Command::Replace(command)) => {
            command.items.clone().into_iter().map(|i| format!("{i:?}")).collect()
        }
        other => vec![format!("{other:?}")],
    };
    assert_eq!(devinfo(&said), devinfo(&first));
    assert_eq!(talk.session.credentials().client_nonce, None, "who challenged has not proved itself");
    // Accepted for the session: the nonce is for the next one, and no more credentials are sent.
    let next: Vec<u8> = (16..32).collect();
    let said = talk.tell(vec![challenge(2, 212, auth::MD5, Some(&next)), get("2", &["."])], true);
    assert_eq!(cred(&said), None);
    assert_eq!(talk.session.credentials().client_nonce, Some(next));
    // The next session begins with it (the vector of session 31 in the examples).
    let again = start(&talk.config, talk.session.credentials(), vec![]);
    assert_eq!(cred(&again.said()).unwrap().1, "5kwGbwV0xlqsRDkgR5I4bw==");
}

#[test]
fn the_scheme_that_was_asked_for_is_used_from_then_on() {
    let mut talk = talk(&secrets(Some(Scheme::Md5), None), |_| {});
    let said = talk.tell(vec![challenge(1, 407, "syncml:auth-BASIC", None)], true);
    assert_eq!(cred(&said).unwrap().0, auth::BASIC);
    assert_eq!(talk.session.credentials().client.as_ref().unwrap().scheme, Scheme::Basic);
}

#[test]
fn a_device_gives_up_after_three_tries() {
    let mut talk = talk(&secrets(Some(Scheme::Md5), None), |_| {});
    for msg_id in 1..=3 {
        let said = talk.tell(vec![challenge(msg_id, 401, auth::MD5, Some(&[1, 2]))], true);
        assert!(cred(&said).is_some());
    }
    assert_eq!(talk.end(vec![challenge(4, 401, auth::MD5, Some(&[1, 2]))]), DeviceEnding::Unauthenticated);
}

#[test]
fn a_scheme_that_is_not_known_ends_it() {
    for type_ in ["syncml:auth-MAC", "syncml:auth-X509"] {
        let mut talk = talk(&secrets(Some(Scheme::Md5), None), |_| {});
        assert_eq!(talk.end(vec![challenge(1, 407, type_, None)]), DeviceEnding::Unauthenticated);
    }
}

#[test]
fn a_server_that_accepts_message_by_message_gets_credentials_in_each() {
    let mut talk = talk(&secrets(Some(Scheme::Basic), None), |_| {});
    for msg_id in 1..=3 {
        let said = talk.tell(vec![header_ok(msg_id, 200), get("2", &["."])], true);
        assert!(cred(&said).is_some(), "message {msg_id}");
    }
    let mut credentials = secrets(Some(Scheme::Md5), None);
    credentials.client_nonce = Some(vec![1]);
    let mut talk = self::talk(&credentials, |_| {});
    let digest = auth::user_digest(USER, PASSWORD);
    for (msg_id, nonce) in [(1, [2]), (2, [3])] {
        let said = talk.tell(vec![challenge(msg_id, 200, auth::MD5, Some(&nonce)), get("2", &["."])], true);
        assert_eq!(cred(&said).unwrap().1, auth::md5_credential_base64(&digest, &nonce));
    }
}

#[test]
fn a_server_proves_itself_where_that_is_asked_and_only_then_is_obeyed() {
    let stored = b"stored nonce".to_vec();
    // Who asks, what was stored, what came; the header's code, and what was done.
    for (policy, scheme, sent, want) in [
        (Challenge::Never, Scheme::Md5, None, (200, true)),
        (Challenge::Never, Scheme::Md5, Some(server_cred(Scheme::Md5, b"any")), (212, true)),
        (Challenge::WhenNeeded, Scheme::Md5, None, (407, false)),
        (Challenge::WhenNeeded, Scheme::Md5, Some(server_cred(Scheme::Md5, b"stale")), (401, false)),
        (Challenge::WhenNeeded, Scheme::Md5, Some(server_cred(Scheme::Basic, b"")), (401, false)),
        (Challenge::WhenNeeded, Scheme::Md5, Some(server_cred(Scheme::Md5, &stored)), (212, true)),
        (Challenge::WhenNeeded, Scheme::Basic, None, (407, false)),
        (Challenge::WhenNeeded, Scheme::Basic, Some(server_cred(Scheme::Basic, b"")), (212, true)),
        (Challenge::Always, Scheme::Md5, Some(server_cred(Scheme::Md5, &stored)), (401, false)),
        (Challenge::Always, Scheme::Basic, None, (407, false)),
    ] {
        let mut credentials = secrets(None, Some(scheme));
        credentials.server_nonce = Some(stored.clone());
        let mut talk = talk(&credentials, |config| config.quirks.challenge = policy);
        let commands = || {
            let children = vec![replace("5", "./Vendor/Host", "new")];
            vec![header_ok(1, 200), exec("3", "./FwUpdate", None), Command::Atomic(group("4", children))]
        };
        let case = format!("{policy:?} {scheme:?} {sent:?}");
        let said = tell_with(&mut talk, sent, commands());
        let is_done = talk.tree.text("Vendor/Host") == Some("new") && talk.host.execs.len() == 1;
        assert_eq!((header_code(&said), is_done), want, "{case}");
        assert!(said.body.is_final);
        if is_done {
            continue;
        }
        let code = want.0;
        assert_eq!(
            statuses(&said),
            [format!("3 Exec {code}"), format!("4 Atomic {code}"), format!("5 Replace {code}")],
            "{case}"
        );
        let (type_, nonce) = challenge_of(&said).unwrap();
        let sent = server_cred(scheme, &nonce.clone().unwrap_or_default());
        assert_eq!(
            (&*type_, nonce.is_some()),
            match scheme {
                Scheme::Basic => (auth::BASIC, false),
                Scheme::Md5 => (auth::MD5, true),
            }
        );
        // The same again, with the right credential: it is done once.
        let mut again = commands();
        again[0] = header_ok(2, 200);
        let said = tell_with(&mut talk, Some(sent), again);
        assert_eq!(header_code(&said), 212, "{case}");
        assert_eq!((talk.tree.text("Vendor/Host"), talk.host.execs.len()), (Some("new"), 1), "{case}");
        // Known for the session: the next message needs none.
        let said = talk.tell(vec![header_ok(3, 200), get("2", &["."])], true);
        assert_eq!((header_code(&said), statuses(&said)), (200, vec!["2 Get . 200".to_owned()]), "{case}");
    }
}

#[test]
fn a_nonce_serves_once() {
    let mut credentials = secrets(None, Some(Scheme::Md5));
    credentials.server_nonce = Some(b"first".to_vec());
    let mut talk = talk(&credentials, |_| {});
    let said = tell_with(
        &mut talk,
        Some(server_cred(Scheme::Md5, b"first")),
        vec![header_ok(1, 200), get("2", &["."])],
    );
    let (_, next) = challenge_of(&said).unwrap();
    assert_eq!(header_code(&said), 212);
    assert_eq!(talk.session.credentials().server_nonce, next);
    assert_ne!(next.as_deref(), Some(&b"first"[..]));
    // In the next session the old one is refused, and the new one taken.
    for (nonce, want) in [(&b"first"[..], 401), (&next.unwrap(), 212)] {
        let mut later = start(&talk.config, talk.session.credentials(), vec![]);
        let cred = Some(server_cred(Scheme::Md5, nonce));
        let said = tell_with(&mut later, cred, vec![header_ok(1, 200), get("2", &["."])]);
        assert_eq!(header_code(&said), want);
    }
}

#[test]
fn a_server_that_asks_for_nothing_need_not_prove_itself() {
    let mut talk = talk(&secrets(None, Some(Scheme::Md5)), |_| {});
    assert_eq!(talk.end(vec![header_ok(1, 212), status(1, "1", "Alert", 200)]), DeviceEnding::Done);
}

#[test]
fn a_server_that_cannot_prove_itself_is_left() {
    let mut talk = talk(&secrets(None, Some(Scheme::Md5)), |_| {});
    for msg_id in 1..=4_u32 {
        let commands = vec![header_ok(msg_id, 200), exec("2", "./FwUpdate", None)];
        let said = tell_with(&mut talk, Some(server_cred(Scheme::Md5, b"wrong")), commands);
        assert_eq!(header_code(&said), 401);
        assert_eq!(challenge_of(&said).is_some(), msg_id < 4);
        assert_eq!(alert_codes(&said).contains(&1223), msg_id == 4);
    }
    assert_eq!(talk.end(vec![header_ok(5, 200)]), DeviceEnding::ServerUnauthenticated);
    assert!(talk.host.execs.is_empty());
}

#[test]
fn a_device_that_trusts_one_message_at_a_time_gives_a_nonce_for_each() {
    let mut credentials = secrets(None, Some(Scheme::Md5));
    credentials.server_nonce = Some(b"first".to_vec());
    let mut talk = talk(&credentials, |config| config.quirks.authenticates_each_message = true);
    let mut nonce = b"first".to_vec();
    for msg_id in 1..=3 {
        let cred = server_cred(Scheme::Md5, &nonce);
        let said = tell_with(&mut talk, Some(cred), vec![header_ok(msg_id, 200), get("2", &["."])]);
        assert_eq!(header_code(&said), 200);
        let next = challenge_of(&said).unwrap().1.unwrap();
        assert_ne!(next, nonce);
        nonce = next;
    }
    let said = talk.tell(vec![header_ok(4, 200), get("2", &["."])], true);
    assert_eq!(header_code(&said), 407, "a message without is not trusted");
}

#[test]
fn secrets_do_not_show() {
    let text = format!("{:?}", talk(&secrets(Some(Scheme::Basic), Some(Scheme::Md5)), |_| {}).session);
    let credentials = format!("{:?}", secrets(Some(Scheme::Basic), Some(Scheme::Md5)));
    assert!(!text.contains(PASSWORD) && !text.contains(SERVER_PASSWORD));
    assert!(!credentials.contains(PASSWORD) && !credentials.contains(SERVER_PASSWORD));
}
