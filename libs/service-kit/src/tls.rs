//! TLS of a listener, from files that may change while the server runs.
//!
//! Certificates are renewed by other programs, which replace files and tell nobody. So the files are looked at
//! every few seconds; what is broken (half-written, or not belonging together) leaves the old contents in place.
//!
//! Only TLS 1.2 and 1.3 are spoken, and of their suites only those with forward secrecy (ECDHE) and authenticated
//! encryption: rustls has no others.

mod der;
mod files;

pub use der::not_after;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use jiff::Timestamp;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    server::{VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use self::files::Files;
use crate::{
    files::Stamps,
    metrics::{Counter, Metrics},
    settings::{ListenerTlsSettings, TlsClientAuth, TlsVersion},
    shutdown::Shutdown,
};

pub use self::files::{is_open_to_all, read_pem};

/// How often the files are looked at.
pub const RELOAD_PERIOD: Duration = Duration::from_secs(5);

/// What a listener that speaks HTTP/2 and HTTP/1.1 offers.
pub const HTTP_2_AND_1: &[&[u8]] = &[b"h2", b"http/1.1"];
/// What a listener that speaks HTTP/1.1 offers.
pub const HTTP_1: &[&[u8]] = &[b"http/1.1"];

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or has nothing of the kind.
    #[error("could not read {what} from {path}")]
    Pem {
        /// `certificates`, `a private key`, ...
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
    /// An authority of clients is no certificate.
    #[error("authorities of clients in {path} cannot be used")]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// Authorities and lists of revoked certificates are not what can be checked against.
    #[error("certificates of clients cannot be checked against {path}")]
    Clients {
        /// The authorities' file.
        path: PathBuf,
        /// Why.
        #[source]
        source: VerifierBuilderError,
    },
}

/// Why a connection was not made.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The client has no certificate, or none that is good.
    #[error("client's certificate refused")]
    Certificate(#[source] io::Error),
    /// Its certificate was good when the session that it resumes began, and has ended since.
    #[error("client's certificate has ended")]
    CertificateEnded,
    /// Version, suite, or what came was no TLS.
    #[error("no TLS that both sides speak")]
    Protocol(#[source] io::Error),
    /// The connection broke off.
    #[error("connection broke off")]
    Broken(#[source] io::Error),
}

impl HandshakeError {
    fn of(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
                Self::Certificate(error)
            }
            Some(_) => Self::Protocol(error),
            None => Self::Broken(error),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Certificate(_) | Self::CertificateEnded => "certificate",
            Self::Protocol(_) => "protocol",
            Self::Broken(_) => "broken",
        }
    }
}

/// The reasons of failed handshakes, as label values; `timeout` is the serve loop's.
const REASONS: [&str; 4] = ["broken", "certificate", "protocol", "timeout"];

/// A certificate that a client showed, checked against the listener's authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    names: Vec<String>,
    not_after: Option<Timestamp>,
}

impl ClientCertificate {
    fn read(certificate: &[u8]) -> Self {
        Self { names: der::names(certificate), not_after: der::not_after(certificate) }
    }

    /// Its URIs, or its common name where it has no URI.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether one of its names is `id`, letter by letter.
    pub fn is_named(&self, id: &str) -> bool {
        self.names.iter().any(|name| name == id)
    }

    /// Whether it may still be used. One whose end cannot be read may not.
    fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_after.is_some_and(|end| now <= end)
    }
}

/// TLS of one listener: read again when its files change.
#[derive(Debug)]
pub struct ListenerTls {
    files: Files,
    min_version: TlsVersion,
    client_auth: TlsClientAuth,
    protocols: &'static [&'static [u8]],
    current: RwLock<Current>,
    read_at: RwLock<Stamps>,
    metrics: OnceLock<TlsMetrics>,
}

#[derive(Clone, Debug)]
struct Current {
    config: Arc<ServerConfig>,
    expiry: Option<Timestamp>,
}

#[derive(Debug)]
struct TlsMetrics {
    /// Contents that could not be used.
    reload_failures: Counter,
    /// By [`REASONS`].
    handshake_failures: Vec<Counter>,
}

impl ListenerTls {
    /// Reads the files that the settings name; `None` where they name no certificate. `protocols` are offered (ALPN),
    /// the best first.
    ///
    /// # Errors
    ///
    /// [`TlsError`] when the files do not hold what they should.
    pub fn open(
        settings: &ListenerTlsSettings<'_>,
        protocols: &'static [&'static [u8]],
    ) -> Result<Option<Arc<Self>>, TlsError> {
        let Some(files) = Files::of(settings) else { return Ok(None) };
        let stamps = files.stamps();
        let ListenerTlsSettings { min_version, client_auth, .. } = *settings;
        let current = RwLock::new(load(&files, min_version, client_auth, protocols)?);
        let (read_at, metrics) = (RwLock::new(stamps), OnceLock::new());
        Ok(Some(Arc::new(Self { files, min_version, client_auth, protocols, current, read_at, metrics })))
    }

    /// Shows when its certificate ends, how often new files could not be used, and handshakes that failed. `listener` is
    /// what it is served by.
    pub fn show(self: &Arc<Self>, metrics: &Metrics, listener: &str) {
        let this = Arc::downgrade(self);
        let read = move || {
            this.upgrade().and_then(|this| this.expiry()).map_or(f64::NAN, |at| at.as_second() as f64)
        };
        // Asked for again: it is so already.
        let _ = self.metrics.set(TlsMetrics::new(metrics, listener, read));
    }

    /// When the first certificate of the chain ends; `None` where one cannot be read.
    pub fn expiry(&self) -> Option<Timestamp> {
        self.current().expiry
    }

    /// Makes a connection with what the files hold now. Answers the client's certificate too, where it showed one.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`], which is counted.
    pub async fn accept<S>(
        &self,
        stream: S,
    ) -> Result<(TlsStream<S>, Option<Arc<ClientCertificate>>), HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(self.current().config);
        let accepted = match acceptor.accept(stream).await {
            Ok(stream) => {
                let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
                let certificate = chain.first().map(|leaf| Arc::new(ClientCertificate::read(leaf)));
                // Within a resumed session nobody checks the certificate again.
                match &certificate {
                    Some(certificate) if !certificate.is_valid_at(Timestamp::now()) => {
                        Err(HandshakeError::CertificateEnded)
                    }
                    _ => Ok((stream, certificate)),
                }
            }
            Err(error) => Err(HandshakeError::of(error)),
        };
        accepted.inspect_err(|error| self.count_failure(error.reason()))
    }

    /// Counts a handshake that took too long.
    pub fn count_timeout(&self) {
        self.count_failure("timeout");
    }

    fn count_failure(&self, reason: &str) {
        let at = REASONS.iter().position(|known| *known == reason);
        if let Some((metrics, at)) = self.metrics.get().zip(at) {
            metrics.handshake_failures[at].increment();
        }
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
                Ok(Ok(true)) => {
                    tracing::info!(certificate = %self.files.certificate.display(), "TLS files read again");
                }
                Ok(Ok(false)) | Err(_) => {}
                Ok(Err(error)) => {
                    if let Some(metrics) = self.metrics.get() {
                        metrics.reload_failures.increment();
                    }
                    tracing::warn!(error = %Chain(&error), "new TLS files not usable, serving with the old ones");
                }
            }
        }
    }

    /// Reads the files if they changed; answers whether they did.
    ///
    /// # Errors
    ///
    /// [`TlsError`] when they cannot be used; what they held before is then served on, and they are looked at again
    /// only after they have changed once more.
    pub fn reload_if_changed(&self) -> Result<bool, TlsError> {
        let stamps = self.files.stamps();
        {
            let mut read_at = self.read_at.write().unwrap_or_else(PoisonError::into_inner);
            if *read_at == stamps {
                return Ok(false);
            }
            *read_at = stamps;
        }
        let fresh = load(&self.files, self.min_version, self.client_auth, self.protocols)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(true)
    }

    fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl TlsMetrics {
    fn new(metrics: &Metrics, listener: &str, expiry: impl Fn() -> f64 + Send + Sync + 'static) -> Self {
        let labels = [("listener", listener)];
        let help = "When the first certificate of the chain that is served ends.";
        metrics.gauge_of("dm_tls_certificate_expiry_timestamp_seconds", help, &labels, expiry);
        let help = "New TLS files that could not be used; what they held before is served on.";
        let reload_failures = metrics.counter("dm_tls_reload_failures_total", help, &labels);
        let help = "Connections that did not come to speak TLS: the client's certificate is missing or bad, version or suite \
            is not spoken, it took too long, or it broke off.";
        let handshake_failures = REASONS
            .iter()
            .map(|reason| {
                let labels = [("listener", listener), ("reason", *reason)];
                metrics.counter("dm_tls_handshake_failures_total", help, &labels)
            })
            .collect();
        Self { reload_failures, handshake_failures }
    }
}

/// Makes the metrics of a listener's TLS, for the reference of metrics.
pub fn describe(metrics: &Metrics, listener: &str) {
    TlsMetrics::new(metrics, listener, || f64::NAN);
}

/// What connections are accepted with, as the files are now.
fn load(
    files: &Files,
    min_version: TlsVersion,
    client_auth: TlsClientAuth,
    protocols: &[&[u8]],
) -> Result<Current, TlsError> {
    let (chain, key) = files.pair()?;
    let ends: Option<Vec<_>> = chain.iter().map(|certificate| der::not_after(certificate)).collect();
    let expiry = ends.and_then(|ends| ends.into_iter().min());
    let (clients, key) = (clients(files, client_auth)?, checked_pair(files, chain, key)?);

    let versions: &[_] = match min_version {
        TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("ring offers cipher suites for both versions")
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)));
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    // With tickets a session is resumed without memory on our side. Their key is new with each reading of the files: a
    // session is not resumed past a change of the authorities, or of what they revoked.
    if let Ok(ticketer) = ring::Ticketer::new() {
        config.ticketer = ticketer;
    }
    Ok(Current { config: Arc::new(config), expiry })
}

/// Also checks that the key belongs to the certificate.
fn checked_pair(
    files: &Files,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, TlsError> {
    CertifiedKey::from_der(chain, key, &provider()).map_err(|source| TlsError::Pair {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        source,
    })
}

/// Checks what clients show.
fn clients(files: &Files, auth: TlsClientAuth) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let (Some(path), TlsClientAuth::Optional | TlsClientAuth::Required) = (&files.client_ca, auth) else {
        return Ok(WebPkiClientVerifier::no_client_auth());
    };
    let mut roots = RootCertStore::empty();
    for authority in files.authorities(path)? {
        roots.add(authority).map_err(|source| TlsError::Authority { path: path.clone(), source })?;
    }
    let lists: Vec<CertificateRevocationListDer<'static>> = files.revocations()?;
    // Where there are lists, a certificate whose authority has none is refused. One that is late is used on: an authority
    // that is down for a day must not lock out a fleet.
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).with_crls(lists);
    if auth == TlsClientAuth::Optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|source| TlsError::Clients { path: path.clone(), source })
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
