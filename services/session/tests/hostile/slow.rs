//! Slow on purpose: each connection costs the attacker nothing and holds something of ours.

use tokio::task::JoinSet;

use super::*;

/// Threat: slow loris. Headers that drip hold connections until none is left.
#[tokio::test]
async fn a_dripping_header_is_cut_off() {
    let limits = [("session.header_timeout", "200ms"), ("session.connections_max", "50")];
    let (_dir, front) = start(&limits).await;
    let mut attackers = JoinSet::new();
    for _ in 0..40 {
        let address = front.address;
        attackers.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let began = Instant::now();
            let header = b"POST /dm HTTP/1.1\r\nHost: x\r\n"
                .iter()
                .chain([b'X', b':', b'x', b'\r', b'\n'].iter().cycle());
            for octet in header {
                if stream.write_all(&[*octet]).await.is_err() || began.elapsed() > SOON {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            began.elapsed()
        });
    }
    assert_serves(&front, "a slow loris").await;
    for lasted in attackers.join_all().await {
        assert!(lasted < SOON / 2, "a header dripped for {lasted:?} with a time-out of 200 ms");
    }
    assert_eq!(cut(&front, "header"), 40.0);
    assert_serves(&front, "the end of a slow loris").await;
}

/// Threat: bodies that drip hold the places in which bodies are read (slow POST, R.U.D.Y.).
#[tokio::test]
async fn a_dripping_body_is_given_up() {
    // 8 places for messages, 32 for bodies.
    let limits = [("session.body_timeout", "400ms"), ("session.messages_max", "8")];
    let (_dir, front) = start(&limits).await;
    let mut attackers = JoinSet::new();
    for _ in 0..60 {
        let address = front.address;
        attackers.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream
                .write_all(b"POST /dm?s=00 HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
                .await
                .unwrap();
            let (mut from, mut to) = stream.into_split();
            let drip = tokio::spawn(async move {
                while to.write_all(b"<").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
            let mut answer = [0; 12];
            let read = tokio::time::timeout(SOON, from.read_exact(&mut answer)).await;
            drip.abort();
            read.expect("an answer in time").unwrap();
            String::from_utf8_lossy(&answer[9..]).into_owned()
        });
    }
    let answers = attackers.join_all().await;
    let count = |status: &str| answers.iter().filter(|answer| *answer == status).count();
    // Those that found a place were given up, the others were told to come later; none is served, none hangs.
    assert!(count("408") >= 32, "{answers:?}");
    assert_eq!(count("408") + count("503"), 60, "{answers:?}");
    assert_serves(&front, "dripping bodies").await;
}

/// Threat: thousands of bodies that stop short of their end fill the memory.
#[tokio::test]
async fn bodies_that_do_not_end_hold_no_more_than_their_budget() {
    let limits = [
        ("session.body_timeout", "60s"),
        ("session.message_bytes_max", "1 MiB"),
        ("session.bodies_bytes_max", "4 MiB"),
    ];
    let (_dir, front) = start(&limits).await;
    let mut attackers = JoinSet::new();
    for _ in 0..24 {
        let address = front.address;
        attackers.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!("POST /dm HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 1 << 20);
            stream.write_all(head.as_bytes()).await.unwrap();
            let _ = stream.write_all(&vec![b'<'; 900_000]).await;
            let answer = read_for(&mut stream, Duration::from_secs(3)).await;
            (stream, statuses(&answer))
        });
    }
    assert_serves(&front, "bodies that do not end").await;
    let open = attackers.join_all().await;
    let refused = open.iter().filter(|(_, statuses)| *statuses == [503]).count();
    assert!((19..=21).contains(&refused), "{refused} of 24 bodies of 900 kB found no room in 4 MiB");
    // What was held is free again when they go.
    drop(open);
    let whole = vec![b' '; 1 << 20];
    let began = Instant::now();
    while front.post("/dm", Some(WBXML), whole.clone()).await.status() == 503 {
        assert!(began.elapsed() < SOON, "the budget was not given back");
    }
}

/// Threat: a reader that takes next to nothing of its download holds a place for downloads for ever.
#[tokio::test]
async fn a_reader_that_is_too_slow_is_cut_off_and_its_place_is_free() {
    let limits =
        [("session.downloads_max", "4"), ("session.idle_timeout", "1s"), ("session.send_rate_min", "100000")];
    let (_dir, front) = start(&limits).await;
    let path = add_artifact(&front, 24 << 20).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut attackers = JoinSet::new();
    for _ in 0..4 {
        let mut stream = connect_small(front.address).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.read_exact(&mut [0; 64]).await.unwrap();
        attackers.spawn(async move {
            // A little now and then: something moves all the time.
            while stream.read_exact(&mut [0; 4096]).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
    let turned_away =
        send(front.address, request.replace("1.1\r\n", "1.1\r\nConnection: close\r\n").as_bytes(), SOON)
            .await;
    assert_eq!(statuses(&turned_away[..200.min(turned_away.len())]), [503], "all places are taken");
    assert!(turned_away.to_ascii_lowercase().contains("retry-after: "));
    assert_serves(&front, "slow readers").await;
    until("slow readers are cut off", || cut(&front, "slow-reader") == 4.0).await;
    let whole = front.send(http::Request::get(&path).body(Default::default()).unwrap()).await;
    assert_eq!((whole.status().as_u16(), whole.body().len()), (200, 24 << 20));
    attackers.abort_all();
}

/// Threat: requests are sent one after the other and no answer is taken, so that answers pile up.
#[tokio::test]
async fn answers_that_nobody_takes_do_not_pile_up() {
    let (_dir, front) = start(&[("session.idle_timeout", "500ms")]).await;
    let path = add_artifact(&front, 256 << 10).await;
    let before = resident_octets();
    let mut attackers = JoinSet::new();
    for _ in 0..8 {
        let mut stream = connect_small(front.address).await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        attackers.spawn(async move {
            let block = request.repeat(100);
            let mut sent = 0_usize;
            while stream.write_all(block.as_bytes()).await.is_ok() {
                sent += block.len();
            }
            sent
        });
    }
    assert_serves(&front, "requests without reading").await;
    let ended = tokio::time::timeout(SOON, attackers.join_all()).await.expect("the connections are cut off");
    assert!(ended.iter().all(|sent| *sent < 64 << 20), "{ended:?}");
    let grown = resident_octets().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} octets for 8 connections");
}
