//! How Redis is reached.

use std::{fmt, path::PathBuf, time::Duration};

use zeroize::Zeroizing;

/// How Redis is reached, and how long it may take.
#[derive(Clone)]
pub struct RedisSettings {
    /// Where it is: `redis://host:port`, or `rediss://host:port` for TLS. One server; or, where [`RedisSettings::cluster`]
    /// is set, some nodes of a Redis Cluster, from which the others are found. Credentials do not stand in here.
    pub nodes: Vec<String>,
    /// The nodes are a Redis Cluster. Default false.
    pub cluster: bool,
    /// The user of the server's access list; `None` for its default user. Default none.
    pub username: Option<String>,
    /// The user's password. Default none.
    pub password: Option<Zeroizing<String>>,
    /// Certificates (PEM) that a server's certificate must lead to; `None` for those that the system trusts. Default none.
    pub ca_file: Option<PathBuf>,
    /// The certificate (PEM, with what leads to it) and the key (PEM) to show to the server. Default none.
    pub client_certificate: Option<ClientCertificate>,
    /// What stands before every key, so that others may use the same server; without braces, which say where a cluster
    /// keeps a key. Default `flotilla:`.
    pub key_prefix: String,
    /// How long a call may take, reconnecting included; then it has failed, and a write may have been done or not. Default
    /// one second.
    pub call_timeout: Duration,
    /// How long a connection may take to be made. Default one second.
    pub connect_timeout: Duration,
    /// How long a device's hot record is kept after its last write. Default seven days.
    pub device_keep: Duration,
    /// How long the mark that a device has no work is believed. Default 15 minutes.
    pub idle_keep: Duration,
}

/// Where a client's certificate is.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The certificate, and those that lead to it.
    pub certificate_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            nodes: vec!["redis://127.0.0.1:6379".to_owned()],
            cluster: false,
            username: None,
            password: None,
            ca_file: None,
            client_certificate: None,
            key_prefix: "flotilla:".to_owned(),
            call_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(1),
            device_keep: Duration::from_secs(7 * 24 * 60 * 60),
            idle_keep: Duration::from_secs(15 * 60),
        }
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("nodes", &self.nodes)
            .field("cluster", &self.cluster)
            .field("username", &self.username)
            .field("key_prefix", &self.key_prefix)
            .finish_non_exhaustive()
    }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// There is no address, or more than one where there is no cluster.
    #[error("expected {expected}, got {got} addresses of Redis")]
    Nodes {
        /// How many there should be.
        expected: &'static str,
        /// How many there are.
        got: usize,
    },
    /// A password in an address would be printed with it.
    #[error("expected an address of Redis without credentials, got one with @")]
    Credentials,
    /// A brace in the prefix would choose the node of all keys.
    #[error("expected a key prefix without braces, got {0:?}")]
    Prefix(String),
    /// A certificate or key cannot be read.
    #[error("cannot read {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The client does not take it.
    #[error(transparent)]
    Client(#[from] redis::RedisError),
}

impl RedisSettings {
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        match self.nodes.len() {
            0 => return Err(SettingsError::Nodes { expected: "at least one", got: 0 }),
            1 => {}
            got if !self.cluster => return Err(SettingsError::Nodes { expected: "one", got }),
            _ => {}
        }
        if self.nodes.iter().any(|node| node.contains('@')) {
            return Err(SettingsError::Credentials);
        }
        if self.key_prefix.contains(['{', '}']) {
            return Err(SettingsError::Prefix(self.key_prefix.clone()));
        }
        Ok(())
    }
}
