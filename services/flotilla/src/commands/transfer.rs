//! `flotilla export` and `flotilla import`

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, IsTerminal as _, Seek as _, SeekFrom, Write},
    num::NonZeroU32,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use service_kit::{Health, Metrics, Settings, Shutdown, settings::Role, telemetry};
use storage::TenantId;
use transfer::{Counts, Export, Resume, Side};

use crate::{
    backend::{Backend, Opening, Work},
    exit::{Exit, Failure},
    output::{self, grouped},
};

/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(2);

/// Which store.
#[derive(Args, Debug)]
struct StoreArgs {
    /// The data directory of an embedded store
    #[arg(long, env = "FLOTILLA_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// A settings file, which may name a cluster
    #[arg(long, env = "FLOTILLA_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Keys that credentials are sealed with (secrets.key_file)
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Where to write; standard output where it is not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Go on with a file that an export was broken off in
    #[arg(long, requires = "out")]
    resume: bool,
    /// At most so many devices a second, for a store that serves devices meanwhile
    #[arg(long, value_name = "N")]
    devices_per_second: Option<NonZeroU32>,
}

#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// What to read; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What is read is of the past, and devices have gone on since: put it right, as `flotilla restore` does
    #[arg(long)]
    settle: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args, Debug)]
pub(crate) struct SettleArgs {
    /// The instant that the store shows, such as 2026-01-31T03:10:00Z: what campaigns are paused with says it
    #[arg(long, value_name = "TIME")]
    taken: Option<Timestamp>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Puts right what was brought back by other means than ours.
pub(crate) fn settle(args: &SettleArgs) -> Result<Exit, Failure> {
    let settled =
        with_side(&args.store, async |side| transfer::settle(side, args.taken, Timestamp::now()).await)?;
    output::print_line(&super::backup::told(&settled))?;
    Ok(Exit::Ok)
}

pub(crate) fn export(args: &ExportArgs) -> Result<Exit, Failure> {
    let mut resume = Resume::default();
    let mut out: Box<dyn Write + Send> = match &args.out {
        Some(path) if args.resume => {
            let named = || format!("could not go on with {}", path.display());
            let mut file = File::options().read(true).write(true).open(path).with_context(named)?;
            let mut reader = BufReader::with_capacity(1 << 20, &mut file);
            resume = Resume::find(&TenantId::default(), &mut reader).with_context(named)?;
            file.set_len(resume.octets).with_context(named)?;
            file.seek(SeekFrom::End(0)).with_context(named)?;
            eprintln!("kept: {}", in_words(&resume.counts));
            Box::new(BufWriter::new(file))
        }
        Some(path) => {
            let file = File::create(path).with_context(|| format!("could not create {}", path.display()))?;
            Box::new(BufWriter::new(file))
        }
        None if io::stdout().is_terminal() => {
            return Err(Failure::error("this is not for a terminal")
                .hint("name a file by --out, or redirect the output"));
        }
        None => Box::new(BufWriter::new(io::stdout())),
    };
    let how = Export { now: Timestamp::now(), devices_per_s: args.devices_per_second, resume };
    let counts = with_side(&args.store, async |side| {
        let mut told = Told::default();
        transfer::export(side, &how, &mut *out, &mut |counts| told.tell(counts)).await
    })?;
    if let Some(path) = &args.out {
        let sync = File::open(path).and_then(|file| file.sync_all());
        sync.with_context(|| format!("could not write {}", path.display()))?;
    }
    eprintln!("written: {}", in_words(&counts));
    Ok(Exit::Ok)
}

pub(crate) fn import(args: &ImportArgs) -> Result<Exit, Failure> {
    let mut input: Box<dyn BufRead + Send> = if args.file.as_os_str() == "-" {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let file =
            File::open(&args.file).with_context(|| format!("could not open {}", args.file.display()))?;
        Box::new(BufReader::with_capacity(1 << 20, file))
    };
    let (counts, settled) = with_side(&args.store, async |side| {
        let mut told = Told::default();
        let counts = transfer::import(side, &mut *input, &mut |counts| told.tell(counts)).await?;
        let settled = match args.settle {
            true => Some(transfer::settle(side, None, Timestamp::now()).await?),
            false => None,
        };
        Ok((counts, settled))
    })?;
    eprintln!("taken: {}", in_words(&counts));
    if let Some(settled) = settled {
        output::print_line(&super::backup::told(&settled))?;
    }
    Ok(Exit::Ok)
}

/// Opens the store, does the work, and closes it.
fn with_side<T>(
    args: &StoreArgs,
    work: impl AsyncFnOnce(&Side) -> Result<T, transfer::TransferError>,
) -> Result<T, Failure> {
    let path = |path: &PathBuf| path.display().to_string();
    let mut flags: Vec<(String, String)> = Vec::new();
    flags.extend(args.data.as_ref().map(|data| ("storage.data".to_owned(), path(data))));
    flags.extend(args.key_file.as_ref().map(|file| ("secrets.key_file".to_owned(), path(file))));
    let settings = Settings::load(args.config.as_deref(), std::env::vars(), flags)
        .map_err(|errors| Failure::error(format!("the settings cannot be used\n{errors}")))?;
    telemetry::init(&settings.telemetry).map_err(Failure::error)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("could not start the runtime")?;
    let shutdown = Shutdown::new();
    let done = runtime.block_on(async {
        let (health, metrics) = (Health::new(shutdown.clone()), Metrics::new(env!("CARGO_PKG_VERSION")));
        // Jobs that are taken have to reach their devices' rows, which the campaigns' workers do.
        let opening = Opening {
            settings: &settings,
            roles: &[Role::Campaign],
            health: &health,
            metrics: &metrics,
            shutdown: &shutdown,
        };
        let opened = Backend::open(&opening).await?;
        let Backend { work: opened, beside, ended, .. } = opened.context("the store was not opened")?;
        let Work { stores, keys, .. } = opened.context("the store was not opened for work")?;
        let mut tasks = tokio::task::JoinSet::new();
        for (name, work) in beside {
            tasks.spawn(async move { work.await.with_context(|| format!("{name} could not run")) });
        }
        let side = Side { tenant: TenantId::default(), stores, keys };
        let done = tokio::select! {
            done = work(&side) => done.map_err(anyhow::Error::from),
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => match ended? {
                Err(error) => Err(error),
                Ok(()) => Err(anyhow::anyhow!("a part of the store ended by itself")),
            },
        };
        shutdown.begin();
        while let Some(task) = tasks.join_next().await {
            task??;
        }
        ended.await;
        done
    })?;
    Ok(done)
}

/// Tells progress now and then.
struct Told {
    begun: Instant,
    last: Instant,
}

impl Default for Told {
    fn default() -> Self {
        Self { begun: Instant::now(), last: Instant::now() }
    }
}

impl Told {
    fn tell(&mut self, counts: &Counts) {
        if self.last.elapsed() >= PROGRESS {
            self.last = Instant::now();
            eprintln!("{} s: {}", self.begun.elapsed().as_secs(), in_words(counts));
        }
    }
}

fn in_words(counts: &Counts) -> String {
    let Counts { artifacts, devices, trees, campaigns, events, jobs } = *counts;
    format!(
        "{} artifacts, {} devices, {} trees, {} campaigns, {} events, {} jobs in flight",
        grouped(artifacts),
        grouped(devices),
        grouped(trees),
        grouped(campaigns),
        grouped(events),
        grouped(jobs)
    )
}
