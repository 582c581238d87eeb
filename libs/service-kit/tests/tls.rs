//! Certificates that change while connections are made.

#![allow(clippy::unwrap_used)]

use std::{path::Path, sync::Arc, time::Duration};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use service_kit::{
    Metrics, Shutdown,
    settings::TlsSettings,
    tls::{HTTP_2_AND_1, ListenerTls, TlsError},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

fn write_pair(folder: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

fn open(certificate: &Path, key: &Path) -> Result<Arc<ListenerTls>, TlsError> {
    let settings = TlsSettings {
        certificate: Some(certificate.to_owned()),
        key: Some(key.to_owned()),
        ..TlsSettings::default()
    };
    ListenerTls::open(&settings.listener(), HTTP_2_AND_1).map(|tls| tls.expect("there is a certificate"))
}

/// Connects trusting only `certificate`; answers the protocol that was agreed on.
async fn connect(
    address: std::net::SocketAddr,
    trusted: &CertificateDer<'static>,
) -> Result<Vec<u8>, String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|error| error.to_string())?;
    Ok(stream.get_ref().1.alpn_protocol().unwrap_or_default().to_vec())
}

fn shows(metrics: &Metrics, line: &str) {
    let text = metrics.expose();
    assert!(text.contains(&format!("{line}\n")), "{line} is missing in:\n{text}");
}

#[tokio::test]
async fn new_files_are_served_and_broken_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let first = write_pair(path);
    let certificate = open(&path.join("cert.pem"), &path.join("key.pem")).unwrap();
    let metrics = Metrics::new("test");
    certificate.show(&metrics, "session");
    // What rcgen gives where nobody says otherwise: the first second of 4096.
    shows(&metrics, "dm_tls_certificate_expiry_timestamp_seconds{listener=\"session\"} 67090118400");
    shows(&metrics, "dm_tls_reload_failures_total{listener=\"session\"} 0");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = Arc::clone(&certificate);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = acceptor.accept(stream).await;
        }
    });
    assert_eq!(connect(address, &first).await.unwrap(), b"h2");

    assert!(!certificate.reload_if_changed().unwrap(), "nothing changed");

    std::fs::write(path.join("key.pem"), "half-written").unwrap();
    certificate.reload_if_changed().unwrap_err();
    assert_eq!(connect(address, &first).await.unwrap(), b"h2");

    let second = write_pair(path);
    let shutdown = Shutdown::new();
    let watcher = tokio::spawn(certificate.keep_fresh(Duration::from_millis(20), shutdown.clone()));
    let mut outcome = Err(String::new());
    for _ in 0..200 {
        outcome = connect(address, &second).await;
        if outcome.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(outcome.unwrap(), b"h2");
    connect(address, &first).await.unwrap_err();

    std::fs::write(path.join("key.pem"), "half-written again").unwrap();
    for _ in 0..200 {
        if metrics.expose().contains("dm_tls_reload_failures_total{listener=\"session\"} 1") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    shows(&metrics, "dm_tls_reload_failures_total{listener=\"session\"} 1");

    shutdown.begin();
    tokio::time::timeout(Duration::from_secs(1), watcher).await.expect("the watcher ends").unwrap();
}

#[test]
fn refuses_files_that_are_missing_or_do_not_belong_together() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_pair(one.path());
    write_pair(other.path());
    let missing = open(&one.path().join("none.pem"), &one.path().join("key.pem")).unwrap_err();
    assert!(missing.to_string().contains("none.pem"), "{missing}");
    let mixed = open(&one.path().join("cert.pem"), &other.path().join("key.pem")).unwrap_err();
    assert!(mixed.to_string().contains("cannot be used together"), "{mixed}");
}
