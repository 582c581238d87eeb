//! What of the settings stands in files, and whether they can be used.

use std::path::{Path, PathBuf};

use redis::{ClientTlsConfig, TlsCertificates};
use service_kit::{files::read_secret, settings::RedisSettings};
use zeroize::Zeroizing;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// One of them cannot be, or not beside the others.
    #[error("{key}: {problem}")]
    Key {
        /// Which.
        key: &'static str,
        /// What was expected, and what stands there.
        problem: String,
    },
    /// A password, a certificate or a key cannot be read.
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

/// What cannot be used, before anything is opened.
///
/// # Errors
///
/// [`SettingsError`] with the first mistake, or the first file that cannot be read.
pub fn check(settings: &RedisSettings) -> Result<(), SettingsError> {
    Files::read(settings).map(drop)
}

/// What stands in files.
pub(crate) struct Files {
    pub(crate) password: Option<Zeroizing<String>>,
    pub(crate) certificates: TlsCertificates,
}

impl Files {
    /// Reads them, where the settings can be used.
    pub(crate) fn read(settings: &RedisSettings) -> Result<Self, SettingsError> {
        if let Some((key, problem)) = settings.problems().into_iter().next() {
            return Err(SettingsError::Key { key, problem });
        }
        let password = settings.password_file.as_deref().map(password).transpose()?;
        let root_cert = settings.ca.as_deref().map(octets).transpose()?;
        let client_tls = match (&settings.certificate, &settings.key) {
            (Some(certificate), Some(key)) => {
                Some(ClientTlsConfig { client_cert: octets(certificate)?, client_key: octets(key)? })
            }
            _ => None,
        };
        Ok(Self { password, certificates: TlsCertificates { client_tls, root_cert } })
    }
}

fn octets(path: &Path) -> Result<Vec<u8>, SettingsError> {
    std::fs::read(path).map_err(|source| SettingsError::File { path: path.to_owned(), source })
}

fn password(path: &Path) -> Result<Zeroizing<String>, SettingsError> {
    let read = read_secret(path).map(Zeroizing::new);
    read.map_err(|source| SettingsError::File { path: path.to_owned(), source })
}
