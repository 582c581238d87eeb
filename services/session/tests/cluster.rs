//! Sessions and hot records of devices in a real Redis, started here: what an empty visit costs there, and what it takes
//! to lose it. Skipped where there is no `redis-server` to start, but for CI.

#![allow(clippy::unwrap_used)]

mod support;

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use dm_protocol::{DevId, Scheme};
use service_kit::loopback::free_address;
use session_service::Stores;
use storage::{DeviceStore, Embedded, KeyRing, Revision, TenantId, seal::KeyId};
use storage_cluster::devices::CachedDevices;
use storage_redis::{Redis, RedisSettings};
use support::{
    client::{Client, header_status},
    guesser,
};
use syncml::Encoding;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const ID: &str = "IMEI:490154203237518";

struct Server {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    async fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let port = free_address().unwrap().port();
        let started = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string(), "--dir"])
            .arg(dir.path())
            .stdout(Stdio::null())
            .spawn();
        let Ok(child) = started else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "expected redis-server to be there in CI");
            eprintln!("skipped: there is no redis-server");
            return None;
        };
        let mut server = Self { child, port, _dir: dir };
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err() {
            assert!(
                server.child.try_wait().unwrap().is_none(),
                "expected redis-server to go on, it has ended"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(server)
    }

    /// What a command answers, as the server writes it.
    async fn ask(&self, command: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.unwrap();
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Commands done so far, by name, but for those of connecting and asking.
    async fn commands(&self) -> Vec<(String, u64)> {
        let stats = self.ask("INFO commandstats").await;
        let mut counts: Vec<(String, u64)> = stats
            .lines()
            .filter_map(|line| {
                let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
                Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
            })
            .filter(|(name, _)| ["get", "exists", "evalsha", "eval"].contains(&name.as_str()))
            .collect();
        counts.sort();
        counts
    }
}

/// Forwards connections, and counts how often octets came from the client at once: that many round trips.
async fn counting_proxy(to: u16) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, batches) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&batches);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await.unwrap();
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let counted = Arc::clone(&counted);
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(octets @ 1..) = from_client.read(&mut buffer).await {
                    counted.fetch_add(1, Ordering::Relaxed);
                    if to_server.write_all(&buffer[..octets]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (address, batches)
}

struct Cluster {
    front: support::Front,
    devices: Arc<CachedDevices>,
    redis_trips: Arc<AtomicUsize>,
}

/// A front-end with sessions and hot records in Redis, and the rest embedded.
async fn cluster(dir: &std::path::Path, server: &Server) -> Cluster {
    cluster_of(support::open(dir), server, &[]).await
}

async fn cluster_of(store: Embedded, server: &Server, overrides: &[(&str, &str)]) -> Cluster {
    let (proxy, redis_trips) = counting_proxy(server.port).await;
    let settings = RedisSettings { nodes: vec![format!("redis://{proxy}")], ..RedisSettings::default() };
    let redis = Redis::connect(&settings).await.unwrap();
    let keys = KeyRing::from_keys(&[(KeyId(1), [7; 32])]).unwrap();
    let durable = Arc::new(store.clone());
    let hour = Duration::from_secs(3600);
    let devices = Arc::new(CachedDevices::new(durable, Arc::new(redis.clone()), keys, hour));
    let redis = Arc::new(redis);
    let (sessions, limits) = (redis.clone(), redis);
    let stores = Stores { sessions, limits, devices: devices.clone(), ..Stores::of(store.clone()) };
    Cluster { front: support::start_with(store, stores, overrides).await, devices, redis_trips }
}

async fn row(store: &Embedded) -> Revision {
    let id = DevId::parse(ID).unwrap();
    DeviceStore::load(store, &TenantId::default(), &id).await.unwrap().unwrap().revision
}

#[tokio::test]
async fn an_empty_visit_costs_few_round_trips_and_no_row() {
    let Some(server) = Server::start().await else { return };
    // A message that is challenged reads and writes its session; one that proves the device writes the nonces too, before.
    // Rates are asked for in advance: one call for many messages of an address, and one for a device's session.
    let rates = [
        ("limits.per_address", "100000/h"),
        ("limits.per_tenant", "100000/h"),
        ("limits.per_device", "100/s"),
    ];
    for (auth, is_challenged, trips_max, limits) in [
        (Scheme::Md5, true, 5, &[][..]),
        (Scheme::Md5, false, 3, &[]),
        (Scheme::Basic, false, 2, &[]),
        (Scheme::Md5, true, 6, &rates),
        (Scheme::Md5, false, 4, &rates),
        (Scheme::Basic, false, 3, &rates),
    ] {
        let dir = tempfile::tempdir().unwrap();
        server.ask("FLUSHALL").await;
        let cluster = cluster_of(support::open(dir.path()), &server, limits).await;
        cluster.front.add_device(ID, Some(auth)).await;
        let mut client = Client::new(ID, Some(auth), Encoding::Wbxml);
        for session in 1..4 {
            client.run(&cluster.front, &session.to_string(), &[]).await;
        }
        let (before, rows) = (server.commands().await, row(&cluster.front.store).await);
        let trips = cluster.redis_trips.load(Ordering::Relaxed);
        const VISITS: usize = 20;
        for session in 10..10 + VISITS {
            if is_challenged {
                client.nonce = b"of another server".to_vec();
            }
            let exchanges = client.run(&cluster.front, &session.to_string(), &[]).await;
            assert_eq!(exchanges.len(), 1 + usize::from(is_challenged));
        }
        let trips = cluster.redis_trips.load(Ordering::Relaxed) - trips;
        let after = server.commands().await;
        let counts: Vec<String> = after
            .iter()
            .map(|(name, count)| {
                let known = before.iter().find(|(known, _)| known == name).map_or(0, |(_, count)| *count);
                format!("{name} {:.1}", (count - known) as f64 / VISITS as f64)
            })
            .collect();
        println!(
            "{auth:?}, {} messages: {:.2} round trips to Redis a visit; commands: {}",
            1 + usize::from(is_challenged),
            trips as f64 / VISITS as f64,
            counts.join(", ")
        );
        // Two commands that are sent at the same time now and then leave in two writes.
        assert!(trips <= VISITS * trips_max + VISITS / 2, "{trips} round trips in {VISITS} visits");
        assert_eq!(row(&cluster.front.store).await, rows, "no row was written");
    }
}

#[tokio::test]
async fn limits_hold_over_front_ends_that_share_only_redis() {
    let Some(server) = Server::start().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let one = cluster_of(store.clone(), &server, &guesser::SETTINGS).await.front;
    let other = cluster_of(store, &server, &guesser::SETTINGS).await.front;
    guesser::is_locked_out_and_the_device_is_not([&one, &other]).await;
    guesser::cannot_lock_out_a_device_that_has_its_nonce([&one, &other]).await;
    for front in [&one, &other] {
        assert_eq!(front.metric("dm_limit_own_decisions_total"), 0.0, "Redis decided");
    }
}

#[tokio::test]
async fn a_rate_holds_over_front_ends_that_share_only_redis() {
    let Some(server) = Server::start().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = support::open(dir.path());
    let rate = [("limits.per_address", "40/h")];
    let one = cluster_of(store.clone(), &server, &rate).await.front;
    let other = cluster_of(store, &server, &rate).await.front;
    let mut admitted = 0;
    for turn in 0..60 {
        let front = if turn % 2 == 0 { &one } else { &other };
        match front.post("/dm?s=0", None, "").await.status().as_u16() {
            415 => admitted += 1,
            code => assert_eq!(code, 429),
        }
    }
    assert_eq!(admitted, 40);
}

#[tokio::test]
async fn redis_emptied_in_mid_session_takes_no_old_digest_and_the_device_goes_on() {
    let Some(server) = Server::start().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(dir.path(), &server).await;
    let front = &cluster.front;
    front.add_device(ID, Some(Scheme::Md5)).await;
    let mut client = Client::new(ID, Some(Scheme::Md5), Encoding::Xml);
    // The very first credential is made with no nonce at all: that one too must never pass again.
    let first = client.run(front, "1", &[]).await;
    assert_eq!(header_status(&first[0].message), 212, "a first contact needs no nonce");
    let second = client.run(front, "2", &[]).await;
    assert_eq!(header_status(&second[0].message), 212, "the nonce of the first session opens the second");

    client.begin("3");
    let opening = client.package_1(&[]);
    let third = client.post(front, opening).await;
    assert_eq!(header_status(&third.message), 212);
    let kept_by_the_row =
        cluster.devices.load(&TenantId::default(), &DevId::parse(ID).unwrap()).await.unwrap();
    assert!(kept_by_the_row.is_some());
    server.ask("FLUSHALL").await;

    for (name, sent) in [
        ("the first contact's", &first[0].sent),
        ("the second session's", &second[0].sent),
        ("the running session's", &third.sent),
    ] {
        let mut thief = Client::new(ID, Some(Scheme::Md5), Encoding::Xml);
        let answer = thief.repeat(front, sent.clone()).await;
        assert_eq!(header_status(&answer.message), 401, "{name} digest is refused, with a challenge");
        server.ask("FLUSHALL").await;
    }

    // The device goes on where it was: its session is not known any more, so it is asked who it is.
    let next = client.answer(&third.message, &[]);
    if let Some(next) = next {
        let asked = client.post(front, next).await;
        assert_eq!(header_status(&asked.message), 407, "a session that was lost begins with a challenge");
        let again = client.answer(&asked.message, &[]).unwrap();
        client.post(front, again).await;
    }
    let fourth = client.run(front, "4", &[]).await;
    let codes: Vec<u16> = fourth.iter().map(|exchange| header_status(&exchange.message)).collect();
    assert!(codes.contains(&212), "the device is let in again: {codes:?}");
    let fifth = client.run(front, "5", &[]).await;
    assert_eq!(header_status(&fifth[0].message), 212, "and from then on as ever");
}

#[tokio::test]
async fn a_device_with_a_basic_credential_notices_nothing_of_a_redis_that_was_emptied() {
    let Some(server) = Server::start().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(dir.path(), &server).await;
    cluster.front.add_device(ID, Some(Scheme::Basic)).await;
    let mut client = Client::new(ID, Some(Scheme::Basic), Encoding::Wbxml);
    for session in 1..4 {
        let exchanges = client.run(&cluster.front, &session.to_string(), &[]).await;
        assert_eq!(header_status(&exchanges[0].message), 212);
        server.ask("FLUSHALL").await;
    }
}

/// Octets that a session may cost in Redis beside the answer that is kept in it: key, entry, what the allocator rounds up,
/// and what the session is about. The aim is 300.
const BESIDE_THE_ANSWER_MAX: usize = 512;

#[tokio::test]
async fn an_open_session_costs_its_kept_answer_and_little_more() {
    let Some(server) = Server::start().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let cluster = cluster(dir.path(), &server).await;
    for encoding in [Encoding::Xml, Encoding::Wbxml] {
        for auth in [Scheme::Basic, Scheme::Md5] {
            let id = format!("IMEI:{encoding}-{auth:?}");
            cluster.front.add_device(&id, Some(auth)).await;
            let mut client = Client::new(&id, Some(auth), encoding);
            // The first session asks for DevDetail, so its record is in the middle of work; later ones have none.
            for session in ["1", "2"] {
                client.begin(session);
                let opening = client.package_1(&[]);
                let exchange = client.post(&cluster.front, opening).await;
                let answer = exchange.response.body().len();
                let key = format!("flotilla:s/default/{{{id}/{session}}}");
                let usage = server.ask(&format!("MEMORY USAGE {key}")).await;
                let usage = usage.lines().next().unwrap().trim_start_matches(':').parse::<usize>().unwrap();
                println!(
                    "{encoding} {auth:?} session {session}: {usage} octets, answer {answer}, beside it {}",
                    usage - answer
                );
                assert!(usage - answer <= BESIDE_THE_ANSWER_MAX, "{usage} octets for an answer of {answer}");
                if let Some(next) = client.answer(&exchange.message, &[]) {
                    client.post(&cluster.front, next).await;
                }
            }
        }
    }
}
