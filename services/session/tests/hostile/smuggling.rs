//! Requests that two servers in a row may cut in different places, so that one is served what the other never saw.

use super::*;

/// The request that an attacker hides: it alone is answered 405.
const HIDDEN: &str = "GET /dm HTTP/1.1\r\nHost: x\r\n\r\n";

/// What the server makes of a connection's octets.
enum Want {
    /// One answer with this status, and the connection ends: whatever follows is dropped.
    EndsWith(u16),
    /// One answer with this status; the connection goes on, and nothing that follows was hidden.
    GoesOnAfter(u16),
}
use Want::{EndsWith, GoesOnAfter};

/// Threat: request smuggling (CL.TE, TE.CL, TE.TE, CL.0, differing lengths, broken chunks, folded lines, odd line ends).
#[tokio::test]
async fn no_request_hides_in_another() {
    let (_dir, front) = start(&[]).await;
    let inner = HIDDEN.len();
    let post = |lines: &str, body: &str| format!("POST /nothing HTTP/1.1\r\nHost: x\r\n{lines}\r\n{body}");
    let chunks = |body: &str| {
        format!(
            "POST /dl-status/{} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{body}",
            "0".repeat(64)
        )
    };
    let cases = vec![
        // Both lengths: chunks it is (RFC 9112, 6.3), and nothing more of such a connection.
        (
            "CL.TE",
            post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{HIDDEN}")),
            EndsWith(404),
        ),
        (
            "TE.CL",
            post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", &format!("0\r\n\r\n{HIDDEN}")),
            EndsWith(404),
        ),
        // Lengths that are none, or two.
        (
            "two lengths",
            post(&format!("Content-Length: 0\r\nContent-Length: {inner}\r\n"), HIDDEN),
            EndsWith(400),
        ),
        ("two lengths in one", post(&format!("Content-Length: 0, {inner}\r\n"), HIDDEN), EndsWith(400)),
        ("same length twice in one", post("Content-Length: 5, 5\r\n", HIDDEN), EndsWith(400)),
        ("plus", post("Content-Length: +0\r\n", HIDDEN), EndsWith(400)),
        ("minus", post("Content-Length: -0\r\n", HIDDEN), EndsWith(400)),
        ("hexadecimal", post("Content-Length: 0x0\r\n", HIDDEN), EndsWith(400)),
        ("a space within", post("Content-Length: 1 0\r\n", HIDDEN), EndsWith(400)),
        ("nothing", post("Content-Length: \r\n", HIDDEN), EndsWith(400)),
        ("more than 2^64", post("Content-Length: 18446744073709551617\r\n", HIDDEN), EndsWith(400)),
        ("a space before the colon", post(&format!("Content-Length : {inner}\r\n"), HIDDEN), EndsWith(400)),
        ("a tab before the colon", post(&format!("Content-Length\t: {inner}\r\n"), HIDDEN), EndsWith(400)),
        ("no colon", post("Content-Length 0\r\n", HIDDEN), EndsWith(400)),
        // Codings that are not chunked, or that one reads as chunked and another does not.
        ("xchunked", post("Transfer-Encoding: xchunked\r\n", HIDDEN), EndsWith(400)),
        ("identity", post("Transfer-Encoding: identity\r\n", HIDDEN), EndsWith(400)),
        ("chunked, identity", post("Transfer-Encoding: chunked, identity\r\n", HIDDEN), EndsWith(400)),
        (
            "chunked, then another line",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n", HIDDEN),
            EndsWith(400),
        ),
        ("vertical tab", post("Transfer-Encoding: \x0bchunked\r\n", HIDDEN), EndsWith(400)),
        ("quoted", post("Transfer-Encoding: \"chunked\"\r\n", HIDDEN), EndsWith(400)),
        (
            "space before the colon",
            post("Transfer-Encoding : chunked\r\n", &format!("0\r\n\r\n{HIDDEN}")),
            EndsWith(400),
        ),
        (
            "chunks in HTTP/1.0",
            post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n").replace("HTTP/1.1", "HTTP/1.0"),
            EndsWith(400),
        ),
        // Lines.
        ("folded line", post("X: a\r\n Content-Length: 5\r\n", HIDDEN), EndsWith(400)),
        ("folded first line", format!("POST /nothing HTTP/1.1\r\n Host: x\r\n\r\n{HIDDEN}"), EndsWith(400)),
        ("bare CR", post("X: a\rContent-Length: 5\r\n", HIDDEN), EndsWith(400)),
        ("NUL", post("X: a\0b\r\n", HIDDEN), EndsWith(400)),
        ("no version", format!("GET /nothing\r\n\r\n{HIDDEN}"), EndsWith(400)),
        ("HTTP/9.9", format!("GET /nothing HTTP/9.9\r\nHost: x\r\n\r\n{HIDDEN}"), EndsWith(400)),
        // Chunks that are none.
        ("chunk of 0x", chunks(&format!("0x0\r\n\r\n{HIDDEN}")), EndsWith(400)),
        ("chunk of minus", chunks(&format!("-1\r\n\r\n{HIDDEN}")), EndsWith(400)),
        ("chunk of plus", chunks(&format!("+0\r\n\r\n{HIDDEN}")), EndsWith(400)),
        ("chunk of 2^64", chunks(&format!("10000000000000000\r\n\r\n{HIDDEN}")), EndsWith(400)),
        ("chunk of nothing", chunks(&format!("\r\n\r\n{HIDDEN}")), EndsWith(400)),
        ("chunk of letters", chunks(&format!("zz\r\n\r\n{HIDDEN}")), EndsWith(400)),
        ("chunk longer than said", chunks(&format!("1\r\nab\r\n0\r\n\r\n{HIDDEN}")), EndsWith(400)),
        ("line end in an extension", chunks(&format!("1;a\nb\r\nx\r\n0\r\n\r\n{HIDDEN}")), EndsWith(400)),
        ("chunk ended by LF", chunks(&format!("1\nx\n0\n\n{HIDDEN}")), EndsWith(400)),
        (
            "extension without end",
            chunks(&format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(20 << 10))),
            EndsWith(400),
        ),
        ("trailer without end", chunks(&format!("0\r\n{}\r\n", "a: b\r\n".repeat(10_000))), EndsWith(400)),
        // A body that nobody wants is still a body.
        (
            "body of a path that is none",
            post(&format!("Content-Length: {inner}\r\n"), HIDDEN),
            GoesOnAfter(404),
        ),
        (
            "body of a wrong method",
            format!("PUT /dm HTTP/1.1\r\nHost: x\r\nContent-Length: {inner}\r\n\r\n{HIDDEN}")
                .replace("PUT /dm", "PUT /nothing"),
            GoesOnAfter(404),
        ),
        (
            "body of a GET",
            format!("GET /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: {inner}\r\n\r\n{HIDDEN}"),
            GoesOnAfter(404),
        ),
        (
            "body of a HEAD",
            format!("HEAD /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: {inner}\r\n\r\n{HIDDEN}"),
            GoesOnAfter(404),
        ),
        (
            "packed body",
            post(&format!("Content-Encoding: gzip\r\nContent-Length: {inner}\r\n"), HIDDEN)
                .replace("/nothing", "/dm"),
            GoesOnAfter(415),
        ),
        (
            "body that is expected",
            post(&format!("Expect: 100-continue\r\nContent-Length: {inner}\r\n"), HIDDEN),
            GoesOnAfter(404),
        ),
        (
            "body that is too large",
            post("Content-Length: 99999999\r\n", HIDDEN).replace("/nothing", "/dm"),
            GoesOnAfter(413),
        ),
        (
            "upgrade",
            post(
                &format!(
                    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: {inner}\r\n"
                ),
                HIDDEN,
            ),
            GoesOnAfter(404),
        ),
    ];
    for (name, octets, want) in cases {
        let answer = send(front.address, octets.as_bytes(), Duration::from_millis(250)).await;
        let (status, ends) = match want {
            EndsWith(status) => (status, true),
            GoesOnAfter(status) => (status, false),
        };
        assert_eq!(statuses(&answer), [status], "{name}: {answer}");
        if ends {
            // Read to its end, so the server closed it: had it not, another request would be served on it.
            let mut stream = TcpStream::connect(front.address).await.unwrap();
            let _ = stream.write_all(octets.as_bytes()).await;
            let mut rest = Vec::new();
            let closed = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await;
            assert!(closed.is_ok(), "{name}: the connection goes on");
        }
    }
    assert_serves(&front, "smuggled requests").await;
}

/// Threat: a line end of LF alone, which one server takes for one and another does not. It may be taken (RFC 9112, 2.2), and
/// then both it and what follows mean one and the same thing; HTTP/1.1 requests after each other are cut where they end.
#[tokio::test]
async fn line_ends_of_lf_cut_no_request_in_two() {
    let (_dir, front) = start(&[]).await;
    let inner = HIDDEN.len();
    let octets = format!(
        "POST /nothing HTTP/1.1\nHost: x\nContent-Length: {inner}\n\n{HIDDEN}GET /dm HTTP/1.1\nHost: x\nConnection: close\n\n"
    );
    let answer = send(front.address, octets.as_bytes(), SOON).await;
    // The first is refused with its body; if the connection goes on, the next is the one after the body.
    assert!([&[404, 405][..], &[404]].contains(&&statuses(&answer)[..]), "{answer}");
    assert_serves(&front, "line ends of LF").await;
}

/// Threat: a second request is served as a part of the first, or in another order.
#[tokio::test]
async fn requests_after_each_other_are_answered_each_and_in_order() {
    let (_dir, front) = start(&[]).await;
    let body = String::from_utf8(package_1(Encoding::Xml)).unwrap();
    let message = format!(
        "POST /dm HTTP/1.1\r\nHost: x\r\nContent-Type: application/vnd.syncml.dm+xml\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let octets = format!(
        "{message}GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n{HIDDEN}{message}GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n{HIDDEN}"
    );
    let answer = send(front.address, octets.as_bytes(), SOON).await;
    assert_eq!(statuses(&answer), [200, 404, 405, 200, 404], "{answer}");
}
