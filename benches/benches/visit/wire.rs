//! Both servers, and a client that speaks just enough HTTP on kept connections.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use service_kit::{Metrics, Settings, Shutdown};
use session_service::Stores;
use storage::Embedded;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::fleet::Visit;

/// Octets of what the bare server answers: about an answer of an empty visit.
pub const BARE_OCTETS: usize = 300;
const CONNECTIONS: usize = 64;

pub struct Served {
    pub front: SocketAddr,
    pub bare: SocketAddr,
}

impl Served {
    pub async fn start(store: Embedded) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (settings, metrics, shutdown) = (Settings::default(), Metrics::new("bench"), Shutdown::new());
            session_service::run(&settings, Stores::of(store), listener, None, &metrics, shutdown)
                .await
                .unwrap();
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bare = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let service = service_fn(|request: http::Request<Incoming>| async move {
                    request.into_body().collect().await.unwrap();
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(&[b'x'; BARE_OCTETS]))))
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        Self { front, bare }
    }
}

pub struct Client {
    connections: Vec<Connection>,
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            connections.push(Connection { stream, buffer: Vec::with_capacity(4096) });
        }
        Self { connections }
    }

    /// Runs the visits, each connection its share one after the other; answers in the order of the visits.
    pub async fn run(&mut self, batch: Vec<Visit>) -> Vec<[Vec<u8>; 2]> {
        let count = batch.len();
        let mut shares: Vec<Vec<(usize, Visit)>> = (0..CONNECTIONS).map(|_| Vec::new()).collect();
        for (at, visit) in batch.into_iter().enumerate() {
            shares[at % CONNECTIONS].push((at, visit));
        }
        let tasks: Vec<_> = self
            .connections
            .drain(..)
            .zip(shares)
            .map(|(mut connection, share)| {
                tokio::spawn(async move {
                    let mut answers = Vec::with_capacity(share.len());
                    for (at, visit) in share {
                        let first = connection.post(&visit.first).await;
                        answers.push((at, [first, connection.post(&visit.second).await]));
                    }
                    (connection, answers)
                })
            })
            .collect();
        let mut all: Vec<[Vec<u8>; 2]> = vec![[Vec::new(), Vec::new()]; count];
        for task in tasks {
            let (connection, answers) = task.await.unwrap();
            self.connections.push(connection);
            for (at, answer) in answers {
                all[at] = answer;
            }
        }
        all
    }
}

impl Connection {
    async fn post(&mut self, body: &[u8]) -> Vec<u8> {
        let head = format!(
            "POST /dm HTTP/1.1\r\nHost: x\r\nContent-Type: application/vnd.syncml.dm+wbxml\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request).await.unwrap();
        self.buffer.clear();
        loop {
            assert!(
                self.stream.read_buf(&mut self.buffer).await.unwrap() > 0,
                "the server keeps the connection"
            );
            if let Some(answer) = whole(&self.buffer) {
                return answer;
            }
        }
    }
}

/// The body of an answer that is here whole.
fn whole(buffer: &[u8]) -> Option<Vec<u8>> {
    let end = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&buffer[..end]).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
    let length: usize = length.unwrap().parse().unwrap();
    (buffer.len() >= end + length).then(|| buffer[end..end + length].to_vec())
}
