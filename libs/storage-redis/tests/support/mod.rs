//! Servers that a test starts for itself, to stop and kill them.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use service_kit::loopback::free_address;

/// One `redis-server`, killed when it is dropped.
pub struct Server {
    child: Child,
    pub port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// False: the test is skipped, as there is no `redis-server` here; in CI it fails.
pub fn has_redis_server() -> bool {
    let found = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "expected redis-server to be there in CI");
        eprintln!("skipped: there is no redis-server");
    }
    found
}

/// A port that is free, as is the one 10,000 above it, on which nodes of a cluster speak with each other.
pub fn free_port() -> u16 {
    loop {
        let port = free_address().unwrap().port();
        if TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return port;
        }
    }
}

impl Server {
    /// Starts it and waits until it listens. `dir` is its own.
    pub fn start(dir: &Path, port: u16, options: &[&str]) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(dir)
            .args(["--port", &port.to_string()])
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, port };
        let probe = if options.contains(&"--tls-port") {
            let at = options.iter().position(|option| *option == "--tls-port").unwrap();
            options[at + 1].parse().unwrap()
        } else {
            port
        };
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", probe)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// As `kill -9` does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `redis-cli` with these arguments.
pub fn cli(arguments: &[&str]) -> Output {
    Command::new("redis-cli").args(arguments).output().unwrap()
}

/// What `redis-cli` prints.
pub fn ask(port: u16, arguments: &[&str]) -> String {
    let port = port.to_string();
    let output = cli(&[&["-p", &port], arguments].concat());
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
