//! The sections of a cluster: which roles a process has, and where the stores are.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{section::sections, values::Span};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

sections! {
    /// What this process does.
    RolesSettings in "process" {
        /// Its roles: `session`, `campaign`, `snapshot`, `notify`, `admin`. Empty: all of them. The embedded store has
        /// all of them in one process.
        roles: Vec<Role> = Vec::new(),
        /// How long to wait before a server that is down at the start is tried again; it grows from a tenth of it.
        retry_pause_max: Span<100, { 5 * MINUTE }> = Span::of_ms(5 * SECOND),
    }

    /// Health and metrics.
    HealthSettings in "health" {
        /// Where `/health/livez`, `/health/readyz` and `/metrics` listen, apart from the admin listener, which has them
        /// too. Unset: nowhere, and 127.0.0.1:8082 in a process without the role `admin`.
        listen: Option<SocketAddr> = None,
        /// How often the servers that the roles need are asked whether they are there.
        probe_period: Span<100, { 5 * MINUTE }> = Span::of_ms(2 * SECOND),
        /// How long a server may take to answer that.
        probe_timeout: Span<100, { 5 * MINUTE }> = Span::of_ms(5 * SECOND),
    }

    /// Keys that secrets are sealed with at rest.
    SecretsSettings in "secrets" {
        /// A file with lines of `id:key`, the id a number from 1 on and the key 64 hexadecimal digits. The last line's key
        /// seals, all of them open. It is read again when it changes. A cluster needs it, the same in every process; the
        /// embedded store has a key of its own where it is unset.
        key_file: Option<PathBuf> = None,
        /// How often it is looked at.
        reload_period: Span<SECOND, HOUR> = Span::of_ms(10 * SECOND),
    }

    /// Redis: sessions, and what of a device every visit asks for.
    RedisSettings in "redis" {
        /// `redis://host:port`, or `rediss://host:port` for TLS: one server, or some nodes of a Redis Cluster.
        nodes: Vec<String> = vec!["redis://127.0.0.1:6379".to_owned()],
        /// The nodes are a Redis Cluster.
        cluster: bool = false,
        /// The user. Unset: the server's default user.
        username: Option<String> = None,
        /// The file of the user's password.
        password_file: Option<PathBuf> = None,
        /// PEM file of the authorities that the server's certificate is checked against. Unset: the system's.
        ca: Option<PathBuf> = None,
        /// PEM file of the client's certificate, where the server asks for one.
        certificate: Option<PathBuf> = None,
        /// PEM file of its private key.
        key: Option<PathBuf> = None,
        /// What stands before every key, without braces.
        key_prefix: String = "flotilla:".to_owned(),
        /// How long a call may take, reconnecting included.
        call_timeout: Span<10, MINUTE> = Span::of_ms(SECOND),
        /// How long a connection may take to be made.
        connect_timeout: Span<10, MINUTE> = Span::of_ms(SECOND),
        /// How long a device's hot record is kept after its last write.
        device_keep: Span<MINUTE, { 366 * DAY }> = Span::of_ms(7 * DAY),
        /// How long the mark that a device has no work is believed.
        idle_keep: Span<SECOND, DAY> = Span::of_ms(15 * MINUTE),
    }

    /// Scylla or Cassandra: devices, trees, jobs, campaigns and their ledgers, artifacts.
    ScyllaSettings in "scylla" {
        /// `host:port` of nodes to begin with; the others are learnt from them.
        contact_points: Vec<String> = vec!["127.0.0.1:9042".to_owned()],
        /// The keyspace: 1 to 48 lower-case letters, digits and `_`, a letter first.
        keyspace: String = "flotilla".to_owned(),
        /// The user, where the nodes ask for one.
        username: Option<String> = None,
        /// The file of the user's password.
        password_file: Option<PathBuf> = None,
        /// PEM file of the authorities that the nodes' certificates are checked against. Unset: no TLS.
        ca: Option<PathBuf> = None,
        /// PEM file of the client's certificate, where the nodes ask for one.
        certificate: Option<PathBuf> = None,
        /// PEM file of its private key.
        key: Option<PathBuf> = None,
        /// The datacenter whose nodes are asked. Unset: all nodes are.
        local_datacenter: Option<String> = None,
        /// How many replicas a read or a write waits for: `local-quorum`, or `quorum` over all datacenters.
        consistency: Consistency = Consistency::LocalQuorum,
        /// Among which replicas a conditional write is agreed on: `local-serial`, or `serial` over all datacenters.
        serial_consistency: SerialConsistency = SerialConsistency::LocalSerial,
        /// How long one request may take, its retries included.
        request_timeout: Span<100, { 5 * MINUTE }> = Span::of_ms(5 * SECOND),
        /// How long connecting may take.
        connect_timeout: Span<100, { 5 * MINUTE }> = Span::of_ms(10 * SECOND),
        /// After how long without an answer a read asks another node too. Zero: never.
        speculative_delay: Span<0, MINUTE> = Span::of_ms(100),
        /// Copies of each row, for `flotilla schema apply`: a number for every datacenter, or `"dc1:3,dc2:2"`.
        replication: Replication = Replication::Everywhere(3),
    }
}

impl RolesSettings {
    /// The roles of this process, each once.
    pub fn all(&self) -> Vec<Role> {
        Role::ALL.into_iter().filter(|role| self.roles.is_empty() || self.roles.contains(role)).collect()
    }
}

impl RedisSettings {
    /// What no single key can get wrong, as key and sentence.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        match self.nodes.len() {
            0 => problems.push(("redis.nodes", "expected at least one address".to_owned())),
            1 => {}
            got if !self.cluster => {
                let problem = format!("expected one address where redis.cluster is false, got {got}");
                problems.push(("redis.nodes", problem));
            }
            _ => {}
        }
        for node in &self.nodes {
            let rest = node.strip_prefix("redis://").or_else(|| node.strip_prefix("rediss://"));
            if !rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with([':', '/'])) {
                let problem =
                    format!("expected redis://host:port or rediss://host:port, got {:?}", shown(node));
                problems.push(("redis.nodes", problem));
            }
        }
        if self.nodes.iter().any(|node| node.contains('@')) {
            let problem = "expected addresses without credentials: they stand in redis.username and \
                           redis.password_file";
            problems.push(("redis.nodes", problem.to_owned()));
        }
        if self.key_prefix.contains(['{', '}']) {
            let problem = format!("expected a prefix without braces, got {:?}", self.key_prefix);
            problems.push(("redis.key_prefix", problem));
        }
        if self.certificate.is_some() != self.key.is_some() {
            problems.push(("redis.certificate", "expected both redis.certificate and redis.key".to_owned()));
        }
        problems
    }
}

impl ScyllaSettings {
    /// What no single key can get wrong, as key and sentence.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        if self.contact_points.is_empty() {
            problems.push(("scylla.contact_points", "expected at least one address".to_owned()));
        }
        for point in &self.contact_points {
            if let Some(problem) = not_an_address(point) {
                problems.push(("scylla.contact_points", problem));
            }
        }
        let is_name = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'_';
        let starts = self.keyspace.starts_with(|first: char| first.is_ascii_lowercase());
        if !starts || self.keyspace.len() > 48 || !self.keyspace.bytes().all(is_name) {
            let problem = format!("expected lower-case letters, digits and _, got {:?}", self.keyspace);
            problems.push(("scylla.keyspace", problem));
        }
        if self.username.is_some() != self.password_file.is_some() {
            let problem = "expected both scylla.username and scylla.password_file";
            problems.push(("scylla.username", problem.to_owned()));
        }
        if self.certificate.is_some() != self.key.is_some() {
            problems
                .push(("scylla.certificate", "expected both scylla.certificate and scylla.key".to_owned()));
        }
        if self.certificate.is_some() && self.ca.is_none() {
            problems.push(("scylla.ca", "expected a file, as there is a client's certificate".to_owned()));
        }
        problems
    }
}

/// What is wrong with an address that should be `host:port` or `host`.
pub(super) fn not_an_address(text: &str) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        // Colons within brackets are those of an IPv6 address.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_host = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || "/@,".contains(c));
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    (!(is_host && is_port)).then(|| format!("expected host:port, got {text:?}"))
}

/// An address as it may be shown: what stands before an `@` may be a password.
fn shown(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((_, host)) => format!("...@{host}"),
        None => address.to_owned(),
    }
}

/// A part of the server, which a process may have alone or with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Talks to devices.
    Session,
    /// Owns campaigns, and brings their jobs to devices.
    Campaign,
    /// Looks after stored trees.
    Snapshot,
    /// Asks devices to come.
    Notify,
    /// Talks to operators.
    Admin,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 5] = [Self::Session, Self::Campaign, Self::Snapshot, Self::Notify, Self::Admin];

    /// As the settings say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Campaign => "campaign",
            Self::Snapshot => "snapshot",
            Self::Notify => "notify",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where everything is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StorageBackend {
    /// In one data directory, of one process.
    #[default]
    Embedded,
    /// In Redis, Kafka and Scylla, for many processes.
    Cluster,
}

/// How many replicas a read or a write waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// Most replicas of the local datacenter.
    LocalQuorum,
    /// Most replicas of all datacenters together.
    Quorum,
}

/// Among which replicas a conditional write is agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SerialConsistency {
    /// Those of the local datacenter.
    LocalSerial,
    /// Those of all datacenters.
    Serial,
}

/// Copies of each row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replication {
    /// This many in every datacenter.
    Everywhere(u32),
    /// This many in each datacenter named.
    Datacenters(BTreeMap<String, u32>),
}

impl Replication {
    fn parse(text: &str) -> Option<Self> {
        let copies = |text: &str| text.trim().parse::<u32>().ok().filter(|copies| (1..=9).contains(copies));
        if let Some(copies) = copies(text) {
            return Some(Self::Everywhere(copies));
        }
        let datacenters = text.split(',').map(|part| {
            let (name, number) = part.split_once(':')?;
            let name = name.trim();
            let is_name = !name.is_empty() && !name.contains(['\'', '"']);
            Some((name.to_owned(), copies(number).filter(|_| is_name)?))
        });
        datacenters.collect::<Option<_>>().map(Self::Datacenters)
    }
}

impl<'de> Deserialize<'de> for Replication {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = toml::Value::deserialize(from)?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom(format!("expected 1 to 9 copies, or dc1:3,dc2:2 and the like, got {text}"))
        })
    }
}

impl Serialize for Replication {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Everywhere(copies) => to.serialize_u32(*copies),
            Self::Datacenters(datacenters) => {
                let parts: Vec<String> =
                    datacenters.iter().map(|(name, copies)| format!("{name}:{copies}")).collect();
                to.serialize_str(&parts.join(","))
            }
        }
    }
}
