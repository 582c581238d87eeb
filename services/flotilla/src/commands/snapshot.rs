//! `flotilla snapshot`

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;
use service_kit::{Metrics, Settings, telemetry};
use storage::{Collected, ErrorKind, embedded::OpenError};

use crate::{
    backend,
    exit::{Exit, Failure},
    output::{self, Format},
};

#[derive(Args, Debug)]
pub(crate) struct SnapshotArgs {
    #[command(subcommand)]
    command: SnapshotCommand,
}

#[derive(Debug, Subcommand)]
enum SnapshotCommand {
    /// Collect now what no tree names any more, and end history that is too old
    #[command(after_help = "\
The server does so by itself, by the settings of the section `snapshot`. In a cluster this may run beside it: one
process collects at a time, and the exit code is 4 where another is at it. The embedded store is one process's, so
there the server must be stopped.

Examples:
  flotilla snapshot gc --config flotilla.toml --dry-run
  flotilla snapshot gc --data ./flotilla-data")]
    Gc(GcArgs),
}

#[derive(Args, Debug)]
struct GcArgs {
    /// A settings file; `flotilla config example` shows every key
    #[arg(long, env = "FLOTILLA_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory of the embedded store (storage.data)
    #[arg(long, env = "FLOTILLA_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Only count what would go
    #[arg(long)]
    dry_run: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) fn run(args: &SnapshotArgs) -> Result<Exit, Failure> {
    match &args.command {
        SnapshotCommand::Gc(args) => gc(args),
    }
}

fn gc(args: &GcArgs) -> Result<Exit, Failure> {
    let data = args.data.iter().map(|data| ("storage.data".to_owned(), data.display().to_string()));
    let settings = Settings::load(args.config.as_deref(), std::env::vars(), data)
        .map_err(|errors| Failure::error(format!("the settings cannot be used\n{errors}")))?;
    telemetry::init(&settings.telemetry).map_err(Failure::error)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    let collected = runtime.block_on(collect(&settings, args.dry_run))?;
    show(args, &collected)?;
    Ok(Exit::Ok)
}

async fn collect(settings: &Settings, dry_run: bool) -> Result<Collected, Failure> {
    let collector = backend::open_collector(settings).await.map_err(|error| {
        let is_in_use = matches!(error.downcast_ref(), Some(OpenError::InUse(_)));
        let failure = Failure::from(error);
        if is_in_use {
            failure.hint("stop the server first, or leave it to the server, which collects by itself")
        } else {
            failure
        }
    })?;
    let plan = snapshot_service::plan(&settings.snapshot, dry_run);
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    match snapshot_service::collect(&*collector, &plan, &metrics).await {
        Ok(Some(collected)) => Ok(collected),
        Ok(None) => {
            let failure = Failure::new(Exit::Conflict, "another process is collecting");
            Err(failure.hint("one that was killed counts as collecting for three minutes more"))
        }
        Err(error) if error.kind == ErrorKind::Conflict => {
            let text =
                "another process began to collect while this one was stopped; what this one did is whole";
            Err(Failure::new(Exit::Conflict, text))
        }
        Err(error) => {
            let text =
                "the collection did not come to its end; what it did is whole, and the next starts over";
            Err(anyhow::Error::from(error).context(text).into())
        }
    }
}

fn show(args: &GcArgs, collected: &Collected) -> Result<(), Failure> {
    match args.output {
        Format::Json => output::print_json(&json!({
            "dry_run": args.dry_run,
            "trees": collected.trees,
            "past_trees": collected.past_trees,
            "past_trees_ended": collected.past_trees_ended,
            "pages": collected.pages,
            "pages_deleted": collected.pages_deleted,
            "bytes_deleted": collected.bytes_deleted,
        })),
        Format::Table => {
            let went = if args.dry_run { "would go" } else { "went" };
            let octets = output::octets(collected.bytes_deleted);
            output::print_pairs(&[
                ("trees", collected.trees.to_string()),
                (
                    "past trees",
                    format!("{}, of which {} {went}", collected.past_trees, collected.past_trees_ended),
                ),
                (
                    "pages",
                    format!("{}, of which {} ({octets}) {went}", collected.pages, collected.pages_deleted),
                ),
            ])
        }
    }
}
