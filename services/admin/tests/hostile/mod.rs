//! What an attacker does to the admin listener. Each test names the threat, and asserts that an operator is served meanwhile.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use service_kit::settings::{AdminSettings, Span};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::server::Server;

const SOON: Duration = Duration::from_secs(10);

/// A server that is soon tired of who is slow.
async fn start() -> Server {
    let settings = AdminSettings {
        header_timeout: Span::of_ms(200),
        idle_timeout: Span::of_ms(600),
        ..AdminSettings::default()
    };
    Server::start_with(settings).await
}

async fn assert_serves(server: &Server, during: &str) {
    let asked = tokio::time::timeout(SOON, server.get("/v1/devices"));
    asked.await.unwrap_or_else(|_| panic!("no answer during {during}")).expect(StatusCode::OK);
}

/// Sends octets, and reads until the server closes the connection, or for `wait` after the first of it; says too whether it closed.
async fn send(server: &Server, octets: &[u8], wait: Duration) -> (String, bool) {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let _ = stream.write_all(octets).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(SOON, stream.readable()).await;
    let closed = tokio::time::timeout(wait, stream.read_to_end(&mut answer)).await.is_ok();
    (String::from_utf8_lossy(&answer).into_owned(), closed)
}

fn statuses(text: &str) -> Vec<u16> {
    text.match_indices("HTTP/1.1 ").map(|(at, _)| text[at + 9..at + 12].parse().unwrap()).collect()
}

/// Threat: slow loris, and contents that drip or stop, with the token and without.
#[tokio::test]
async fn slow_headers_and_contents_that_stand_still_are_cut_off() {
    let server = start().await;
    let bearer = server.bearer();
    let head = "POST /v1/artifacts?name=a&version=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n";
    let mut attackers = JoinSet::new();
    for turn in 0..30 {
        let address = server.address;
        // A header that drips; contents that stop, with the token and without; nothing at all.
        let (first, drips) = match turn % 4 {
            0 => ("GET /v1/devices HTTP/1.1\r\n".to_owned(), true),
            1 => (format!("{head}Authorization: {bearer}\r\n\r\nabc"), false),
            2 => (format!("{head}\r\nabc"), false),
            _ => (String::new(), false),
        };
        attackers.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(first.as_bytes()).await.unwrap();
            let began = Instant::now();
            let (mut from, mut to) = stream.into_split();
            let drip = tokio::spawn(async move {
                while drips && to.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                // The sending side stays open.
                tokio::time::sleep(SOON * 2).await;
            });
            let mut answer = Vec::new();
            let closed = tokio::time::timeout(SOON, from.read_to_end(&mut answer)).await;
            drip.abort();
            (turn, closed.is_ok(), began.elapsed(), String::from_utf8_lossy(&answer).into_owned())
        });
    }
    assert_serves(&server, "slow requests").await;
    for (turn, closed, lasted, answer) in attackers.join_all().await {
        assert!(closed, "attacker {turn} was not cut off in {lasted:?}: {answer}");
        match turn % 4 {
            1 => assert!(!answer.contains(" 201 "), "half a file was kept: {answer}"),
            2 => assert_eq!(statuses(&answer), [401], "{answer}"),
            _ => assert_eq!(answer, ""),
        }
    }
    let artifacts = server.get("/v1/artifacts").await.expect(StatusCode::OK).json();
    assert_eq!(artifacts["items"].as_array().unwrap().len(), 0, "half a file was kept");
}

/// Threat: more connections than the listener may have lock operators out for good.
#[tokio::test]
async fn connections_past_the_bound_are_told_so_and_free_places_are_given() {
    let settings = AdminSettings {
        connections_max: service_kit::settings::Count::of(8),
        idle_timeout: Span::of_ms(600),
        header_timeout: Span::of_ms(200),
        ..AdminSettings::default()
    };
    let server = Server::start_with(settings).await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(TcpStream::connect(server.address).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (answer, _) = send(&server, b"GET /health/livez HTTP/1.1\r\nHost: x\r\n\r\n", SOON).await;
    assert_eq!(statuses(&answer), [503], "{answer}");
    assert!(answer.contains("Retry-After: "), "{answer}");
    // They say nothing, so their places are soon free.
    let began = Instant::now();
    loop {
        let (answer, _) =
            send(&server, b"GET /health/livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", SOON).await;
        if statuses(&answer) == [200] {
            break;
        }
        assert!(began.elapsed() < SOON, "idle connections keep their places");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_serves(&server, "idle connections").await;
}

/// Threat: request smuggling. What hides in a refused request is served, past a proxy that checks who asks.
#[tokio::test]
async fn no_request_hides_in_another() {
    let server = start().await;
    let hidden = "GET /health/livez HTTP/1.1\r\nHost: x\r\n\r\n";
    let inner = hidden.len();
    for (name, lines, body, want) in [
        (
            "CL.TE",
            "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n".to_owned(),
            format!("0\r\n\r\n{hidden}"),
            401,
        ),
        (
            "TE.CL",
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n".to_owned(),
            format!("0\r\n\r\n{hidden}"),
            401,
        ),
        ("two lengths", format!("Content-Length: 0\r\nContent-Length: {inner}\r\n"), hidden.to_owned(), 400),
        ("plus", "Content-Length: +0\r\n".to_owned(), hidden.to_owned(), 400),
        ("space before the colon", format!("Content-Length : {inner}\r\n"), hidden.to_owned(), 400),
        ("xchunked", "Transfer-Encoding: xchunked\r\n".to_owned(), hidden.to_owned(), 400),
        ("folded line", "X: a\r\n Content-Length: 5\r\n".to_owned(), hidden.to_owned(), 400),
        ("unasked body", format!("Content-Length: {inner}\r\n"), hidden.to_owned(), 401),
    ] {
        let octets = format!("POST /v1/devices HTTP/1.1\r\nHost: x\r\n{lines}\r\n{body}");
        let (answer, closed) = send(&server, octets.as_bytes(), SOON).await;
        assert_eq!(statuses(&answer), [want], "{name}: {answer}");
        assert!(closed, "{name}: the connection goes on");
    }
    // This listener speaks no HTTP/2, so nothing of it is there to attack.
    let (answer, closed) = send(&server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", SOON).await;
    assert!(closed && !answer.contains("200"), "{answer}");
    assert_serves(&server, "smuggled requests").await;
}

/// Threat: headers that are too large or too many, and contents that unpack to more than they are.
#[tokio::test]
async fn large_headers_and_packed_contents_are_refused() {
    let server = start().await;
    let many: String = (0..200).map(|at| format!("x-{at}: y\r\n")).collect();
    for (name, lines) in [("large", format!("x: {}\r\n", "y".repeat(64 << 10))), ("many", many)] {
        let octets = format!("GET /health/livez HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
        let (answer, _) = send(&server, octets.as_bytes(), Duration::from_millis(500)).await;
        assert_eq!(statuses(&answer), [431], "{name}: {answer}");
    }
    for coding in ["gzip", "br", "identity, gzip"] {
        let headers = [("content-encoding", coding), ("content-type", "application/json")];
        let answer = server.send(Method::POST, "/v1/devices", &headers, "{}").await;
        let problem = answer.problem(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(problem["where"], "Content-Encoding");
        let artifact = server.send(Method::POST, "/v1/artifacts?name=a&version=1", &headers, "x").await;
        artifact.expect(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    assert_serves(&server, "large headers").await;
}
