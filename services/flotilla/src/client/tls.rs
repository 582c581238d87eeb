//! TLS of the admin API's client.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use rustls::crypto::ring;
use service_kit::tls::is_open_to_all;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::exit::Failure;

/// Checks the server against the authorities of `ca`, or the system's, and shows it `identity`: certificate and key.
pub(crate) fn config(ca: Option<&Path>, identity: Option<(&Path, &Path)>) -> Result<TlsConfig, Failure> {
    let authorities = match ca {
        Some(path) => certificates(path)?,
        None => system_authorities()?,
    };
    let identity = match identity {
        Some((certificate, key)) => {
            if is_open_to_all(key) {
                eprintln!("warning: every user of this machine can read {}", key.display());
            }
            let text = std::fs::read(key).with_context(|| format!("could not read {}", key.display()))?;
            let key = PrivateKey::from_pem(&text)
                .with_context(|| format!("expected a private key in PEM in {}", key.display()))?;
            Some(ClientCert::new_with_certs(&certificates(certificate)?, key))
        }
        None => None,
    };
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&authorities))
        .client_cert(identity)
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build())
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, Failure> {
    let text = std::fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
    let items = parse_pem(&text).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    });
    let found: Vec<_> =
        items.collect::<Result<_, _>>().with_context(|| format!("{} is not PEM", path.display()))?;
    if found.is_empty() {
        return Err(Failure::error(format!("expected certificates in PEM in {}, got none", path.display())));
    }
    Ok(found)
}

fn system_authorities() -> Result<Vec<Certificate<'static>>, Failure> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err(Failure::error(
            "this machine has no authorities that certificates are checked against".to_owned(),
        )
        .hint("name the file of the server's authority by --ca or FLOTILLA_CA"));
    }
    Ok(found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect())
}
