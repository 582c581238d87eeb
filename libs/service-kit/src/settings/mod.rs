//! Settings: typed, documented, bounded, and checked whole before anything opens.
//!
//! The file is weakest, then the environment (`FLOTILLA__SESSION__LISTEN` is `session.listen`), then flags.

mod cluster;
mod kafka;
mod limits;
mod section;
mod sections;
mod snapshot;
#[cfg(test)]
mod tests;
mod tls;
mod values;

use std::{fmt, fmt::Write as _, path::Path};

use section::{Origin, Source};

pub use cluster::{
    Consistency, HealthSettings, RedisSettings, Replication, Role, RolesSettings, ScyllaSettings,
    SecretsSettings, SerialConsistency, StorageBackend,
};
pub use kafka::{KafkaCompression, KafkaSaslMechanism, KafkaSecurity, KafkaSettings};
pub use limits::{ForwardedHeader, LimitsSettings, Network, RateLimit};
pub use section::KeyDoc;
pub use sections::{
    AdminSettings, AdminTlsSettings, DialectSettings, Enrol, GatewaySettings, LogFormat, ModelSettings,
    NotifySettings, NotifyUiMode, SessionSettings, ShutdownSettings, StorageSettings, TelemetrySettings,
    TlsSettings,
};
pub use snapshot::SnapshotSettings;
pub use tls::{ListenerTlsSettings, TlsClientAuth, TlsClientIdentity, TlsVersion};
pub use values::{Count, Octets, PublicUrl, Ratio, Span};

/// What the environment's keys begin with.
const ENVIRONMENT_PREFIX: &str = "FLOTILLA__";

/// All settings of all roles. `Settings::default()` is what an empty file gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// The front-end that devices talk to.
    pub session: SessionSettings,
    /// Its transport security.
    pub tls: TlsSettings,
    /// The operators' side.
    pub admin: AdminSettings,
    /// Its transport security.
    pub admin_tls: AdminTlsSettings,
    /// Rates, and locks after wrong credentials.
    pub limits: LimitsSettings,
    /// Which roles this process has.
    pub process: RolesSettings,
    /// Health and metrics.
    pub health: HealthSettings,
    /// Where everything is stored.
    pub storage: StorageSettings,
    /// Keys of secrets at rest.
    pub secrets: SecretsSettings,
    /// The cluster's sessions.
    pub redis: RedisSettings,
    /// The cluster's tables.
    pub scylla: ScyllaSettings,
    /// The cluster's log.
    pub kafka: KafkaSettings,
    /// Asking devices to come.
    pub notify: NotifySettings,
    /// Trees, and the collection of what no tree names.
    pub snapshot: SnapshotSettings,
    /// What devices do differently.
    pub dialect: DialectSettings,
    /// Logs and traces.
    pub telemetry: TelemetrySettings,
    /// The end.
    pub shutdown: ShutdownSettings,
}

impl Settings {
    /// Reads the file (where there is one), then `environment`, then `overrides`, pairs of dotted key and value
    /// such as `("session.listen", "127.0.0.1:0")`. Variables that do not begin with `FLOTILLA__` are not looked at.
    ///
    /// # Errors
    ///
    /// All mistakes together, in the order of keys.
    pub fn load(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        overrides: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SettingsErrors> {
        let mut source = Source::new();
        if let Some(path) = path {
            let shown = path.display();
            let text = std::fs::read_to_string(path)
                .map_err(|error| SettingsErrors::whole(format!("could not read {shown}: {error}")))?;
            let table = text
                .parse::<toml::Table>()
                .map_err(|error| SettingsErrors::whole(format!("{shown} is not TOML: {error}")))?;
            source.add_table("", table);
        }
        for (name, text) in environment {
            if let Some(key) = name.strip_prefix(ENVIRONMENT_PREFIX) {
                let key = key.replace("__", ".").to_ascii_lowercase();
                source.add_text(key, text, Origin::Environment(name));
            }
        }
        for (key, text) in overrides {
            source.add_text(key, text, Origin::Flag);
        }
        Self::read(source)
    }

    fn read(mut source: Source) -> Result<Self, SettingsErrors> {
        let settings = Self {
            session: SessionSettings::read(&mut source),
            tls: TlsSettings::read(&mut source),
            admin: AdminSettings::read(&mut source),
            admin_tls: AdminTlsSettings::read(&mut source),
            limits: LimitsSettings::read(&mut source),
            process: RolesSettings::read(&mut source),
            health: HealthSettings::read(&mut source),
            storage: StorageSettings::read(&mut source),
            secrets: SecretsSettings::read(&mut source),
            redis: RedisSettings::read(&mut source),
            scylla: ScyllaSettings::read(&mut source),
            kafka: KafkaSettings::read(&mut source),
            notify: NotifySettings::read(&mut source),
            snapshot: SnapshotSettings::read(&mut source),
            dialect: DialectSettings::read(&mut source),
            telemetry: TelemetrySettings::read(&mut source),
            shutdown: ShutdownSettings::read(&mut source),
        };
        settings.check_together(&mut source.errors);
        let errors = source.finish();
        if errors.is_empty() { Ok(settings) } else { Err(SettingsErrors(errors)) }
    }

    /// What no single key can get wrong.
    fn check_together(&self, errors: &mut Vec<SettingsError>) {
        let mut wrong = |key: &str, problem: String| {
            errors.push(SettingsError { key: key.to_owned(), origin: Origin::File, problem });
        };
        for (section, tls) in [("session.tls", self.tls.listener()), ("admin.tls", self.admin_tls.listener())]
        {
            for (key, problem) in tls.problems() {
                wrong(&format!("{section}.{key}"), problem);
            }
        }
        if self.tls.client_identity == TlsClientIdentity::DeviceId
            && self.tls.client_auth == TlsClientAuth::Off
        {
            let problem =
                "expected none, as session.tls.client_auth is off and no device is asked for a certificate";
            wrong("session.tls.client_identity", problem.to_owned());
        }
        for (key, problem) in self.redis.problems().into_iter().chain(self.scylla.problems()) {
            wrong(key, problem);
        }
        match self.storage.backend {
            StorageBackend::Embedded if self.process.all() != Role::ALL => {
                wrong(
                    "process.roles",
                    "expected all roles, as the embedded store is one process's".to_owned(),
                );
            }
            StorageBackend::Cluster if self.secrets.key_file.is_none() => {
                wrong("secrets.key_file", "expected a file, as a cluster has no key of its own".to_owned());
            }
            _ => {}
        }
        if self.limits.login_lock_max < self.limits.login_lock {
            wrong("limits.login_lock_max", "expected at least limits.login_lock".to_owned());
        }
        for (key, problem) in self.kafka.problems() {
            wrong(key, problem);
        }
        let (read, told) = (self.session.message_bytes_max.value(), self.session.max_msg_size.value());
        if read < told {
            let problem = format!("expected at least session.max_msg_size ({told} octets), got {read}");
            wrong("session.message_bytes_max", problem);
        }
        let held = self.session.bodies_bytes_max.value();
        if held < read {
            let problem = format!("expected at least session.message_bytes_max ({read} octets), got {held}");
            wrong("session.bodies_bytes_max", problem);
        }
        match (&self.telemetry.otlp_certificate, &self.telemetry.otlp_key) {
            (Some(_), None) => {
                wrong("telemetry.otlp_key", "expected a file, as there is a certificate".to_owned());
            }
            (None, Some(_)) => {
                wrong("telemetry.otlp_certificate", "expected a file, as there is a key".to_owned());
            }
            _ => {}
        }
        if let Err(error) = crate::telemetry::parse_filter(&self.telemetry.level) {
            wrong("telemetry.level", error);
        }
        for (at, gateway) in self.notify.gateways.iter().enumerate() {
            if matches!(gateway.scheme.as_str(), "" | "udp" | "wap") {
                let problem = format!("expected a scheme other than udp and wap, got {:?}", gateway.scheme);
                wrong(&format!("notify.gateways[{at}].scheme"), problem);
            }
            if !gateway.url.starts_with("http://") && !gateway.url.starts_with("https://") {
                let problem = format!("expected an address of http or https, got {:?}", gateway.url);
                wrong(&format!("notify.gateways[{at}].url"), problem);
            }
        }
        for (at, model) in self.dialect.models.iter().enumerate() {
            if !model.fumo_root.starts_with("./") || model.fumo_root.len() < 3 {
                let problem = format!("expected an address such as ./FUMO, got {:?}", model.fumo_root);
                wrong(&format!("dialect.models[{at}].fumo_root"), problem);
            }
        }
    }

    /// Every key with the value that is in force, `None` where it is unset, in the order of the sections. What the settings
    /// know as secret stands in files that they name; still, an address may hold more than it should.
    pub fn values(&self) -> Vec<(&'static str, Option<toml::Value>)> {
        let mut values = Vec::new();
        self.session.values(&mut values);
        self.tls.values(&mut values);
        self.admin.values(&mut values);
        self.admin_tls.values(&mut values);
        self.limits.values(&mut values);
        self.process.values(&mut values);
        self.health.values(&mut values);
        self.storage.values(&mut values);
        self.secrets.values(&mut values);
        self.redis.values(&mut values);
        self.scylla.values(&mut values);
        self.kafka.values(&mut values);
        self.notify.values(&mut values);
        self.snapshot.values(&mut values);
        self.dialect.values(&mut values);
        self.telemetry.values(&mut values);
        self.shutdown.values(&mut values);
        values
    }

    /// Every key with its default and what it does, in the order of the sections.
    pub fn reference() -> Vec<KeyDoc> {
        let mut keys = Vec::new();
        SessionSettings::describe(&mut keys);
        TlsSettings::describe(&mut keys);
        AdminSettings::describe(&mut keys);
        AdminTlsSettings::describe(&mut keys);
        LimitsSettings::describe(&mut keys);
        RolesSettings::describe(&mut keys);
        HealthSettings::describe(&mut keys);
        StorageSettings::describe(&mut keys);
        SecretsSettings::describe(&mut keys);
        RedisSettings::describe(&mut keys);
        ScyllaSettings::describe(&mut keys);
        KafkaSettings::describe(&mut keys);
        NotifySettings::describe(&mut keys);
        SnapshotSettings::describe(&mut keys);
        DialectSettings::describe(&mut keys);
        TelemetrySettings::describe(&mut keys);
        ShutdownSettings::describe(&mut keys);
        keys
    }

    /// A settings file with every key, its description and its default, all commented out.
    pub fn example() -> String {
        let mut text = String::from("# Every setting with its default. Uncomment what you change.\n");
        let mut section = "";
        for KeyDoc { key, default, doc } in Self::reference() {
            let (of, name) = key.rsplit_once('.').unwrap_or(("", key));
            if of != section {
                section = of;
                let _ = write!(text, "\n[{section}]\n");
            }
            for line in doc.lines() {
                let _ = writeln!(text, "# {}", line.trim());
            }
            let _ = match default {
                Some(default) => writeln!(text, "#{name} = {default}"),
                None => writeln!(text, "#{name} ="),
            };
        }
        text
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// The dotted key; empty where the file as a whole is at fault.
    key: String,
    origin: Origin,
    problem: String,
}

impl SettingsError {
    /// The dotted key; empty where the file as a whole is at fault.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(self.problem.trim_end())?;
        match &self.origin {
            Origin::File => Ok(()),
            Origin::Environment(name) => write!(f, " (from {name})"),
            Origin::Flag => f.write_str(" (from the command line)"),
        }
    }
}

/// All mistakes of the settings, each on a line of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsErrors(Vec<SettingsError>);

impl SettingsErrors {
    fn whole(problem: String) -> Self {
        Self(vec![SettingsError { key: String::new(), origin: Origin::File, problem }])
    }

    /// The mistakes, in the order of keys. Never empty.
    pub fn iter(&self) -> impl Iterator<Item = &SettingsError> {
        self.0.iter()
    }
}

impl fmt::Display for SettingsErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            let line_break = if at == 0 { "" } else { "\n" };
            write!(f, "{line_break}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsErrors {}
