//! The client of the admin API that the commands share.

mod args;
pub(crate) mod tls;

use std::{
    io::{self, BufRead, BufReader, Read},
    time::Duration,
};

use admin_service::api::{Page, ProblemBody};
use serde::{Serialize, de::DeserializeOwned};
use ureq::{
    Agent, Body, RequestBuilder, SendBody,
    http::{Response, StatusCode},
    tls::TlsConfig,
};

pub(crate) use args::ClientArgs;

use crate::exit::Failure;

/// How long the server may take to be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Octets of the largest answer that is read whole.
const ANSWER_OCTETS_MAX: u64 = 256 << 20;

/// A connection to a server, with its token.
pub(crate) struct Client {
    agent: Agent,
    base: String,
    token: Option<String>,
}

impl Client {
    /// A client of the server at `base`, such as `http://127.0.0.1:8081`.
    pub(crate) fn new(base: &str, token: Option<String>) -> Self {
        Self::with_tls(base, token, None)
    }

    /// The same, over TLS where `base` begins with `https://`.
    pub(crate) fn with_tls(base: &str, token: Option<String>, tls: Option<TlsConfig>) -> Self {
        let config = Agent::config_builder()
            .tls_config(tls.unwrap_or_default())
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(Duration::from_secs(120)))
            .user_agent(concat!("flotilla/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.new_agent(), base: base.trim_end_matches('/').to_owned(), token }
    }

    /// Gets a value.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.read(self.authorised(self.agent.get(self.url(path))).call())
    }

    /// Gets text lines as they come, such as server-sent events.
    pub(crate) fn get_lines(
        &self,
        path: &str,
    ) -> Result<impl Iterator<Item = io::Result<String>> + use<>, Failure> {
        let request = self.authorised(self.agent.get(self.url(path))).header("accept", "text/event-stream");
        let response = self.answered(request.call())?;
        Ok(BufReader::new(response.into_body().into_reader()).lines())
    }

    /// Gets octets as they come.
    pub(crate) fn get_octets(&self, path: &str) -> Result<impl Read + use<>, Failure> {
        let response = self.answered(self.authorised(self.agent.get(self.url(path))).call())?;
        Ok(response.into_body().into_reader())
    }

    /// Posts a JSON value. The key makes repeating it safe.
    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        value: &impl Serialize,
        key: Option<&str>,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(value).map_err(|error| Failure::error(error.to_string()))?;
        self.post_bytes(path, "application/json", &body, key)
    }

    /// Posts octets of a media type.
    pub(crate) fn post_bytes<T: DeserializeOwned>(
        &self,
        path: &str,
        media_type: &str,
        body: &[u8],
        key: Option<&str>,
    ) -> Result<T, Failure> {
        let mut request = self.authorised(self.agent.post(self.url(path))).content_type(media_type);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.read(request.send(body))
    }

    /// Posts octets of a media type; the answer is text.
    pub(crate) fn post_for_text(&self, path: &str, media_type: &str, body: &[u8]) -> Result<String, Failure> {
        let request = self.authorised(self.agent.post(self.url(path))).content_type(media_type);
        let response = self.answered(request.send(body))?;
        read_text(response)
    }

    /// Posts what a reader gives, in parts.
    pub(crate) fn post_reader<T: DeserializeOwned>(
        &self,
        path: &str,
        media_type: &str,
        size: Option<u64>,
        reader: &mut dyn Read,
    ) -> Result<T, Failure> {
        let mut request = self.authorised(self.agent.post(self.url(path))).content_type(media_type);
        if let Some(size) = size {
            request = request.header("content-length", size.to_string());
        }
        self.read(request.send(SendBody::from_reader(&mut &mut *reader)))
    }

    /// Puts a JSON value.
    pub(crate) fn put<T: DeserializeOwned>(&self, path: &str, value: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(value).map_err(|error| Failure::error(error.to_string()))?;
        let request = self.authorised(self.agent.put(self.url(path))).content_type("application/json");
        self.read(request.send(&body[..]))
    }

    /// Deletes, and reads what is answered.
    pub(crate) fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.read(self.authorised(self.agent.delete(self.url(path))).call())
    }

    /// Gets up to `max` rows of a paged list (0: all), giving each to `take`; says whether there are more.
    pub(crate) fn get_pages<T: DeserializeOwned>(
        &self,
        path: &str,
        max: usize,
        mut take: impl FnMut(T) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let (mut taken, mut cursor) = (0, None::<String>);
        loop {
            let left = if max == 0 { usize::MAX } else { max - taken };
            let limit = left.min(1000);
            let after = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let page: Page<T> = self.get(&format!("{path}{separator}limit={limit}{after}"))?;
            taken += page.items.len();
            page.items.into_iter().try_for_each(&mut take)?;
            cursor = page.next_cursor;
            if cursor.is_none() || (max != 0 && taken >= max) {
                return Ok(cursor.is_some());
            }
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn authorised<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn read<T: DeserializeOwned>(&self, result: Result<Response<Body>, ureq::Error>) -> Result<T, Failure> {
        let text = read_text(self.answered(result)?)?;
        serde_json::from_str(&text).map_err(|error| {
            Failure::error(format!("the server at {} gave an answer that cannot be read: {error}", self.base))
        })
    }

    /// The answer, unless it is a problem.
    fn answered(&self, result: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, Failure> {
        let response = result.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = read_text(response)?;
        match serde_json::from_str::<ProblemBody>(&text) {
            Ok(problem) => Err(problem.into()),
            // A server that starts or drains, or a balancer without one behind it.
            Err(_) if status == StatusCode::SERVICE_UNAVAILABLE => Err(Failure::transient(format!(
                "the server at {} cannot answer now: {}",
                self.base,
                text.lines().next().unwrap_or_default()
            ))),
            Err(_) => Err(Failure::error(format!("the server at {} answered {status}", self.base))
                .hint("is this the admin listener? It is not the one that devices talk to")),
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> Failure {
        Failure::transient(format!("could not reach the server at {}: {error}", self.base))
            .hint("start one with `flotilla serve --data DIR`, or name it by --server or FLOTILLA_SERVER")
    }
}

fn read_text(response: Response<Body>) -> Result<String, Failure> {
    let mut text = String::new();
    let mut reader = response.into_body().into_reader().take(ANSWER_OCTETS_MAX);
    match reader.read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::transient(format!("the server's answer broke off: {error}"))),
    }
}

/// A text as one segment of a path, or a value of a query.
pub(crate) fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // writing to a String cannot fail
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn escapes_what_would_end_a_segment() {
        assert_eq!(escape("IMEI:49/01?é"), "IMEI%3A49%2F01%3F%C3%A9");
    }
}
