//! What of the settings stands in files, and whether they can be used.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use rustls::ClientConfig;
use scylla::authentication::{AuthError, AuthenticatorProvider, AuthenticatorSession};
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
    pub(crate) login: Option<Arc<Login>>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Files {
    /// Reads them, where the settings can be used.
    pub(crate) fn read(settings: &ScyllaSettings) -> Result<Self, ScyllaError> {
        if let Some((key, problem)) = settings.problems().into_iter().next() {
            return Err(ScyllaError::Settings(format!("{key}: {problem}")));
        }
        let login = match (&settings.username, &settings.password_file) {
            (Some(user), Some(file)) => {
                let login = Login { user: user.clone(), password_file: file.clone() };
                login.password().map_err(ScyllaError::Settings)?;
                Some(Arc::new(login))
            }
            _ => None,
        };
        let identity = settings.certificate.as_deref().zip(settings.key.as_deref());
        let tls = settings.ca.as_deref().map(|ca| tls::client_config(ca, identity)).transpose()?;
        Ok(Self { login, tls })
    }
}

/// Who we are; the password is read for each connection, so that another one needs no restart.
pub(crate) struct Login {
    user: String,
    password_file: PathBuf,
}

impl Login {
    fn password(&self) -> Result<Zeroizing<String>, String> {
        let read = service_kit::files::read_secret(&self.password_file).map(Zeroizing::new);
        read.map_err(|error| {
            format!("cannot read {} (scylla.password_file): {error}", self.password_file.display())
        })
    }
}

#[async_trait]
impl AuthenticatorProvider for Login {
    async fn start_authentication_session(
        &self,
        _authenticator: &str,
    ) -> Result<(Option<Vec<u8>>, Box<dyn AuthenticatorSession>), AuthError> {
        // As SASL PLAIN has it (RFC 4616): nobody else's name, then ours, then the password.
        let password = self.password()?;
        let answer = [b"\0", self.user.as_bytes(), b"\0", password.as_bytes()].concat();
        Ok((Some(answer), Box::new(LoggingIn)))
    }
}

struct LoggingIn;

#[async_trait]
impl AuthenticatorSession for LoggingIn {
    async fn evaluate_challenge(&mut self, _token: Option<&[u8]>) -> Result<Option<Vec<u8>>, AuthError> {
        Err("expected a node that takes name and password at once, got a challenge".to_owned())
    }

    async fn success(&mut self, _token: Option<&[u8]>) -> Result<(), AuthError> {
        Ok(())
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

    #[tokio::test]
    async fn the_password_is_read_for_each_connection() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let login = Login { user: "dm".into(), password_file: file.path().to_owned() };
        for password in ["first", "the second"] {
            std::fs::write(file.path(), format!("{password}\n")).unwrap();
            let (answer, _) = login.start_authentication_session("any").await.unwrap();
            assert_eq!(answer.unwrap(), format!("\0dm\0{password}").into_bytes());
        }
        std::fs::write(file.path(), "").unwrap();
        let refused = login.start_authentication_session("any").await.err().unwrap();
        assert!(refused.contains("scylla.password_file"), "{refused}");
    }
}
