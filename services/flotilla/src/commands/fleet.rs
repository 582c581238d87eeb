//! `flotilla fleet`

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use loadtest::{Fleet, FleetReport, Progress};
use tokio_util::sync::CancellationToken;

use super::faults::FaultArgs;
use crate::{
    exit::{Exit, Failure},
    output::{self, Format, grouped},
};

/// Between two lines of progress where there is no terminal.
const LINE_PAUSE: Duration = Duration::from_secs(5);

#[derive(Args, Debug)]
pub(crate) struct FleetArgs {
    #[command(subcommand)]
    command: FleetCommand,
}

#[derive(Debug, Subcommand)]
enum FleetCommand {
    /// Run simulated devices against a server
    #[command(after_help = "\
Who the devices are follows from --seed and --devices, so `flotilla fleet roster` with the same two writes
the file that makes the server know them. The same seed is the same fleet, with the same faults.

Runs until Ctrl-C, --duration, or, with --until-version, until every device has that version, has failed
or is silent. The report is a page with plots and a JSON beside it (or the JSON alone, for a name in .json).

Examples:
  flotilla fleet roster --devices 1000 > roster.csv && flotilla device import roster.csv
  flotilla fleet run --url http://127.0.0.1:8080/dm --devices 1000 --duration 60s
  flotilla fleet run --url http://127.0.0.1:8080/dm --devices 1000 --rough --report fleet.html")]
    Run(Box<RunArgs>),
    /// Write the devices of a fleet for `flotilla device import`
    #[command(after_help = "Example:\n  flotilla fleet roster --devices 1000 --seed 7 > roster.csv")]
    Roster {
        /// How many devices
        #[arg(long, value_name = "N", default_value_t = 100)]
        devices: u32,
        /// What everything follows from
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
        /// The devices can be asked to come, at this port: give `fleet run` the same
        #[arg(long, value_name = "PORT")]
        trigger_port: Option<u16>,
    },
}

#[derive(Args, Debug)]
struct RunArgs {
    /// Where devices go: what `flotilla serve` prints as the device listener
    #[arg(long, value_name = "URL")]
    url: String,
    /// Connect there, in turn, instead of to the URL's host, as a load balancer would; may be given again
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "http2")]
    via: Vec<String>,
    /// How many devices
    #[arg(long, value_name = "N", default_value_t = 100)]
    devices: u32,
    /// What everything follows from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// From one visit of a device to its next, such as `5s` or `10m`
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "5s")]
    poll: Duration,
    /// Devices can be asked to come, at this UDP port: each has an address of its own in 127.0.0.0/8 (on Linux)
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    trigger_port: Option<u16>,
    /// Of a hundred devices, how many come only every --rare-poll after their first visit, unless asked
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=100))]
    rare: u8,
    /// How often those come
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "1h")]
    rare_poll: Duration,
    /// Devices that speak at the same time, at most
    #[arg(long, value_name = "N", default_value_t = 256)]
    active_max: usize,
    /// End after this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    duration: Option<Duration>,
    /// End when every device has this version, has failed or is silent
    #[arg(long, value_name = "VERSION")]
    until_version: Option<String>,
    /// Speak HTTP/2
    #[arg(long)]
    http2: bool,
    /// Certificates in PEM that sign the server's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Take any certificate of the server
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,
    /// Write the report here
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write the fleet's devices here before it runs, for `flotilla device import`
    #[arg(long, value_name = "FILE")]
    roster_csv: Option<PathBuf>,
    #[command(flatten)]
    faults: FaultArgs,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) fn run(args: FleetArgs) -> Result<Exit, Failure> {
    match args.command {
        FleetCommand::Roster { devices, seed, trigger_port } => {
            let out = BufWriter::new(io::stdout().lock());
            let written = loadtest::write_csv(loadtest::roster(seed, devices), trigger_port, out);
            output::written(written)?;
            Ok(Exit::Ok)
        }
        FleetCommand::Run(args) => run_fleet(&args),
    }
}

fn run_fleet(args: &RunArgs) -> Result<Exit, Failure> {
    let mut fleet = Fleet::new(&args.url, args.devices, args.seed);
    fleet.faults = args.faults.plan();
    fleet.timing.poll_ms = u64::try_from(args.poll.as_millis()).unwrap_or(u64::MAX);
    fleet.timing.rare_poll_ms = u64::try_from(args.rare_poll.as_millis()).unwrap_or(u64::MAX);
    fleet.timing.rare_percent = args.rare;
    fleet.trigger_port = args.trigger_port;
    fleet.active_max = args.active_max;
    fleet.client.http2 = args.http2;
    fleet.client.via.clone_from(&args.via);
    fleet.client.tls.ca.clone_from(&args.ca);
    fleet.client.tls.insecure = args.insecure;
    fleet.until.duration = args.duration;
    fleet.until.version.clone_from(&args.until_version);
    if let Some(path) = &args.roster_csv {
        write_roster(&fleet, path)?;
    }
    let shown = Shown::new();
    let runtime = runtime()?;
    let report = runtime.block_on(async {
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        let interrupt = tokio::spawn(async move {
            // Without a handler Ctrl-C ends the process at once, and the report is lost.
            if tokio::signal::ctrl_c().await.is_ok() {
                stop.cancel();
            }
        });
        let report = loadtest::run(fleet, |progress| shown.show(progress), cancel).await;
        interrupt.abort();
        report
    });
    shown.bar.finish_and_clear();
    let report = report.map_err(|error| Failure::from(anyhow::Error::from(error)))?;
    print_report(args.output, &report)?;
    if let Some(path) = &args.report {
        report.write(path).with_context(|| format!("could not write {}", path.display()))?;
    }
    match report.first_broken.filter(|_| report.sessions.messages == 0) {
        Some(why) => Err(Failure::error(format!("no device had an answer from {}: {why}", args.url))),
        None => Ok(Exit::Ok),
    }
}

/// Writes the devices of a fleet as a roster.
pub(crate) fn write_roster(fleet: &Fleet, path: &Path) -> Result<(), Failure> {
    let named = |error: io::Error| Failure::error(format!("{}: {error}", path.display()));
    let file = File::create(path).map_err(named)?;
    loadtest::write_csv(fleet.roster(), fleet.trigger_port, BufWriter::new(file)).map_err(named)
}

/// A runtime for a fleet.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::error(format!("could not start the runtime: {error}")))
}

/// A fleet's progress in a line.
pub(crate) fn line(progress: &Progress) -> String {
    let mut text = format!(
        "fleet: {:.0} sessions/s, {:.0} messages/s, {} active, {} updating, {} updated",
        progress.sessions_per_s,
        progress.messages_per_s,
        grouped(progress.active.into()),
        grouped(progress.updating.into()),
        grouped(progress.updated.into()),
    );
    for (count, word) in [
        (u64::from(progress.failed), "failed"),
        (u64::from(progress.silent), "silent"),
        (progress.turned_away, "turned away"),
        (progress.faults, "faults injected"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {} {word}", grouped(count)));
        }
    }
    text
}

/// Where progress is shown: a line that changes on a terminal, a line now and then elsewhere.
struct Shown {
    bar: ProgressBar,
    terminal: bool,
    last: std::cell::Cell<Option<Instant>>,
}

impl Shown {
    fn new() -> Self {
        let terminal = io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(None, target).with_style(style);
        Self { bar, terminal, last: std::cell::Cell::new(None) }
    }

    fn show(&self, progress: &Progress) {
        if self.terminal {
            self.bar.set_message(line(progress));
        } else if self.last.get().is_none_or(|at| at.elapsed() >= LINE_PAUSE) {
            self.last.set(Some(Instant::now()));
            eprintln!("{}", line(progress));
        }
    }
}

fn print_report(format: Format, report: &FleetReport) -> Result<(), Failure> {
    if format == Format::Json {
        return output::print_json(report);
    }
    let list = |map: &std::collections::BTreeMap<String, u64>| {
        map.iter().map(|(name, count)| format!("{} {name}", grouped(*count))).collect::<Vec<_>>().join(", ")
    };
    let ms = |us: u64| format!("{:.1} ms", us as f64 / 1000.0);
    let sessions = &report.sessions;
    output::print_pairs(&[
        ("devices", grouped(report.devices.into())),
        ("took", format!("{:.1} s", report.duration_ms as f64 / 1000.0)),
        ("sessions", format!("{} ({:.0}/s)", grouped(sessions.done), sessions.per_s)),
        ("messages", format!("{} ({:.0}/s)", grouped(sessions.messages), sessions.messages_per_s)),
        ("latency", format!("p50 {}, p99 {}", ms(report.latency_us.p50), ms(report.latency_us.p99))),
        ("triggers", triggers(&report.triggers)),
        ("broken", output::or_dash(&list(&sessions.broken))),
        ("outcomes", output::or_dash(&list(&report.outcomes))),
        ("versions", output::or_dash(&list(&report.versions))),
        (
            "execs",
            format!(
                "{} orders, at most {} of one",
                grouped(report.execs.orders),
                report.execs.max_per_correlator
            ),
        ),
    ])
}

/// What triggers led to, in a line.
pub(crate) fn triggers(triggers: &loadtest::report::Triggers) -> String {
    let loadtest::report::Triggers { sessions, refused, busy } = triggers;
    format!(
        "{} sessions, {} refused, {} came to busy devices",
        grouped(*sessions),
        grouped(*refused),
        grouped(*busy)
    )
}

/// A span of time such as `90s`, `10m`, `1h`.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let period: campaign::Period = campaign::Period::parse(text).map_err(|error| error.to_string())?;
    Ok(Duration::from_millis(period.as_ms()))
}
