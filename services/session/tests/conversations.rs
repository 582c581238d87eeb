//! Sessions over real sockets against the embedded store.

#![allow(clippy::unwrap_used)]

mod support;

use dm_protocol::{DevId, Scheme};
use storage::{SnapshotStore as _, TenantId};
use support::client::{Client, header_status, read};
use syncml::{Command, Encoding};

const ID: &str = "IMEI:490154203237518";

#[tokio::test]
async fn a_device_authenticates_and_its_tree_is_kept_in_every_encoding_and_scheme() {
    let dir = tempfile::tempdir().unwrap();
    let front = support::start(dir.path(), &[]).await;
    for encoding in [Encoding::Xml, Encoding::Wbxml] {
        for auth in [None, Some(Scheme::Basic), Some(Scheme::Md5)] {
            let id = format!("urn:x:{encoding}-{auth:?}");
            front.add_device(&id, auth).await;
            let mut client = Client::new(&id, auth, encoding);
            client.nonce = b"stale".to_vec();
            let exchanges = client.run(&front, "2A", &[]).await;

            // The first credential by MD5 is made with another server's nonce, and refused with one of ours.
            let codes: Vec<u16> = exchanges.iter().map(|exchange| header_status(&exchange.message)).collect();
            let want: &[u16] = match auth {
                None => &[200, 200],
                Some(Scheme::Basic) => &[212, 200],
                Some(Scheme::Md5) => &[401, 212, 200],
            };
            assert_eq!(codes, want, "{encoding} {auth:?}");
            for exchange in &exchanges {
                let headers = exchange.response.headers();
                assert_eq!(headers["content-type"], encoding.media_type());
                assert_eq!(headers["cache-control"], "no-store");
                let length: usize = headers["content-length"].to_str().unwrap().parse().unwrap();
                assert_eq!(length, exchange.response.body().len());
            }

            let device = front.device(&id).await;
            let inventory = &device.inventory;
            assert_eq!(
                (&*inventory.maker, &*inventory.firmware),
                ("Example Works", "1.0"),
                "{encoding} {auth:?}"
            );
            assert!(device.last_seen.is_some() && device.dev_detail_read.is_some());
            let id = DevId::parse(&id).unwrap();
            let current = front.store.current(&TenantId::default(), &id).await.unwrap().unwrap();
            let leaf =
                front.store.leaf(&TenantId::default(), current.root, "DevDetail/DevTyp").await.unwrap();
            assert_eq!(&*leaf.unwrap().value, b"gateway");
        }
    }
}

#[tokio::test]
async fn an_empty_visit_is_two_messages_and_leaves_the_tree_alone() {
    let dir = tempfile::tempdir().unwrap();
    let front = support::start(dir.path(), &[]).await;
    front.add_device(ID, Some(Scheme::Md5)).await;
    let mut client = Client::new(ID, Some(Scheme::Md5), Encoding::Wbxml);
    client.run(&front, "1", &[]).await;
    let id = DevId::parse(ID).unwrap();
    let before = front.store.current(&TenantId::default(), &id).await.unwrap().unwrap();

    for session in 2..6 {
        let exchanges = client.run(&front, &session.to_string(), &[]).await;
        assert_eq!(
            header_status(&exchanges[0].message),
            212,
            "session {session}: the nonce of the last one holds"
        );
        assert!(exchanges.len() <= 2, "{} messages in an empty visit", exchanges.len());
        let asks = |command: &Command<'_>| !matches!(command, Command::Status(_));
        assert!(!exchanges.iter().any(|exchange| exchange.message.body.commands.iter().any(asks)));
    }
    let after = front.store.current(&TenantId::default(), &id).await.unwrap().unwrap();
    assert_eq!(after, before, "nothing was written of the tree, not even when it was seen");
}

#[tokio::test]
async fn every_message_is_answered_alike_when_it_is_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let front = support::start(dir.path(), &[]).await;
    front.add_device(ID, Some(Scheme::Md5)).await;
    let mut client = Client::new(ID, Some(Scheme::Md5), Encoding::Xml);
    client.nonce = b"stale".to_vec();
    client.begin("7");
    let mut next = Some(client.package_1(&[]));
    let mut messages = 0;
    while let Some(message) = next {
        let first = client.post(&front, message).await;
        for _ in 0..3 {
            let again = client.repeat(&front, first.sent.clone()).await;
            assert_eq!(again.response.body(), first.response.body(), "message {messages}");
        }
        // All at once, as a client with two connections might.
        let bodies =
            (0..4).map(|_| front.post(&client.path, Some(Encoding::Xml.media_type()), first.sent.clone()));
        let mut answers = Vec::new();
        for body in bodies {
            answers.push(body.await);
        }
        assert!(answers.iter().all(|answer| answer.body() == first.response.body()));
        next = client.answer(&first.message, &[]);
        messages += 1;
    }
    assert_eq!(messages, 3);
    assert!(front.metric("dm_messages_total{direction=\"in\",encoding=\"xml\",result=\"repeated\"}") >= 21.0);
}

#[tokio::test]
async fn the_same_message_at_once_on_many_connections_is_one_message() {
    let dir = tempfile::tempdir().unwrap();
    let front = std::sync::Arc::new(support::start(dir.path(), &[]).await);
    front.add_device(ID, None).await;
    let mut client = Client::new(ID, None, Encoding::Xml);
    client.begin("9");
    let message = client.package_1(&[]);
    let mut body = Vec::new();
    syncml::encode(Encoding::Xml, &message, &mut body);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (front, body) = (front.clone(), body.clone());
        tasks.spawn(async move { front.post("/dm", Some(Encoding::Xml.media_type()), body).await });
    }
    let answers: Vec<_> = tasks.join_all().await;
    assert!(answers.iter().all(|answer| answer.status() == 200 && answer.body() == answers[0].body()));
    let ok = front.metric("dm_messages_total{direction=\"in\",encoding=\"xml\",result=\"ok\"}");
    assert_eq!(ok, 1.0, "one was handled, the others were answered from its record");
}

#[tokio::test]
async fn strangers_are_refused_and_enrolled_where_the_settings_say_so() {
    for (enrol, code, devices) in [("off", 401, 0), ("open", 200, 1)] {
        let dir = tempfile::tempdir().unwrap();
        let front = support::start(dir.path(), &[("session.enrol", enrol)]).await;
        let mut client = Client::new("urn:uuid:1", None, Encoding::Xml);
        let exchanges = client.run(&front, "1", &[]).await;
        assert_eq!(header_status(&exchanges[0].message), code, "enrol = {enrol}");
        let count = storage::DeviceStore::count(&front.store, &TenantId::default()).await.unwrap();
        assert_eq!(count, devices, "enrol = {enrol}");
        assert_eq!(front.metric("dm_devices_enrolled_total"), f64::from(devices));
        let refused = front.metric("dm_auth_failures_total{reason=\"unknown\",scheme=\"none\"}");
        assert_eq!(refused, f64::from(1 - devices));
    }
}

#[tokio::test]
async fn a_wrong_password_is_cut_off_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let front = support::start(dir.path(), &[("session.auth_attempts", "3")]).await;
    let mut device = support::device(ID, Some(Scheme::Basic));
    if let dm_protocol::ClientAuth::Password { digest, .. } = &mut device.account.client {
        *digest = dm_protocol::auth::user_digest("user", "another");
    }
    storage::DeviceStore::add(&front.store, &TenantId::default(), &[device]).await.unwrap();
    let mut client = Client::new(ID, Some(Scheme::Basic), Encoding::Xml);
    let exchanges = client.run(&front, "1", &[]).await;
    let codes: Vec<u16> = exchanges.iter().map(|exchange| header_status(&exchange.message)).collect();
    assert_eq!(codes, [401, 401, 401]);
    assert!(front.device(ID).await.last_seen.is_none());
    assert_eq!(front.metric("dm_auth_failures_total{reason=\"wrong\",scheme=\"basic\"}"), 3.0);
}

#[tokio::test]
async fn nobody_sends_a_message_into_anothers_session_by_its_numbers() {
    let dir = tempfile::tempdir().unwrap();
    for required in ["true", "false"] {
        let path = dir.path().join(required);
        let front = support::start(&path, &[("session.key_required", required)]).await;
        front.add_device(ID, Some(Scheme::Basic)).await;
        let mut device = Client::new(ID, Some(Scheme::Basic), Encoding::Xml);
        let first = device.package_1(&[]);
        let first = device.post(&front, first).await;
        assert_eq!(header_status(&first.message), 212);
        let told = {
            let answer = device.answer(&first.message, &[]).unwrap();
            let mut body = Vec::new();
            syncml::encode(Encoding::Xml, &answer, &mut body);
            body
        };
        assert!(device.path.starts_with("/dm?s="), "{}", device.path);
        for address in ["/dm", "/dm?s=", "/dm?s=0000000000000000", &device.path[..device.path.len() - 1]] {
            let forged = front.post(address, Some(Encoding::Xml.media_type()), told.clone()).await;
            let want = if required == "true" { 400 } else { 200 };
            assert_eq!(forged.status(), want, "{address}, key_required = {required}");
        }
        let good = front.post(&device.path, Some(Encoding::Xml.media_type()), told).await;
        assert_eq!(good.status(), 200, "the session goes on");
    }
}

/// Recorded messages; its SOURCES.md says of whom.
fn corpus() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../libs/syncml/tests/corpus")
}

/// The messages of a real client (see the corpus' SOURCES.md), whose session is bound to no nonce.
#[tokio::test]
async fn a_recorded_client_with_basic_authentication_is_understood() {
    let first = std::fs::read(corpus().join("captures-intel/basic-xml-1.xml")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let front = support::start(dir.path(), &[]).await;
    let mut device = support::device(ID, Some(Scheme::Basic));
    if let dm_protocol::ClientAuth::Password { user, digest, .. } = &mut device.account.client {
        "device".clone_into(user);
        *digest = dm_protocol::auth::user_digest("device", "secret");
    }
    storage::DeviceStore::add(&front.store, &TenantId::default(), &[device]).await.unwrap();
    let answer = front.post("/dm", Some("application/vnd.syncml.dm+xml; charset=UTF-8"), first.clone()).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(header_status(&read(Encoding::Xml, answer.body())), 212);
    assert_eq!(front.device(ID).await.inventory.maker, "Holdout");
    let again = front.post("/dm?mode=Maintenance&Platform=WoA", None, first).await;
    assert_eq!(again.body(), answer.body());
}

/// What real clients sent to other servers. The nonces are those of other sessions, so nobody asks for credentials here.
#[tokio::test]
async fn every_recorded_message_is_answered_by_a_message() {
    let dir = tempfile::tempdir().unwrap();
    let front = support::start(dir.path(), &[("session.enrol", "open")]).await;
    let mut answered = 0;
    for folder in ["captures-intel", "captures-motorola"] {
        let entries = std::fs::read_dir(corpus().join(folder)).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            let is_xml = file.extension().is_some_and(|extension| extension == "xml");
            let encoding = if is_xml { Encoding::Xml } else { Encoding::Wbxml };
            let answer = front.post("/dm", Some(encoding.media_type()), std::fs::read(&file).unwrap()).await;
            assert_eq!(answer.status(), 200, "{}: {:?}", file.display(), answer.body());
            let message = read(encoding, answer.body());
            assert!(message.body.is_final || !message.body.commands.is_empty(), "{}", file.display());
            let code = header_status(&message);
            assert!(matches!(code, 200 | 212 | 400), "{}: {code}", file.display());
            answered += 1;
        }
    }
    assert!(answered > 40, "only {answered} messages");
}
