//! The machine: its clock, its bounds, its addresses.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use rustix::process::{Resource, getrlimit};
use service_kit::{
    Settings,
    settings::{Role, StorageBackend},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::Finding;
use crate::commands::serve::HEALTH_LISTEN;

/// How long the clock is watched.
const WATCH: Duration = Duration::from_millis(300);
/// A clock that moves by more against the time that has passed is being set, or runs wrong.
const JUMP_MAX: Duration = Duration::from_secs(1);
/// How long a neighbour may take to be reached.
const REACH: Duration = Duration::from_secs(3);
/// Files that are open beside connections: the store's, Kafka's, logs.
const FILES_BESIDE: u64 = 512;

/// Whether the clock says a plausible time and runs evenly. How it stands to the servers' is told by their checks.
pub(super) async fn clock() -> Vec<Finding> {
    const CHECK: &str = "clock";
    let (wall, steady) = (SystemTime::now(), Instant::now());
    tokio::time::sleep(WATCH).await;
    let passed = steady.elapsed();
    let remedy = "run a time service: timedatectl set-ntp true";
    let Ok(shown) = SystemTime::now().duration_since(wall) else {
        return vec![Finding::fail(CHECK, "the clock went back while it was watched", remedy)];
    };
    let now = jiff::Timestamp::now();
    if now < "2026-01-01T00:00:00Z".parse().unwrap_or(now) {
        return vec![Finding::fail(CHECK, format!("the clock says {now:.0}, which is over"), remedy)];
    }
    if shown.abs_diff(passed) > JUMP_MAX {
        let what = format!("the clock moved by {shown:?} while {passed:?} passed");
        return vec![Finding::warn(CHECK, what, remedy)];
    }
    vec![Finding::ok(CHECK, format!("{now:.0}, and it runs evenly"))]
}

/// Whether as many connections can be open as the settings allow: in the server that has the data directory, or in one that
/// would be started from here.
pub(super) fn open_files(settings: &Settings) -> Vec<Finding> {
    const CHECK: &str = "open-files";
    let has_devices = settings.process.all().contains(&Role::Session);
    let connections = if has_devices { settings.session.connections_max.value() } else { 0 };
    let needed = connections + FILES_BESIDE;
    let (whose, limit) = match server_open_files(settings) {
        Some((process, limit)) => (format!(" in process {process}, which serves"), limit),
        None => (String::new(), getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)),
    };
    if limit < needed {
        let what = format!("{limit} files may be open{whose}, and session.connections_max asks for {needed}");
        let remedy = format!(
            "ulimit -n {needed}, LimitNOFILE={needed} in the systemd unit, or a smaller session.connections_max"
        );
        return vec![Finding::warn(CHECK, what, remedy)];
    }
    vec![Finding::ok(CHECK, format!("{limit} files may be open{whose}, {needed} are enough"))]
}

/// The process that has the data directory, and how many files it may have open.
fn server_open_files(settings: &Settings) -> Option<(u32, u64)> {
    if settings.storage.backend != StorageBackend::Embedded {
        return None;
    }
    let process = super::lock_holder(&settings.storage.data)?;
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
    Some((process, open_files_of(&limits)?))
}

/// `Max open files            1024                 1048576              files`: the first number is the one that holds.
fn open_files_of(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// Whether each listener's address is free, or served already.
pub(super) async fn listeners(settings: Arc<Settings>) -> Vec<Finding> {
    let roles = settings.process.all();
    let has_admin = roles.contains(&Role::Admin);
    let mut findings = Vec::new();
    if roles.contains(&Role::Session) {
        findings.push(listener("session.listen", settings.session.listen, false).await);
        if settings.session.public_url.is_none() && settings.session.listen.ip().is_unspecified() {
            findings.push(Finding::warn(
                "session.public_url",
                "it is not set, and the address listened on is no address to go to: devices are told to come to their own loopback",
                "set session.public_url to the address by which devices reach the front-end",
            ));
        }
    }
    if has_admin {
        // Behind TLS it is not asked how it is.
        let is_plain = settings.admin_tls.certificate.is_none();
        findings.push(listener("admin.listen", settings.admin.listen, is_plain).await);
    }
    if let Some(address) = settings.health.listen.or((!has_admin).then_some(HEALTH_LISTEN)) {
        findings.push(listener("health.listen", address, true).await);
    }
    findings
}

async fn listener(key: &str, address: SocketAddr, has_health: bool) -> Finding {
    const CHECK: &str = "listeners";
    if address.port() == 0 {
        return Finding::ok(CHECK, format!("{key}: takes a free port at each start"));
    }
    match tokio::time::timeout(REACH, TcpStream::connect(reachable(address))).await {
        Ok(Ok(stream)) if !has_health => {
            drop(stream);
            Finding::ok(CHECK, format!("{key}: {address} is served already"))
        }
        Ok(Ok(stream)) => match tokio::time::timeout(REACH, is_flotilla(stream)).await {
            Ok(true) => Finding::ok(CHECK, format!("{key}: {address} is served by flotilla already")),
            _ => Finding::warn(
                CHECK,
                format!("{key}: {address} is taken, and not by a flotilla that tells its health there"),
                format!("see who has it: ss -ltnp sport = :{}", address.port()),
            ),
        },
        _ => match TcpListener::bind(address).await {
            Ok(_) => Finding::ok(CHECK, format!("{key}: {address} is free")),
            Err(error) => Finding::fail(
                CHECK,
                format!("{key}: expected an address of this machine to listen on, got {address}: {error}"),
                "choose one of `ip address`, or 0.0.0.0; a port below 1024 needs a capability",
            ),
        },
    }
}

/// Where a listener on all addresses is reached from here.
pub(in crate::commands) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn is_flotilla(mut stream: TcpStream) -> bool {
    let request = b"GET /health/livez HTTP/1.0\r\nhost: localhost\r\n\r\n";
    let mut answer = Vec::new();
    stream.write_all(request).await.is_ok()
        && stream.take(4096).read_to_end(&mut answer).await.is_ok()
        && answer.starts_with(b"HTTP/1.")
        && answer.windows(5).any(|five| five == b" 200 ")
}

/// Whether the name that devices are told leads somewhere.
pub(super) async fn public_url(settings: Arc<Settings>) -> Vec<Finding> {
    const CHECK: &str = "public-url";
    let Some(url) = &settings.session.public_url else { return Vec::new() };
    let (is_tls, rest) = match url.as_str().split_once("://") {
        Some((scheme, rest)) => (scheme == "https", rest),
        None => return Vec::new(),
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let port = if is_tls { 443 } else { 80 };
    let target = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
    if settings.tls.certificate.is_some() && !is_tls {
        let what =
            format!("session.public_url: expected https, as there is session.tls.certificate, got {url}");
        return vec![Finding::fail(CHECK, what, "write it with https://")];
    }
    let addresses: Vec<SocketAddr> = match tokio::net::lookup_host(&target).await {
        Ok(addresses) => addresses.collect(),
        Err(error) => {
            let what = format!(
                "session.public_url: expected a name that leads to this server, got {target}: {error}"
            );
            return vec![Finding::fail(
                CHECK,
                what,
                "add the name to DNS: devices are told it in every answer",
            )];
        }
    };
    for address in &addresses {
        if let Ok(Ok(_)) = tokio::time::timeout(REACH, TcpStream::connect(address)).await {
            return vec![Finding::ok(CHECK, format!("{url} answers at {address}"))];
        }
    }
    let what = format!("{url} leads to {addresses:?}, where nothing answers from here");
    vec![Finding::warn(
        CHECK,
        what,
        "start the server, or see to what stands before it; from inside it may be meant to be so",
    )]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where something is missing")]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_a_process_is_its_own() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             96234                96234                processes \n\
                      Max open files            1024                 1048576              files     \n";
        assert_eq!(open_files_of(limits), Some(1024));
        assert_eq!(
            open_files_of("Max open files            unlimited            unlimited            files"),
            Some(u64::MAX)
        );
        assert_eq!(open_files_of("Max processes 1 1 processes"), None);
        let own = std::fs::read_to_string("/proc/self/limits").unwrap();
        assert_eq!(open_files_of(&own), Some(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)));
    }
}
