//! `flotilla schema`: the tables of Scylla or Cassandra.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Serialize;
use service_kit::Settings;
use storage_scylla::{Scylla, ScyllaError, ScyllaSettings, schema};

use crate::{
    exit::{Exit, Failure},
    output::{self, Format, Table},
};

#[derive(Args, Debug)]
pub(crate) struct SchemaArgs {
    #[command(subcommand)]
    command: SchemaCommand,
    /// The cluster's settings file; its section scylla is used
    #[arg(long, env = "FLOTILLA_CONFIG", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, global = true)]
    output: Format,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum SchemaCommand {
    /// Make the keyspace, where there is none, and bring its tables to this version
    #[command(after_help = "\
Doing it again does nothing; several at once do it once. Servers of the version before go on meanwhile.

Example:
  flotilla schema apply --config cluster.toml")]
    Apply,
    /// Compare the tables with what this version needs
    #[command(after_help = "\
Ends with 0 only if a server of this version would start.

Example:
  flotilla schema status --config cluster.toml")]
    Status,
}

/// A migration as it is shown.
#[derive(Serialize)]
struct MigrationView {
    version: u32,
    name: String,
    /// When it was applied; absent: it is pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<jiff::Timestamp>,
}

pub(crate) fn run(args: &SchemaArgs) -> Result<Exit, Failure> {
    let settings = Settings::load(args.config.as_deref(), std::env::vars(), [])
        .map_err(|errors| Failure::error(format!("the settings cannot be used\n{errors}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    let status = runtime.block_on(look(args.command, &settings.scylla)).map_err(|error| {
        let failure = Failure::from(anyhow::Error::from(error));
        if matches!(args.command, SchemaCommand::Status) {
            failure.hint("flotilla schema apply makes them")
        } else {
            failure
        }
    })?;
    print(&status, args.output)?;
    let usable = status.check();
    if let Err(error) = usable {
        return Err(Failure::error(format!("a server of this version would not start: {error}")));
    }
    Ok(Exit::Ok)
}

async fn look(command: SchemaCommand, settings: &ScyllaSettings) -> Result<schema::Status, ScyllaError> {
    match command {
        SchemaCommand::Apply => Ok(schema::apply(settings).await?.0),
        SchemaCommand::Status => schema::status(&Scylla::connect_unchecked(settings).await?).await,
    }
}

fn print(status: &schema::Status, format: Format) -> Result<(), Failure> {
    let applied = status.applied.iter().map(|done| MigrationView {
        version: done.version,
        name: done.name.clone(),
        applied: Some(done.applied),
    });
    let pending = status.pending.iter().map(|left| MigrationView {
        version: left.version,
        name: left.name.to_owned(),
        applied: None,
    });
    let mut all: Vec<_> = applied.chain(pending).collect();
    all.sort_by_key(|migration| migration.version);
    if format == Format::Json {
        return output::print_json(&all);
    }
    let mut table = Table::new(&["VERSION", "NAME", "APPLIED"]);
    for migration in all {
        let applied = migration.applied.map_or_else(|| "pending".to_owned(), output::instant);
        table.row(vec![migration.version.to_string(), migration.name, applied]);
    }
    table.print()?;
    Ok(())
}
