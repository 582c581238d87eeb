//! Brokers that ask who we are, over TLS.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use service_kit::{Metrics, refusal::with_causes};
use storage::laws::test_server;
use storage_cluster::topics::{Consumer as _, Outgoing, Polled, Publisher as _, Topic};
use storage_kafka::{Kafka, KafkaSettings};

use crate::common::{Topics, fresh, settings};

/// Who asks for a user and a password, who asks for a certificate, and the folder of certificates.
fn secured() -> Option<(String, String, PathBuf)> {
    let password = test_server("FLOTILLA_TEST_KAFKA_PASSWORD")?;
    let certificate = test_server("FLOTILLA_TEST_KAFKA_CERTIFICATE")?;
    Some((password, certificate, test_server("FLOTILLA_TEST_CERTIFICATES")?.into()))
}

fn by_password(bootstrap: &str, prefix: &str, certificates: &Path) -> KafkaSettings {
    let file = |name: &str| certificates.join(name).display().to_string();
    let more = [
        ("security", "sasl-ssl"),
        ("sasl_mechanism", "scram-sha-512"),
        ("sasl_user", "flotilla"),
        ("sasl_password_file", &*file("password")),
        ("ca", &*file("ca.pem")),
        ("request_timeout", "5s"),
    ];
    settings(bootstrap, prefix, &more)
}

fn by_certificate(bootstrap: &str, prefix: &str, certificates: &Path) -> KafkaSettings {
    let file = |name: &str| certificates.join(name).display().to_string();
    let more = [
        ("security", "ssl"),
        ("certificate", &*file("client.pem")),
        ("key", &*file("client.key")),
        ("ca", &*file("ca.pem")),
        ("request_timeout", "5s"),
    ];
    settings(bootstrap, prefix, &more)
}

fn message(key: &str) -> Outgoing {
    Outgoing { key: key.into(), payload: b"x".to_vec(), partition: None, traceparent: None }
}

/// Polls until a message of that key comes.
async fn read(consumer: &mut storage_kafka::KafkaConsumer, key: &str) {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        assert!(Instant::now() < end, "{key} never comes");
        if let Ok(Polled::Messages(messages)) = consumer.poll(10, Duration::from_millis(500)).await
            && messages.iter().any(|message| message.key == key.as_bytes())
        {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_over_tls_by_password_and_by_certificate() {
    let Some((password, certificate, files)) = secured() else { return };
    let prefix = fresh("secured");
    let topics = Topics::make(&by_password(&password, &prefix, &files)).await;
    let other = by_certificate(&certificate, &prefix, &files);
    let other = Kafka::connect(&other, &Metrics::new("test")).await.unwrap();
    topics.0.publish(Topic::Jobs, vec![message("by password")]).await.unwrap();
    let mut consumer = other.consumer(Topic::Jobs, "g").unwrap();
    read(&mut consumer, "by password").await;
    Box::new(consumer).leave().await;
    topics.delete().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_brokers_and_we_do_not_agree_on_is_named_by_its_setting() {
    let Some((password, certificate, files)) = secured() else { return };
    let dir = tempfile::tempdir().unwrap();
    let guess = dir.path().join("guess");
    std::fs::write(&guess, "a-wrong-guess\n").unwrap();
    let name = fresh("refused");
    let user = || by_password(&password, &name, &files);
    let client = || by_certificate(&certificate, &name, &files);
    let file = |name: &str| Some(files.join(name));
    for (key, wrong) in [
        ("kafka.sasl_password_file", KafkaSettings { sasl_password_file: Some(guess.clone()), ..user() }),
        ("kafka.sasl_password_file", KafkaSettings { sasl_user: Some("nobody".into()), ..user() }),
        ("kafka.ca", KafkaSettings { ca: file("other-ca.pem"), ..user() }),
        ("kafka.certificate", KafkaSettings { certificate: None, key: None, ..client() }),
        ("kafka.certificate", KafkaSettings { certificate: file("expired.pem"), ..client() }),
    ] {
        let begun = Instant::now();
        let kafka = Kafka::new(&wrong, &Metrics::new("test")).unwrap();
        let error = kafka.check_topics().await.expect_err(key);
        let said = with_causes(&error);
        assert!(said.contains(key) && said.contains("expected"), "{key}: {said}");
        assert!(!said.contains("a-wrong-guess"), "a password is never shown: {said}");
        assert!(error.may_pass(), "a password may be set on the broker a moment later");
        assert!(begun.elapsed() < Duration::from_secs(15), "{key} took {:?}", begun.elapsed());
        let ping = with_causes(&kafka.ping().await.expect_err(key));
        assert!(ping.contains(key), "{key}: {ping}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_files_are_taken_in_without_a_restart() {
    let Some((password, _, files)) = secured() else { return };
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("password");
    std::fs::copy(files.join("password"), &own).unwrap();
    let settings = KafkaSettings {
        sasl_password_file: Some(own.clone()),
        ..by_password(&password, &fresh("renewed"), &files)
    };
    let topics = Topics::make(&settings).await;
    let kafka = &topics.0;
    let mut consumer = kafka.consumer(Topic::Jobs, "g").unwrap();
    kafka.publish(Topic::Jobs, vec![message("before")]).await.unwrap();
    read(&mut consumer, "before").await;
    assert!(!kafka.refresh().await.unwrap(), "nothing has changed");

    for (wrong, says) in [("a wrong one", "expected"), ("\n", "got an empty file")] {
        std::fs::write(&own, wrong).unwrap();
        let said = with_causes(&kafka.refresh().await.unwrap_err());
        assert!(said.contains("kafka.sasl_password_file") && said.contains(says), "{said}");
    }
    kafka.publish(Topic::Jobs, vec![message("meanwhile")]).await.expect("the clients of before go on");
    read(&mut consumer, "meanwhile").await;

    // With a line's end more, as an editor leaves it: other octets, the same password.
    let right = std::fs::read_to_string(files.join("password")).unwrap();
    std::fs::write(&own, format!("{}\r\n\n", right.trim())).unwrap();
    assert!(kafka.refresh().await.unwrap());
    let told = consumer.poll(10, Duration::from_secs(1)).await.unwrap();
    assert!(matches!(told, Polled::Revoked(partitions) if partitions.len() == 3), "its owner lets go first");
    kafka.publish(Topic::Jobs, vec![message("after")]).await.unwrap();
    read(&mut consumer, "after").await;
    Box::new(consumer).leave().await;
    topics.delete().await;
}
