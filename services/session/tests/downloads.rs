//! Downloads over real sockets.

#![allow(clippy::unwrap_used)]

mod support;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use session_service::artifact_url;
use storage::{ArtifactMeta, ArtifactStore, TenantId};
use support::Front;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

async fn add(front: &Front, content: &[u8], name: &str) -> ArtifactMeta {
    let store: &dyn ArtifactStore = &front.store;
    let mut reader = content;
    store
        .add(&TenantId::default(), name, "2.0", "application/x-firmware", 64 << 20, &mut reader)
        .await
        .unwrap()
}

fn content(octets: u32) -> Vec<u8> {
    (0..octets).map(|at| u8::try_from(at.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect()
}

async fn get(front: &Front, method: &str, path: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
    let mut request = Request::builder().method(method).uri(path).header("host", "127.0.0.1");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    front.send(request.body(Full::default()).unwrap()).await
}

fn header<'a>(answer: &'a Response<Bytes>, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn serves_the_whole_and_any_part_of_an_artifact() {
    let dir = tempfile::tempdir().unwrap();
    let front = support::start(dir.path(), &[]).await;
    let content = content(300_001);
    let meta = add(&front, &content, "fw 2.bin").await;
    let path = artifact_url("", &meta.digest, &meta.name);
    let whole = get(&front, "GET", &path, &[]).await;
    assert_eq!((whole.status(), whole.body().len()), (StatusCode::OK, content.len()));
    assert_eq!(whole.body(), &content);
    let etag = header(&whole, "etag").unwrap().to_owned();
    assert!(etag.starts_with('"') && etag.len() == 66, "{etag}");
    let digest = STANDARD.encode(meta.digest);
    assert_eq!(header(&whole, "repr-digest"), Some(&*format!("sha-256=:{digest}:")));
    assert_eq!(header(&whole, "digest"), Some(&*format!("SHA-256={digest}")));
    assert_eq!(header(&whole, "content-type"), Some("application/x-firmware"));
    assert_eq!(header(&whole, "accept-ranges"), Some("bytes"));

    let range = |value: &'static str| vec![("range", value)];
    let other = format!("\"{}\"", "0".repeat(64));
    let size = content.len();
    // Request headers, status, first octet, octets.
    let cases = vec![
        (range("bytes=0-0"), 206, 0, 1),
        (range("bytes=131071-131072"), 206, 131_071, 2),
        (range("bytes=300000-"), 206, 300_000, 1),
        (range("bytes=1000-"), 206, 1000, size - 1000),
        (range("bytes=-10"), 206, size - 10, 10),
        (range("bytes=5-4"), 200, 0, size),
        (range("bytes=0-1,5-6"), 200, 0, size),
        (range("lines=0-1"), 200, 0, size),
        (range("bytes=300001-"), 416, 0, 0),
        (vec![("range", "bytes=7-8"), ("if-range", &etag)], 206, 7, 2),
        (vec![("range", "bytes=7-8"), ("if-range", &other)], 200, 0, size),
        (vec![("range", "bytes=7-8"), ("if-range", "Sat, 01 Jan 2000 00:00:00 GMT")], 200, 0, size),
        (vec![("if-match", &other)], 412, 0, 0),
        (vec![("if-match", &etag), ("range", "bytes=7-8")], 206, 7, 2),
        (vec![("if-none-match", &etag)], 304, 0, 0),
        (vec![("if-none-match", "\"x\", *")], 304, 0, 0),
        (vec![("if-none-match", &other)], 200, 0, size),
    ];
    for (headers, status, first, octets) in cases {
        let answer = get(&front, "GET", &path, &headers).await;
        assert_eq!(answer.status(), status, "{headers:?}");
        assert_eq!(answer.body(), &content[first..first + octets], "{headers:?}");
        let range = (status == 206).then(|| format!("bytes {first}-{}/{size}", first + octets - 1));
        let range = range.or_else(|| (status == 416).then(|| format!("bytes */{size}")));
        assert_eq!(header(&answer, "content-range"), range.as_deref(), "{headers:?}");
        if status != 304 {
            assert_eq!(header(&answer, "content-length"), Some(&*octets.to_string()), "{headers:?}");
        }

        // HEAD says the same of the whole file and has no body.
        let head = get(&front, "HEAD", &path, &headers).await;
        assert!(head.body().is_empty());
        if status == 200 {
            assert_eq!(header(&head, "content-length"), Some(&*size.to_string()), "{headers:?}");
        }
    }
    assert!(front.metric("dm_downloads_total{result=\"whole\"}") >= 6.0);
    assert_eq!(front.metric("dm_downloads_total{result=\"part\"}"), 7.0);
}

#[tokio::test]
async fn describes_an_artifact_and_takes_the_report_on_its_download() {
    let dir = tempfile::tempdir().unwrap();
    let front = support::start(dir.path(), &[("session.public_url", "https://dm.example.org/x")]).await;
    let meta = add(&front, b"firmware", "fw.bin").await;
    let path = artifact_url("", &meta.digest, "fw.bin");
    let answer = get(&front, "GET", &format!("{path}.dd"), &[]).await;
    assert_eq!(header(&answer, "content-type"), Some("application/vnd.oma.dd+xml"));
    let text = std::str::from_utf8(answer.body()).unwrap();
    let object = format!("<objectURI>https://dm.example.org/x{path}</objectURI>");
    assert!(text.contains("<size>8</size>") && text.contains(&object), "{text}");

    let notify = path.replace("/artifacts/", "/dl-status/").replace("/fw.bin", "");
    assert!(text.contains(&format!("<installNotifyURI>https://dm.example.org/x{notify}</installNotifyURI>")));
    for body in ["900 Success", "901", "900 12345", "nonsense", ""] {
        assert_eq!(front.post(&notify, Some("text/plain"), body).await.status(), 200, "{body:?}");
    }
    assert_eq!(get(&front, "GET", &notify, &[]).await.status(), 405);
}

#[tokio::test]
async fn what_climbs_out_of_the_artifacts_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let front = support::start(&dir.path().join("data"), &[]).await;
    std::fs::write(dir.path().join("secret"), "secret").unwrap();
    let hex = "ab".repeat(32);
    for path in [
        "/artifacts/../secret".to_owned(),
        "/artifacts/../../secret".to_owned(),
        "/artifacts/%2e%2e/%2e%2e/secret".to_owned(),
        "/artifacts/..%2f..%2fsecret".to_owned(),
        format!("/artifacts/{hex}/../../../secret"),
        format!("/artifacts/{hex}/..%2f..%2f..%2fsecret"),
        format!("/artifacts/{hex}/%00"),
        "/artifacts//secret".to_owned(),
        "/../secret".to_owned(),
        "/secret".to_owned(),
        "//secret".to_owned(),
        "/dl-status/../secret".to_owned(),
    ] {
        // Written as it is: a client library would tidy the path up.
        let mut stream = tokio::net::TcpStream::connect(front.address).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
        assert!(!answer.contains("secret"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_404_and_other_methods_are_405() {
    let dir = tempfile::tempdir().unwrap();
    let front = support::start(dir.path(), &[]).await;
    let unknown = artifact_url("", &[7; 32], "fw.bin");
    assert_eq!(get(&front, "GET", &unknown, &[]).await.status(), 404);
    for path in ["/", "/artifacts/", "/artifacts/xyz/fw.bin", "/dmx", "/artifacts/../../etc/passwd"] {
        assert_eq!(get(&front, "GET", path, &[]).await.status(), 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let answer = get(&front, method, &unknown, &[]).await;
        assert_eq!(
            (answer.status(), header(&answer, "allow")),
            (StatusCode::METHOD_NOT_ALLOWED, Some("GET, HEAD"))
        );
    }
}

/// A client that does not read what it asked for.
async fn stalled(front: &Front, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    stream
}

#[tokio::test]
async fn downloads_past_their_bound_wait_and_do_not_hold_up_messages() {
    let dir = tempfile::tempdir().unwrap();
    let front = support::start(dir.path(), &[("session.downloads_max", "2")]).await;
    let meta = add(&front, &content(16 << 20), "fw.bin").await;
    let path = artifact_url("", &meta.digest, "fw.bin");
    let slow = [stalled(&front, &path).await, stalled(&front, &path).await];
    let refused = get(&front, "GET", &path, &[]).await;
    assert_eq!(refused.status(), 503);
    let wait: u64 = header(&refused, "retry-after").unwrap().parse().unwrap();
    assert!((15..=45).contains(&wait), "told to wait {wait} s");
    let message = front.post("/dm", Some("application/vnd.syncml.dm+xml"), "<x/>").await;
    assert_eq!(message.status(), 400, "a message is read and judged all the same");
    // What is sent and not read stays small: nothing near the whole file was taken from the store.
    let taken = front.metric("dm_download_bytes_total");
    assert!(taken < f64::from(24 << 20), "{taken} octets were read for clients that take none");

    drop(slow);
    let mut status = refused.status();
    for _ in 0..100 {
        status = get(&front, "GET", &path, &[("range", "bytes=0-0")]).await.status();
        if status == 206 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(status, 206, "the slots of those who went away are free again");
    assert_eq!(front.metric("dm_downloads_total{result=\"cut\"}"), 2.0);
}
