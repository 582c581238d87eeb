//! The server proves itself to the device.

use dm_protocol::{
    Scheme, auth,
    server::{Ending, Event},
};

use crate::support::*;

const MD5_M1: &str = "bKokE4M4XNf1tJH7b7VR+A==";
const MD5_M2: &str = "6plZkSihNE/BkpfkRQTwOQ==";

fn m2() -> Vec<u8> {
    (0xB0..=0xBF).collect()
}

fn basic() -> String {
    auth::basic_credential("dm.example.org", "Quarry-7s")
}

#[test]
fn credentials_go_where_commands_follow_and_not_where_the_session_ends() {
    let answer = Bench::new(with_server(Scheme::Md5)).send(1, &package_1(1));
    assert_eq!(answer.cred(), None);
    let answer = Bench::new(with_server(Scheme::Md5)).draft(1, get(&["./A"])).send(1, &package_1(1));
    assert_eq!(answer.cred().as_deref(), Some(MD5_M1));
    let hdr = answer.message().hdr.into_owned();
    assert_eq!(
        (&*hdr.source.loc_uri, hdr.source.loc_name.as_deref()),
        ("dm.example.org", Some("dm.example.org"))
    );
    let answer = Bench::new(with_server(Scheme::Basic)).draft(1, get(&["./A"])).send(1, &package_1(1));
    assert_eq!(answer.cred(), Some(basic()));
}

#[test]
fn after_212_none_are_sent_and_after_200_in_each_message() {
    for (name, scheme, header, want) in [
        ("212", Scheme::Md5, header_status(1, 212, auth::MD5, Some(&m2())), None),
        ("200 with a nonce", Scheme::Md5, header_status(1, 200, auth::MD5, Some(&m2())), Some(MD5_M2.into())),
        (
            "200 without, which would show a digest twice",
            Scheme::Md5,
            status(1, 1, "0", "SyncHdr", 200),
            None,
        ),
        ("200 for basic", Scheme::Basic, status(1, 1, "0", "SyncHdr", 200), Some(basic())),
    ] {
        let mut bench = Bench::new(with_server(scheme)).draft(1, get(&["./A"]));
        bench.send(1, &package_1(1));
        bench.drafts.push_back((2, get(&["./B"])));
        let answer = bench.send(2, &(header + &status(2, 1, "4", "Get", 404) + "<Final/>"));
        assert_eq!(answer.cred(), want, "{name}");
        assert_eq!(answer.commands().len(), 1, "{name}");
    }
}

#[test]
fn commands_refused_for_want_of_credentials_are_sent_again() {
    for (name, code, type_, nonce, want, scheme) in [
        ("basic asked for", 407, auth::BASIC, None, basic(), Scheme::Basic),
        ("a stale nonce", 401, auth::MD5, Some(m2()), MD5_M2.to_owned(), Scheme::Md5),
    ] {
        let mut bench = Bench::new(with_server(Scheme::Md5))
            .draft(1, get(&["./A"]))
            .draft(2, get(&["./B"]))
            .draft(3, get(&["./C"]));
        bench.send(1, &package_1(1));
        let body = header_status(1, code, type_, nonce.as_deref())
            + &status(2, 1, "4", "Get", code)
            + &status(3, 1, "5", "Get", 406)
            + "<Final/>";
        let answer = bench.send(2, &body);
        // What was refused for another reason has its outcome; what had no Status at all may have run.
        assert_eq!(answer.commands(), ["2 Get ./A"], "{name}");
        assert_eq!(answer.cred(), Some(want), "{name}");
        let statuses = answer.events.iter().filter(|event| matches!(event, Event::Status { .. })).count();
        assert_eq!(statuses, 2, "{name}");
        assert!(!answer.events.contains(&Event::WantsCommands), "{name}");
        let account = bench.account.as_ref().unwrap();
        assert_eq!(account.server.as_ref().unwrap().scheme, scheme, "{name}");
        assert_eq!(account.nonces.server.clone(), nonce.or(Some((0xA0..=0xAF).collect())), "{name}");
        let answer = bench.send(3, &(status(1, 2, "2", "Get", 404) + "<Final/>"));
        let statuses = answer.events.iter().filter(|event| matches!(event, Event::Status { .. })).count();
        assert_eq!(statuses, 1, "{name}");
    }
}

#[test]
fn a_challenge_that_names_no_command_refuses_them_all() {
    let mut bench = Bench::new(with_server(Scheme::Md5)).draft(1, get(&["./A"])).draft(2, get(&["./B"]));
    bench.send(1, &package_1(1));
    let answer = bench.send(2, &(header_status(1, 407, auth::BASIC, None) + "<Final/>"));
    assert_eq!(answer.commands(), ["2 Get ./A", "3 Get ./B"]);
    assert!(!answer.events.iter().any(|event| matches!(event, Event::Status { .. })));
}

#[test]
fn a_server_that_is_refused_twice_gives_up() {
    let mut bench = Bench::new(with_server(Scheme::Md5)).draft(1, get(&["./A"]));
    bench.send(1, &package_1(1));
    let refusal = |msg_ref, cmd_ref| {
        header_status(msg_ref, 401, auth::MD5, Some(&m2()))
            + &status(2, msg_ref, cmd_ref, "Get", 401)
            + "<Final/>"
    };
    let answer = bench.send(2, &refusal(1, "4"));
    assert_eq!(answer.commands(), ["2 Get ./A"]);
    let answer = bench.send(3, &refusal(2, "2"));
    assert_eq!(answer.commands(), [""; 0]);
    assert!(answer.is_final());
    let code = syncml::StatusCode::NOT_EXECUTED;
    let status = Event::Status { tag: 1, target: None, code, items: vec![] };
    assert_eq!(answer.events[answer.events.len() - 2..], [status, Event::Ended(Ending::ServerRefused)]);
}

#[test]
fn a_server_without_credentials_cannot_answer_a_challenge() {
    let mut bench = Bench::new(nobody_asks()).draft(1, get(&["./A"]));
    bench.send(1, &package_1(1));
    bench.send(2, &(header_status(1, 407, auth::BASIC, None) + &status(2, 1, "4", "Get", 407) + "<Final/>"));
    assert_eq!(bench.kept.unwrap().ending(), Some(Ending::ServerRefused));
}

#[test]
fn a_missing_right_is_an_outcome_and_no_challenge() {
    let mut bench = Bench::new(with_server(Scheme::Md5)).draft(1, get(&["./A"]));
    bench.send(1, &package_1(1));
    let answer =
        bench.send(2, &(status(1, 1, "0", "SyncHdr", 212) + &status(2, 1, "4", "Get", 401) + "<Final/>"));
    assert!(matches!(answer.events[0], Event::Status { tag: 1, code: syncml::StatusCode(401), .. }));
}
