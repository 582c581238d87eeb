//! TLS by rustls.

use std::{path::Path, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use crate::{ScyllaError, TlsSettings};

/// The client's side of TLS.
pub(crate) fn client_config(settings: &TlsSettings) -> Result<Arc<ClientConfig>, ScyllaError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&settings.ca_file)? {
        roots.add(certificate).map_err(|error| unusable(&settings.ca_file, error))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&settings.ca_file, error))?
        .with_root_certificates(roots);
    let Some((chain, key)) = &settings.identity else {
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
