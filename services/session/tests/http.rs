//! What HTTP clients do, and what they get.

#![allow(clippy::unwrap_used)]

mod hostile;
#[path = "http/limits.rs"]
mod limits;
mod support;

use std::{sync::Arc, time::Duration};

use dm_protocol::Scheme;
use session_service::Stores;
use support::{
    client::{Client, header_status, read},
    slow::HeldSessions,
};
use syncml::Encoding;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
};

const ID: &str = "IMEI:490154203237518";
const XML: &str = "application/vnd.syncml.dm+xml";
const WBXML: &str = "application/vnd.syncml.dm+wbxml";

fn package_1(encoding: Encoding) -> Vec<u8> {
    let mut client = Client::new(ID, None, encoding);
    let mut body = Vec::new();
    syncml::encode(encoding, &client.package_1(&[]), &mut body);
    body
}

#[tokio::test]
async fn no_body_hurts_and_the_next_request_on_the_connection_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let front = support::start(dir.path(), &[("session.message_bytes_max", "256 KiB")]).await;
    front.add_device(ID, None).await;
    let good = package_1(Encoding::Wbxml);
    let xml = String::from_utf8(package_1(Encoding::Xml)).unwrap();
    let deep = format!("<SyncML>{}", "<a>".repeat(10_000));
    let entity = xml.replacen("<SyncML", "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><SyncML", 1);
    let sourceless = xml.replace(ID, "");
    let long_id = xml.replace(ID, &"x".repeat(200));
    let mut cases: Vec<(Option<&str>, Vec<u8>, u16)> = vec![
        (Some(XML), b"".to_vec(), 400),
        (Some(XML), b"<".to_vec(), 400),
        (Some(XML), b"<SyncML/>".to_vec(), 400),
        (Some(XML), b"not xml at all".to_vec(), 400),
        (Some(XML), good.clone(), 400),
        (Some(XML), deep.into_bytes(), 413),
        (Some(XML), entity.into_bytes(), 400),
        (Some(XML), sourceless.into_bytes(), 400),
        (Some(XML), long_id.into_bytes(), 400),
        (Some(XML), vec![b'<'; 256 << 10], 400),
        (Some(XML), vec![b' '; (256 << 10) + 1], 413),
        (Some(WBXML), xml.clone().into_bytes(), 400),
        (Some(WBXML), vec![0xFF; 1000], 400),
        // A string table that says it has 2^32 octets.
        (Some(WBXML), vec![0x02, 0x01, 0x6A, 0x8F, 0xFF, 0xFF, 0xFF, 0x7F], 400),
        (None, b"{\"json\": true}".to_vec(), 415),
        (None, b"".to_vec(), 415),
        (Some("application/json"), good.clone(), 415),
        (Some("text/html"), b"<html/>".to_vec(), 415),
        (Some("application/octet-stream"), good.clone(), 200),
        (None, xml.clone().into_bytes(), 200),
        (Some("Application/Vnd.SyncML.DM+XML; charset=\"utf-8\""), xml.into_bytes(), 200),
    ];
    // Every cut of a good message, and every one with an octet turned over.
    for at in (1..good.len()).step_by(7) {
        cases.push((Some(WBXML), good[..at].to_vec(), 400));
        let mut turned = good.clone();
        turned[at] ^= 0x55;
        cases.push((Some(WBXML), turned, 0));
    }

    let mut stream = TcpStream::connect(front.address).await.unwrap();
    for (media_type, body, want) in cases {
        let shown = (media_type, String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned());
        let (status, _) = exchange(&mut stream, media_type, &body).await;
        if want != 0 {
            assert_eq!(status, want, "{shown:?}");
        }
        assert!(matches!(status, 200 | 400 | 413 | 415), "{status} for {shown:?}");
        if status == 413 && body.len() > 256 << 10 {
            // The rest of such a body is not read, so its connection ends.
            stream = TcpStream::connect(front.address).await.unwrap();
        }
        let (status, answer) = exchange(&mut stream, Some(WBXML), &good).await;
        assert_eq!(status, 200, "after {shown:?}");
        read(Encoding::Wbxml, &answer);
    }
}

/// One POST on a connection that is kept; answers status and body.
async fn exchange(stream: &mut TcpStream, media_type: Option<&str>, body: &[u8]) -> (u16, Vec<u8>) {
    let media_type =
        media_type.map(|media_type| format!("Content-Type: {media_type}\r\n")).unwrap_or_default();
    let head = format!("POST /dm HTTP/1.1\r\nHost: x\r\n{media_type}Content-Length: {}\r\n\r\n", body.len());
    // A refused body may not be read to its end.
    let _ = stream.write_all(&[head.as_bytes(), body].concat()).await;
    read_answer(stream).await
}

async fn read_answer(stream: &mut TcpStream) -> (u16, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let octet = tokio::time::timeout(Duration::from_secs(10), stream.read_u8()).await;
        head.push(octet.expect("an answer in time").expect("an answer"));
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let status = head["http/1.1 ".len()..][..3].parse().unwrap();
    if status == 100 {
        return (status, Vec::new());
    }
    let length = head.split("content-length: ").nth(1).expect("every answer says its length");
    let length: usize = length.lines().next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    (status, body)
}

#[tokio::test]
async fn tolerates_what_clients_do_with_http() {
    let dir = tempfile::tempdir().unwrap();
    let front = support::start(dir.path(), &[]).await;
    front.add_device(ID, None).await;
    let body = package_1(Encoding::Xml);
    let mut answers = Vec::new();

    // Chunks of one octet.
    let mut chunked = TcpStream::connect(front.address).await.unwrap();
    let mut text =
        format!("POST /dm?mode=Maintenance&Platform=WoA HTTP/1.1\r\nHost: x\r\nContent-Type: {XML}\r\n");
    text.push_str("Transfer-Encoding: chunked\r\n\r\n");
    let mut text = text.into_bytes();
    for octet in &body {
        text.extend_from_slice(&[b'1', b'\r', b'\n', *octet, b'\r', b'\n']);
    }
    text.extend_from_slice(b"0\r\n\r\n");
    chunked.write_all(&text).await.unwrap();
    answers.push(read_answer(&mut chunked).await);

    // Expect: 100-continue.
    let mut polite = TcpStream::connect(front.address).await.unwrap();
    let head = format!(
        "POST /dm/ HTTP/1.1\r\nHost: x\r\nContent-Type: {XML}\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    polite.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut polite).await.0, 100);
    polite.write_all(&body).await.unwrap();
    answers.push(read_answer(&mut polite).await);

    // HTTP/1.0, as Android's client does.
    let mut old = TcpStream::connect(front.address).await.unwrap();
    let head = format!("POST /dm HTTP/1.0\r\nContent-Type: {XML}\r\nContent-Length: {}\r\n\r\n", body.len());
    old.write_all(head.as_bytes()).await.unwrap();
    old.write_all(&body).await.unwrap();
    let mut answer = Vec::new();
    old.read_to_end(&mut answer).await.unwrap();
    let at = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    assert!(String::from_utf8_lossy(&answer[..at]).to_ascii_lowercase().contains("content-length: "));
    answers.push((200, answer.split_off(at + 4)));

    // They all sent the same message, so they all have the same answer.
    for (status, answer) in &answers {
        assert_eq!(*status, 200);
        assert_eq!(header_status(&read(Encoding::Xml, answer)), 200);
        assert_eq!(answer, &answers[0].1);
    }

    let get = http::Request::get("/dm").body(Default::default()).unwrap();
    let answer = front.send(get).await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["allow"]), (405, &"POST".parse().unwrap()));
    let deflated = http::Request::post("/dm").header("content-encoding", "deflate").body(Default::default());
    assert_eq!(front.send(deflated.unwrap()).await.status(), 415);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408_and_one_without_end_is_413() {
    let dir = tempfile::tempdir().unwrap();
    let overrides = [("session.body_timeout", "200ms"), ("session.message_bytes_max", "256 KiB")];
    let front = support::start(dir.path(), &overrides).await;
    let mut slow = TcpStream::connect(front.address).await.unwrap();
    slow.write_all(b"POST /dm HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n<Syn").await.unwrap();
    assert_eq!(read_answer(&mut slow).await.0, 408);

    let mut endless = TcpStream::connect(front.address).await.unwrap();
    endless.write_all(b"POST /dm HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    let chunk = [b"10000\r\n".to_vec(), vec![b'<'; 0x10000], b"\r\n".to_vec()].concat();
    for _ in 0..5 {
        let _ = endless.write_all(&chunk).await;
    }
    assert_eq!(read_answer(&mut endless).await.0, 413);
}

#[tokio::test]
async fn overload_is_answered_with_a_time_and_sessions_that_have_begun_go_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let mut stores = Stores::of(store.clone());
    let gate = Arc::new(Semaphore::new(0));
    stores.sessions = Arc::new(HeldSessions { inner: stores.sessions, gate: gate.clone() });
    let overrides = [("session.messages_max", "8"), ("session.retry_after", "20s")];
    let front = Arc::new(support::start_with(store, stores, &overrides).await);

    let mut tasks = tokio::task::JoinSet::new();
    for turn in 0..40 {
        let front = front.clone();
        // A quarter of them say that they have begun.
        let path = if turn % 4 == 0 { "/dm?s=00" } else { "/dm" };
        let mut client = Client::new(&format!("IMEI:{turn}"), Some(Scheme::Md5), Encoding::Xml);
        let mut body = Vec::new();
        syncml::encode(Encoding::Xml, &client.package_1(&[]), &mut body);
        tasks.spawn(async move { (turn, front.post(path, Some(XML), body).await) });
    }
    // Those that are refused wait for nothing: they have their answer while all the others hang.
    for _ in 0..40 - 8 {
        let (turn, answer) = tasks.join_next().await.unwrap().unwrap();
        assert_eq!(answer.status(), 503, "device {turn}");
        let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((10..=30).contains(&wait), "device {turn} was told to wait {wait} s");
    }
    gate.add_permits(8);
    let answers = tasks.join_all().await;
    let served = answers.iter().filter(|(_, answer)| answer.status() == 200).count();
    assert!((6..=8).contains(&served), "{served} of 8 slots were used");
    let shed = front.metric("dm_shed_total{reason=\"messages\"}");
    assert_eq!(shed, 40.0 - f64::from(u32::try_from(served).unwrap()));
}

#[tokio::test]
async fn a_store_that_hangs_is_503_and_the_message_may_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let mut stores = Stores::of(store.clone());
    stores.sessions = Arc::new(HeldSessions { inner: stores.sessions, gate: Arc::new(Semaphore::new(0)) });
    let front = support::start_with(store, stores, &[("session.step_timeout", "200ms")]).await;
    let answer = front.post("/dm", Some(XML), package_1(Encoding::Xml)).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(
        front.metric("dm_messages_total{direction=\"in\",encoding=\"xml\",result=\"unavailable\"}"),
        1.0
    );
}
