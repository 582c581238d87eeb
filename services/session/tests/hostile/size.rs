//! Large on purpose, and names that are not ours.

use super::*;

/// Threat: headers that are too large, too many, or without end fill memory or time.
#[tokio::test]
async fn headers_are_bounded_in_size_and_number() {
    let (_dir, front) = start(&[]).await;
    let head = |lines: &str| format!("GET /dm HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
    let many = |count: usize| (0..count).map(|at| format!("x-{at}: y\r\n")).collect::<String>();
    for (name, octets, want) in [
        ("one large line", head(&format!("x: {}\r\n", "y".repeat(64 << 10))), 431),
        ("one large name", head(&format!("{}: y\r\n", "y".repeat(64 << 10))), 431),
        ("many lines", head(&many(101)), 431),
        ("many lines, and large", head(&many(10_000)), 431),
        ("large URI", format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "y".repeat(48 << 10)), 431),
        ("large query", format!("GET /dm?{} HTTP/1.1\r\nHost: x\r\n\r\n", "y".repeat(48 << 10)), 431),
        ("large method", format!("{} /dm HTTP/1.1\r\nHost: x\r\n\r\n", "Y".repeat(48 << 10)), 431),
        // What still goes through.
        ("99 lines", head(&many(98)), 405),
        ("20 KiB of URI", format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "y".repeat(20 << 10)), 404),
    ] {
        let answer = send(front.address, octets.as_bytes(), Duration::from_millis(400)).await;
        assert_eq!(statuses(&answer), [want], "{name}: {answer}");
        assert_serves(&front, name).await;
    }

    // Without end: the connection is closed long before the sender stops.
    let before = resident_octets();
    let mut endless = TcpStream::connect(front.address).await.unwrap();
    endless.write_all(b"GET /dm HTTP/1.1\r\nx: ").await.unwrap();
    let mut sent = 0;
    let block = vec![b'y'; 64 << 10];
    while sent < 256 << 20 && endless.write_all(&block).await.is_ok() {
        sent += block.len();
    }
    assert!(sent < 32 << 20, "{sent} octets of one header were taken");
    assert!(resident_octets().saturating_sub(before) < 64 << 20);
}

/// Threat: a decompression bomb. A few octets unpack to gigabytes.
#[tokio::test]
async fn packed_bodies_are_refused_unread() {
    let (_dir, front) = start(&[]).await;
    let before = resident_octets();
    for coding in
        ["gzip", "GZIP", "x-gzip", "deflate", "br", "zstd", "identity, gzip", "gzip, gzip, gzip", "*"]
    {
        // The body need not come: it is not asked for.
        let head = format!(
            "POST /dm HTTP/1.1\r\nHost: x\r\nContent-Type: {WBXML}\r\nContent-Encoding: {coding}\r\n\
             Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n"
        );
        let answer = send(front.address, head.as_bytes(), Duration::from_millis(300)).await;
        assert_eq!(statuses(&answer), [415], "{coding}: {answer}");
    }
    assert_serves(&front, "packed bodies").await;
    let identity = http::Request::post("/dm")
        .header("content-type", WBXML)
        .header("content-encoding", "identity")
        .body(package_1(Encoding::Wbxml).into())
        .unwrap();
    assert_eq!(front.send(identity).await.status(), 200);
    assert!(resident_octets().saturating_sub(before) < 64 << 20);
}

/// Threat: `Expect: 100-continue` makes the server ask for what it then refuses.
#[tokio::test]
async fn a_body_that_will_be_refused_is_not_asked_for() {
    let (_dir, front) = start(&[("session.message_bytes_max", "256 KiB")]).await;
    for (path, length, want) in
        [("/dm", "1000000", 413), ("/nothing", "10", 404), ("/dm", "99999999999999999999", 400)]
    {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {WBXML}\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        );
        let answer = send(front.address, head.as_bytes(), Duration::from_millis(300)).await;
        assert_eq!(statuses(&answer), [want], "{path} {length}: {answer}");
    }
    assert_serves(&front, "bodies that are refused").await;
}

/// Threat: the name that a client calls us by gets into what other clients are told (host header injection, cache
/// poisoning, a device sent to an attacker's server).
#[tokio::test]
async fn addresses_that_devices_are_told_come_from_the_settings_alone() {
    let (_dir, front) = start(&[("session.public_url", "https://dm.example.org/base")]).await;
    let path = add_artifact(&front, 100).await;
    let body = package_1(Encoding::Xml);
    let hosts = "Host: evil.example.net\r\nX-Forwarded-Host: evil.example.net\r\nForwarded: host=evil.example.net\r\n\
                 X-Forwarded-Proto: gopher\r\nX-Original-URL: http://evil.example.net/\r\n";
    for target in ["/dm", "http://evil.example.net/dm"] {
        let head = format!(
            "POST {target} HTTP/1.1\r\n{hosts}Content-Type: application/vnd.syncml.dm+xml\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        let answer = send(front.address, &[head.as_bytes(), &body].concat(), SOON).await;
        assert_eq!(statuses(&answer), [200], "{answer}");
        assert!(answer.contains("<RespURI>https://dm.example.org/base/dm?s="), "{answer}");
        assert!(!answer.contains("evil") && !answer.contains("gopher"), "{answer}");
    }
    let head = format!("GET {path}.dd HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
    let answer = send(front.address, head.as_bytes(), SOON).await;
    assert!(answer.contains("<objectURI>https://dm.example.org/base/artifacts/"), "{answer}");
    assert!(answer.contains("<installNotifyURI>https://dm.example.org/base/dl-status/"), "{answer}");
    assert!(!answer.contains("evil"), "{answer}");
}

/// Threat: a path that leaves its folder, or that one server reads otherwise than another.
#[tokio::test]
async fn strange_paths_are_nobodys() {
    let (_dir, front) = start(&[]).await;
    let path = add_artifact(&front, 100).await;
    let digest = path.split('/').nth(2).unwrap().to_owned();
    for strange in [
        "/../dm".to_owned(),
        "/./dm".to_owned(),
        "//dm".to_owned(),
        "/dm/..".to_owned(),
        "/%64m".to_owned(),
        "/dm%00".to_owned(),
        "/DM".to_owned(),
        "/artifacts/../../etc/passwd".to_owned(),
        format!("/artifacts/{digest}"),
        format!("/artifacts/..%2f..%2fetc%2fpasswd/{digest}"),
        format!("/artifacts/{}/x", "z".repeat(64)),
        format!("/artifacts/{}/x", "0".repeat(65)),
    ] {
        let head = format!("GET {strange} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = send(front.address, head.as_bytes(), SOON).await;
        assert_eq!(statuses(&answer), [404], "{strange}: {answer}");
    }
    assert_serves(&front, "strange paths").await;
}
