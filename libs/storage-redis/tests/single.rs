//! A server of the test's own: TLS and passwords, and a server that goes away and comes back.

#![allow(clippy::unwrap_used, unreachable_pub, dead_code)]

mod support;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use dm_protocol::DevId;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use storage::{ErrorKind, SessionKey, SessionStore, TenantId, laws};
use storage_redis::{Redis, RedisSettings};
use support::{Server, ask, free_port, has_redis_server};

fn key() -> SessionKey {
    SessionKey { tenant: TenantId::default(), device: DevId::parse("IMEI:1").unwrap(), session: "1".into() }
}

struct Files {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

/// The authority of a folder: its parameters, and its key, kept there.
fn authority(dir: &Path) -> (CertificateParams, KeyPair) {
    let file = dir.join("ca.key");
    let key = match std::fs::read_to_string(&file) {
        Ok(pem) => KeyPair::from_pem(&pem).unwrap(),
        Err(_) => KeyPair::generate().unwrap(),
    };
    std::fs::write(&file, key.serialize_pem()).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    // A certificate of the same name as its issuer's would be taken for one that signed itself.
    params.distinguished_name.push(DnType::CommonName, "authority of a test");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params, key)
}

/// A certificate of this machine by the folder's authority, until that year, and its key.
fn signed(dir: &Path, name: &str, until_year: i32) -> (PathBuf, PathBuf) {
    let (params, ca_key) = authority(dir);
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    leaf.not_after = rcgen::date_time_ymd(until_year, 1, 1);
    let leaf = leaf.signed_by(&key, &Issuer::from_params(&params, &ca_key)).unwrap();
    let (certificate, key_file) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
    std::fs::write(&certificate, leaf.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    (certificate, key_file)
}

fn certificates(dir: &Path) -> Files {
    let (params, ca_key) = authority(dir);
    let ca = dir.join("ca.pem");
    std::fs::write(&ca, params.self_signed(&ca_key).unwrap().pem()).unwrap();
    let (certificate, key) = signed(dir, "leaf", 2100);
    Files { ca, certificate, key }
}

fn sub(dir: &tempfile::TempDir, name: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}

#[tokio::test]
async fn the_laws_hold_over_tls_with_user_password_and_client_certificate() {
    if !has_redis_server() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let files = certificates(dir.path());
    let (ca, certificate, key_file) =
        (files.ca.to_str().unwrap(), files.certificate.to_str().unwrap(), files.key.to_str().unwrap());
    let port = free_port();
    let tls_port = port.to_string();
    let options = [
        &["--tls-port", &tls_port, "--tls-auth-clients", "yes", "--tls-ca-cert-file", ca][..],
        &["--tls-cert-file", certificate, "--tls-key-file", key_file],
        &["--user", "flotilla", "on", ">secret", "~t:*", "+@all", "--user", "default", "off"],
    ]
    .concat();
    let _server = Server::start(dir.path(), 0, &options);
    let password = |text: &str| {
        let path = dir.path().join(text);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        path
    };
    let settings = RedisSettings {
        nodes: vec![format!("rediss://localhost:{port}")],
        username: Some("flotilla".into()),
        password_file: Some(password("secret")),
        ca: Some(files.ca.clone()),
        certificate: Some(files.certificate.clone()),
        key: Some(files.key.clone()),
        key_prefix: "t:".into(),
        ..RedisSettings::default()
    };
    laws::session_store_laws(&Redis::connect(&settings).await.unwrap()).await;

    let wrong = [
        ("redis.password_file", RedisSettings { password_file: Some(password("guess")), ..settings.clone() }),
        ("redis.ca", RedisSettings { ca: None, ..settings.clone() }),
        ("redis.ca", RedisSettings { ca: Some(certificates(&sub(&dir, "other")).ca), ..settings.clone() }),
        ("redis.certificate", RedisSettings { certificate: None, key: None, ..settings.clone() }),
    ];
    for (key, wrong) in wrong {
        let error = Redis::connect(&wrong).await.expect_err(key);
        assert_eq!(error.kind, ErrorKind::Unavailable, "{key}: {error:?}");
        let said = service_kit::refusal::with_causes(&error);
        assert!(said.contains(key) && said.contains("expected"), "{key}: {said}");
        assert!(!format!("{error:?}").contains("guess"), "a password is never shown");
    }
    let none = Some(dir.path().join("none"));
    for missing in [
        RedisSettings { ca: none.clone(), ..settings.clone() },
        RedisSettings { password_file: none.clone(), ..settings.clone() },
    ] {
        assert_eq!(Redis::connect(&missing).await.unwrap_err().kind, ErrorKind::Corrupt);
    }
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_said_to_have() {
    if !has_redis_server() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let good = certificates(dir.path());
    let old = signed(dir.path(), "old", 2020);
    let name = |path: &Path| path.to_str().unwrap().to_owned();
    let port = free_port();
    let with = |certificate: &Path, key: &Path| {
        let (ca, port) = (name(&good.ca), port.to_string());
        ["--tls-port", &port, "--tls-auth-clients", "yes", "--tls-ca-cert-file", &ca]
            .into_iter()
            .chain(["--tls-cert-file", &name(certificate), "--tls-key-file", &name(key)])
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let settings = |certificate: &Path, key: &Path| RedisSettings {
        nodes: vec![format!("rediss://localhost:{port}")],
        ca: Some(good.ca.clone()),
        certificate: Some(certificate.to_owned()),
        key: Some(key.to_owned()),
        ..RedisSettings::default()
    };
    for (server, client, key) in [
        ((&old.0, &old.1), (&good.certificate, &good.key), "redis.nodes"),
        ((&good.certificate, &good.key), (&old.0, &old.1), "redis.certificate"),
    ] {
        let options = with(server.0, server.1);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let _server = Server::start(dir.path(), 0, &options);
        let error = Redis::connect(&settings(client.0, client.1)).await.expect_err(key);
        let said = service_kit::refusal::with_causes(&error);
        assert!(said.contains(key) && said.contains("expected"), "{key}: {said}");
    }
}

#[tokio::test]
async fn another_password_is_taken_from_the_file_without_a_restart() {
    if !has_redis_server() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let options = ["--requirepass", "first"];
    let _server = Server::start(dir.path(), port, &options);
    let file = dir.path().join("password");
    std::fs::write(&file, "first").unwrap();
    let settings = RedisSettings {
        nodes: vec![format!("redis://127.0.0.1:{port}")],
        password_file: Some(file.clone()),
        ..RedisSettings::default()
    };
    let redis = Redis::connect(&settings).await.unwrap();
    assert!(!redis.refresh().await.unwrap(), "nothing has changed");
    let server = |arguments: &[&str]| {
        let port = port.to_string();
        support::cli(&[&["-p", &port, "--no-auth-warning"], arguments].concat());
    };
    server(&["-a", "first", "CONFIG", "SET", "requirepass", "second-one"]);

    std::fs::write(&file, "neither of both").unwrap();
    for _ in 0..2 {
        let said = service_kit::refusal::with_causes(&redis.refresh().await.unwrap_err());
        assert!(said.contains("redis.password_file"), "{said}");
        redis.ping().await.expect("the connection that is there goes on");
    }
    std::fs::write(&file, "second-one").unwrap();
    assert!(redis.refresh().await.unwrap());
    // What was connected with the old password goes, and is not needed.
    server(&["-a", "second-one", "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    let begun = Instant::now();
    while redis.ping().await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5), "it does not connect with the new password");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("password");
    std::fs::write(&empty, "\n").unwrap();
    let with = |nodes: &[&str], prefix: &str| RedisSettings {
        nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
        key_prefix: prefix.into(),
        ..RedisSettings::default()
    };
    for settings in [
        with(&[], "p:"),
        with(&["redis://127.0.0.1:1", "redis://127.0.0.1:2"], "p:"),
        with(&["redis://user:password@127.0.0.1:1"], "p:"),
        with(&["127.0.0.1"], "p:"),
        with(&["redis://127.0.0.1:1"], "p{x}:"),
        RedisSettings { password_file: Some(empty), ..with(&["redis://127.0.0.1:1"], "p:") },
    ] {
        assert_eq!(Redis::connect(&settings).await.unwrap_err().kind, ErrorKind::Corrupt, "{settings:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_fails_calls_at_once_and_is_found_again() {
    if !has_redis_server() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path(), free_port(), &[]);
    let port = server.port;
    let nodes = vec![format!("redis://127.0.0.1:{port}")];
    let redis = Redis::connect(&RedisSettings { nodes, ..RedisSettings::default() }).await.unwrap();
    let keep = Duration::from_secs(60);
    let lost = redis.put(&key(), None, b"one", keep).await.unwrap();

    server.kill();
    let begun = Instant::now();
    for _ in 0..20 {
        let error = redis.load(&key()).await.expect_err("nobody is there");
        assert!(matches!(error.kind, ErrorKind::Unavailable | ErrorKind::TimedOut), "{error:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "20 calls failed after {:?}", begun.elapsed());

    let _server = Server::start(dir.path(), port, &[]);
    let begun = Instant::now();
    while redis.load(&key()).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5), "the server is not found again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The server has forgotten everything, its scripts too.
    let stale = redis.put(&key(), Some(lost), b"two", keep).await.unwrap_err();
    assert_eq!(stale.kind, ErrorKind::Conflict, "what was lost is not written on");
    let again = redis.put(&key(), None, b"three", keep).await.unwrap();
    assert!(again > lost, "no revision is given twice");
    let stale = redis.put(&key(), Some(lost), b"two", keep).await.unwrap_err();
    assert_eq!(stale.kind, ErrorKind::Conflict, "a revision of before does not fit by accident");

    // A server that takes calls and does not answer.
    ask(port, &["CLIENT", "PAUSE", "3000", "ALL"]);
    let begun = Instant::now();
    assert_eq!(redis.load(&key()).await.unwrap_err().kind, ErrorKind::TimedOut);
    assert!(begun.elapsed() < Duration::from_millis(1800), "{:?}", begun.elapsed());
}
