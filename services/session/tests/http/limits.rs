//! Rates, and locks after wrong credentials, at two front-ends of one process.

use std::time::Duration;

use dm_protocol::Scheme;
use session_service::Stores;
use syncml::Encoding;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{XML, package_1, read_answer, support};
use support::{
    Front,
    client::Client,
    guesser::{self, Login, at, log_in},
};

async fn two(dir: &std::path::Path, overrides: &[(&str, &str)]) -> [Front; 2] {
    let store = support::open(dir);
    let stores = Stores::of(store.clone());
    let one = support::start_with(store.clone(), stores.clone(), overrides).await;
    [one, support::start_with(store, stores, overrides).await]
}

#[tokio::test]
async fn a_guesser_is_locked_out_and_the_device_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let [one, other] = two(dir.path(), &guesser::SETTINGS).await;
    guesser::is_locked_out_and_the_device_is_not([&one, &other]).await;
}

#[tokio::test]
async fn a_device_with_its_nonce_comes_in_however_many_guess_at_it() {
    let dir = tempfile::tempdir().unwrap();
    let [one, other] = two(dir.path(), &guesser::SETTINGS).await;
    guesser::cannot_lock_out_a_device_that_has_its_nonce([&one, &other]).await;
}

#[tokio::test]
async fn a_nonce_out_of_date_or_no_credential_is_no_guess() {
    let dir = tempfile::tempdir().unwrap();
    let [front, _] = two(dir.path(), &guesser::SETTINGS).await;
    front.add_device("IMEI:1", Some(Scheme::Md5)).await;
    let mut device = at("192.0.2.1", "IMEI:1", Scheme::Md5, "password");
    assert_eq!(log_in(&mut device, &front, 1).await, Login::In);
    for session in 2..30 {
        device.nonce = b"of some other day".to_vec();
        // Every second time it gives up at the challenge.
        if session % 2 == 0 {
            device.begin(&session.to_string());
            let first = device.package_1(&[]);
            let first = device.post(&front, first).await;
            assert_eq!(guesser::outcome(&first.message), Login::Challenged, "session {session}");
        } else {
            assert_eq!(log_in(&mut device, &front, session).await, Login::In, "session {session}");
        }
    }
    for session in 30..50 {
        let mut silent = Client::new("IMEI:1", None, Encoding::Wbxml);
        silent.forwarded_for = Some("192.0.2.1".to_owned());
        silent.begin(&session.to_string());
        let first = silent.package_1(&[]);
        silent.post(&front, first).await;
    }
    // Nor is a digest of before, sent again by who wrote it down: it could not pass.
    assert_eq!(log_in(&mut device, &front, 60).await, Login::In);
}

#[tokio::test]
async fn guesses_at_many_names_lock_the_address() {
    let dir = tempfile::tempdir().unwrap();
    let [front, _] = two(dir.path(), &guesser::SETTINGS).await;
    front.add_device("IMEI:0", Some(Scheme::Basic)).await;
    for turn in 0..12 {
        let name = format!("IMEI:{turn}");
        let login = log_in(&mut at("192.0.2.66", &name, Scheme::Basic, "guess"), &front, 1).await;
        let want = if turn == 0 { Login::Challenged } else { Login::Refused };
        assert_eq!(login, want, "nobody knows but the first");
    }
    front.add_device("IMEI:77", Some(Scheme::Basic)).await;
    let login = log_in(&mut at("192.0.2.66", "IMEI:77", Scheme::Basic, "password"), &front, 1).await;
    assert_eq!(login, Login::Refused, "the guesser's address");
    let login = log_in(&mut at("192.0.2.67", "IMEI:77", Scheme::Basic, "password"), &front, 2).await;
    assert_eq!(login, Login::In, "another address");
}

#[tokio::test]
async fn past_the_rate_of_its_address_a_request_is_answered_before_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let overrides = [("limits.per_address", "8/h"), ("session.trusted_proxies", "['127.0.0.1']")];
    let [one, other] = two(dir.path(), &overrides).await;
    one.add_device(super::ID, None).await;
    let post = async |front: &Front, path: &str, from: &str| {
        front.post_from(path, Some(XML), package_1(Encoding::Xml), Some(from)).await
    };
    for turn in 0..6 {
        let front = if turn % 2 == 0 { &one } else { &other };
        assert_eq!(post(front, "/dm", "192.0.2.1").await.status(), 200, "request {turn}");
    }
    for front in [&one, &other] {
        let answer = post(front, "/dm", "192.0.2.1").await;
        assert_eq!(answer.status(), 429, "six of eight are for what begins");
        let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((440..=910).contains(&wait), "{wait} s until an eighth of an hour is over, and some more");
    }
    assert_eq!(post(&one, "/dm?s=00", "192.0.2.1").await.status(), 200, "what has begun goes on");
    assert_eq!(post(&one, "/dm", "192.0.2.2").await.status(), 200, "another address");
    assert_eq!(post(&one, "/dm", "2001:db8::1").await.status(), 200);

    // Nothing of its body is waited for.
    let mut unread = TcpStream::connect(one.address).await.unwrap();
    let head = "POST /dm HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\nContent-Length: 100000\r\n\r\n";
    unread.write_all(head.as_bytes()).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(5), read_answer(&mut unread)).await;
    assert_eq!(answer.expect("at once").0, 429);
    // Downloads are requests too.
    let get = http::Request::get(format!("/artifacts/{}/fw", "ab".repeat(32)));
    let get = get.header("x-forwarded-for", "192.0.2.1").body(Default::default()).unwrap();
    assert_eq!(one.send(get).await.status(), 429);
    let limited = |front: &Front| front.metric("dm_rate_limited_total{by=\"address\"}");
    assert_eq!((limited(&one), limited(&other)), (3.0, 1.0));
}

#[tokio::test]
async fn addresses_of_one_network_of_ipv6_are_one_client() {
    let dir = tempfile::tempdir().unwrap();
    let overrides = [("limits.per_address", "4/h"), ("session.trusted_proxies", "['127.0.0.1']")];
    let front = support::start(dir.path(), &overrides).await;
    let mut codes = Vec::new();
    for host in 1..5 {
        let from = format!("2001:db8::{host}");
        codes.push(front.post_from("/dm", None, "", Some(&from)).await.status().as_u16());
    }
    assert_eq!(codes, [415, 415, 415, 429]);
}

#[tokio::test]
async fn a_tenants_rate_holds_for_messages() {
    let dir = tempfile::tempdir().unwrap();
    let [one, other] = two(dir.path(), &[("limits.per_tenant", "4/h")]).await;
    one.add_device(super::ID, None).await;
    let mut codes = Vec::new();
    for front in [&one, &other, &one, &other, &one] {
        codes.push(front.post("/dm?s=0", Some(XML), package_1(Encoding::Xml)).await.status().as_u16());
    }
    assert_eq!(codes, [200, 200, 200, 200, 429]);
}

#[tokio::test]
async fn a_device_begins_no_more_sessions_than_it_may_and_nobody_uses_them_up() {
    let dir = tempfile::tempdir().unwrap();
    let [one, other] = two(dir.path(), &[("limits.per_device", "3/h")]).await;
    one.add_device("IMEI:1", Some(Scheme::Basic)).await;
    for session in 0..5 {
        let mut other_one = at("127.0.0.1", "IMEI:1", Scheme::Basic, "guess");
        assert_eq!(log_in(&mut other_one, &one, session).await, Login::Challenged);
    }
    let mut device = at("127.0.0.1", "IMEI:1", Scheme::Basic, "password");
    for session in 10..13 {
        let exchanges = device.run(&other, &session.to_string(), &[]).await;
        assert!(!exchanges.is_empty(), "a session may have as many messages as it needs");
    }
    device.begin("20");
    let message = device.package_1(&[]);
    let mut body = Vec::new();
    syncml::encode(Encoding::Wbxml, &message, &mut body);
    let answer = one.post("/dm", Some(Encoding::Wbxml.media_type()), body).await;
    assert_eq!(answer.status(), 429);
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(one.metric("dm_rate_limited_total{by=\"device\"}"), 1.0);
}
