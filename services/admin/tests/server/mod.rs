//! A server in this process and a client of it that hides nothing.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use admin_service::{Services, Token};
use bytes::Bytes;
use campaign_service::CampaignService;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use service_kit::{
    Health, Metrics, Shutdown,
    settings::{AdminSettings, LimitsSettings, Octets},
};
use storage::{Embedded, TenantId};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) const ARTIFACT_BYTES_MAX: usize = 4096;

pub(crate) struct Server {
    pub(crate) store: Arc<Embedded>,
    pub(crate) shutdown: Shutdown,
    pub(crate) address: SocketAddr,
    token: Token,
    task: tokio::task::JoinHandle<()>,
    _campaigns: DropGuard,
    _folder: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_limited(AdminSettings::default(), &LimitsSettings::default()).await
    }

    /// With other bounds of connections.
    pub(crate) async fn start_with(settings: AdminSettings) -> Self {
        Self::start_limited(settings, &LimitsSettings::default()).await
    }

    pub(crate) async fn start_limited(settings: AdminSettings, limits: &LimitsSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Embedded::open(folder.path(), &storage::embedded::Options::default()).unwrap());
        let token = Token::read_or_make(&folder.path().join(admin_service::TOKEN_FILE)).unwrap();
        let campaigns = CampaignService::new(
            campaign_service::Stores::of((*store).clone()),
            TenantId::default(),
            campaign_service::system_clock(),
        );
        let stop_campaigns = CancellationToken::new();
        tokio::spawn({
            let (campaigns, stop) = (campaigns.clone(), stop_campaigns.clone());
            async move { campaigns.run(stop).await }
        });
        let shutdown = Shutdown::new();
        shutdown.set_ready();
        let services = Services {
            tenant: TenantId::default(),
            devices: store.clone(),
            snapshots: store.clone(),
            jobs: store.clone(),
            artifacts: store.clone(),
            limits: Arc::new(storage::MemoryLimits::new()),
            campaigns: campaigns.clone(),
            metrics: Metrics::new("test"),
            health: Health::new(shutdown.clone()),
            keys: store.keys().clone(),
            backup: Some(store.clone()),
        };
        let settings =
            AdminSettings { artifact_bytes_max: Octets::of(ARTIFACT_BYTES_MAX as u64), ..settings };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, given) = (shutdown.clone(), Some(token.clone()));
        let limits = limits.clone();
        let task = tokio::spawn(async move {
            admin_service::run(&settings, &limits, services, given, listener, None, stop).await;
        });
        Self {
            store,
            shutdown,
            address,
            token,
            task,
            _campaigns: stop_campaigns.drop_guard(),
            _folder: folder,
        }
    }

    /// Waits for the server to end by itself.
    pub(crate) async fn ended(self) {
        tokio::time::timeout(Duration::from_secs(5), self.task).await.expect("it drains").unwrap();
    }

    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.token.reveal().as_str())
    }

    pub(crate) async fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Connection(sender)
    }

    pub(crate) async fn send_bare(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        self.connect().await.send(method, path, headers, body).await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let bearer = self.bearer();
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend(headers);
        self.send_bare(method, path, &all, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, &[("content-type", "application/json")], &body.to_string()).await
    }

    pub(crate) async fn bulk(&self, path: &str, rows: &str) -> Vec<Value> {
        let headers = [("content-type", "application/x-ndjson")];
        let answer = self.send(Method::POST, path, &headers, rows).await.expect(StatusCode::OK);
        answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The ids of all pages of a list.
    pub(crate) async fn all_pages(&self, path: &str, query: &str) -> Vec<String> {
        let rows = self.all_rows(path, query).await;
        rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    }

    /// The rows of all pages of a list.
    pub(crate) async fn all_rows(&self, path: &str, query: &str) -> Vec<Value> {
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}{query}{cursor}")).await.expect(StatusCode::OK).json();
            rows.extend_from_slice(page["items"].as_array().unwrap());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return rows,
            }
        }
    }

    /// Reads until it is as wanted.
    pub(crate) async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let value = self.get(path).await.expect(StatusCode::OK).json();
            if wanted(&value) {
                return value;
            }
            assert!(tokio::time::Instant::now() < deadline, "{path} stays {value}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

pub(crate) struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        let (parts, body) = self.0.send_request(request).await.unwrap().into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn expect(self, status: StatusCode) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// The problem of an error answer.
    pub(crate) fn problem(&self, status: StatusCode) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        let problem = self.json();
        assert_eq!(problem["status"], status.as_u16());
        problem
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}
