//! TLS from certificate files that may change while the server runs.
//!
//! Certificates are renewed by other programs, which replace files and tell nobody. So the files are looked at
//! every few seconds; a pair that is broken (half-written, or not belonging together) leaves the old one in place.

mod expiry;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio_rustls::TlsAcceptor;

use crate::{
    metrics::{Counter, Metrics},
    shutdown::Shutdown,
};

/// How often the files are looked at.
pub const RELOAD_PERIOD: Duration = Duration::from_secs(5);

/// Why a certificate cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or has nothing of the kind.
    #[error("could not read {what} from {path}")]
    Pem {
        /// `certificates` or `a private key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The key is of no known kind, or not that of the certificate.
    #[error("certificate {certificate} and key {key} cannot be used together")]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// A certificate that is served, and read again when its files change.
#[derive(Debug)]
pub struct Certificate {
    files: Files,
    current: RwLock<Arc<CertifiedKey>>,
    read_at: RwLock<Stamp>,
    /// Counts contents that could not be used, where somebody looks.
    failures: OnceLock<Counter>,
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// Times and sizes of both files: another stamp means other contents.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Certificate {
    /// Reads both files.
    ///
    /// # Errors
    ///
    /// [`TlsError`] when the files do not hold a certificate and its key.
    pub fn open(certificate: &Path, key: &Path) -> Result<Arc<Self>, TlsError> {
        let files = Files { certificate: certificate.to_owned(), key: key.to_owned() };
        let stamp = files.stamp();
        let current = RwLock::new(Arc::new(files.read()?));
        Ok(Arc::new(Self { files, current, read_at: RwLock::new(stamp), failures: OnceLock::new() }))
    }

    /// Shows when it ends, and how often new files could not be used. `listener` is what it is served by.
    pub fn show(self: &Arc<Self>, metrics: &Metrics, listener: &str) {
        let this = Arc::downgrade(self);
        let read = move || {
            this.upgrade().and_then(|this| this.expiry()).map_or(f64::NAN, |at| at.as_second() as f64)
        };
        // Asked for again: it is so already.
        let _ = self.failures.set(make_metrics(metrics, listener, read));
    }

    /// When the first certificate of the chain ends; `None` where one cannot be read.
    pub fn expiry(&self) -> Option<jiff::Timestamp> {
        let current = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let ends: Option<Vec<_>> =
            current.cert.iter().map(|certificate| expiry::not_after(certificate)).collect();
        ends?.into_iter().min()
    }

    /// What connections are accepted with: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
    pub fn acceptor(self: &Arc<Self>) -> TlsAcceptor {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("ring offers cipher suites for both versions")
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if let Ok(ticketer) = ring::Ticketer::new() {
            // With tickets a session is resumed without memory on our side, and on any front-end of this process.
            config.ticketer = ticketer;
        }
        TlsAcceptor::from(Arc::new(config))
    }

    /// Looks at the files every `period` until the end; new connections get what they hold.
    pub async fn keep_fresh(self: Arc<Self>, period: Duration, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.draining() => return,
                () = tokio::time::sleep(period) => {}
            }
            let this = Arc::clone(&self);
            // Files may lie on a network: looking at them must not hold up a thread that serves.
            match tokio::task::spawn_blocking(move || this.reload_if_changed()).await {
                Ok(Ok(true)) => tracing::info!("certificate read again"),
                Ok(Ok(false)) | Err(_) => {}
                Ok(Err(error)) => {
                    if let Some(failures) = self.failures.get() {
                        failures.increment();
                    }
                    tracing::warn!(error = %Chain(&error), "new certificate not usable, serving the old one");
                }
            }
        }
    }

    /// Reads the files if they changed; answers whether they did.
    ///
    /// # Errors
    ///
    /// [`TlsError`] when they cannot be used; the old certificate is then served on, and they are looked at again
    /// only after they have changed once more.
    pub fn reload_if_changed(&self) -> Result<bool, TlsError> {
        let stamp = self.files.stamp();
        {
            let mut read_at = self.read_at.write().unwrap_or_else(PoisonError::into_inner);
            if *read_at == stamp {
                return Ok(false);
            }
            *read_at = stamp;
        }
        let fresh = Arc::new(self.files.read()?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(true)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Files {
    fn stamp(&self) -> Stamp {
        [&self.certificate, &self.key].map(|path| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.modified().ok()?, meta.len()))
        })
    }

    fn read(&self) -> Result<CertifiedKey, TlsError> {
        let pem = |what, path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::Pem { what, path, source }
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect)
            .map_err(pem("certificates", &self.certificate))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(pem("a private key", &self.key))?;
        // This also checks that the key belongs to the certificate.
        CertifiedKey::from_der(chain, key, &provider()).map_err(|source| TlsError::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        })
    }
}

/// Makes the metrics of a listener's certificate, for the reference of metrics.
pub fn describe(metrics: &Metrics, listener: &str) {
    make_metrics(metrics, listener, || f64::NAN);
}

fn make_metrics(
    metrics: &Metrics,
    listener: &str,
    expiry: impl Fn() -> f64 + Send + Sync + 'static,
) -> Counter {
    let labels = [("listener", listener)];
    let help = "When the first certificate of the chain that is served ends.";
    metrics.gauge_of("dm_tls_certificate_expiry_timestamp_seconds", help, &labels, expiry);
    let help = "New certificate files that could not be used; the old certificate is served on.";
    metrics.counter("dm_tls_reload_failures_total", help, &labels)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// An error with its causes on one line.
pub(crate) struct Chain<'a>(pub(crate) &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
