//! A Redis Cluster of the test's own: slots that move while sessions are written, and a master that is killed.

#![allow(clippy::unwrap_used, unreachable_pub, dead_code)]

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use dm_protocol::DevId;
use storage::{ErrorKind, Revision, SessionKey, SessionStore, TenantId};
use storage_redis::{Redis, RedisSettings};
use support::{Server, ask, cli, free_port, has_redis_server};

const KEEP: Duration = Duration::from_secs(60);
const SESSIONS: usize = 64;
/// Writers that race for each session.
const WRITERS: usize = 2;

struct Cluster {
    servers: Vec<Server>,
    _dir: tempfile::TempDir,
}

impl Cluster {
    /// Three masters, each with a replica.
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let servers: Vec<Server> = (0..6)
            .map(|number| {
                let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
                Server::start(&dir.path().join(number.to_string()), free_port(), &options)
            })
            .collect();
        let addresses: Vec<String> =
            servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let create =
            [&["--cluster", "create"], &addresses[..], &["--cluster-replicas", "1", "--cluster-yes"]];
        let created = cli(&create.concat());
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        let cluster = Self { servers, _dir: dir };
        let begun = Instant::now();
        let is_ready = |server: &Server| {
            ask(server.port, &["CLUSTER", "INFO"]).contains("cluster_state:ok")
                && ask(server.port, &["CLUSTER", "NODES"]).matches("slave").count() == 3
        };
        while !cluster.servers.iter().all(is_ready) || !cluster.are_replicas_linked() {
            assert!(begun.elapsed() < Duration::from_secs(30), "the cluster does not come up");
            std::thread::sleep(Duration::from_millis(100));
        }
        cluster
    }

    fn are_replicas_linked(&self) -> bool {
        self.servers.iter().all(|server| {
            let info = ask(server.port, &["INFO", "replication"]);
            info.contains("role:master") || info.contains("master_link_status:up")
        })
    }

    /// Ports and ids of those masters that have slots.
    fn masters(&self, port: u16) -> Vec<(u16, String)> {
        ask(port, &["CLUSTER", "NODES"])
            .lines()
            .filter(|line| line.contains("master") && !line.contains("fail"))
            .map(|line| {
                let mut words = line.split(' ');
                let id = words.next().unwrap().to_owned();
                let port = words.next().unwrap().split([':', '@']).nth(1).unwrap().parse().unwrap();
                (port, id)
            })
            .collect()
    }

    async fn connect(&self) -> Redis {
        let nodes = self.servers.iter().map(|server| format!("redis://127.0.0.1:{}", server.port)).collect();
        let settings = RedisSettings { nodes, cluster: true, ..RedisSettings::default() };
        Redis::connect(&settings).await.unwrap()
    }
}

fn key(number: usize) -> SessionKey {
    SessionKey {
        tenant: TenantId::default(),
        device: DevId::parse(&format!("IMEI:{number}")).unwrap(),
        session: "1".into(),
    }
}

/// A write that was acknowledged: of which session, in the place of what, and when.
struct Written {
    session: usize,
    expected: Option<Revision>,
    at: Instant,
}

#[derive(Default)]
struct History {
    written: Mutex<Vec<Written>>,
    stop: AtomicBool,
}

/// Takes turns through the sessions and writes each on, as front-ends do: load, decide, compare-and-set.
async fn write_on(redis: Redis, history: Arc<History>, writer: usize) -> usize {
    let (mut failed, mut turn) = (0, writer);
    while !history.stop.load(Ordering::Relaxed) {
        turn += 1;
        let session = turn % SESSIONS;
        let step = async {
            let expected = redis.load(&key(session)).await?.map(|found| found.revision);
            redis.put(&key(session), expected, b"a record", KEEP).await.map(|_| expected)
        };
        match step.await {
            Ok(expected) => {
                history.written.lock().unwrap().push(Written { session, expected, at: Instant::now() });
            }
            Err(error) if error.kind == ErrorKind::Conflict => {}
            Err(_) => {
                failed += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
    failed
}

/// Writes in the place of one revision that were acknowledged more than once.
fn passed_twice(history: &History) -> Vec<Vec<Instant>> {
    let mut by_place: BTreeMap<_, Vec<Instant>> = BTreeMap::new();
    for written in &*history.written.lock().unwrap() {
        by_place.entry((written.session, written.expected)).or_default().push(written.at);
    }
    by_place.into_values().filter(|times| times.len() > 1).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_written_on_while_slots_move_and_when_a_master_is_killed() {
    if !has_redis_server() {
        return;
    }
    let mut cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let history = Arc::new(History::default());
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let redis = cluster.connect().await;
        writers.push(tokio::spawn(write_on(redis, Arc::clone(&history), writer * 7)));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;

    // Slots move, and their keys with them.
    let any = cluster.servers[0].port;
    let masters = cluster.masters(any);
    assert_eq!(masters.len(), 3);
    let before = history.written.lock().unwrap().len();
    let moved = tokio::task::spawn_blocking({
        let (from, to, at) = (masters[0].1.clone(), masters[1].1.clone(), format!("127.0.0.1:{any}"));
        move || {
            cli(&[
                "--cluster",
                "reshard",
                &at,
                "--cluster-from",
                &from,
                "--cluster-to",
                &to,
                "--cluster-slots",
                "300",
                "--cluster-yes",
            ])
        }
    });
    let moved = moved.await.unwrap();
    assert!(moved.status.success(), "{}", String::from_utf8_lossy(&moved.stdout));
    let during = history.written.lock().unwrap().len() - before;
    assert!(during > 100, "only {during} writes while slots moved");
    let twice = passed_twice(&history);
    assert!(twice.is_empty(), "a moving slot let a stale write pass: {twice:?}");

    // A master dies without a word.
    let (victim, _) = masters[2].clone();
    let killed = Instant::now();
    // Nobody takes over before the others have missed it for a second.
    let border = killed + Duration::from_millis(500);
    cluster.servers.iter_mut().find(|server| server.port == victim).unwrap().kill();
    let redis = cluster.connect().await;
    let mut back = Vec::new();
    for session in 0..SESSIONS {
        loop {
            let outcome = async {
                let expected = redis.load(&key(session)).await?.map(|found| found.revision);
                redis.put(&key(session), expected, b"after", KEEP).await
            };
            match outcome.await {
                Ok(_) => break back.push(killed.elapsed()),
                Err(error) if error.kind == ErrorKind::Conflict => {}
                Err(error) => {
                    assert!(killed.elapsed() < Duration::from_secs(20), "session {session}: {error:?}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
    let alive = cluster.servers.iter().find(|server| server.port != victim).unwrap().port;
    assert_eq!(cluster.masters(alive).len(), 3, "a replica has taken over");
    history.stop.store(true, Ordering::Relaxed);
    let mut failed = 0;
    for writer in writers {
        failed += writer.await.unwrap();
    }
    println!("every session was written on {:?} after the kill; {failed} calls failed", back.iter().max());

    // A replica that had not heard of the last writes goes back to what it has: only across that may one revision be
    // written on twice, and never by two writes on the same side.
    for times in passed_twice(&history) {
        let before = times.iter().filter(|at| **at <= border).count();
        let after = times.len() - before;
        assert!(before <= 1 && after <= 1, "a stale write passed: {times:?}, killed at {killed:?}");
    }
}
