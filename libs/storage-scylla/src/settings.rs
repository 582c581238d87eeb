//! How a cluster is reached and what is asked of it.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::ScyllaError;

/// How many replicas a read or a write waits for. Nothing weaker than a quorum is offered: what a write of one
/// replica said would not be seen by a read of another, and a device could be told to do its job again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// Most replicas of the local datacenter. All sessions of a device must then come to one datacenter.
    #[default]
    LocalQuorum,
    /// Most replicas of all datacenters together.
    Quorum,
}

/// Among which replicas a conditional write is agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SerialConsistency {
    /// Those of the local datacenter.
    #[default]
    LocalSerial,
    /// Those of all datacenters.
    Serial,
}

/// Copies of each row, used when the keyspace is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Replication {
    /// This many in every datacenter.
    Everywhere(u32),
    /// This many in each datacenter named.
    Datacenters(BTreeMap<String, u32>),
}

impl Default for Replication {
    fn default() -> Self {
        Self::Everywhere(3)
    }
}

/// Certificates. The driver checks a node's certificate against its IP address, so that is what it must name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsSettings {
    /// PEM file of the authorities that signed the nodes' certificates.
    pub ca_file: PathBuf,
    /// PEM files of our certificate chain and its key, where the nodes ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// How to reach a cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct ScyllaSettings {
    /// `host:port` of nodes to begin with; the others are learnt from them.
    pub contact_points: Vec<String>,
    /// 1 to 48 lower-case letters, digits and `_`, a letter first.
    pub keyspace: String,
    /// Name and password.
    pub credentials: Option<(String, String)>,
    /// TLS, where the nodes speak it.
    pub tls: Option<TlsSettings>,
    /// The datacenter whose nodes are asked; without one all nodes are.
    pub local_datacenter: Option<String>,
    /// Of reads and writes.
    pub consistency: Consistency,
    /// Of conditional writes.
    pub serial_consistency: SerialConsistency,
    /// How long one request may take, its retries included.
    pub request_deadline: Duration,
    /// How long connecting may take, to all contact points together; one node gets half of it.
    pub connect_deadline: Duration,
    /// After how long without an answer a read asks another node too; `None` never does.
    pub speculative_delay: Option<Duration>,
    /// For `flotilla schema apply`.
    pub replication: Replication,
}

impl Default for ScyllaSettings {
    fn default() -> Self {
        Self {
            contact_points: vec!["127.0.0.1:9042".to_owned()],
            keyspace: "flotilla".to_owned(),
            credentials: None,
            tls: None,
            local_datacenter: None,
            consistency: Consistency::default(),
            serial_consistency: SerialConsistency::default(),
            request_deadline: Duration::from_secs(5),
            connect_deadline: Duration::from_secs(10),
            speculative_delay: Some(Duration::from_millis(100)),
            replication: Replication::default(),
        }
    }
}

impl fmt::Debug for ScyllaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password stays out of logs.
        f.debug_struct("ScyllaSettings")
            .field("contact_points", &self.contact_points)
            .field("keyspace", &self.keyspace)
            .field("user", &self.credentials.as_ref().map(|(user, _)| user))
            .field("tls", &self.tls)
            .field("local_datacenter", &self.local_datacenter)
            .field("consistency", &self.consistency)
            .field("serial_consistency", &self.serial_consistency)
            .field("request_deadline", &self.request_deadline)
            .field("connect_deadline", &self.connect_deadline)
            .field("speculative_delay", &self.speculative_delay)
            .field("replication", &self.replication)
            .finish()
    }
}

impl ScyllaSettings {
    /// What cannot be used, before anything is opened.
    ///
    /// # Errors
    ///
    /// [`ScyllaError::Settings`] with the first mistake.
    pub fn check(&self) -> Result<(), ScyllaError> {
        let wrong = |what: String| Err(ScyllaError::Settings(what));
        if self.contact_points.is_empty() {
            return wrong("expected at least one contact point, got none".to_owned());
        }
        if !is_name(&self.keyspace) {
            return wrong(format!(
                "expected a keyspace of 1 to 48 lower-case letters, digits and _, a letter first, got {:?}",
                self.keyspace
            ));
        }
        let copies: Vec<u32> = match &self.replication {
            Replication::Everywhere(copies) => vec![*copies],
            Replication::Datacenters(datacenters) => datacenters.values().copied().collect(),
        };
        if copies.is_empty() || copies.contains(&0) {
            return wrong("expected at least one replica in each datacenter".to_owned());
        }
        if let Replication::Datacenters(datacenters) = &self.replication
            && let Some(name) = datacenters.keys().find(|name| name.is_empty() || name.contains('\''))
        {
            return wrong(format!("expected the name of a datacenter, got {name:?}"));
        }
        Ok(())
    }
}

fn is_name(text: &str) -> bool {
    text.len() <= 48
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_said_before_anything_opens() {
        let good = ScyllaSettings::default();
        good.check().unwrap();
        for (wrong, says) in [
            (ScyllaSettings { contact_points: Vec::new(), ..good.clone() }, "contact point"),
            (ScyllaSettings { keyspace: "Flotilla".into(), ..good.clone() }, "\"Flotilla\""),
            (ScyllaSettings { keyspace: "a;drop".into(), ..good.clone() }, "a;drop"),
            (ScyllaSettings { keyspace: String::new(), ..good.clone() }, "keyspace"),
            (ScyllaSettings { replication: Replication::Everywhere(0), ..good.clone() }, "one replica"),
            (
                ScyllaSettings {
                    replication: Replication::Datacenters([("d'c".to_owned(), 3)].into()),
                    ..good.clone()
                },
                "datacenter",
            ),
        ] {
            let said = wrong.check().unwrap_err().to_string();
            assert!(said.contains(says), "{said}");
        }
    }

    #[test]
    fn the_password_is_not_printed() {
        let settings =
            ScyllaSettings { credentials: Some(("dm".into(), "hidden".into())), ..ScyllaSettings::default() };
        assert!(!format!("{settings:?}").contains("hidden"));
    }
}
