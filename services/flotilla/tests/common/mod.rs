//! The binary as a child process.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

pub(crate) fn flotilla() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flotilla"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FLOTILLA")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// A server that ends with the test.
pub(crate) struct Server {
    child: Child,
    /// The device listener's URL.
    pub(crate) devices: String,
    pub(crate) admin: String,
    _stdout: BufReader<ChildStdout>,
}

impl Server {
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    /// The same with more in its environment.
    pub(crate) fn start_with(data: &Path, environment: &[(&str, &str)]) -> Self {
        Self::start_to(data, environment, ["127.0.0.1:0"; 2], Stdio::inherit())
    }

    /// The same where devices and operators expect it.
    pub(crate) fn start_at(data: &Path, environment: &[(&str, &str)], listen: [&str; 2]) -> Self {
        Self::start_to(data, environment, listen, Stdio::inherit())
    }

    /// The same with its log in a file.
    pub(crate) fn start_logging(data: &Path, environment: &[(&str, &str)], log: File) -> Self {
        Self::start_to(data, environment, ["127.0.0.1:0"; 2], log.into())
    }

    fn start_to(data: &Path, environment: &[(&str, &str)], listen: [&str; 2], stderr: Stdio) -> Self {
        let mut child = flotilla()
            .envs(environment.iter().copied())
            .args(["serve", "--listen", listen[0], "--admin-listen", listen[1], "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the binary starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = |prefix: &str| {
            let mut line = String::new();
            stdout.read_line(&mut line).expect("it can be read");
            line.strip_prefix(prefix)
                .unwrap_or_else(|| panic!("expected {prefix}, got {line:?}"))
                .trim()
                .to_owned()
        };
        let devices = line("device listener  ");
        let admin = line("admin listener   ");
        Self { child, devices, admin, _stdout: stdout }
    }

    /// The addresses of both listeners, as they stand in settings.
    pub(crate) fn addresses(&self) -> [String; 2] {
        [&self.devices, &self.admin]
            .map(|url| url.trim_start_matches("http://").trim_end_matches("/dm").to_owned())
    }

    /// Kills it where it stands.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Asks for the end by SIGTERM and waits for it.
    pub(crate) fn terminate(self) -> ExitStatus {
        self.signal("TERM");
        self.await_end()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").arg(format!("-{name}")).arg(id).status().expect("kill is there");
        assert!(sent.success());
    }

    /// Waits for its end.
    pub(crate) fn await_end(mut self) -> ExitStatus {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a client command against a server.
pub(crate) fn client(server: &Server, data: &Path, args: &[&str], stdin: &str) -> Output {
    let mut child = flotilla()
        .args(args)
        .args(["--server", &server.admin, "--data"])
        .arg(data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // A command that reads nothing may have ended by now.
    let _ = child.stdin.take().expect("it is piped").write_all(stdin.as_bytes());
    child.wait_with_output().expect("it ends")
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("it is text")
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("it is text")
}
