//! The settings as the client library wants them.

use std::time::Duration;

use rdkafka::{ClientContext, config::RDKafkaLogLevel, error::KafkaError};
use service_kit::{
    files::read_secret,
    settings::{KafkaCompression, KafkaSaslMechanism, KafkaSecurity, KafkaSettings},
};

use crate::ConnectError;

/// How often consumers tell how far behind they are.
const STATISTICS_INTERVAL_MS: &str = "2000";

/// What every client has.
pub(crate) fn client(settings: &KafkaSettings) -> Result<rdkafka::ClientConfig, ConnectError> {
    let mut config = rdkafka::ClientConfig::new();
    config
        .set("bootstrap.servers", &settings.bootstrap)
        .set("client.id", settings.member.as_deref().unwrap_or("flotilla"))
        .set("socket.timeout.ms", ms(settings.request_timeout.value()))
        // A broker that restarts is back within a second or two; the default waits ten.
        .set("reconnect.backoff.max.ms", "2000")
        .set("socket.nagle.disable", "true")
        .set("message.max.bytes", settings.message_bytes_max.value().to_string())
        .set_log_level(RDKafkaLogLevel::Info);
    secure(settings, &mut config)?;
    Ok(config)
}

fn secure(settings: &KafkaSettings, config: &mut rdkafka::ClientConfig) -> Result<(), ConnectError> {
    let security = settings.security;
    config.set(
        "security.protocol",
        match security {
            KafkaSecurity::Plaintext => "plaintext",
            KafkaSecurity::Ssl => "ssl",
            KafkaSecurity::SaslPlaintext => "sasl_plaintext",
            KafkaSecurity::SaslSsl => "sasl_ssl",
        },
    );
    let needs_openssl =
        security.has_tls() || (security.has_sasl() && settings.sasl_mechanism != KafkaSaslMechanism::Plain);
    if needs_openssl && cfg!(not(feature = "tls")) {
        return Err(ConnectError::Settings {
            key: "kafka.security",
            expected: "plaintext, or sasl-plaintext with plain (this program is built without the feature `tls`)",
            got: format!("{security:?} with {:?}", settings.sasl_mechanism),
        });
    }
    if security.has_tls() {
        let files = [
            ("ssl.ca.location", &settings.ca),
            ("ssl.certificate.location", &settings.certificate),
            ("ssl.key.location", &settings.key),
        ];
        for (key, file) in files {
            if let Some(file) = file {
                config.set(key, file.to_string_lossy());
            }
        }
    }
    if security.has_sasl() {
        let mechanism = match settings.sasl_mechanism {
            KafkaSaslMechanism::Plain => "PLAIN",
            KafkaSaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            KafkaSaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        };
        config
            .set("sasl.mechanism", mechanism)
            .set("sasl.username", settings.sasl_user.as_deref().unwrap_or_default())
            .set("sasl.password", password(settings)?);
    }
    Ok(())
}

fn password(settings: &KafkaSettings) -> Result<String, ConnectError> {
    let key = "kafka.sasl_password_file";
    let wrong = |got| ConnectError::Settings { key, expected: "a file with the password", got };
    let Some(file) = &settings.sasl_password_file else { return Err(wrong("nothing".to_owned())) };
    read_secret(file).map_err(|error| wrong(format!("{}: {error}", file.display())))
}

/// A producer whose messages are durable, in order and not doubled by its own repeats.
pub(crate) fn producer(settings: &KafkaSettings) -> Result<rdkafka::ClientConfig, ConnectError> {
    let mut config = client(settings)?;
    let compression = match settings.compression {
        KafkaCompression::None => "none",
        KafkaCompression::Lz4 => "lz4",
        KafkaCompression::Snappy => "snappy",
        KafkaCompression::Gzip => "gzip",
    };
    config
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", compression)
        .set("linger.ms", ms(settings.linger.value()))
        .set("batch.size", settings.batch_bytes.value().to_string())
        .set("queue.buffering.max.messages", settings.queue_messages.value().to_string())
        .set("delivery.timeout.ms", ms(settings.delivery_timeout.value()))
        // Where the Java clients put a key, so that an integrator's own producer agrees.
        .set("partitioner", "murmur2_random");
    Ok(config)
}

/// A member of a group; it commits by itself only.
pub(crate) fn consumer(
    settings: &KafkaSettings,
    group: &str,
    instance: Option<&str>,
) -> Result<rdkafka::ClientConfig, ConnectError> {
    let mut config = client(settings)?;
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", ms(settings.session_timeout.value()))
        // A member learns of a rebalance by its heartbeat, so it beats often.
        .set("heartbeat.interval.ms", ms(settings.session_timeout.value() / 10))
        .set("max.poll.interval.ms", ms(settings.poll_interval.value()))
        .set("fetch.wait.max.ms", "100")
        .set("statistics.interval.ms", STATISTICS_INTERVAL_MS)
        .set("allow.auto.create.topics", "false");
    if let Some(instance) = instance {
        config.set("group.instance.id", instance);
    }
    Ok(config)
}

fn ms(span: Duration) -> String {
    span.as_millis().to_string()
}

/// What the library has to say goes to our log.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, text: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => tracing::warn!(facility, text, "kafka client warns"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::info!(facility, text, "kafka client says");
        }
        RDKafkaLogLevel::Debug => tracing::debug!(facility, text, "kafka client says"),
    }
}

/// A client that only logs.
pub(crate) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka client met an error");
    }
}

impl rdkafka::consumer::ConsumerContext for Quiet {}
