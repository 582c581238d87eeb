//! Frames of HTTP/2 that no honest client sends, or not so many.

use tokio::task::JoinSet;

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A literal that is not indexed, its name by the static table.
fn literal(name: u8, value: &str) -> Vec<u8> {
    [&[name, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat()
}

/// `method` is 2 (GET) or 3 (POST) of the static table.
fn headers(method: u8, path: &str) -> Vec<u8> {
    [&[0x80 | method, 0x86][..], &literal(0x04, path), &literal(0x01, "x")].concat()
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &headers(2, path))
}

/// A connection whose settings are exchanged.
struct Attacker {
    stream: TcpStream,
}

impl Attacker {
    async fn connect(address: SocketAddr, settings: &[u8]) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(&[PREFACE, &frame(SETTINGS, 0, 0, settings), &frame(SETTINGS, 1, 0, &[])].concat())
            .await
            .unwrap();
        Self { stream }
    }

    /// Sends a block again and again without reading, until the server closes the connection, or takes no more for a
    /// second; answers how many octets it took.
    async fn flood(&mut self, block: &[u8], octets_max: usize) -> usize {
        let mut sent = 0;
        while sent < octets_max {
            match tokio::time::timeout(Duration::from_secs(1), self.stream.write_all(block)).await {
                Ok(Ok(())) => sent += block.len(),
                Ok(Err(_)) | Err(_) => break,
            }
        }
        sent
    }

    /// The frames that come until the server closes the connection: kind, flags, stream, payload.
    async fn frames(&mut self, wait: Duration) -> (Vec<(u8, u8, u32, Vec<u8>)>, bool) {
        let mut octets = Vec::new();
        let closed = tokio::time::timeout(wait, self.stream.read_to_end(&mut octets)).await.is_ok();
        let (mut frames, mut rest) = (Vec::new(), &octets[..]);
        while let Some((head, after)) = rest.split_first_chunk::<9>() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let Some((payload, after)) = after.split_at_checked(length) else { break };
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            frames.push((head[3], head[4], stream, payload.to_vec()));
            rest = after;
        }
        (frames, closed)
    }
}

/// The error code of a GOAWAY.
fn goaway(frames: &[(u8, u8, u32, Vec<u8>)]) -> Option<u32> {
    let (.., payload) = frames.iter().rev().find(|(kind, ..)| *kind == GOAWAY)?;
    Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()))
}

const ENHANCE_YOUR_CALM: u32 = 11;

/// Threat: rapid reset (CVE-2023-44487). Requests are reset as soon as they are sent, so that the bound of concurrent ones
/// never holds.
#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let (_dir, front) = start(&[]).await;
    let mut attackers = JoinSet::new();
    for _ in 0..4 {
        let address = front.address;
        attackers.spawn(async move {
            let mut attacker = Attacker::connect(address, &[]).await;
            let mut octets = Vec::new();
            for turn in 0..20_000_u32 {
                let stream = 2 * turn + 1;
                octets.extend(get(stream, "/dm"));
                octets.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
            }
            let _ = attacker.stream.write_all(&octets).await;
            attacker.frames(SOON).await
        });
    }
    assert_serves(&front, "rapid resets").await;
    for (frames, closed) in attackers.join_all().await {
        assert!(closed, "the connection goes on after 20,000 resets");
        let answered = frames.iter().filter(|(kind, ..)| *kind == HEADERS).count();
        assert!(answered < 2000, "{answered} requests were answered");
        assert!(goaway(&frames).is_none_or(|code| code == ENHANCE_YOUR_CALM), "{:?}", goaway(&frames));
    }
    assert_serves(&front, "the end of rapid resets").await;
}

/// Threat: a CONTINUATION flood (CVE-2024-27316 and the like). A header without end fills memory, or keeps a decoder busy.
#[tokio::test]
async fn a_header_in_endless_continuations_ends_the_connection() {
    let (_dir, front) = start(&[]).await;
    let before = resident_octets();
    let large = frame(CONTINUATION, 0, 1, &[&[0, 1, b'x', 100][..], &[b'y'; 100]].concat().repeat(150));
    let small = frame(CONTINUATION, 0, 1, &[0, 1, b'x', 1, b'y']);
    let empty = frame(CONTINUATION, 0, 1, &[]);
    for (name, flood) in [("large", large), ("small", small.repeat(100)), ("empty", empty.repeat(100))] {
        let mut attacker = Attacker::connect(front.address, &[]).await;
        attacker.stream.write_all(&frame(HEADERS, END_STREAM, 1, &headers(2, "/dm"))).await.unwrap();
        let sent = attacker.flood(&flood, 256 << 20).await;
        assert!(sent < 32 << 20, "{name}: {sent} octets of one header were taken");
        let (_, closed) = attacker.frames(SOON).await;
        assert!(closed, "{name}: the connection goes on");
        assert_serves(&front, name).await;
    }
    let grown = resident_octets().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} octets");
}

/// Threat: more requests at once than a connection may have.
#[tokio::test]
async fn streams_past_the_bound_are_refused() {
    let (_dir, front) = start(&[("session.body_timeout", "1s")]).await;
    let mut attacker = Attacker::connect(front.address, &[]).await;
    let mut octets = Vec::new();
    for turn in 0..1000_u32 {
        // A POST whose body never comes.
        octets.extend(frame(HEADERS, END_HEADERS, 2 * turn + 1, &headers(3, "/dm?s=00")));
    }
    let _ = attacker.stream.write_all(&octets).await;
    assert_serves(&front, "a thousand streams").await;
    let (frames, _) = attacker.frames(Duration::from_secs(3)).await;
    let settings = frames.iter().find(|(kind, flags, ..)| *kind == SETTINGS && flags & 1 == 0).unwrap();
    assert!(
        settings.3.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, 64]),
        "64 streams are said to be allowed"
    );
    let answered = frames.iter().filter(|(kind, ..)| *kind == HEADERS).count();
    assert!(answered <= 64, "{answered} of a thousand requests at once were taken");
    let refused = frames.iter().filter(|(kind, ..)| *kind == RST_STREAM).count();
    assert!(refused > 0 || goaway(&frames).is_some(), "the others were not refused");
}

/// Threat: frames that cost the sender nothing and the server an answer each (settings, pings), while no answer is read.
#[tokio::test]
async fn floods_of_settings_and_pings_are_held_back() {
    let (_dir, front) =
        start(&[("session.idle_timeout", "500ms"), ("session.header_timeout", "500ms")]).await;
    let before = resident_octets();
    let mut attackers = JoinSet::new();
    for block in [
        frame(PING, 0, 0, &[7; 8]).repeat(1000),
        frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xFF, 0xFF]).repeat(1000),
        frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(1000),
        // Of no request, and of no kind.
        frame(DATA, 0, 1, &[]).repeat(1000),
        frame(0xBA, 0, 0, b"grease").repeat(1000),
    ] {
        let address = front.address;
        attackers.spawn(async move {
            let mut attacker = Attacker::connect(address, &[]).await;
            let sent = attacker.flood(&block, 1 << 30).await;
            let (_, closed) = attacker.frames(SOON).await;
            (block[3], sent, closed)
        });
    }
    assert_serves(&front, "floods").await;
    let ended = tokio::time::timeout(SOON * 2, attackers.join_all()).await.expect("the floods are cut off");
    let is_over = |(_, sent, closed): &(u8, usize, bool)| *sent < 1 << 30 && *closed;
    assert!(
        ended.iter().all(is_over),
        "kinds of frames, octets taken, whether the connection ended: {ended:?}"
    );
    let grown = resident_octets().saturating_sub(before);
    assert!(grown < 96 << 20, "{grown} octets");
    assert_serves(&front, "the end of floods").await;
}

/// Threat: a connection that is kept by pings alone, and a download that is kept by pings while its window stays shut.
#[tokio::test]
async fn pings_keep_nothing_alive() {
    let limits =
        [("session.idle_timeout", "1s"), ("session.send_rate_min", "50000"), ("session.downloads_max", "1")];
    let (_dir, front) = start(&limits).await;
    let path = add_artifact(&front, 4 << 20).await;
    for (name, settings, request) in [
        ("after a request", &[][..], get(1, "/nothing")),
        // SETTINGS_INITIAL_WINDOW_SIZE 0: nothing of the body may be sent.
        ("beside a download", &[0, 4, 0, 0, 0, 0], get(1, &path)),
    ] {
        let mut attacker = Attacker::connect(front.address, settings).await;
        attacker.stream.write_all(&request).await.unwrap();
        let ping = frame(PING, 0, 0, &[7; 8]);
        let (mut from, mut to) = attacker.stream.into_split();
        let reading = tokio::spawn(async move { from.read_to_end(&mut Vec::new()).await.map(|_| ()) });
        let pinging = tokio::spawn(async move {
            while to.write_all(&ping).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert_serves(&front, name).await;
        let ended = tokio::time::timeout(SOON, reading).await;
        pinging.abort();
        assert!(ended.is_ok(), "{name}: pings kept the connection");
    }
    let whole = front.send(http::Request::get(&path).body(Default::default()).unwrap()).await;
    assert_eq!(
        (whole.status().as_u16(), whole.body().len()),
        (200, 4 << 20),
        "the place for downloads is free"
    );
}

/// Threat: a header that unpacks (HPACK) to far more than it is.
#[tokio::test]
async fn a_header_that_unpacks_to_much_is_refused() {
    let (_dir, front) = start(&[]).await;
    let before = resident_octets();
    let mut attacker = Attacker::connect(front.address, &[]).await;
    // A field of 4 KB goes into the table once (index 62), and is then named ten thousand times by one octet.
    let mut first = headers(2, "/dm");
    first.extend([0x40, 1, b'x', 0x7F, 0xA1, 0x1E]);
    first.extend([b'y'; 4000]);
    first.extend([0xBE; 10_000]);
    let _ = attacker.stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &first)).await;
    let (frames, _) = attacker.frames(Duration::from_millis(500)).await;
    // `:status: 431`, a literal of the indexed name; or the connection is ended.
    let answer = frames.iter().find(|(kind, ..)| *kind == HEADERS);
    let is_431 = answer
        .is_some_and(|(.., payload)| payload.windows(3).any(|text| text == b"431") || payload.len() < 12);
    let is_reset =
        frames.iter().any(|(kind, ..)| *kind == RST_STREAM) || goaway(&frames).is_some_and(|code| code != 0);
    assert!(is_431 || is_reset, "{frames:?}");
    assert!(!frames.iter().any(|(kind, ..)| *kind == DATA), "{frames:?}");
    assert!(resident_octets().saturating_sub(before) < 64 << 20);
    assert_serves(&front, "a packed header").await;
}
