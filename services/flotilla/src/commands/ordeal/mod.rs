//! `flotilla ordeal`: a campaign on a cluster of six processes while each of them and each server has its bad moments, and whether
//! what came of it is what had to.

mod disrupt;
mod process;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant},
};

use admin_service::{TOKEN_FILE, Token};
use anyhow::Context as _;
use clap::Args;
use loadtest::{FleetReport, proxy::Proxy};
use service_kit::{Settings, settings::Role};

use self::{
    disrupt::{Disruption, Disruptor, Links},
    process::{Common, Process},
};
use super::{
    campaign,
    demo::{
        self, RunningFleet,
        check::{self, Check, Found},
        plan::Plan,
    },
    faults::FaultArgs,
    fleet,
};
use crate::{
    client::Client,
    exit::{Exit, Failure},
    output::grouped,
};

/// The processes: of each role so many.
const PROCESSES: [(Role, u32); 5] =
    [(Role::Session, 2), (Role::Campaign, 2), (Role::Snapshot, 1), (Role::Notify, 1), (Role::Admin, 1)];

#[derive(Args, Debug)]
pub(crate) struct OrdealArgs {
    /// The cluster's settings; its servers are empty, and nobody else uses them
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where the scripts `up` and `down` are that start and stop a server by its name
    #[arg(long, value_name = "DIR", default_value = "deploy/dev")]
    servers: PathBuf,
    /// Kafka's second listener and the address that it advertises, where the proxy on this link is to listen
    #[arg(long, value_name = "UPSTREAM=ADVERTISED", value_parser = parse_link)]
    kafka_link: (SocketAddr, SocketAddr),
    /// How many devices
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    devices: u32,
    /// What the fleet, its faults and the campaign's waves follow from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// From one visit of a device to its next; fitted to the number of devices where nothing is said
    #[arg(long, value_name = "TIME", value_parser = fleet::parse_time)]
    poll: Option<Duration>,
    /// How long a process is frozen
    #[arg(long, value_name = "TIME", value_parser = fleet::parse_time, default_value = "20s")]
    freeze: Duration,
    /// From the end of one disruption to the next
    #[arg(long, value_name = "TIME", value_parser = fleet::parse_time, default_value = "5s")]
    pause: Duration,
    /// Nothing is disrupted: for figures of the same cluster in peace
    #[arg(long)]
    calm: bool,
    /// Instead of the worst, what operators do: every process is replaced while the campaign runs, then a node is lost; no
    /// session fails but what a device's own repeating hides
    #[arg(long, conflicts_with_all = ["calm", "freeze"])]
    rolling: bool,
    /// The program that the processes are of until they are replaced: an earlier release
    #[arg(long, value_name = "FILE", requires = "rolling")]
    from: Option<PathBuf>,
    /// Devices that speak at the same time, at most
    #[arg(long, value_name = "N", default_value_t = 128)]
    active_max: usize,
    /// Write the fleet's report here, a page with a JSON beside it
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Leave the logs behind and say where
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    faults: FaultArgs,
}

pub(crate) fn run(args: &OrdealArgs) -> Result<Exit, Failure> {
    let folder = tempfile::Builder::new().prefix("flotilla-ordeal-").tempdir();
    let folder = folder.context("could not make a folder")?;
    let outcome = Ordeal { args, folder: folder.path() }.run();
    let is_good = outcome.as_ref().is_ok_and(|checks| checks.iter().all(|check| check.holds));
    if args.keep || !is_good {
        eprintln!("the logs are in {}", folder.keep().display());
    }
    check::print(&outcome?)?;
    Ok(if is_good { Exit::Ok } else { Exit::Error })
}

struct Ordeal<'a> {
    args: &'a OrdealArgs,
    folder: &'a Path,
}

impl Ordeal<'_> {
    fn run(&self) -> Result<Vec<Check>, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.context("could not start the runtime")?;
        let own_program = std::env::current_exe().context("could not find the program itself")?;
        let (common, links, processes, devices_url) = runtime.block_on(self.start(&own_program))?;
        let admin = processes.iter().find(|process| process.name == "admin-0");
        let admin = admin.context("there is no admin process")?.address;
        let token =
            Token::read(&process::token_folder(self.folder).join(TOKEN_FILE)).map_err(anyhow::Error::from)?;
        let client = Client::new(&format!("http://{admin}"), Some(token.reveal().to_string()));

        let plan = Plan::new(self.args.devices, self.args.poll);
        let mut fleet = loadtest::Fleet::new(&devices_url, self.args.devices, self.args.seed);
        fleet.faults = self.args.faults.plan();
        fleet.timing.poll_ms = u64::try_from(plan.poll.as_millis()).unwrap_or(u64::MAX);
        fleet.active_max = self.args.active_max;
        demo::import(&client, self.folder, &fleet)?;
        demo::add_artifact(&client, self.args.seed, 65_536)?;

        let began = Instant::now();
        let definition = plan.ordeal(self.args.seed);
        let created = campaign::submit(&client, "application/toml", &definition, true, None)?;
        let id = created.summary.id;
        let running = RunningFleet::start(fleet);
        let disruptor = Disruptor {
            common,
            new_program: own_program,
            processes,
            links,
            servers: self.args.servers.clone(),
            pause: self.args.pause,
        };
        let disruptions = self.disruptions();
        let (end, ended) = mpsc::channel();
        let asked = disruptions.clone();
        let (ending, disrupted) = std::thread::scope(|scope| {
            let disrupted = scope.spawn(move || disruptor.run(&asked, &ended));
            let mut shown = campaign::progress();
            let ending = campaign::follow_to_end(&client, &id, &mut |view, last| {
                shown.note(&fleet::line(&running.progress()));
                shown.show(view, last);
            });
            shown.finish();
            // It may have ended already.
            let _ = end.send(());
            let disrupted = disrupted.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the disruptor failed")));
            (ending, disrupted)
        });
        let campaign_s = began.elapsed().as_secs_f64();
        let report = running.stop();
        // The links stay until the processes have ended.
        let (done, Disruptor { mut processes, links: _links, .. }) = disrupted?;
        let (ending, report) = (ending?, report?);
        eprintln!(
            "campaign {campaign_s:.1} s, {} sessions, {:.0}/s; checking",
            grouped(report.sessions.done),
            report.sessions.per_s
        );
        if let Some(path) = &self.args.report {
            report.write(path).with_context(|| format!("could not write {}", path.display()))?;
        }

        for process in &mut processes {
            process.await_ready()?;
        }
        let found = Found { client: &client, campaign: &id, ending, fleet: &report, fair_weather: false };
        let mut checks = check::checks(&found)?;
        checks.push(disrupted_check(&disruptions, &done));
        if self.args.rolling {
            checks.push(unbroken_check(&report));
        }
        for mut process in processes {
            process.ask_to_end()?;
            let status = process.await_end()?;
            checks.push(check::ended(&process.name, status));
        }
        Ok(checks)
    }

    fn disruptions(&self) -> Vec<Disruption> {
        let processes =
            PROCESSES.iter().flat_map(|&(role, count)| (0..count).map(move |number| (role, number)));
        match (self.args.calm, self.args.rolling) {
            (true, _) => Vec::new(),
            (false, true) => Disruption::rolling(&processes.collect::<Vec<_>>()),
            (false, false) => Disruption::all(self.args.freeze),
        }
    }

    /// The links, the processes behind them, and the one address that devices know.
    async fn start(&self, own_program: &Path) -> anyhow::Result<(Common, Links, Vec<Process>, String)> {
        let settings = Settings::load(Some(&self.args.config), std::env::vars(), [])
            .map_err(|errors| anyhow::anyhow!("the settings cannot be used\n{errors}"))?;
        let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let redis = settings.redis.nodes.first().context("redis.nodes is empty")?;
        let redis = Proxy::start(local(0), vec![host_and_port(redis)?]).await?;
        let scylla = settings.scylla.contact_points.first().context("scylla.contact_points is empty")?;
        let scylla = Proxy::start(local(0), vec![host_and_port(scylla)?]).await?;
        let (upstream, advertised) = self.args.kafka_link;
        let kafka = Proxy::start(advertised, vec![upstream]).await?;

        // Before there is anybody behind it: every process is told the address.
        let devices = Proxy::start(local(0), Vec::new()).await?;
        let devices_url = format!("http://{}/dm", devices.address());
        let variable = |key: &str, value: String| (format!("FLOTILLA__{key}"), value);
        let environment = vec![
            variable("REDIS__NODES", format!("['redis://{}']", redis.address())),
            variable("SCYLLA__CONTACT_POINTS", format!("['{}']", scylla.address())),
            variable("KAFKA__BOOTSTRAP", kafka.address().to_string()),
            variable("SESSION__PUBLIC_URL", format!("http://{}", devices.address())),
            variable("STORAGE__DATA", process::token_folder(self.folder).display().to_string()),
        ];
        let program = self.args.from.as_deref().unwrap_or(own_program).to_owned();
        let folder = self.folder.to_owned();
        let common = Common { config: self.args.config.clone(), program, environment, folder };
        let mut processes = Vec::new();
        for (role, count) in PROCESSES {
            for number in 0..count {
                processes.push(Process::start(&common, role, number)?);
            }
        }
        for process in &mut processes {
            process.await_ready()?;
        }
        let fronts = processes.iter().filter(|process| process.name.starts_with("session"));
        devices.set_upstreams(fronts.map(|process| process.address).collect());
        eprintln!("{} processes, devices at {devices_url}", processes.len());
        Ok((common, Links { devices, redis, kafka, scylla }, processes, devices_url))
    }
}

/// An ordeal that was over before all of it proves less than was asked.
fn disrupted_check(asked: &[Disruption], done: &[Disruption]) -> Check {
    let left: Vec<String> = asked.iter().skip(done.len()).map(ToString::to_string).collect();
    Check::of(
        "every disruption was done while the campaign ran",
        &left,
        format!("{} disruptions", asked.len()),
    )
}

/// What a device hides by repeating a message is no failure; a session that it gave up is.
fn unbroken_check(fleet: &FleetReport) -> Check {
    let broken = &fleet.sessions.broken;
    let wrong: Vec<String> = broken.iter().map(|(why, count)| format!("{} {why}", grouped(*count))).collect();
    let repeated: u64 =
        fleet.answers.iter().filter(|(answer, _)| *answer != "200").map(|(_, count)| count).sum();
    let compared = format!(
        "{} sessions, {} messages of {} repeated or put off by their devices",
        grouped(fleet.sessions.done),
        grouped(repeated),
        grouped(fleet.sessions.messages)
    );
    Check::of("no session failed", &wrong, compared)
}

fn host_and_port(url: &str) -> anyhow::Result<SocketAddr> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.trim_end_matches('/')
        .parse()
        .with_context(|| format!("expected an address such as 127.0.0.1:6379, got {url}"))
}

fn parse_link(text: &str) -> Result<(SocketAddr, SocketAddr), String> {
    let parsed = text.split_once('=').and_then(|(one, other)| Some((one.parse().ok()?, other.parse().ok()?)));
    parsed.ok_or_else(|| {
        format!("expected UPSTREAM=ADVERTISED such as 127.0.0.1:26022=127.0.0.1:26023, got {text}")
    })
}
