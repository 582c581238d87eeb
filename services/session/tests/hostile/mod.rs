//! What an attacker does to the device listener. Each test names the threat, and asserts that a good device is served while
//! the attack goes on.

mod http2;
mod size;
mod slow;
mod smuggling;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use storage::{ArtifactStore, TenantId};
use syncml::Encoding;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use super::{
    ID, WBXML, package_1,
    support::{self, Front, client::read},
};

/// Long enough for a loaded machine, short of what any attack here lasts by itself.
const SOON: Duration = Duration::from_secs(10);

/// A front-end with one device, and its folder.
async fn start(overrides: &[(&str, &str)]) -> (tempfile::TempDir, Front) {
    let dir = tempfile::tempdir().unwrap();
    let front = support::start(dir.path(), overrides).await;
    front.add_device(ID, None).await;
    (dir, front)
}

/// A good device on a connection of its own has its answer.
async fn assert_serves(front: &Front, during: &str) {
    let began = Instant::now();
    let visit = front.post("/dm", Some(WBXML), package_1(Encoding::Wbxml));
    let answer =
        tokio::time::timeout(SOON, visit).await.unwrap_or_else(|_| panic!("no answer during {during}"));
    assert_eq!(answer.status(), 200, "during {during}");
    read(Encoding::Wbxml, answer.body());
    assert!(began.elapsed() < SOON, "{:?} during {during}", began.elapsed());
}

/// Sends octets and reads all that comes until the server closes the connection, or for `wait` after the first of it.
async fn send(address: SocketAddr, octets: &[u8], wait: Duration) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // What was refused is not always read to its end.
    let _ = stream.write_all(octets).await;
    let _ = tokio::time::timeout(SOON, stream.readable()).await;
    read_for(&mut stream, wait).await
}

async fn read_for(stream: &mut TcpStream, wait: Duration) -> String {
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(wait, stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// The statuses of the answers of HTTP/1.1 in a text.
fn statuses(text: &str) -> Vec<u16> {
    text.match_indices("HTTP/1.1 ").map(|(at, _)| text[at + 9..at + 12].parse().unwrap()).collect()
}

/// A connection that takes little at a time.
async fn connect_small(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(address).await.unwrap()
}

/// Adds an artifact and answers its path.
async fn add_artifact(front: &Front, octets: usize) -> String {
    let content = vec![0x5A; octets];
    let store: &dyn ArtifactStore = &front.store;
    let meta = store
        .add(&TenantId::default(), "fw.bin", "2.0", "application/x-firmware", 64 << 20, &mut &content[..])
        .await
        .unwrap();
    session_service::artifact_url("", &meta.digest, &meta.name)
}

fn cut(front: &Front, reason: &str) -> f64 {
    front.metric(&format!("dm_cut_connections_total{{listener=\"session\",reason=\"{reason}\"}}"))
}

/// Waits until a metric is as wanted.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < SOON, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Octets of memory of this process, in which attacker and server are.
fn resident_octets() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
