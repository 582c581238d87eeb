//! TLS by rustls.

use std::{path::Path, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use crate::ScyllaError;

/// The client's side of TLS.
///
/// The driver checks a node's certificate against its IP address, so that is what it must name.
pub(crate) fn client_config(
    ca: &Path,
    identity: Option<(&Path, &Path)>,
) -> Result<Arc<ClientConfig>, ScyllaError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| unusable(ca, error))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(ca, error))?
        .with_root_certificates(roots);
    let Some((chain, key)) = identity else {
        return Ok(Arc::new(builder.with_no_client_auth()));
    };
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, error))?;
    let config = builder
        .with_client_auth_cert(certificates(chain)?, private)
        .map_err(|error| unusable(chain, error))?;
    Ok(Arc::new(config))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, ScyllaError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(file, error))?;
    if certificates.is_empty() {
        return Err(unusable(file, "expected a certificate in PEM form, got none"));
    }
    Ok(certificates)
}

fn unusable(file: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ScyllaError {
    ScyllaError::Certificate { file: file.display().to_string(), source: source.into() }
}
