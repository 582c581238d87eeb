//! The files of a listener's TLS.

use std::path::{Path, PathBuf};

use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
    pem::{self, PemObject},
};

use super::TlsError;
use crate::{files::Stamps, settings::ListenerTlsSettings};

#[derive(Debug)]
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) client_ca: Option<PathBuf>,
    client_crl: Option<PathBuf>,
}

impl Files {
    pub(super) fn of(settings: &ListenerTlsSettings<'_>) -> Option<Self> {
        Some(Self {
            certificate: settings.certificate?.to_owned(),
            key: settings.key?.to_owned(),
            client_ca: settings.client_ca.map(Path::to_owned),
            client_crl: settings.client_crl.map(Path::to_owned),
        })
    }

    pub(super) fn stamps(&self) -> Stamps {
        let clients = [&self.client_ca, &self.client_crl].into_iter().flatten();
        Stamps::of([&self.certificate, &self.key].into_iter().chain(clients).map(PathBuf::as_path))
    }

    /// The chain and its key.
    pub(super) fn pair(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        if is_open_to_all(&self.key) {
            let path = self.key.display();
            tracing::warn!(%path, "private key can be read by every user of this machine, expected mode 0600 or 0640");
        }
        let chain = read_all("certificates", &self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(failed("a private key", &self.key))?;
        Ok((chain, key))
    }

    /// The authorities of clients.
    pub(super) fn authorities(&self, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        read_all("authorities of clients", path)
    }

    /// What the authorities revoked.
    pub(super) fn revocations(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        let Some(path) = &self.client_crl else { return Ok(Vec::new()) };
        // A file that was cut to nothing must not make every revoked certificate good again.
        read_all("lists of revoked certificates", path)
    }
}

fn read_all<T: PemObject>(what: &'static str, path: &Path) -> Result<Vec<T>, TlsError> {
    read_pem(path).map_err(failed(what, path))
}

/// All objects of a kind in a PEM file, at least one.
///
/// # Errors
///
/// As reading the file has them, and [`pem::Error::NoItemsFound`] where it has none of the kind.
pub fn read_pem<T: PemObject>(path: &Path) -> Result<Vec<T>, pem::Error> {
    let all: Vec<T> = T::pem_file_iter(path).and_then(Iterator::collect)?;
    if all.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(all) }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(pem::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::Pem { what, path, source }
}

/// Whether every user of this machine may read the file: no place for a secret.
pub fn is_open_to_all(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}
