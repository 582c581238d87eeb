//! `flotilla demo`: a server, a simulated fleet and a firmware campaign, from the start to the end.

pub(super) mod check;
mod child;
pub(super) mod plan;
mod summary;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use admin_service::api::{ArtifactView, CampaignView};
use anyhow::Context as _;
use clap::Args;
use loadtest::{Fleet, FleetReport, Progress};
use tokio_util::sync::CancellationToken;

use self::{
    check::Found,
    child::Server,
    plan::{ARTIFACT, Plan, VERSION},
    summary::{ServerFigures, Summary},
};
use super::{campaign, device, faults::FaultArgs, fleet};
use crate::{
    client::Client,
    exit::{Exit, Failure},
    output,
};

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// How many devices
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    devices: u32,
    /// What the fleet, its faults and the campaign's waves follow from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write the report here: a page with plots and a JSON beside it (the JSON alone for a name in .json)
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Kill the server without warning at so many random moments of the campaign, and start it again
    #[arg(long, value_name = "N", default_value_t = 0)]
    kills: u32,
    /// From one visit of a device to its next; fitted to the number of devices where nothing is said
    #[arg(long, value_name = "TIME", value_parser = fleet::parse_time)]
    poll: Option<Duration>,
    /// Of a hundred devices, how many come once and then only every hour, unless they are asked to (on Linux)
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=100))]
    rare: u8,
    /// Octets of the firmware that is made up for it
    #[arg(long, value_name = "N", default_value_t = 65_536, value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    artifact_size: u64,
    /// Devices that speak at the same time, at most
    #[arg(long, value_name = "N", default_value_t = 256)]
    active_max: usize,
    /// Leave the server's data and log behind and say where
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    faults: FaultArgs,
}

pub(crate) fn run(args: &DemoArgs) -> Result<Exit, Failure> {
    let folder =
        tempfile::Builder::new().prefix("flotilla-demo-").tempdir().context("could not make a folder")?;
    remove_on_interrupt(folder.path().to_owned(), args.keep)?;
    let outcome = Demo::new(args, folder.path()).run();
    if args.keep || outcome.is_err() {
        let path = folder.keep();
        eprintln!("the server's data and log are in {}", path.display());
    }
    let mut summary = outcome?;
    summary.print()?;
    if let Some(path) = &args.report {
        summary.write(path)?;
    }
    Ok(if summary.ended_well { Exit::Ok } else { Exit::Error })
}

/// Ctrl-C and SIGTERM leave nothing behind. The server gets the same signal, and its end of our pipe besides.
fn remove_on_interrupt(folder: PathBuf, keep: bool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("could not start the runtime")?;
    std::thread::spawn(move || {
        if runtime.block_on(interrupted()).is_ok() {
            if !keep {
                // What the server still writes in this moment may stay.
                let _ = std::fs::remove_dir_all(folder);
            }
            std::process::exit(130);
        }
    });
    Ok(())
}

#[cfg(unix)]
async fn interrupted() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}

#[cfg(not(unix))]
async fn interrupted() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

struct Demo<'a> {
    args: &'a DemoArgs,
    folder: &'a Path,
    plan: Plan,
    began: Instant,
}

impl<'a> Demo<'a> {
    fn new(args: &'a DemoArgs, folder: &'a Path) -> Self {
        Self { args, folder, plan: Plan::new(args.devices, args.poll), began: Instant::now() }
    }

    fn run(&self) -> Result<Summary, Failure> {
        let mut server = Server::start(&self.folder.join("data"), &self.folder.join("server.log"))?;
        eprintln!("server at {}", server.devices_url());
        let client = server.client()?;
        let fleet = self.fleet(&server)?;
        let import_s = import(&client, self.folder, &fleet)?;
        add_artifact(&client, self.args.seed, self.args.artifact_size)?;

        let started = Instant::now();
        let definition = self.plan.definition(self.args.seed);
        let created = campaign::submit(&client, "application/toml", &definition, true, None)?;
        let id = created.summary.id;
        let running = RunningFleet::start(fleet);
        let mut killer = Killer::new(self.args.kills, self.args.seed);
        let ending = self.watch(&client, &id, &running, &mut server, &mut killer);
        let campaign_s = started.elapsed().as_secs_f64();
        let report = running.stop();
        let (ending, report) = (ending?, report?);

        eprintln!("checking");
        let fair_weather = report.faults.is_none() && self.args.kills == 0;
        let found = Found { client: &client, campaign: &id, ending, fleet: &report, fair_weather };
        let mut checks = check::checks(&found)?;
        let view: CampaignView = client.get(&campaign::path(&id))?;
        let disk_bytes = server.disk();
        let figures = ServerFigures {
            ready_ms: u64::try_from(server.ready_after.as_millis()).unwrap_or(u64::MAX),
            memory_peak_bytes: server.memory_peak(),
            disk_bytes,
            disk_bytes_per_device: disk_bytes / u64::from(self.args.devices),
        };
        let status = server.stop()?;
        checks.push(check::ended("the server", status));
        checks.extend(killer.check());
        if self.args.rare > 0 {
            checks.push(check::asked_to_come(&report));
        }
        Ok(Summary {
            ended_well: checks.iter().all(|check| check.holds),
            checks,
            kills: killer.done,
            total_s: self.began.elapsed().as_secs_f64(),
            import_s,
            campaign_s,
            server: figures,
            campaign: view,
            fleet: report,
        })
    }

    fn fleet(&self, server: &Server) -> Result<Fleet, Failure> {
        let mut fleet = Fleet::new(server.devices_url(), self.args.devices, self.args.seed);
        fleet.faults = self.args.faults.plan();
        fleet.timing.poll_ms = u64::try_from(self.plan.poll.as_millis()).unwrap_or(u64::MAX);
        fleet.active_max = self.args.active_max;
        fleet.timing.rare_percent = self.args.rare;
        if self.args.rare > 0 {
            fleet.trigger_port = Some(free_port()?);
        }
        Ok(fleet)
    }

    fn watch(
        &self,
        client: &Client,
        id: &str,
        running: &RunningFleet,
        server: &mut Server,
        killer: &mut Killer,
    ) -> Result<campaign::Ending, Failure> {
        let mut shown = campaign::progress();
        let mut failed = None;
        let ending = campaign::follow_to_end(client, id, &mut |view, last| {
            shown.note(&fleet::line(&running.progress()));
            shown.show(view, last);
            if failed.is_none() && !last && killer.is_due(view) {
                failed = server.kill_and_restart().err();
            }
        });
        shown.finish();
        match failed {
            Some(error) => Err(error.into()),
            None => ending,
        }
    }
}

/// A UDP port that nobody has at this moment.
fn free_port() -> Result<u16, Failure> {
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0)).context("no port for triggers")?;
    Ok(socket.local_addr().context("no port for triggers")?.port())
}

/// Makes the server know the fleet, as an operator would; how long it took.
pub(super) fn import(client: &Client, folder: &Path, fleet: &Fleet) -> Result<f64, Failure> {
    let began = Instant::now();
    let path = folder.join("roster.csv");
    fleet::write_roster(fleet, &path)?;
    let file = File::open(&path)?;
    let name = path.display().to_string();
    let mut first_bad = None;
    let summary = device::import_from(client, &name, device::How::default(), file, &mut |bad| {
        first_bad.get_or_insert_with(|| format!("line {}: {}", bad.line, bad.detail));
    })?;
    if let Some(bad) = first_bad {
        return Err(Failure::error(format!("the fleet's roster was not taken: {bad}")));
    }
    let took = began.elapsed().as_secs_f64();
    eprintln!("{} devices imported in {took:.1} s", output::grouped(summary.counts.created));
    Ok(took)
}

/// Adds a firmware of octets that do not compress, and are the same for the same seed.
pub(super) fn add_artifact(client: &Client, seed: u64, size: u64) -> Result<(), Failure> {
    let path = format!("/v1/artifacts?name={ARTIFACT}&version={VERSION}");
    let mut firmware = Noise { state: seed, left: size };
    let artifact: ArtifactView =
        client.post_reader(&path, "application/octet-stream", Some(size), &mut firmware)?;
    eprintln!("firmware of {} added, sha256 {}", output::octets(artifact.size), artifact.digest);
    Ok(())
}

/// A fleet that runs beside the watching.
pub(super) struct RunningFleet {
    progress: Arc<Mutex<Progress>>,
    cancel: CancellationToken,
    thread: std::thread::JoinHandle<Result<FleetReport, Failure>>,
}

impl RunningFleet {
    pub(super) fn start(fleet: Fleet) -> Self {
        let progress = Arc::new(Mutex::new(Progress::default()));
        let cancel = CancellationToken::new();
        let thread = std::thread::spawn({
            let (progress, cancel) = (Arc::clone(&progress), cancel.clone());
            move || {
                let show = |now: &Progress| {
                    now.clone_into(&mut progress.lock().unwrap_or_else(PoisonError::into_inner));
                };
                let report = fleet::runtime()?.block_on(loadtest::run(fleet, show, cancel));
                report.map_err(|error| anyhow::Error::from(error).into())
            }
        });
        Self { progress, cancel, thread }
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets the sessions under way end.
    pub(super) fn stop(self) -> Result<FleetReport, Failure> {
        self.cancel.cancel();
        self.thread.join().unwrap_or_else(|_| Err(Failure::error("the fleet failed")))
    }
}

/// Decides when the server is killed.
struct Killer {
    /// Shares of the campaign at which it is, falling.
    moments: Vec<f64>,
    asked: u32,
    done: u32,
}

impl Killer {
    fn new(kills: u32, seed: u64) -> Self {
        let mut noise = Noise { state: seed ^ 0x6b69_6c6c, left: u64::MAX };
        let mut moments: Vec<f64> =
            (0..kills).map(|_| noise.next() as f64 / u64::MAX as f64 * 0.95).collect();
        moments.sort_by(|a, b| b.total_cmp(a));
        Self { moments, asked: kills, done: 0 }
    }

    /// Whether the campaign has come to the next moment. It is told by what the devices have done, so that the moments
    /// lie all over the campaign however fast it is.
    fn is_due(&mut self, campaign: &CampaignView) -> bool {
        let counts = &campaign.summary.counts;
        let share = f64::from(counts.ended()) / f64::from(campaign.members.max(1));
        let due = self.moments.last().is_some_and(|moment| *moment <= share);
        if due {
            self.moments.pop();
            self.done += 1;
        }
        due
    }

    /// A campaign that was over before all kills proves less than was asked.
    fn check(&self) -> Option<check::Check> {
        (self.asked > 0).then(|| check::killed(self.asked, self.done))
    }
}

/// SplitMix64: noise that is the same for the same seed.
struct Noise {
    state: u64,
    left: u64,
}

impl Noise {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

impl std::io::Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        for part in buffer[..wanted].chunks_mut(8) {
            let word = self.next().to_le_bytes();
            part.copy_from_slice(&word[..part.len()]);
        }
        self.left -= wanted as u64;
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn noise_has_its_length_and_follows_from_its_seed() {
        let take = |state| {
            let mut octets = Vec::new();
            Noise { state, left: 1001 }.read_to_end(&mut octets).map(|_| octets).ok()
        };
        assert_eq!(take(1).map(|octets| octets.len()), Some(1001));
        assert_eq!(take(1), take(1));
        assert_ne!(take(1), take(2));
    }

    #[test]
    fn kills_lie_within_the_campaign() {
        let killer = Killer::new(10, 3);
        assert_eq!(killer.moments.len(), 10);
        assert!(killer.moments.iter().all(|moment| (0.0..0.95).contains(moment)), "{:?}", killer.moments);
        assert!(killer.moments.is_sorted_by(|a, b| a >= b));
    }
}
