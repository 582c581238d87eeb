//! An operator's gateway: SMS, push services, anything that takes an HTTP request.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use dm_notification::{MEDIA_TYPE, push};
use http::{HeaderValue, Request, Uri, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use serde::Serialize;
use service_kit::{files::Watched, settings::GatewaySettings};
use storage::{NotifyAddress, Trigger};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{NotifyError, SendError};

/// What is to be brought to a device.
pub(crate) struct Letter<'a> {
    pub(crate) trigger: &'a Trigger,
    pub(crate) session_id: u16,
    pub(crate) notification: &'a [u8],
    /// How often it was sent before.
    pub(crate) sent: u16,
}

/// What a gateway gets.
#[derive(Serialize)]
struct Body<'a> {
    device: &'a str,
    address: &'a str,
    session_id: String,
    attempt: u16,
    deadline: String,
    media_type: &'static str,
    notification: String,
    push: String,
}

pub(crate) struct Gateway {
    scheme: String,
    url: String,
    authorization: Option<Authorization>,
    tls: Option<TlsConnector>,
    timeout: Duration,
}

/// The Authorization header, read again when its file changes: gateways' tokens end.
struct Authorization {
    file: PathBuf,
    current: Mutex<(Watched, HeaderValue)>,
}

impl Authorization {
    fn open(file: &Path) -> Result<Self, String> {
        let file = file.to_owned();
        let watched = Watched::new([Some(&file)]);
        let current = Mutex::new((watched, read_header(&file)?));
        Ok(Self { file, current })
    }

    fn current(&self) -> HeaderValue {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(changed) = current.0.changed() {
            match read_header(&self.file) {
                Ok(fresh) => current.1 = fresh,
                Err(reason) => {
                    tracing::warn!(
                        reason,
                        "new authorization_file cannot be used, going on with the old one"
                    );
                }
            }
            current.0.taken(changed);
        }
        current.1.clone()
    }
}

fn read_header(file: &Path) -> Result<HeaderValue, String> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| format!("could not read {shown}: {error}"))?;
    let value = HeaderValue::from_str(text.trim());
    let mut value = value.map_err(|_| format!("{shown} holds no header value"))?;
    value.set_sensitive(true);
    Ok(value)
}

impl Gateway {
    /// Reads its secret, and the machine's certificates where it is reached by HTTPS.
    pub(crate) fn open(settings: &GatewaySettings, timeout: Duration) -> Result<Self, NotifyError> {
        let wrong = |problem: String| NotifyError::Gateway { scheme: settings.scheme.clone(), problem };
        let uri = parse(&settings.url.replace(['{', '}'], "")).map_err(|error| wrong(error.to_string()))?;
        let tls = if uri.scheme_str() == Some("https") { Some(connector().map_err(&wrong)?) } else { None };
        let file = settings.authorization_file.as_deref();
        let authorization = file.map(Authorization::open).transpose().map_err(wrong)?;
        Ok(Self { scheme: settings.scheme.clone(), url: settings.url.clone(), authorization, tls, timeout })
    }

    pub(crate) async fn post(&self, address: &NotifyAddress, letter: &Letter<'_>) -> Result<(), SendError> {
        debug_assert_eq!(address.scheme(), self.scheme);
        let request = self.request(address, letter)?;
        let post = tokio::time::timeout(self.timeout, self.exchange(request));
        let status =
            post.await.map_err(|_| SendError::TimedOut(self.timeout))?.map_err(SendError::Gateway)?;
        if (200..300).contains(&status) { Ok(()) } else { Err(SendError::Refused(status)) }
    }

    fn request(
        &self,
        address: &NotifyAddress,
        letter: &Letter<'_>,
    ) -> Result<Request<Full<Bytes>>, SendError> {
        let trigger = letter.trigger;
        let url = self
            .url
            .replace("{address}", &percent_encoded(address.rest()))
            .replace("{device}", &percent_encoded(trigger.device.as_str()));
        let body = Body {
            device: trigger.device.as_str(),
            address: address.rest(),
            session_id: format!("{:X}", letter.session_id),
            attempt: trigger.attempt,
            deadline: trigger.deadline.to_string(),
            media_type: MEDIA_TYPE,
            notification: STANDARD.encode(letter.notification),
            push: STANDARD.encode(push::encode(letter.sent.to_be_bytes()[1], letter.notification)),
        };
        let body = serde_json::to_vec(&body).map_err(|error| SendError::Gateway(error.into()))?;
        let uri = parse(&url).map_err(|error| SendError::Gateway(error.into()))?;
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        let mut request = Request::post(uri)
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONTENT_LENGTH, body.len());
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization.current());
        }
        request.body(Full::from(body)).map_err(|error| SendError::Gateway(error.into()))
    }

    /// A connection for each: gateways are asked at their rate, not at ours.
    async fn exchange(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
        let uri = request.uri().clone();
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        *request.uri_mut() = uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        match &self.tls {
            None => answer(stream, request).await,
            Some(tls) => answer(tls.connect(ServerName::try_from(host)?, stream).await?, request).await,
        }
    }
}

async fn answer<S>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<u16, Box<dyn std::error::Error + Send + Sync>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let response = sender.send_request(request).await?;
        // The connection ends with its sender; of the answer only the status is looked at.
        drop(sender);
        Ok::<_, hyper::Error>(response.status().as_u16())
    };
    tokio::pin!(connection);
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => Ok(answer?),
        ended = &mut connection => {
            ended?;
            Ok(answer.await?)
        }
    }
}

fn connector() -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("expected certificates of authorities on this machine, found none".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[derive(Debug, thiserror::Error)]
#[error("expected a URL such as https://gateway.example/send?to={{address}}, got {0:?}")]
struct UrlError(String);

fn parse(url: &str) -> Result<Uri, UrlError> {
    let uri: Uri = url.parse().map_err(|_| UrlError(url.to_owned()))?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    if is_http { Ok(uri) } else { Err(UrlError(url.to_owned())) }
}

/// Everything but letters, digits and `-._~`.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            out.push(octet.into());
        } else {
            out.push_str(&format!("%{octet:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_authorization_is_taken_from_its_file_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("authorization");
        std::fs::write(&file, "Bearer one\n").unwrap();
        let authorization = Authorization::open(&file).unwrap();
        assert_eq!(authorization.current(), "Bearer one");
        std::fs::write(&file, "Bearer the second\n").unwrap();
        assert_eq!(authorization.current(), "Bearer the second");
        std::fs::write(&file, "broken\nin two").unwrap();
        assert_eq!(authorization.current(), "Bearer the second");
    }
}
