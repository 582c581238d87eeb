//! TLS by rustls, with files that may change while the process runs: each connection is made with what they hold then.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        ResolvesClientCert, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    sign::CertifiedKey,
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, UnixTime,
    pem::{self, PemObject as _},
};
use service_kit::{files::Watched, refusal::with_causes, tls::read_pem};
use tokio::{io::AsyncReadExt as _, net::TcpStream};
use tokio_rustls::TlsConnector;

use crate::ScyllaError;

/// How long a node has to refuse a connection.
const SAYS_WITHIN: Duration = Duration::from_secs(3);

/// The client's side of TLS.
///
/// The driver checks a node's certificate against its IP address, so that is what it must name.
pub(crate) fn client_config(
    ca: &Path,
    identity: Option<(&Path, &Path)>,
) -> Result<Arc<ClientConfig>, ScyllaError> {
    let provider = Arc::new(ring::default_provider());
    let authorities = Authorities(Fresh::new([Some(ca.to_owned()), None], read_authorities)?);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(ca, error))?
        .dangerous()
        // It is the library's own verifier, made anew when the file changes.
        .with_custom_certificate_verifier(Arc::new(authorities));
    let Some((chain, key)) = identity else {
        return Ok(Arc::new(builder.with_no_client_auth()));
    };
    let identity = Fresh::new([Some(chain.to_owned()), Some(key.to_owned())], read_identity)?;
    Ok(Arc::new(builder.with_client_cert_resolver(Arc::new(Identity(identity)))))
}

/// How what two files hold is read.
type Read<T> = fn(&[Option<PathBuf>; 2]) -> Result<Arc<T>, ScyllaError>;

/// What two files hold, read again when they change. Contents that cannot be used leave those of before.
#[derive(Debug)]
struct Fresh<T> {
    files: [Option<PathBuf>; 2],
    read: Read<T>,
    current: RwLock<(Watched, Arc<T>)>,
}

impl<T> Fresh<T> {
    fn new(files: [Option<PathBuf>; 2], read: Read<T>) -> Result<Self, ScyllaError> {
        let watched = Watched::new(files.iter().map(Option::as_ref));
        let first = read(&files)?;
        Ok(Self { files, read, current: RwLock::new((watched, first)) })
    }

    fn current(&self) -> Arc<T> {
        let changed = {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            let Some(changed) = current.0.changed() else { return Arc::clone(&current.1) };
            changed
        };
        let read = (self.read)(&self.files);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(fresh) => current.1 = fresh,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    error,
                    "new certificates for Scylla cannot be used, going on with the old ones"
                );
            }
        }
        current.0.taken(changed);
        Arc::clone(&current.1)
    }
}

fn read_authorities(files: &[Option<PathBuf>; 2]) -> Result<Arc<WebPkiServerVerifier>, ScyllaError> {
    let ca = files[0].as_deref().unwrap_or(Path::new(""));
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| unusable(ca, error))?;
    }
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| unusable(ca, error))
}

fn read_identity(files: &[Option<PathBuf>; 2]) -> Result<Arc<CertifiedKey>, ScyllaError> {
    let path = |at: usize| files.get(at).and_then(Option::as_deref).unwrap_or(Path::new(""));
    let (chain, key) = (path(0), path(1));
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, error))?;
    // This also checks that the key belongs to the certificate.
    let both = CertifiedKey::from_der(certificates(chain)?, private, &ring::default_provider());
    both.map(Arc::new).map_err(|error| unusable(chain, error))
}

#[derive(Debug)]
struct Authorities(Fresh<WebPkiServerVerifier>);

impl ServerCertVerifier for Authorities {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.0.current().verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.current().verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.current().verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.current().supported_verify_schemes()
    }
}

#[derive(Debug)]
struct Identity(Fresh<CertifiedKey>);

impl ResolvesClientCert for Identity {
    fn resolve(&self, _hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let current = self.0.current();
        current.key.choose_scheme(schemes).is_some().then_some(current)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// What a node says against a connection to which nothing else is said; `None` where nothing comes within [`SAYS_WITHIN`].
pub(crate) async fn what_the_node_says(node: &str, config: &Arc<ClientConfig>) -> Option<String> {
    let ask = async {
        let stream = TcpStream::connect(node).await?;
        // The driver checks a node's certificate against its address.
        let name = ServerName::from(stream.peer_addr()?.ip());
        let mut stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await?;
        stream.read(&mut [0]).await
    };
    let answer = tokio::time::timeout(SAYS_WITHIN, ask).await.ok()?;
    answer.err().map(|error| with_causes(&error))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, ScyllaError> {
    read_pem(file).map_err(|error| match error {
        pem::Error::NoItemsFound => unusable(file, "expected a certificate in PEM form, got none"),
        error => unusable(file, error),
    })
}

fn unusable(file: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ScyllaError {
    ScyllaError::Certificate { file: file.display().to_string(), source: source.into() }
}
