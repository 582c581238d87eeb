//! The settings of the servers, as their clients take them.

use std::path::Path;

use anyhow::Context as _;
use service_kit::settings;
use storage_redis::{ClientCertificate, RedisSettings};
use storage_scylla::{
    Consistency, Replication, ScyllaSettings, SerialConsistency, SnapshotOptions, TlsSettings,
};

/// A secret from its file, without the line's end.
pub(super) fn secret(file: &Path, key: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("could not read {} ({key})", file.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// How to reach Redis.
pub(super) fn redis(settings: &settings::RedisSettings) -> anyhow::Result<RedisSettings> {
    let password = settings.password_file.as_deref().map(|file| secret(file, "redis.password_file"));
    let client_certificate = settings.certificate.clone().zip(settings.key.clone());
    Ok(RedisSettings {
        nodes: settings.nodes.clone(),
        cluster: settings.cluster,
        username: settings.username.clone(),
        password: password.transpose()?.map(Into::into),
        ca_file: settings.ca.clone(),
        client_certificate: client_certificate
            .map(|(certificate_file, key_file)| ClientCertificate { certificate_file, key_file }),
        key_prefix: settings.key_prefix.clone(),
        call_timeout: settings.call_timeout.value(),
        connect_timeout: settings.connect_timeout.value(),
        device_keep: settings.device_keep.value(),
        idle_keep: settings.idle_keep.value(),
    })
}

/// How trees are kept in Scylla.
pub(super) fn snapshots(settings: &settings::SnapshotSettings) -> SnapshotOptions {
    SnapshotOptions {
        page_cache_bytes: settings.page_cache.as_usize(),
        history_age_max: Some(settings.history_age_max.value()),
        seen_every: settings.seen_every.value(),
        ..SnapshotOptions::default()
    }
}

/// How to reach Scylla or Cassandra.
pub(crate) fn scylla(settings: &settings::ScyllaSettings) -> anyhow::Result<ScyllaSettings> {
    let credentials = match (&settings.username, &settings.password_file) {
        (Some(user), Some(file)) => Some((user.clone(), secret(file, "scylla.password_file")?)),
        _ => None,
    };
    let identity = settings.certificate.clone().zip(settings.key.clone());
    let tls = settings.ca.clone().map(|ca_file| TlsSettings { ca_file, identity });
    Ok(ScyllaSettings {
        contact_points: settings.contact_points.clone(),
        keyspace: settings.keyspace.clone(),
        credentials,
        tls,
        local_datacenter: settings.local_datacenter.clone(),
        consistency: match settings.consistency {
            settings::Consistency::LocalQuorum => Consistency::LocalQuorum,
            settings::Consistency::Quorum => Consistency::Quorum,
        },
        serial_consistency: match settings.serial_consistency {
            settings::SerialConsistency::LocalSerial => SerialConsistency::LocalSerial,
            settings::SerialConsistency::Serial => SerialConsistency::Serial,
        },
        request_deadline: settings.request_timeout.value(),
        connect_deadline: settings.connect_timeout.value(),
        speculative_delay: Some(settings.speculative_delay.value()).filter(|delay| !delay.is_zero()),
        replication: match &settings.replication {
            settings::Replication::Everywhere(copies) => Replication::Everywhere(*copies),
            settings::Replication::Datacenters(copies) => Replication::Datacenters(copies.clone()),
        },
    })
}
