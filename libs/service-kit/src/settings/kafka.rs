//! The section of Kafka.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    cluster::not_an_address,
    section::sections,
    values::{Count, Octets, Span},
};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

sections! {
    /// Jobs, triggers and events in Kafka.
    KafkaSettings in "kafka" {
        /// Brokers to begin with, `host:port`, separated by commas.
        bootstrap: String = "127.0.0.1:9092".to_owned(),
        /// What the names of topics and groups begin with: `eu-` makes `eu-dm.jobs`.
        prefix: String = String::new(),
        /// Partitions of `dm.jobs`. Fixed once the topic is made: a key's place follows from it.
        jobs_partitions: Count<1, 4096> = Count::of(32),
        /// Partitions of `dm.triggers`. Fixed once the topic is made.
        triggers_partitions: Count<1, 4096> = Count::of(16),
        /// Partitions of `dm.events`, over which campaigns are spread. Fixed once the topic is made.
        events_partitions: Count<1, 4096> = Count::of(32),
        /// How long `dm.jobs` is kept: longer than its workers may ever be away, and shorter than the 30 days that a job's
        /// end is remembered.
        jobs_retention: Span<MINUTE, { 28 * DAY }> = Span::of_ms(7 * DAY),
        /// How long `dm.triggers` is kept.
        triggers_retention: Span<MINUTE, { 3650 * DAY }> = Span::of_ms(DAY),
        /// How long `dm.events` is kept: longer than campaigns' owners may ever be away.
        events_retention: Span<MINUTE, { 3650 * DAY }> = Span::of_ms(7 * DAY),
        /// How long `dm.dead` is kept: the time to look at a message that was put aside, and to replay it.
        dead_retention: Span<MINUTE, { 3650 * DAY }> = Span::of_ms(30 * DAY),
        /// Copies of each partition, at least. 1 only where a lost broker may lose work.
        replication: Count<1, 9> = Count::of(3),
        /// Copies that have a message before it counts as published. No more than `kafka.replication`.
        min_insync_replicas: Count<1, 9> = Count::of(2),
        /// How batches are compressed: `none`, `lz4`, `snappy` or `gzip`.
        compression: KafkaCompression = KafkaCompression::Lz4,
        /// How long a batch waits for more messages.
        linger: Span<0, { 10 * SECOND }> = Span::of_ms(2),
        /// The largest batch of messages for one partition.
        batch_bytes: Octets<KIB, { 64 * MIB }> = Octets::of(MIB),
        /// The largest message.
        message_bytes_max: Octets<KIB, { 64 * MIB }> = Octets::of(MIB),
        /// Messages that wait to be published, in one process; past it publishing is refused.
        queue_messages: Count<100, 10_000_000> = Count::of(100_000),
        /// How long a message may take to be published before its fate is unknown.
        delivery_timeout: Span<SECOND, { 10 * MINUTE }> = Span::of_ms(15 * SECOND),
        /// How long one call to the brokers may take: a commit, a look at the topics.
        request_timeout: Span<SECOND, { 5 * MINUTE }> = Span::of_ms(10 * SECOND),
        /// A consumer that is silent so long loses its partitions.
        session_timeout: Span<SECOND, { 10 * MINUTE }> = Span::of_ms(10 * SECOND),
        /// A consumer that works on a batch so long without asking for more loses its partitions. At least
        /// `kafka.session_timeout`.
        poll_interval: Span<SECOND, HOUR> = Span::of_ms(MINUTE),
        /// This process's name, of which there is one in the cluster: with it a restart within `kafka.session_timeout`
        /// moves no partitions. Unset: a name of its own at each start.
        member: Option<String> = None,
        /// `plaintext`, `ssl`, `sasl-plaintext` or `sasl-ssl`.
        security: KafkaSecurity = KafkaSecurity::Plaintext,
        /// PEM file of the authorities that brokers' certificates are checked against. Unset: the system's.
        ca: Option<PathBuf> = None,
        /// PEM file of the client's certificate, where brokers ask for one.
        certificate: Option<PathBuf> = None,
        /// PEM file of its private key.
        key: Option<PathBuf> = None,
        /// `plain`, `scram-sha-256` or `scram-sha-512`.
        sasl_mechanism: KafkaSaslMechanism = KafkaSaslMechanism::ScramSha512,
        /// The user, for the `sasl-` kinds of security.
        sasl_user: Option<String> = None,
        /// The file of the user's password.
        sasl_password_file: Option<PathBuf> = None,
    }
}

impl KafkaSettings {
    /// What no single key can get wrong, as key and sentence.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        for broker in self.bootstrap.split(',') {
            if let Some(problem) = not_an_address(broker.trim()) {
                problems.push(("kafka.bootstrap", problem));
            }
        }
        let (copies, in_sync) = (self.replication.value(), self.min_insync_replicas.value());
        if in_sync > copies {
            let problem = format!("expected at most kafka.replication ({copies}), got {in_sync}");
            problems.push(("kafka.min_insync_replicas", problem));
        }
        if self.poll_interval.value() < self.session_timeout.value() {
            let problem = "expected at least kafka.session_timeout".to_owned();
            problems.push(("kafka.poll_interval", problem));
        }
        if self.linger.value() >= self.delivery_timeout.value() {
            problems.push(("kafka.linger", "expected less than kafka.delivery_timeout".to_owned()));
        }
        let is_name = |octet: u8| octet.is_ascii_alphanumeric() || b"._-".contains(&octet);
        if !self.prefix.bytes().all(is_name) || self.prefix.len() > 200 {
            let problem = format!("expected letters, digits, '.', '_' and '-', got {:?}", self.prefix);
            problems.push(("kafka.prefix", problem));
        }
        if self.certificate.is_some() != self.key.is_some() {
            problems.push(("kafka.certificate", "expected both kafka.certificate and kafka.key".to_owned()));
        }
        let has_user = self.sasl_user.is_some() && self.sasl_password_file.is_some();
        if self.security.has_sasl() && !has_user {
            let problem = "expected kafka.sasl_user and kafka.sasl_password_file with it".to_owned();
            problems.push(("kafka.security", problem));
        }
        problems
    }
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KafkaCompression {
    /// Not.
    None,
    /// Fast.
    Lz4,
    /// As fast, a little larger.
    Snappy,
    /// Small and slow.
    Gzip,
}

/// How brokers are spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KafkaSecurity {
    /// Open, and as nobody.
    Plaintext,
    /// Over TLS.
    Ssl,
    /// Open, as a user.
    SaslPlaintext,
    /// Over TLS, as a user.
    SaslSsl,
}

impl KafkaSecurity {
    /// A user is named.
    pub fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    /// The connection is TLS.
    pub fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }
}

/// How a user proves himself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KafkaSaslMechanism {
    /// The password itself.
    #[serde(rename = "plain")]
    Plain,
    /// A proof of it.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// A proof of it.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}
