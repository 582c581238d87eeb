//! HTTP for a whole fleet: connections are kept alive and shared, and never more than the visits at a time.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// A message from a server is never larger, in octets.
const REPLY_OCTETS_MAX: usize = 4 << 20;

/// How servers are trusted.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Certificates in PEM that sign the server's.
    pub ca: Option<PathBuf>,
    /// Any certificate is taken. For tests only.
    pub insecure: bool,
}

/// What the client is to do.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// HTTP/2 with many exchanges a connection, instead of HTTP/1.1 with one.
    pub http2: bool,
    /// For HTTPS.
    pub tls: TlsOptions,
    /// Where connections go, in turn, whatever host an address names: the front-ends behind a load balancer, as
    /// `host:port`. Empty: to the host itself. With HTTP/2 there is one connection only.
    pub via: Vec<String>,
    /// Connections kept without an exchange, at most.
    pub idle_connections_max: usize,
    /// An exchange that takes longer has failed.
    pub timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        let timeout = Duration::from_secs(30);
        Self {
            http2: false,
            tls: TlsOptions::default(),
            via: Vec::new(),
            idle_connections_max: 1_024,
            timeout,
        }
    }
}

/// Why an exchange failed, or a client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is no absolute `http` or `https` one.
    #[error("expected an address such as http://host:port/path, got {0}")]
    Address(String),
    /// Connecting, or a certificate's file.
    #[error("could not {what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it went wrong.
        #[source]
        source: std::io::Error,
    },
    /// A file without a certificate, or with a broken one.
    #[error("expected certificates in PEM in {0}")]
    Certificates(PathBuf),
    /// TLS settings.
    #[error("could not set up TLS")]
    Tls(#[from] rustls::Error),
    /// The exchange broke.
    #[error("the exchange broke")]
    Http(#[from] hyper::Error),
    /// The exchange took too long.
    #[error("expected an answer within {0:?}")]
    TimedOut(Duration),
    /// The answer is too large.
    #[error("expected an answer of at most {REPLY_OCTETS_MAX} octets")]
    TooLarge,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// `Content-Type`, where there is one.
    pub content_type: Option<String>,
    /// `Retry-After` in seconds, where there is one.
    pub retry_after_s: Option<u64>,
    /// The body.
    pub body: Bytes,
}

/// The client of a whole fleet.
pub struct Client {
    options: ClientOptions,
    tls: TlsConnector,
    idle: Mutex<HashMap<String, Vec<http1::SendRequest<Full<Bytes>>>>>,
    shared: tokio::sync::Mutex<HashMap<String, http2::SendRequest<Full<Bytes>>>>,
    connects: AtomicU64,
}

enum Sender {
    /// With the scheme and authority under which it is kept.
    Http1(http1::SendRequest<Full<Bytes>>, String),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    /// A client without a connection yet.
    ///
    /// # Errors
    ///
    /// The file of certificates cannot be read.
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let tls = TlsConnector::from(Arc::new(tls_config(&options)?));
        let (idle, shared) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self { options, tls, idle, shared, connects: AtomicU64::new(0) })
    }

    /// Connections begun so far.
    pub fn connects(&self) -> u64 {
        self.connects.load(Ordering::Relaxed)
    }

    /// Posts a message and reads the answer.
    ///
    /// # Errors
    ///
    /// [`ClientError`] where no whole answer came.
    pub async fn post(
        &self,
        url: &str,
        content_type: &'static str,
        body: Bytes,
    ) -> Result<Reply, ClientError> {
        let timeout = self.options.timeout;
        let exchange = async {
            let response = self
                .exchange(url, |uri, authority| {
                    Request::builder()
                        .method(Method::POST)
                        .uri(uri)
                        .header(header::HOST, authority)
                        .header(header::CONTENT_TYPE, content_type)
                        .body(Full::new(body.clone()))
                })
                .await?;
            let (head, sender) = response;
            self.whole(head, sender).await
        };
        tokio::time::timeout(timeout, exchange).await.map_err(|_| ClientError::TimedOut(timeout))?
    }

    /// Asks for a file from an octet on; the body is the caller's to read. Nothing is taken back to the pool before
    /// [`Download::finish`].
    ///
    /// # Errors
    ///
    /// [`ClientError`] where no answer's head came.
    pub async fn download(&self, url: &str, offset: u64) -> Result<Download<'_>, ClientError> {
        let timeout = self.options.timeout;
        let exchange = self.exchange(url, |uri, authority| {
            let request = Request::builder().method(Method::GET).uri(uri).header(header::HOST, authority);
            let request = match offset {
                0 => request,
                from => request.header(header::RANGE, format!("bytes={from}-")),
            };
            request.body(Full::default())
        });
        let exchanged = tokio::time::timeout(timeout, exchange).await;
        let (response, sender) = exchanged.map_err(|_| ClientError::TimedOut(timeout))??;
        Ok(Download { client: self, response, sender })
    }

    /// Begins a message on a connection of its own and breaks it off in the middle of the body.
    ///
    /// # Errors
    ///
    /// [`ClientError`] where not even that was possible.
    pub async fn post_broken(&self, url: &str, content_type: &str, body: &[u8]) -> Result<(), ClientError> {
        let (uri, authority) = parts(url)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut octets = format!(
            "POST {path} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        octets.extend_from_slice(&body[..body.len() / 2]);
        let io = |source| ClientError::Io { what: "send half a message", source };
        let tcp = self.tcp(&uri).await?;
        if uri.scheme_str() == Some("https") {
            let mut stream = self.handshake(tcp, &uri).await?;
            stream.write_all(&octets).await.map_err(io)?;
            stream.flush().await.map_err(io)
        } else {
            let mut stream = tcp;
            stream.write_all(&octets).await.map_err(io)
        }
    }

    async fn exchange(
        &self,
        url: &str,
        build: impl Fn(&Uri, &str) -> http::Result<Request<Full<Bytes>>>,
    ) -> Result<(Response<Incoming>, Option<Sender>), ClientError> {
        let (uri, authority) = parts(url)?;
        // HTTP/1.1 wants the path alone, HTTP/2 the whole address.
        let target = match (self.options.http2, uri.path_and_query()) {
            (false, Some(path)) => Uri::from(path.clone()),
            _ => uri.clone(),
        };
        let request = || build(&target, &authority).map_err(|_| ClientError::Address(url.to_owned()));
        loop {
            let (mut sender, is_fresh) = self.sender(&uri, &authority).await?;
            match sender.send(request()?).await {
                Ok(response) => {
                    let sender = matches!(sender, Sender::Http1(..)).then_some(sender);
                    return Ok((response, sender));
                }
                // The server closed a kept connection before it saw the request: that says nothing about the server.
                Err(error) if !is_fresh && (error.is_canceled() || error.is_closed()) => {
                    self.forget(&authority).await;
                }
                Err(error) => {
                    self.forget(&authority).await;
                    return Err(error.into());
                }
            }
        }
    }

    async fn whole(
        &self,
        response: Response<Incoming>,
        sender: Option<Sender>,
    ) -> Result<Reply, ClientError> {
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let content_type = text(header::CONTENT_TYPE).map(str::to_owned);
        let retry_after_s = text(header::RETRY_AFTER).and_then(|value| value.trim().parse().ok());
        let status = response.status();
        let body = Limited::new(response.into_body(), REPLY_OCTETS_MAX).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => ClientError::Http(*error),
            Err(error) => {
                debug_assert!(error.is::<LengthLimitError>());
                ClientError::TooLarge
            }
        })?;
        if let Some(sender) = sender {
            self.keep(sender);
        }
        Ok(Reply { status, content_type, retry_after_s, body: body.to_bytes() })
    }

    async fn sender(&self, uri: &Uri, authority: &str) -> Result<(Sender, bool), ClientError> {
        if self.options.http2 {
            let mut shared = self.shared.lock().await;
            if let Some(sender) = shared.get(authority).filter(|sender| !sender.is_closed()) {
                return Ok((Sender::Http2(sender.clone()), false));
            }
            let sender = self.connect2(uri).await?;
            shared.insert(authority.to_owned(), sender.clone());
            return Ok((Sender::Http2(sender), true));
        }
        let key = format!("{}://{authority}", uri.scheme_str().unwrap_or_default());
        while let Some(mut sender) = self.take(&key) {
            if sender.ready().await.is_ok() {
                return Ok((Sender::Http1(sender, key), false));
            }
        }
        Ok((Sender::Http1(self.connect1(uri).await?, key), true))
    }

    fn take(&self, key: &str) -> Option<http1::SendRequest<Full<Bytes>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).get_mut(key)?.pop()
    }

    /// Gives a connection back after a whole exchange.
    fn keep(&self, sender: Sender) {
        let Sender::Http1(sender, key) = sender else { return };
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: usize = idle.values().map(Vec::len).sum();
        if kept < self.options.idle_connections_max {
            idle.entry(key).or_default().push(sender);
        }
    }

    async fn forget(&self, authority: &str) {
        if self.options.http2 {
            self.shared.lock().await.retain(|key, sender| key != authority || !sender.is_closed());
        }
    }

    async fn connect1(&self, uri: &Uri) -> Result<http1::SendRequest<Full<Bytes>>, ClientError> {
        let tcp = self.tcp(uri).await?;
        if uri.scheme_str() == Some("https") {
            return http1_over(self.handshake(tcp, uri).await?).await;
        }
        http1_over(tcp).await
    }

    async fn connect2(&self, uri: &Uri) -> Result<http2::SendRequest<Full<Bytes>>, ClientError> {
        let tcp = self.tcp(uri).await?;
        if uri.scheme_str() == Some("https") {
            return http2_over(self.handshake(tcp, uri).await?).await;
        }
        http2_over(tcp).await
    }

    async fn tcp(&self, uri: &Uri) -> Result<TcpStream, ClientError> {
        let io = |source| ClientError::Io { what: "connect", source };
        let turn = self.connects.fetch_add(1, Ordering::Relaxed);
        let turns = u64::try_from(self.options.via.len()).unwrap_or(u64::MAX).max(1);
        let front = usize::try_from(turn % turns).ok().and_then(|turn| self.options.via.get(turn));
        let stream = if let Some(front) = front {
            TcpStream::connect(front).await
        } else {
            let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
            let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
            TcpStream::connect((host, port)).await
        };
        let stream = stream.map_err(io)?;
        stream.set_nodelay(true).map_err(io)?;
        Ok(stream)
    }

    async fn handshake(
        &self,
        tcp: TcpStream,
        uri: &Uri,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ClientError> {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|_| ClientError::Address(uri.to_string()))?;
        let io = |source| ClientError::Io { what: "make a TLS connection", source };
        self.tls.connect(name, tcp).await.map_err(io)
    }
}

impl Sender {
    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender, _) => sender.send_request(request).await,
            Self::Http2(sender) => sender.send_request(request).await,
        }
    }
}

/// A file on its way.
pub struct Download<'a> {
    client: &'a Client,
    /// The answer, whose body is still to be read.
    pub response: Response<Incoming>,
    sender: Option<Sender>,
}

impl Download<'_> {
    /// The next octets; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`ClientError`] where the connection broke, or nothing came for too long.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        let timeout = self.client.options.timeout;
        loop {
            let frame = tokio::time::timeout(timeout, self.response.body_mut().frame()).await;
            match frame.map_err(|_| ClientError::TimedOut(timeout))? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The body has been read to its end: the connection can serve again.
    pub fn finish(mut self) {
        if let Some(sender) = self.sender.take() {
            self.client.keep(sender);
        }
    }
}

fn parts(url: &str) -> Result<(Uri, String), ClientError> {
    let address = || ClientError::Address(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| address())?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) => {
            let authority = authority.to_string();
            Ok((uri, authority))
        }
        _ => Err(address()),
    }
}

async fn http1_over<S>(stream: S) -> Result<http1::SendRequest<Full<Bytes>>, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends when its sender is dropped, or the server closes; an error shows at the sender.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

async fn http2_over<S>(stream: S) -> Result<http2::SendRequest<Full<Bytes>>, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

fn tls_config(options: &ClientOptions) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let mut config = if options.tls.insecure {
        let any = Arc::new(AnyCertificate(provider));
        builder.dangerous().with_custom_certificate_verifier(any).with_no_client_auth()
    } else {
        let mut roots = RootCertStore::empty();
        if let Some(path) = &options.tls.ca {
            let broken = || ClientError::Certificates(path.clone());
            for certificate in CertificateDer::pem_file_iter(path).map_err(|_| broken())? {
                roots.add(certificate.map_err(|_| broken())?).map_err(|_| broken())?;
            }
            if roots.is_empty() {
                return Err(broken());
            }
        }
        builder.with_root_certificates(roots).with_no_client_auth()
    };
    config.alpn_protocols = vec![if options.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok(config)
}

/// Takes any certificate, and still checks that the server holds its key.
#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
