//! A session over TLS.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use support::client::{Client, header_status, read};
use syncml::Encoding;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const ID: &str = "IMEI:490154203237518";

#[tokio::test]
async fn a_message_is_answered_over_tls_in_both_versions_of_http() {
    let dir = tempfile::tempdir().unwrap();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let [cert_file, key_file] = ["cert.pem", "key.pem"].map(|name| dir.path().join(name));
    std::fs::write(&cert_file, cert.pem()).unwrap();
    std::fs::write(&key_file, signing_key.serialize_pem()).unwrap();
    let overrides = [
        ("session.tls.certificate", cert_file.to_str().unwrap()),
        ("session.tls.key", key_file.to_str().unwrap()),
    ];
    let front = support::start(&dir.path().join("data"), &overrides).await;
    front.add_device(ID, None).await;

    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    for (session, protocol) in [("1", &b"http/1.1"[..]), ("2", b"h2")] {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(front.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();

        let mut client = Client::new(ID, None, Encoding::Wbxml);
        client.begin(session);
        let mut body = Vec::new();
        syncml::encode(Encoding::Wbxml, &client.package_1(&[]), &mut body);
        let request = Request::post("https://localhost/dm")
            .header("content-type", Encoding::Wbxml.media_type())
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = if protocol == b"h2" {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        } else {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await.unwrap()
        };
        let want = if protocol == b"h2" { Version::HTTP_2 } else { Version::HTTP_11 };
        assert_eq!((response.status().as_u16(), response.version()), (200, want));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let message = read(Encoding::Wbxml, &body);
        assert_eq!(header_status(&message), 200);
        let resp_uri = message.hdr.resp_uri.unwrap();
        assert!(resp_uri.starts_with(&format!("https://{}/dm?s=", front.address)), "{resp_uri}");
    }
}
