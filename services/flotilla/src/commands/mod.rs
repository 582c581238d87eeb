//! What each command does.

pub(crate) mod artifact;
pub(crate) mod backup;
pub(crate) mod campaign;
pub(crate) mod config;
pub(crate) mod convert;
pub(crate) mod dead;
pub(crate) mod demo;
pub(crate) mod device;
pub(crate) mod doctor;
pub(crate) mod faults;
pub(crate) mod fleet;
pub(crate) mod health;
pub(crate) mod log_level;
pub(crate) mod metrics;
pub(crate) mod ordeal;
pub(crate) mod reference;
pub(crate) mod schema;
pub(crate) mod secrets;
pub(crate) mod serve;
pub(crate) mod snapshot;
pub(crate) mod support_bundle;
pub(crate) mod topics;
pub(crate) mod transfer;

use clap::CommandFactory as _;

use crate::{
    cli::{Cli, Command},
    exit::{Exit, Failure},
};

/// Does what the command line asks.
pub(crate) fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Doctor(args) => doctor::run(&args),
        Command::SupportBundle(args) => support_bundle::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Ordeal(args) => ordeal::run(&args),
        Command::Backup(args) => backup::back_up(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Export(args) => transfer::export(&args),
        Command::Import(args) => transfer::import(&args),
        Command::Settle(args) => transfer::settle(&args),
        Command::Fleet(args) => fleet::run(args),
        Command::Serve(args) => serve::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Campaign(args) => campaign::run(args),
        Command::Schema(args) => schema::run(&args),
        Command::Snapshot(args) => snapshot::run(&args),
        Command::LogLevel(args) => log_level::run(&args),
        Command::Secrets(args) => secrets::run(&args),
        Command::Config(args) => config::run(args),
        Command::Device(args) => device::run(args),
        Command::Artifact(args) => artifact::run(args),
        Command::Reference(args) => reference::run(&args),
        Command::Metrics(args) => metrics::run(&args),
        Command::Topics(args) => topics::run(&args),
        Command::Dead(args) => dead::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "flotilla", &mut std::io::stdout());
            Ok(Exit::Ok)
        }
    }
}
