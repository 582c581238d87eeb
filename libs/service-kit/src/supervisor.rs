//! What a supervisor that speaks systemd's protocol (`sd_notify(3)`) is told: that the process is ready, that it drains, and,
//! where it asks for that, that it is not stuck.

use std::{
    ffi::OsStr,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use crate::Shutdown;

/// Whoever started the process and wants to hear of it; nobody, where the environment names no socket.
#[derive(Debug)]
pub struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How long the process may be silent.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// As `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` say.
    pub fn from_environment() -> Self {
        let usec = std::env::var("WATCHDOG_USEC").ok();
        // Who was started by a watched process is not watched itself.
        let ours = std::env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        Self::at(std::env::var_os("NOTIFY_SOCKET").as_deref(), usec.as_deref().filter(|_| ours))
    }

    /// At a socket: a path, or an abstract name after `@`. A socket that cannot be used is logged, and left.
    pub fn at(socket: Option<&OsStr>, watchdog_usec: Option<&str>) -> Self {
        let socket = socket.and_then(|name| match connect(name) {
            Ok(connected) => Some(connected),
            Err(error) => {
                tracing::warn!(socket = %name.display(), %error, "the supervisor cannot be told anything");
                None
            }
        });
        let watchdog = watchdog_usec
            .and_then(|usec| usec.parse().ok())
            .filter(|usec| *usec > 0)
            .map(Duration::from_micros);
        Self { socket, watchdog }
    }

    /// Says that the process takes work, then that it is alive, at twice the pace that is asked for, until it drains; then
    /// that it ends. Run it on the runtime that does the work: while that is stuck, nothing is said.
    pub async fn report(&self, shutdown: &Shutdown) {
        self.say("READY=1\nSTATUS=serving");
        loop {
            let pause = async {
                match self.watchdog {
                    Some(period) => tokio::time::sleep(period / 2).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = shutdown.draining() => break,
                () = pause => self.say("WATCHDOG=1"),
            }
        }
        self.say("STOPPING=1\nSTATUS=draining");
        // The drain may take longer than the watchdog waits.
        if let Some(period) = self.watchdog {
            loop {
                tokio::select! {
                    biased;
                    () = shutdown.cut_off() => return,
                    () = tokio::time::sleep(period / 2) => self.say("WATCHDOG=1"),
                }
            }
        }
    }

    fn say(&self, words: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(words.as_bytes(), address) {
            tracing::debug!(%error, "the supervisor was not told");
        }
    }
}

fn connect(name: &OsStr) -> std::io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    // A supervisor that does not read must not hold up the work.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_supervisor_hears_of_the_start_the_life_and_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let heard = UnixDatagram::bind(&path).unwrap();
        heard.set_nonblocking(true).unwrap();
        let hear = || {
            let mut buffer = [0; 64];
            let size = heard.recv(&mut buffer).ok()?;
            Some(String::from_utf8(buffer[..size].to_vec()).unwrap())
        };
        let (supervisor, shutdown) =
            (Supervisor::at(Some(path.as_os_str()), Some("2000000")), Shutdown::new());
        let reporting = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { supervisor.report(&shutdown).await }
        });
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(hear().as_deref(), Some("READY=1\nSTATUS=serving"));
        assert_eq!((hear().as_deref(), hear().as_deref()), (Some("WATCHDOG=1"), Some("WATCHDOG=1")));
        assert_eq!(hear(), None);
        shutdown.begin();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(hear().as_deref(), Some("STOPPING=1\nSTATUS=draining"));
        assert_eq!((hear().as_deref(), hear()), (Some("WATCHDOG=1"), None));
        shutdown.cut();
        reporting.await.unwrap();
    }

    #[tokio::test]
    async fn an_abstract_socket_is_one_too_and_none_is_no_trouble() {
        let name = format!("flotilla-test-{}", std::process::id());
        let heard =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        let shutdown = Shutdown::new();
        shutdown.begin();
        Supervisor::at(Some(OsStr::new(&format!("@{name}"))), None).report(&shutdown).await;
        let mut buffer = [0; 64];
        let size = heard.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..size], b"READY=1\nSTATUS=serving");
        Supervisor::at(None, Some("nonsense")).report(&shutdown).await;
        Supervisor::at(Some(OsStr::new("/nowhere/at/all")), None).report(&shutdown).await;
    }
}
