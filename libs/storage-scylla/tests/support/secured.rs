//! A cluster that asks who we are, over TLS.

use std::path::{Path, PathBuf};

use service_kit::{refusal::with_causes, settings::Span};
use storage::laws;
use storage_scylla::{Scylla, ScyllaSettings, schema};

use crate::support::{Keyspace, settings_at};

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let file = dir.join(name);
    std::fs::write(&file, text).unwrap();
    file
}

/// Everything as the secured cluster of `deploy/dev/up` wants it; `dir` keeps the password.
fn secured(dir: &Path) -> Option<(ScyllaSettings, PathBuf)> {
    let address = laws::test_server("FLOTILLA_TEST_CASSANDRA_TLS")?;
    let files = PathBuf::from(laws::test_server("FLOTILLA_TEST_CERTIFICATES")?);
    let settings = ScyllaSettings {
        username: Some("cassandra".into()),
        password_file: Some(write(dir, "password", "cassandra\n")),
        ca: Some(files.join("ca.pem")),
        certificate: Some(files.join("client.pem")),
        key: Some(files.join("client.key")),
        ..settings_at(&address, "secured")
    };
    Some((settings, files))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn campaigns_are_kept_over_tls_by_password_and_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let Some((settings, _)) = secured(dir.path()) else { return };
    schema::apply(&settings).await.expect("the schema is applied");
    let scylla = Scylla::connect(&settings).await.expect("the cluster lets us in");
    laws::campaign_store_laws(&scylla).await;
    Keyspace { settings, scylla }.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cluster_and_we_do_not_agree_on_is_named_by_its_setting() {
    let dir = tempfile::tempdir().unwrap();
    let Some((right, files)) = secured(dir.path()) else { return };
    let right = ScyllaSettings { connect_timeout: Span::of_ms(8_000), ..right };
    let file = |name: &str| Some(files.join(name));
    let guess = Some(write(dir.path(), "guess", "a-wrong-guess"));
    for (key, wrong) in [
        ("scylla.password_file", ScyllaSettings { password_file: guess, ..right.clone() }),
        ("scylla.password_file", ScyllaSettings { username: None, password_file: None, ..right.clone() }),
        ("scylla.ca", ScyllaSettings { ca: file("other-ca.pem"), ..right.clone() }),
        ("scylla.certificate", ScyllaSettings { certificate: None, key: None, ..right.clone() }),
        ("scylla.certificate", ScyllaSettings { certificate: file("expired.pem"), ..right.clone() }),
    ] {
        let error = Scylla::connect_unchecked(&wrong).await.expect_err(key);
        let said = with_causes(&error);
        assert!(said.contains(key) && said.contains("expected"), "{key}: {said}");
        assert!(!format!("{error:?}").contains("a-wrong-guess"), "a password is never shown");
    }
}
