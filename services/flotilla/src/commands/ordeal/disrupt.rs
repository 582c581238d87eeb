//! What is done to the cluster while a campaign runs on it: the worst, or what its operators do to it every month.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

use anyhow::Context as _;
use loadtest::proxy::{Proxy, Weather};
use service_kit::settings::Role;

use super::process::{Common, Process};

/// A link between Flotilla and a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Redis,
    Kafka,
    Scylla,
}

/// One thing that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disruption {
    /// `kill -9` of the process of this role and number, and a new one in its place a second later.
    Kill(Role, u32),
    /// SIGSTOP of it for so long.
    Freeze(Role, u32, Duration),
    /// A link has this weather for so long.
    Weather(Link, Weather, Duration),
    /// Redis comes back empty.
    RedisEmptied,
    /// A server is stopped and started.
    Restart(&'static str),
    /// What comes before an upgrade: the schema and the topics of the new program.
    Migrate,
    /// One of the new program takes the place of the process of this role and number, which drains.
    Replace(Role, u32),
    /// The machine with the front-end, the owner and the worker of this number is gone: nothing on it answers, and nothing closes
    /// a connection. Others take the place of its processes.
    NodeLost(u32),
}

/// The load balancer's health check finds out about a node this late.
const NODE_NOTICED: Duration = Duration::from_secs(3);
/// The load balancer learns that a process drains this long after the process does.
const DRAIN_NOTICED: Duration = Duration::from_millis(500);

impl Disruption {
    /// All of them, in an order that lets each meet a cluster that works; `scale` shortens what lasts.
    pub(super) fn all(freeze: Duration) -> Vec<Self> {
        use Disruption::{Freeze, Kill, RedisEmptied, Restart};
        use Role::{Admin, Campaign, Session, Snapshot};
        let weather = |link, weather, secs| Self::Weather(link, weather, Duration::from_secs(secs));
        let slow = Weather::Slow(Duration::from_millis(150));
        vec![
            Kill(Session, 0),
            Kill(Campaign, 0),
            weather(Link::Redis, Weather::Cut, 2),
            weather(Link::Kafka, slow, 4),
            Freeze(Campaign, 1, freeze),
            RedisEmptied,
            weather(Link::Scylla, Weather::BlackHole, 4),
            Kill(Snapshot, 0),
            weather(Link::Kafka, Weather::BlackHole, 6),
            Freeze(Session, 0, freeze),
            Restart("kafka"),
            Kill(Admin, 0),
            weather(Link::Redis, Weather::BlackHole, 4),
            weather(Link::Scylla, slow, 4),
            Kill(Campaign, 1),
            weather(Link::Kafka, Weather::Cut, 3),
            Restart("cassandra"),
            weather(Link::Scylla, Weather::Cut, 3),
            Freeze(Campaign, 0, freeze),
            Kill(Session, 1),
        ]
    }

    /// An upgrade of every process, and a node lost after it.
    pub(super) fn rolling(processes: &[(Role, u32)]) -> Vec<Self> {
        let replaced = processes.iter().map(|&(role, number)| Self::Replace(role, number));
        std::iter::once(Self::Migrate).chain(replaced).chain([Self::NodeLost(1)]).collect()
    }
}

impl std::fmt::Display for Disruption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kill(role, number) => write!(f, "kill -9 of {role}-{number}"),
            Self::Freeze(role, number, period) => {
                write!(f, "{role}-{number} frozen for {} s", period.as_secs())
            }
            Self::Weather(link, weather, period) => {
                let link = format!("{link:?}").to_lowercase();
                match weather {
                    Weather::Fair => write!(f, "the link to {link} is fair"),
                    Weather::Slow(delay) => {
                        write!(
                            f,
                            "the link to {link} {} ms slower for {} s",
                            delay.as_millis(),
                            period.as_secs()
                        )
                    }
                    Weather::BlackHole => {
                        write!(f, "the link to {link} a black hole for {} s", period.as_secs())
                    }
                    Weather::Cut => write!(f, "the link to {link} cut for {} s", period.as_secs()),
                }
            }
            Self::RedisEmptied => write!(f, "redis restarted empty"),
            Self::Restart(server) => write!(f, "{server} restarted"),
            Self::Migrate => write!(f, "schema and topics of the new program"),
            Self::Replace(role, number) => write!(f, "{role}-{number} replaced"),
            Self::NodeLost(number) => write!(f, "the node of session-{number} lost"),
        }
    }
}

/// The links that disruptions use.
pub(super) struct Links {
    /// The load balancer before the front-ends.
    pub(super) devices: Proxy,
    pub(super) redis: Proxy,
    pub(super) kafka: Proxy,
    pub(super) scylla: Proxy,
}

/// Does them one after the other, until it is told to end.
pub(super) struct Disruptor {
    pub(super) common: Common,
    /// The program of the processes that take the place of others.
    pub(super) new_program: PathBuf,
    pub(super) processes: Vec<Process>,
    pub(super) links: Links,
    /// Where `up` and `down` are, which start and stop servers.
    pub(super) servers: PathBuf,
    /// From the end of one to the beginning of the next.
    pub(super) pause: Duration,
}

impl Disruptor {
    /// Does `disruptions`, and answers those that were done, and itself. A message on `end`, or its end, ends it early.
    pub(super) fn run(
        mut self,
        disruptions: &[Disruption],
        end: &Receiver<()>,
    ) -> anyhow::Result<(Vec<Disruption>, Self)> {
        let mut done = Vec::new();
        for &disruption in disruptions {
            if end.recv_timeout(self.pause) != Err(RecvTimeoutError::Timeout) {
                break;
            }
            eprintln!("{disruption}");
            self.disrupt(disruption).with_context(|| disruption.to_string())?;
            done.push(disruption);
        }
        Ok((done, self))
    }

    fn disrupt(&mut self, disruption: Disruption) -> anyhow::Result<()> {
        match disruption {
            Disruption::Kill(role, number) => {
                let process = find(&mut self.processes, role, number)?;
                process.kill()?;
                std::thread::sleep(Duration::from_secs(1));
                process.start_again(&self.common)
            }
            Disruption::Freeze(role, number, period) => {
                let frozen = find(&mut self.processes, role, number)?.freeze()?;
                std::thread::sleep(period);
                frozen.thaw()
            }
            Disruption::Weather(link, weather, period) => {
                let link = match link {
                    Link::Redis => &self.links.redis,
                    Link::Kafka => &self.links.kafka,
                    Link::Scylla => &self.links.scylla,
                };
                link.set(weather);
                std::thread::sleep(period);
                link.set(Weather::Fair);
                Ok(())
            }
            Disruption::RedisEmptied => {
                self.server("down", &["--erase", "redis"])?;
                self.server("up", &["redis"])
            }
            Disruption::Restart(server) => {
                self.server("down", &[server])?;
                self.server("up", &[server])
            }
            Disruption::Migrate => {
                self.common.program.clone_from(&self.new_program);
                self.apply("schema")?;
                self.apply("topics")
            }
            Disruption::Replace(role, number) => self.replace(role, number),
            Disruption::NodeLost(number) => self.lose_node(number),
        }
    }

    /// The new process is ready before the old one is asked to go, but for the admin role, whose one address the operator knows.
    fn replace(&mut self, role: Role, number: u32) -> anyhow::Result<()> {
        if role == Role::Admin {
            let old = find(&mut self.processes, role, number)?;
            old.ask_to_end()?;
            let status = old.await_end()?;
            anyhow::ensure!(status.success(), "{} ended with {status}", old.name);
            old.start_again(&self.common)?;
            return old.await_ready();
        }
        let mut new = Process::start(&self.common, role, number)?;
        new.await_ready()?;
        let old = find(&mut self.processes, role, number)?;
        let mut old = std::mem::replace(old, new);
        let both = self.fronts().chain((role == Role::Session).then_some(old.address)).collect();
        self.links.devices.set_upstreams(both);
        old.ask_to_end()?;
        std::thread::sleep(DRAIN_NOTICED);
        self.links.devices.set_upstreams(self.fronts().collect());
        let status = old.await_end()?;
        anyhow::ensure!(status.success(), "{} ended with {status}", old.name);
        Ok(())
    }

    fn lose_node(&mut self, number: u32) -> anyhow::Result<()> {
        let name = |role: Role| format!("{role}-{number}");
        let is_on = |process: &Process| process.name == name(process.role);
        let (mut lost, mut left) = (Vec::new(), Vec::new());
        for process in std::mem::take(&mut self.processes) {
            if is_on(&process) { lost.push(process) } else { left.push(process) }
        }
        self.processes = left;
        let frozen = lost.iter().map(Process::freeze).collect::<anyhow::Result<Vec<_>>>()?;
        std::thread::sleep(NODE_NOTICED);
        self.links.devices.set_upstreams(self.fronts().collect());
        for old in &lost {
            let mut new = Process::start(&self.common, old.role, number)?;
            new.await_ready()?;
            self.processes.push(new);
        }
        self.links.devices.set_upstreams(self.fronts().collect());
        // They end as they are, and never go on.
        drop(lost);
        drop(frozen);
        Ok(())
    }

    fn fronts(&self) -> impl Iterator<Item = SocketAddr> {
        self.processes.iter().filter(|process| process.role == Role::Session).map(|process| process.address)
    }

    /// What the chart's hook does before an upgrade.
    fn apply(&self, what: &str) -> anyhow::Result<()> {
        let output = Command::new(&self.common.program)
            .args([what, "apply", "--config"])
            .arg(&self.common.config)
            .envs(self.common.environment.iter().cloned())
            .output();
        let output = output.with_context(|| format!("could not run {}", self.common.program.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{what} apply: {said}");
        Ok(())
    }

    fn server(&self, command: &str, args: &[&str]) -> anyhow::Result<()> {
        let path = self.servers.join(command);
        let output = Command::new(&path).args(args).output();
        let output = output.with_context(|| format!("could not run {}", path.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{} {}: {said}", path.display(), args.join(" "));
        Ok(())
    }
}

fn find(processes: &mut [Process], role: Role, number: u32) -> anyhow::Result<&mut Process> {
    let name = format!("{role}-{number}");
    let found = processes.iter_mut().find(|process| process.name == name);
    found.with_context(|| format!("there is no process {name}"))
}
