//! Over real sockets.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use tokio::task::JoinHandle;

use super::*;
use crate::metrics::{Metrics, SessionMetrics};

const HELLO: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

struct Running {
    address: SocketAddr,
    shutdown: Shutdown,
    metrics: ListenerMetrics,
    task: JoinHandle<()>,
    /// How many requests have come to the handler.
    served: Arc<AtomicUsize>,
}

impl Running {
    async fn await_served(&self, requests: usize) {
        while self.served.load(Ordering::SeqCst) < requests {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn start(limits: Limits, delay: Duration) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::new();
    let metrics = SessionMetrics::new(&Metrics::new("test")).listener;
    let server = Server { listener, tls: None, limits, metrics: metrics.clone(), shutdown: shutdown.clone() };
    let served = Arc::new(AtomicUsize::new(0));
    let counted = served.clone();
    let task = tokio::spawn(server.run(move |request: Request<Incoming>, _peer| {
        let turn = counted.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
            tokio::time::sleep(delay).await;
            let octets = body.map_or(0, |body| body.len());
            Response::new(Full::new(Bytes::from(format!("turn {turn}, {octets} octets"))))
        }
    }));
    Running { address, shutdown, metrics, task, served }
}

fn limits() -> Limits {
    Limits {
        connections_max: 4,
        header_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_millis(1500),
        retry_after: Duration::from_secs(20),
        send_rate_min: 0,
        http2: true,
    }
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut text))
        .await
        .expect("the server closes the connection");
    String::from_utf8_lossy(&text).into_owned()
}

async fn read_some(stream: &mut TcpStream) -> String {
    let mut text = vec![0; 4096];
    let octets = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut text)).await.unwrap().unwrap();
    String::from_utf8_lossy(&text[..octets]).into_owned()
}

#[tokio::test]
async fn past_the_bound_a_connection_is_told_when_to_come_again() {
    let running = start(limits(), Duration::ZERO).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(HELLO).await.unwrap();
        assert!(read_some(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
        open.push(stream);
    }
    let mut refused = TcpStream::connect(running.address).await.unwrap();
    refused.write_all(HELLO).await.unwrap();
    let answer = read_to_end(&mut refused).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let seconds: u64 = answer.split("Retry-After: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    assert!((10..=30).contains(&seconds), "told to wait {seconds} s");

    open.clear();
    for _ in 0..100 {
        if running.metrics.connections.value() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut admitted = TcpStream::connect(running.address).await.unwrap();
    admitted.write_all(HELLO).await.unwrap();
    assert!(read_some(&mut admitted).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn cuts_off_dripping_headers_and_idle_connections_but_not_live_ones() {
    let running = start(limits(), Duration::ZERO).await;
    let mut dripping = TcpStream::connect(running.address).await.unwrap();
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    let mut live = TcpStream::connect(running.address).await.unwrap();
    idle.write_all(HELLO).await.unwrap();
    assert!(read_some(&mut idle).await.starts_with("HTTP/1.1 200 OK"));

    let drip = async {
        for octet in HELLO {
            if dripping.write_all(&[*octet]).await.is_err() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        read_to_end(&mut dripping).await.is_empty()
    };
    let keep_talking = async {
        for _ in 0..10 {
            live.write_all(HELLO).await.unwrap();
            let answer = read_some(&mut live).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer:?}");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    let (was_cut, (), rest) = tokio::join!(drip, keep_talking, read_to_end(&mut idle));
    assert!(was_cut, "a header that takes 2.7 s was read, with a time-out of 1 s");
    assert_eq!(rest, "");
}

#[tokio::test]
async fn drains_the_request_in_hand_and_takes_no_other() {
    let running = start(limits(), Duration::from_millis(300)).await;
    let mut busy = TcpStream::connect(running.address).await.unwrap();
    let mut quiet = TcpStream::connect(running.address).await.unwrap();
    busy.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc").await.unwrap();
    running.await_served(1).await;
    running.shutdown.begin();
    let answer = read_to_end(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("turn 1, 3 octets"), "{answer}");
    assert_eq!(read_to_end(&mut quiet).await, "");
    tokio::time::timeout(Duration::from_secs(2), running.task).await.expect("the loop ends").unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn the_cut_ends_what_will_not_end() {
    let running = start(limits(), Duration::from_secs(60)).await;
    let mut busy = TcpStream::connect(running.address).await.unwrap();
    busy.write_all(HELLO).await.unwrap();
    running.await_served(1).await;
    running.shutdown.begin();
    running.shutdown.cut();
    tokio::time::timeout(Duration::from_secs(2), running.task).await.expect("the loop ends").unwrap();
}

#[tokio::test]
async fn speaks_http2_without_tls() {
    let running = start(limits(), Duration::ZERO).await;
    let stream = TcpStream::connect(running.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for turn in 1..=3 {
        let request = Request::post("http://x/").body(Full::new(Bytes::from_static(b"12345"))).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, format!("turn {turn}, 5 octets"));
    }
}
