//! A keyspace of its own for each test binary, on the cluster that `FLOTILLA_TEST_CASSANDRA` names.

// Each test binary uses its part of this.
#![allow(dead_code, unreachable_pub)]

use service_kit::settings::Span;
use storage_scylla::{Replication, Scylla, ScyllaSettings, schema};

/// A keyspace with all tables, which ends with [`Keyspace::end`].
pub struct Keyspace {
    pub settings: ScyllaSettings,
    pub scylla: Scylla,
}

/// Settings for a keyspace that no other run has; `None` where no cluster is named and the test is to be skipped.
pub fn settings(name: &str) -> Option<ScyllaSettings> {
    Some(settings_at(&storage::laws::test_server("FLOTILLA_TEST_CASSANDRA")?, name))
}

/// The same of the cluster there.
pub fn settings_at(address: &str, name: &str) -> ScyllaSettings {
    let run = jiff::Timestamp::now().as_microsecond();
    ScyllaSettings {
        contact_points: address.split(',').map(str::to_owned).collect(),
        keyspace: format!("t_{name}_{run:x}"),
        replication: Replication::Everywhere(1),
        request_timeout: Span::of_ms(20_000),
        connect_timeout: Span::of_ms(20_000),
        ..ScyllaSettings::default()
    }
}

impl Keyspace {
    /// A fresh one.
    pub async fn fresh(name: &str) -> Option<Self> {
        let settings = settings(name)?;
        schema::apply(&settings).await.expect("the schema is applied");
        let scylla = Scylla::connect(&settings).await.expect("the cluster answers");
        Some(Self { settings, scylla })
    }

    /// Runs a test in a fresh keyspace, and drops it however the test ends.
    pub async fn with<F: Future<Output = ()> + Send + 'static>(name: &str, test: impl FnOnce(Scylla) -> F) {
        let Some(keyspace) = Self::fresh(name).await else { return };
        let outcome = tokio::spawn(test(keyspace.scylla.clone())).await;
        keyspace.end().await;
        if let Err(failed) = outcome {
            std::panic::resume_unwind(failed.into_panic());
        }
    }

    /// Drops it.
    pub async fn end(self) {
        schema::drop_keyspace(&self.settings).await.expect("the keyspace is dropped");
    }
}

/// A session of the driver, to look at tables as they are.
pub async fn session() -> scylla::client::session::Session {
    let address = storage::laws::test_server("FLOTILLA_TEST_CASSANDRA").expect("a cluster");
    let nodes: Vec<&str> = address.split(',').collect();
    scylla::client::session_builder::SessionBuilder::new()
        .known_nodes(nodes)
        .build()
        .await
        .expect("a session")
}
