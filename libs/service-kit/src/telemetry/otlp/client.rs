//! The way to the receiver: one connection, made again when it is gone.

use std::{path::Path, sync::Arc, time::Duration};

use ::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, ServerName,
    pem::{self, PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{OtlpError, message::Response};
use crate::{
    settings::{PublicUrl, TelemetrySettings},
    tls::read_pem,
};

/// Octets of an answer that are read.
const ANSWER_MAX: usize = 64 << 10;

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("could not reach the receiver of traces")]
    Away(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the receiver of traces gave no answer within {0:?}")]
    TimedOut(Duration),
    #[error("expected the receiver of traces to answer 200, got {status}: {text}")]
    Status { status: StatusCode, text: String, retry_after: Option<Duration> },
}

impl SendError {
    /// Sending it again would not help (OTLP 1.x, "Retryable Response Codes").
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Away(_) | Self::TimedOut(_) => false,
            Self::Status { status, .. } => !matches!(status.as_u16(), 429 | 502 | 503 | 504),
        }
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        if let Self::Status { retry_after, .. } = self { *retry_after } else { None }
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

pub(super) struct Client {
    host: String,
    port: u16,
    path: Uri,
    headers: HeaderMap,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    timeout: Duration,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub(super) fn open(endpoint: &PublicUrl, settings: &TelemetrySettings) -> Result<Self, OtlpError> {
        let wrong = |problem: String| OtlpError::Endpoint(problem);
        let uri: Uri = endpoint.as_str().parse().map_err(|_| wrong(format!("{endpoint} is no address")))?;
        let is_tls = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let base = uri.path().trim_end_matches('/');
        // Some name the whole address, as for other programs.
        let path = if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") };
        let path = path.parse().map_err(|_| wrong(format!("{path} is no path")))?;
        let mut headers = match &settings.otlp_headers_file {
            Some(file) => read_headers(file)?,
            None => HeaderMap::new(),
        };
        let authority = uri.authority().map(::http::uri::Authority::as_str).unwrap_or_default();
        let authority = HeaderValue::from_str(authority).map_err(|error| wrong(error.to_string()))?;
        headers.insert(header::HOST, authority);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let agent = concat!("flotilla-otlp/", env!("CARGO_PKG_VERSION"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        let tls = if is_tls {
            let name = ServerName::try_from(host.clone()).map_err(|error| wrong(error.to_string()))?;
            Some((connector(settings)?, name))
        } else {
            None
        };
        let timeout = settings.otlp_timeout.value();
        Ok(Self { host, port, path, headers, tls, timeout, connection: None })
    }

    /// Sends a batch; answers how many spans of it were not taken.
    pub(super) async fn post(&mut self, body: Vec<u8>) -> Result<u64, SendError> {
        let timeout = self.timeout;
        let body = Bytes::from(body);
        // The receiver may have closed a connection that was idle, and nobody has noticed yet.
        let was_connected = self.connection.is_some();
        let first = tokio::time::timeout(timeout, self.exchange(body.clone())).await;
        let answer = match first {
            Ok(Err(_)) if was_connected => {
                self.connection = None;
                tokio::time::timeout(timeout, self.exchange(body)).await
            }
            first => first,
        };
        match answer {
            Ok(Ok((status, headers, body))) => judge(status, &headers, &body),
            Ok(Err(error)) => {
                self.connection = None;
                Err(SendError::Away(error))
            }
            Err(_) => {
                self.connection = None;
                Err(SendError::TimedOut(timeout))
            }
        }
    }

    async fn exchange(&mut self, body: Bytes) -> Result<(StatusCode, HeaderMap, Bytes), AnyError> {
        let mut sender = match self.connection.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        sender.ready().await?;
        let mut request = Request::post(self.path.clone()).body(Full::new(body))?;
        request.headers_mut().clone_from(&self.headers);
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await?.to_bytes();
        self.connection = Some(sender);
        Ok((parts.status, parts.headers, body))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, AnyError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => speak(stream).await,
            Some((tls, name)) => speak(tls.connect(name.clone(), stream).await?).await,
        }
    }
}

async fn speak<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, AnyError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with its sender; what goes wrong on it is what the sender is told.
    tokio::spawn(connection);
    Ok(sender)
}

fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<u64, SendError> {
    if status.is_success() {
        let partial = Response::decode(body).ok().and_then(|response| response.partial_success);
        let Some(partial) = partial else { return Ok(0) };
        if partial.rejected_spans > 0 || !partial.error_message.is_empty() {
            let (rejected, message) = (partial.rejected_spans, partial.error_message);
            tracing::debug!(rejected, message, "the receiver of traces did not take all spans");
        }
        return Ok(u64::try_from(partial.rejected_spans).unwrap_or(0));
    }
    let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let text = String::from_utf8_lossy(body);
    // A failure is a protobuf `Status`, or text; of either some words can be read.
    let text = text.chars().filter(|c| !c.is_control()).take(200).collect();
    Err(SendError::Status { status, text, retry_after: seconds.map(Duration::from_secs) })
}

/// Lines of `Name: value`.
fn read_headers(path: &Path) -> Result<HeaderMap, OtlpError> {
    const KEY: &str = "telemetry.otlp_headers_file";
    let wrong = |problem: String| OtlpError::File { key: KEY, path: path.to_owned(), problem };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(format!("could not be read: {error}")))?;
    let mut headers = HeaderMap::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        // What the line says is a secret.
        let bad = || wrong(format!("expected a header such as Authorization: Bearer x in line {}", at + 1));
        let (name, value) = line.split_once(':').ok_or_else(bad)?;
        let name: HeaderName = name.trim().parse().map_err(|_| bad())?;
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| bad())?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

fn connector(settings: &TelemetrySettings) -> Result<TlsConnector, OtlpError> {
    let mut roots = RootCertStore::empty();
    match &settings.otlp_ca {
        Some(path) => {
            for certificate in certificates("telemetry.otlp_ca", path)? {
                let wrong = |error: rustls::Error| OtlpError::File {
                    key: "telemetry.otlp_ca",
                    path: path.clone(),
                    problem: error.to_string(),
                };
                roots.add(certificate).map_err(wrong)?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                let problem = "expected certificates of authorities on this machine for https, found none; \
                    set telemetry.otlp_ca";
                return Err(OtlpError::Endpoint(problem.to_owned()));
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| OtlpError::Endpoint(error.to_string()))?
        .with_root_certificates(roots);
    let config = match (&settings.otlp_certificate, &settings.otlp_key) {
        (Some(certificate), Some(key)) => {
            let wrong =
                |problem: String| OtlpError::File { key: "telemetry.otlp_key", path: key.clone(), problem };
            let chain = certificates("telemetry.otlp_certificate", certificate)?;
            let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(error.to_string()))?;
            builder.with_client_auth_cert(chain, secret).map_err(|error| wrong(error.to_string()))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, OtlpError> {
    read_pem(path).map_err(|error| {
        let problem = match error {
            pem::Error::NoItemsFound => "expected certificates (PEM), found none".to_owned(),
            error => error.to_string(),
        };
        OtlpError::File { key, path: path.to_owned(), problem }
    })
}
