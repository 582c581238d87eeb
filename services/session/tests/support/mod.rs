//! A front-end over real sockets, and a small client written for these tests alone.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod client;
pub mod guesser;
pub mod pki;
pub mod slow;

use std::{net::SocketAddr, path::Path};

use bytes::Bytes;
use dm_protocol::{Account, ClientAuth, DevId, Nonces, Scheme, auth};
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use service_kit::{Metrics, Settings, Shutdown};
use session_service::Stores;
use storage::{Device, DeviceStore, Embedded, Inventory, TenantId, embedded::Options};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

pub struct Front {
    pub address: SocketAddr,
    pub store: Embedded,
    pub metrics: Metrics,
    pub shutdown: Shutdown,
    pub task: JoinHandle<()>,
}

pub fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, &Options::default()).unwrap()
}

pub fn settings(overrides: &[(&str, &str)]) -> Settings {
    let own = overrides.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Settings::load(None, [], own).unwrap_or_else(|errors| panic!("{errors}"))
}

pub async fn start(dir: &Path, overrides: &[(&str, &str)]) -> Front {
    let store = open(dir);
    start_with(store.clone(), Stores::of(store), overrides).await
}

pub async fn start_with(store: Embedded, stores: Stores, overrides: &[(&str, &str)]) -> Front {
    let settings = settings(overrides);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = session_service::open_tls(&settings).unwrap();
    let (metrics, shutdown) = (Metrics::new("test"), Shutdown::new());
    let task = tokio::spawn({
        let (metrics, shutdown) = (metrics.clone(), shutdown.clone());
        async move { session_service::run(&settings, stores, listener, tls, &metrics, shutdown).await.unwrap() }
    });
    Front { address, store, metrics, shutdown, task }
}

impl Front {
    /// One request on a connection of its own.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
    }

    pub async fn post(
        &self,
        path: &str,
        media_type: Option<&str>,
        body: impl Into<Bytes>,
    ) -> Response<Bytes> {
        self.post_from(path, media_type, body, None).await
    }

    /// As a proxy does that says for whom.
    pub async fn post_from(
        &self,
        path: &str,
        media_type: Option<&str>,
        body: impl Into<Bytes>,
        from: Option<&str>,
    ) -> Response<Bytes> {
        let mut request = Request::post(path).header(header::HOST, "127.0.0.1");
        if let Some(from) = from {
            request = request.header("x-forwarded-for", from);
        }
        if let Some(media_type) = media_type {
            request = request.header(header::CONTENT_TYPE, media_type);
        }
        self.send(request.body(Full::new(body.into())).unwrap()).await
    }

    /// The value of a line of the metrics.
    pub fn metric(&self, line: &str) -> f64 {
        let text = self.metrics.expose();
        let found = text.lines().find_map(|candidate| candidate.strip_prefix(line));
        found.unwrap_or_else(|| panic!("{line} is missing in:\n{text}")).trim().parse().unwrap()
    }

    /// Adds a device with the user `user` and the password `password`; answers its ordinal.
    pub async fn add_device(&self, id: &str, auth: Option<Scheme>) -> u32 {
        let added = self.store.add(&TenantId::default(), &[device(id, auth)]).await.unwrap();
        added[0].unwrap()
    }

    pub async fn device(&self, id: &str) -> Device {
        let id = DevId::parse(id).unwrap();
        self.store.load_device(&id).await
    }
}

/// Both [`DeviceStore`] and [`storage::SessionStore`] have a `load`.
trait LoadDevice {
    async fn load_device(&self, id: &DevId) -> Device;
}

impl LoadDevice for Embedded {
    async fn load_device(&self, id: &DevId) -> Device {
        DeviceStore::load(self, &TenantId::default(), id).await.unwrap().unwrap().value
    }
}

pub fn device(id: &str, auth: Option<Scheme>) -> Device {
    let client = auth.map_or(ClientAuth::None, |scheme| ClientAuth::Password {
        scheme,
        user: "user".to_owned(),
        digest: auth::user_digest("user", "password"),
    });
    Device {
        id: DevId::parse(id).unwrap(),
        ordinal: 0,
        account: Account { client, server: None, nonces: Nonces::default() },
        tags: Default::default(),
        added: Timestamp::now(),
        last_seen: None,
        inventory: Inventory::default(),
        fumo_root: None,
        dev_detail_read: None,
        notify_address: None,
    }
}
