//! The server as a child process of the demo.
//!
//! A process of its own, so that its peak memory is the server's and nobody else's, and so that killing it is what
//! killing a server is. Its standard input is a pipe that ends with the demo, and the server with it.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use admin_service::{TOKEN_FILE, Token};
use anyhow::Context as _;

use crate::client::Client;

/// How long a server may take to end by itself.
const END_TIMEOUT: Duration = Duration::from_secs(40);

/// A running server.
pub(super) struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
    data: PathBuf,
    log: PathBuf,
    /// The address of each listener, which it keeps over restarts.
    devices: String,
    admin: String,
    /// The most memory any of its processes had, in octets.
    memory_peak: Option<u64>,
    /// How long the last start took until both listeners took connections.
    pub(super) ready_after: Duration,
}

impl Server {
    /// Starts a server on free ports.
    pub(super) fn start(data: &Path, log: &Path) -> anyhow::Result<Self> {
        let (child, stdin, devices, admin, ready_after) = spawn(data, log, "127.0.0.1:0", "127.0.0.1:0")?;
        let (data, log) = (data.to_owned(), log.to_owned());
        Ok(Self { child, stdin, data, log, devices, admin, memory_peak: None, ready_after })
    }

    /// Where devices go.
    pub(super) fn devices_url(&self) -> &str {
        &self.devices
    }

    /// A client of its API.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        let token = Token::read(&self.data.join(TOKEN_FILE))?;
        Ok(Client::new(&self.admin, Some(token.reveal().to_string())))
    }

    /// Kills the process where it stands and starts another on the same data and addresses.
    pub(super) fn kill_and_restart(&mut self) -> anyhow::Result<()> {
        self.memory_peak();
        self.child.kill().context("could not kill the server")?;
        self.child.wait().context("could not wait for the killed server")?;
        let (devices, admin) = (address(&self.devices).to_owned(), address(&self.admin).to_owned());
        let (child, stdin, devices, admin, ready_after) = spawn(&self.data, &self.log, &devices, &admin)?;
        (self.child, self.stdin, self.devices, self.admin) = (child, stdin, devices, admin);
        self.ready_after = ready_after;
        Ok(())
    }

    /// The most resident memory it ever had, in octets; `None` where the system does not say.
    pub(super) fn memory_peak(&mut self) -> Option<u64> {
        let now = memory_peak(self.child.id());
        self.memory_peak = self.memory_peak.max(now);
        self.memory_peak
    }

    /// Octets that its data directory takes on the disk.
    pub(super) fn disk(&self) -> u64 {
        disk(&self.data)
    }

    /// Lets it drain and end.
    pub(super) fn stop(mut self) -> anyhow::Result<ExitStatus> {
        self.stdin.take();
        let deadline = Instant::now() + END_TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().context("could not wait for the server")? {
                return Ok(status);
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "the server did not end in {} s",
                END_TIMEOUT.as_secs()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already after `stop`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

type Spawned = (Child, Option<ChildStdin>, String, String, Duration);

fn spawn(data: &Path, log: &Path, devices: &str, admin: &str) -> anyhow::Result<Spawned> {
    let program = std::env::current_exe().context("could not find the program itself")?;
    let log_file = File::options().create(true).append(true).open(log);
    let log_file = log_file.with_context(|| format!("could not open {}", log.display()))?;
    let began = Instant::now();
    let mut child = Command::new(program)
        .args(["serve", "--until-stdin-ends", "--listen", devices, "--admin-listen", admin, "--data"])
        .arg(data)
        .env_remove("FLOTILLA_CONFIG")
        // Triggers that are lost are repeated within the demo.
        .env("FLOTILLA__NOTIFY__REPEAT_AFTER", "2s")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log_file)
        .spawn()
        .context("could not start the server")?;
    let stdin = child.stdin.take();
    let addresses = child.stdout.take().context("the server has no output").and_then(|stdout| {
        let mut stdout = BufReader::new(stdout);
        let mut line = |prefix: &str| -> anyhow::Result<String> {
            let mut line = String::new();
            stdout.read_line(&mut line)?;
            let url = line.strip_prefix(prefix).context("it said something else")?;
            Ok(url.trim().to_owned())
        };
        Ok((line("device listener")?, line("admin listener")?))
    });
    match addresses {
        Ok((devices, admin)) => Ok((child, stdin, devices, admin, began.elapsed())),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(error.context(format!("the server did not start; {} says why", log.display())))
        }
    }
}

/// Host and port of a URL.
fn address(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// `VmHWM` of a process: Linux keeps it.
fn memory_peak(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Octets on the disk: blocks, not lengths, because files may be allocated ahead or have holes.
fn disk(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => disk(&entry.path()),
        Ok(metadata) => allocated(&metadata),
        Err(_) => 0,
    };
    entries.filter_map(Result::ok).map(size).sum()
}

#[cfg(unix)]
fn allocated(metadata: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    metadata.blocks() * 512
}

#[cfg(not(unix))]
fn allocated(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_address_out_of_a_url() {
        for (url, want) in [
            ("http://127.0.0.1:8080/dm", "127.0.0.1:8080"),
            ("https://[::1]:8080", "[::1]:8080"),
            ("127.0.0.1:1", "127.0.0.1:1"),
        ] {
            assert_eq!(address(url), want);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn reads_the_peak_memory_of_a_process() {
        assert!(memory_peak(std::process::id()).is_some_and(|octets| octets > 1 << 20));
        assert_eq!(memory_peak(u32::MAX), None);
    }
}
