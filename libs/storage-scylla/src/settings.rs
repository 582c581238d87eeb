//! What of the settings stands in files, and whether they can be used.

use std::sync::Arc;

use rustls::ClientConfig;
use service_kit::settings::ScyllaSettings;
use zeroize::Zeroizing;

use crate::{ScyllaError, tls};

/// What cannot be used, before anything is opened.
///
/// # Errors
///
/// [`ScyllaError::Settings`] with the first mistake, [`ScyllaError::Certificate`] with the first file that cannot be used.
pub fn check(settings: &ScyllaSettings) -> Result<(), ScyllaError> {
    Files::read(settings).map(drop)
}

/// What stands in files.
pub(crate) struct Files {
    /// Name and password.
    pub(crate) credentials: Option<(String, Zeroizing<String>)>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Files {
    /// Reads them, where the settings can be used.
    pub(crate) fn read(settings: &ScyllaSettings) -> Result<Self, ScyllaError> {
        if let Some((key, problem)) = settings.problems().into_iter().next() {
            return Err(ScyllaError::Settings(format!("{key}: {problem}")));
        }
        let credentials = match (&settings.username, &settings.password_file) {
            (Some(user), Some(file)) => {
                let text = std::fs::read_to_string(file).map(Zeroizing::new);
                let text = text.map_err(|error| {
                    ScyllaError::Settings(format!(
                        "cannot read {} (scylla.password_file): {error}",
                        file.display()
                    ))
                })?;
                Some((user.clone(), text.trim_end_matches(['\r', '\n']).to_owned().into()))
            }
            _ => None,
        };
        let identity = settings.certificate.as_deref().zip(settings.key.as_deref());
        let tls = settings.ca.as_deref().map(|ca| tls::client_config(ca, identity)).transpose()?;
        Ok(Self { credentials, tls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_said_before_anything_opens() {
        let good = ScyllaSettings::default();
        check(&good).unwrap();
        let missing = || Some("no such file".into());
        for (wrong, says) in [
            (ScyllaSettings { contact_points: Vec::new(), ..good.clone() }, "scylla.contact_points"),
            (ScyllaSettings { keyspace: "Flotilla".into(), ..good.clone() }, "\"Flotilla\""),
            (ScyllaSettings { keyspace: "a;drop".into(), ..good.clone() }, "a;drop"),
            (ScyllaSettings { keyspace: String::new(), ..good.clone() }, "scylla.keyspace"),
            (ScyllaSettings { username: Some("dm".into()), ..good.clone() }, "scylla.username"),
            (
                ScyllaSettings { username: Some("dm".into()), password_file: missing(), ..good.clone() },
                "scylla.password_file",
            ),
            (ScyllaSettings { ca: missing(), ..good.clone() }, "no such file"),
        ] {
            let said = check(&wrong).unwrap_err().to_string();
            assert!(said.contains(says), "{said}");
        }
    }
}
