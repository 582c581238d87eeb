//! One process of the cluster, which can be killed, stopped for a while, and started again on the same addresses.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use service_kit::{loopback::free_address, settings::Role};

/// How long a process may take until it is ready, and how often it is asked.
const READY: (Duration, Duration) = (Duration::from_secs(90), Duration::from_millis(100));
/// How long it may take to end by itself.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// What all processes of the cluster are started with.
pub(super) struct Common {
    pub(super) config: PathBuf,
    /// The program that processes are of.
    pub(super) program: PathBuf,
    /// Settings over the file's, as variables.
    pub(super) environment: Vec<(String, String)>,
    /// Where the logs go.
    pub(super) folder: PathBuf,
}

/// A process with one role.
pub(super) struct Process {
    pub(super) name: String,
    pub(super) role: Role,
    /// Where its role listens.
    pub(super) address: SocketAddr,
    health: SocketAddr,
    child: Child,
    /// Ends with us, and the process with it.
    _stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts one and does not wait for it.
    pub(super) fn start(common: &Common, role: Role, number: u32) -> anyhow::Result<Self> {
        let name = format!("{role}-{number}");
        let (address, health) = (free_address()?, free_address()?);
        let (child, stdin) = spawn(common, &name, role, address, health)?;
        Ok(Self { name, role, address, health, child, _stdin: stdin })
    }

    /// Waits until it says that it can do its work.
    pub(super) fn await_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY.0;
        let url = format!("http://{}/health/readyz", self.health);
        loop {
            if ureq::get(&url).call().is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("{} ended by itself: {status}", self.name);
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "{} was not ready in {} s",
                self.name,
                READY.0.as_secs()
            );
            std::thread::sleep(READY.1);
        }
    }

    /// Kills it where it stands.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().with_context(|| format!("could not kill {}", self.name))?;
        self.child.wait().with_context(|| format!("could not wait for {}", self.name))?;
        Ok(())
    }

    /// Starts it again after its end, on the same addresses.
    pub(super) fn start_again(&mut self, common: &Common) -> anyhow::Result<()> {
        (self.child, self._stdin) = spawn(common, &self.name, self.role, self.address, self.health)?;
        Ok(())
    }

    /// Stops it in the middle of whatever it does: it keeps all it has, and no time passes for it, until it is [thawed](Frozen::thaw).
    pub(super) fn freeze(&self) -> anyhow::Result<Frozen> {
        const CONTINUE: &str = r#"trap '' HUP INT TERM; read -r _; kill -CONT "$0""#;
        let mut shell = Command::new("sh");
        shell
            .args(["-c", CONTINUE, &self.child.id().to_string()])
            .stdin(Stdio::piped())
            .stderr(Stdio::null());
        let frozen = Frozen(shell.spawn().context("could not run sh")?);
        self.signal("STOP")?;
        Ok(frozen)
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status();
        let sent = sent.context("could not run kill")?;
        anyhow::ensure!(sent.success(), "could not send SIG{signal} to {}", self.name);
        Ok(())
    }

    /// Asks it to drain.
    pub(super) fn ask_to_end(&self) -> anyhow::Result<()> {
        self.signal("TERM")
    }

    /// Waits for its end.
    pub(super) fn await_end(&mut self) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + END_TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            let name = &self.name;
            anyhow::ensure!(Instant::now() < deadline, "{name} did not end in {} s", END_TIMEOUT.as_secs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already after `end`. A frozen one dies all the same.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// That a process is frozen: a shell lets it go on as soon as our end of its standard input is closed, so also when we are killed. The process can then
/// see that its own has ended.
pub(super) struct Frozen(Child);

impl Frozen {
    /// Lets it go on as if nothing had happened.
    pub(super) fn thaw(mut self) -> anyhow::Result<()> {
        // The pipe is closed first.
        let status = self.0.wait().context("could not wait for sh")?;
        anyhow::ensure!(status.success(), "could not send SIGCONT");
        Ok(())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = self.0.wait();
    }
}

fn spawn(
    common: &Common,
    name: &str,
    role: Role,
    address: SocketAddr,
    health: SocketAddr,
) -> anyhow::Result<(Child, Option<ChildStdin>)> {
    let log_path = common.folder.join(format!("{name}.log"));
    let log = File::options().create(true).append(true).open(&log_path);
    let log = log.with_context(|| format!("could not open {}", log_path.display()))?;
    let mut command = Command::new(&common.program);
    command
        .args(["serve", "--until-stdin-ends", "--roles", &role.to_string(), "--config"])
        .arg(&common.config);
    match role {
        Role::Session => command.args(["--listen", &address.to_string()]),
        Role::Admin => command.args(["--admin-listen", &address.to_string()]),
        _ => &mut command,
    };
    let mut child = command
        .envs(common.environment.iter().cloned())
        .env("FLOTILLA__HEALTH__LISTEN", health.to_string())
        .stdin(Stdio::piped())
        .stdout(log.try_clone().context("could not open the log twice")?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("could not start {name} of {}", common.program.display()))?;
    let stdin = child.stdin.take();
    Ok((child, stdin))
}

/// Where the cluster's secrets and the operator's token are.
pub(super) fn token_folder(folder: &Path) -> PathBuf {
    folder.join("admin")
}
