//! The device listener's TLS: what is spoken, and whom it lets in.

#![allow(clippy::unwrap_used)]

mod support;

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, pki_types::ServerName};
use support::{
    Front,
    client::{Client, header_status, read},
    pki::{self, Authority, Identity},
};
use syncml::Encoding;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

const ID: &str = "IMEI:490154203237518";
const OTHER: &str = "IMEI:350000000000001";

/// A front-end with a certificate of `authority`, and with `overrides` whose `@` is the folder.
async fn start(dir: &Path, authority: &Authority, overrides: &[(&str, &str)]) -> Front {
    authority.issue("dm", &["localhost"], 1).write(dir, "server");
    let at = |text: &str| text.replace('@', dir.to_str().unwrap());
    let (certificate, key) = (at("@/server.pem"), at("@/server.key"));
    let own: Vec<(&str, String)> = overrides.iter().map(|(key, value)| (*key, at(value))).collect();
    let mut all = vec![("session.tls.certificate", &*certificate), ("session.tls.key", &*key)];
    all.extend(own.iter().map(|(key, value)| (*key, &**value)));
    support::start(&dir.join("data"), &all).await
}

async fn connect(address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(config).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// Package 1 of a device over a connection of its own. In TLS 1.3 a client hears only with the first answer that its
/// certificate was refused.
async fn visit(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    id: &str,
) -> Result<Response<Bytes>, Box<dyn std::error::Error>> {
    let stream = connect(address, config).await?;
    let mut body = Vec::new();
    let mut client = Client::new(id, None, Encoding::Wbxml);
    syncml::encode(Encoding::Wbxml, &client.package_1(&[]), &mut body);
    let request = Request::post("https://localhost/dm")
        .header("content-type", Encoding::Wbxml.media_type())
        .body(Full::new(Bytes::from(body)))?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let response = if is_http2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        sender.send_request(request).await?
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        sender.send_request(request).await?
    };
    let (parts, body) = response.into_parts();
    Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
}

/// The Status of the SyncHdr in an answer.
fn status(answer: &Response<Bytes>) -> u16 {
    assert_eq!(answer.status(), 200);
    header_status(&read(Encoding::Wbxml, answer.body()))
}

fn failures(front: &Front, reason: &str) -> f64 {
    front.metric(&format!("dm_tls_handshake_failures_total{{listener=\"session\",reason=\"{reason}\"}}"))
}

#[tokio::test]
async fn a_message_is_answered_over_tls_in_both_versions_of_http() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("servers");
    let front = start(dir.path(), &authority, &[]).await;
    front.add_device(ID, None).await;
    for (protocol, version) in [(&b"http/1.1"[..], Version::HTTP_11), (b"h2", Version::HTTP_2)] {
        let answer = visit(front.address, pki::client(&authority, None, protocol), ID).await.unwrap();
        assert_eq!((status(&answer), answer.version()), (200, version));
        let resp_uri = read(Encoding::Wbxml, answer.body()).hdr.resp_uri.unwrap().into_owned();
        assert!(resp_uri.starts_with(&format!("https://{}/dm?s=", front.address)), "{resp_uri}");
    }
    // What speaks neither is told so within the handshake.
    let error = connect(front.address, pki::client(&authority, None, b"gopher")).await.unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    // Nothing is answered in the open on this port.
    let mut open = TcpStream::connect(front.address).await.unwrap();
    open.write_all(b"GET /dm HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = open.read_to_end(&mut answer).await;
    assert!(!answer.windows(4).any(|octets| octets == b"HTTP"), "{answer:?}");
}

/// A ClientHello with these suites, in the oldest form; `with_13` says that TLS 1.3 is spoken too.
fn client_hello(version: u16, suites: &[u16], with_13: bool) -> Vec<u8> {
    let vec16 = |content: &[u8]| [&u16::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat();
    let extension = |kind: u16, content: &[u8]| [&kind.to_be_bytes()[..], &vec16(content)].concat();
    let mut extensions = extension(10, &vec16(&[0, 23, 0, 24, 0, 29]));
    // ECDSA and RSA with each hash, SHA-1 too.
    let schemes = [4, 3, 5, 3, 6, 3, 8, 4, 8, 5, 8, 6, 4, 1, 5, 1, 6, 1, 2, 3, 2, 1];
    extensions.extend(extension(13, &vec16(&schemes)));
    extensions.extend(extension(11, &[1, 0]));
    if with_13 {
        extensions.extend(extension(43, &[2, 3, 4]));
        extensions.extend(extension(51, &[0, 0]));
    }
    let suites: Vec<u8> = suites.iter().flat_map(|suite| suite.to_be_bytes()).collect();
    let body =
        [&version.to_be_bytes()[..], &[7; 32], &[0], &vec16(&suites), &[1, 0], &vec16(&extensions)].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let message = [&[1], &length[1..], &body].concat();
    [&[22, 3, 1], &vec16(&message)[..]].concat()
}

/// The version and the suite that the server takes of these, by its ServerHello (or HelloRetryRequest, which has the same
/// form); `None` for an alert or a closed connection.
async fn taken(address: SocketAddr, hello: &[u8]) -> Option<(u16, u16)> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(hello).await.unwrap();
    let mut record = [0; 5];
    let wait = Duration::from_secs(10);
    tokio::time::timeout(wait, stream.read_exact(&mut record)).await.expect("an answer").ok()?;
    let mut content = vec![0; usize::from(u16::from_be_bytes([record[3], record[4]]))];
    stream.read_exact(&mut content).await.ok()?;
    if record[0] != 22 {
        assert_eq!(record[0], 21, "an alert is all that a refusal may be");
        return None;
    }
    assert_eq!(content[0], 2, "a ServerHello");
    let version = u16::from_be_bytes([content[4], content[5]]);
    let at = 39 + usize::from(content[38]);
    Some((version, u16::from_be_bytes([content[at], content[at + 1]])))
}

/// Everything that the listener takes of a version: it is offered all that there can be, and again without what it took.
async fn scan(address: SocketAddr, version: u16, with_13: bool) -> Vec<u16> {
    let mut found = Vec::new();
    for block in 0..16_u32 {
        let mut suites: Vec<u16> = (block * 4096..(block + 1) * 4096).map(|suite| suite as u16).collect();
        // TLS_FALLBACK_SCSV and the one for renegotiation are no suites.
        suites.retain(|suite| !matches!(suite, 0x5600 | 0x00FF));
        while let Some((_, suite)) = taken(address, &client_hello(version, &suites, with_13)).await {
            assert!(suites.contains(&suite), "the server took {suite:#06x}, which was not offered");
            suites.retain(|offered| *offered != suite);
            found.push(suite);
        }
    }
    found.sort_unstable();
    found
}

/// Threat: a connection is made with what was broken long ago (downgrade to SSL 3.0, TLS 1.0 or 1.1; CBC, RC4, 3DES, RSA key
/// exchange without forward secrecy, static DH, export or NULL suites).
#[tokio::test]
async fn only_tls_1_2_and_1_3_with_forward_secrecy_and_authenticated_encryption_are_spoken() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("servers");
    let front = start(dir.path(), &authority, &[]).await;
    for version in [0x0300, 0x0301, 0x0302] {
        assert_eq!(scan(front.address, version, false).await, [0_u16; 0], "version {version:#06x}");
    }
    // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, _AES_256_GCM_SHA384, _CHACHA20_POLY1305_SHA256.
    assert_eq!(scan(front.address, 0x0303, false).await, [0xC02B, 0xC02C, 0xCCA9]);
    // TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256.
    assert_eq!(scan(front.address, 0x0303, true).await, [0x1301, 0x1302, 0x1303]);
    assert!(failures(&front, "protocol") > 48.0);

    let dir = tempfile::tempdir().unwrap();
    let front = start(dir.path(), &authority, &[("session.tls.min_version", "1.3")]).await;
    assert_eq!(scan(front.address, 0x0303, false).await, [0_u16; 0], "TLS 1.2 with min_version 1.3");
    assert_eq!(scan(front.address, 0x0303, true).await, [0x1301, 0x1302, 0x1303]);
    front.add_device(ID, None).await;
    let answer = visit(front.address, pki::client(&authority, None, b"h2"), ID).await.unwrap();
    assert_eq!(status(&answer), 200);
}

struct Devices {
    server: Authority,
    own: Identity,
    by_uri: Identity,
    other: Identity,
    expired: Identity,
    strange: Identity,
    revoked: Identity,
    authority: Authority,
}

impl Devices {
    fn new(dir: &Path) -> Self {
        let (server, authority, wrong) =
            (Authority::new("servers"), Authority::new("devices"), Authority::new("devices"));
        std::fs::write(dir.join("devices.pem"), authority.pem()).unwrap();
        std::fs::write(dir.join("devices.crl"), authority.revoked(&[9])).unwrap();
        Self {
            own: authority.issue(ID, &[], 2),
            by_uri: authority.issue(OTHER, &["gateway.example.org", ID], 3),
            other: authority.issue(OTHER, &[], 4),
            expired: authority.issue_until(ID, &[], 5, 2021),
            strange: wrong.issue(ID, &[], 6),
            revoked: authority.issue(ID, &[], 9),
            server,
            authority,
        }
    }
}

const ASKED: [(&str, &str); 3] = [
    ("session.tls.client_auth", "required"),
    ("session.tls.client_ca", "@/devices.pem"),
    ("session.tls.client_crl", "@/devices.crl"),
];

/// Threat: who has no certificate of the operator's, or one that has ended or was revoked, talks to the front-end.
#[tokio::test]
async fn a_listener_that_requires_certificates_lets_in_only_good_ones() {
    let dir = tempfile::tempdir().unwrap();
    let devices = Devices::new(dir.path());
    let front = start(dir.path(), &devices.server, &ASKED).await;
    front.add_device(ID, None).await;
    let try_visit = async |identity: Option<&Identity>, protocol: &[u8]| {
        visit(front.address, pki::client(&devices.server, identity, protocol), ID).await
    };
    for protocol in [&b"http/1.1"[..], b"h2"] {
        let before = failures(&front, "certificate");
        for (name, bad) in [
            ("none", None),
            ("of another authority of the same name", Some(&devices.strange)),
            ("expired", Some(&devices.expired)),
            ("revoked", Some(&devices.revoked)),
        ] {
            assert!(try_visit(bad, protocol).await.is_err(), "certificate {name}");
        }
        assert_eq!(failures(&front, "certificate"), before + 4.0);
        for good in [&devices.own, &devices.by_uri, &devices.other] {
            assert_eq!(status(&try_visit(Some(good), protocol).await.unwrap()), 200);
        }
    }
    // `optional`: none is good too, a bad one is not.
    let dir = tempfile::tempdir().unwrap();
    let devices = Devices::new(dir.path());
    let optional = [("session.tls.client_auth", "optional"), ASKED[1], ASKED[2]];
    let front = start(dir.path(), &devices.server, &optional).await;
    front.add_device(ID, None).await;
    for (identity, is_good) in [(None, true), (Some(&devices.own), true), (Some(&devices.strange), false)] {
        let config = pki::client(&devices.server, identity, b"h2");
        assert_eq!(visit(front.address, config, ID).await.is_ok(), is_good);
    }
}

/// Threat: a device with a good certificate says that it is another device.
#[tokio::test]
async fn a_certificate_is_good_only_for_the_device_that_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let devices = Devices::new(dir.path());
    let bound = [ASKED[0], ASKED[1], ("session.tls.client_identity", "device-id")];
    let front = start(dir.path(), &devices.server, &bound).await;
    front.add_device(ID, None).await;
    front.add_device(OTHER, None).await;
    let answer = async |identity: &Identity, id: &str| {
        let config = pki::client(&devices.server, Some(identity), b"http/1.1");
        visit(front.address, config, id).await.unwrap()
    };
    let refused = || front.metric("dm_auth_failures_total{reason=\"certificate\",scheme=\"none\"}");
    let first = answer(&devices.own, ID).await;
    assert_eq!(status(&first), 200);
    assert_eq!(status(&answer(&devices.by_uri, ID).await), 200);
    assert_eq!(status(&answer(&devices.other, OTHER).await), 200);
    assert_eq!(refused(), 0.0);

    // The same octets as the true device sent: it hears neither the kept answer nor anything of the session.
    let stored = front.device(ID).await;
    let stolen = answer(&devices.other, ID).await;
    assert!(matches!(status(&stolen), 401 | 407), "{}", status(&stolen));
    assert_ne!(stolen.body(), first.body());
    // A URI that names the device is the whole truth: the common name beside it is not asked.
    assert!(matches!(status(&answer(&devices.by_uri, OTHER).await), 401 | 407));
    assert_eq!(refused(), 2.0);
    assert_eq!(front.device(ID).await.last_seen, stored.last_seen);
    // The true device's session goes on as if nothing had been.
    assert_eq!(answer(&devices.own, ID).await.body(), first.body());
}

/// Threat: an authority or a certificate is not trusted any more, and nobody restarts the server; a kept TLS session
/// resumes past the change.
#[tokio::test]
async fn authorities_and_revocations_are_read_again_and_no_session_is_resumed_past_them() {
    let dir = tempfile::tempdir().unwrap();
    let devices = Devices::new(dir.path());
    let front = start(dir.path(), &devices.server, &ASKED).await;
    front.add_device(ID, None).await;
    // One configuration each, so that tickets are kept.
    let own = pki::client(&devices.server, Some(&devices.own), b"http/1.1");
    let strange = pki::client(&devices.server, Some(&devices.strange), b"http/1.1");
    assert_eq!(status(&visit(front.address, own.clone(), ID).await.unwrap()), 200);
    let resumed = connect(front.address, own.clone()).await.unwrap();
    assert_eq!(resumed.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
    assert!(visit(front.address, strange.clone(), ID).await.is_err());

    std::fs::write(dir.path().join("devices.crl"), devices.authority.revoked(&[9, 2])).unwrap();
    let mut was_refused = false;
    for _ in 0..120 {
        was_refused = visit(front.address, own.clone(), ID).await.is_err();
        if was_refused {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(was_refused, "a certificate was revoked, and its session resumed all the same");
    // What is broken changes nothing: the revoked stay out, the good stay in.
    std::fs::write(dir.path().join("devices.crl"), "").unwrap();
    for _ in 0..120 {
        if front.metric("dm_tls_reload_failures_total{listener=\"session\"}") > 0.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(front.metric("dm_tls_reload_failures_total{listener=\"session\"}"), 1.0);
    assert!(visit(front.address, own, ID).await.is_err());
    let good = pki::client(&devices.server, Some(&devices.other), b"http/1.1");
    assert_eq!(status(&visit(front.address, good, ID).await.unwrap()), 200);
}
