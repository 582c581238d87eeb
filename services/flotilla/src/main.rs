#![doc = include_str!("../README.md")]

mod backend;
mod cli;
mod client;
mod commands;
mod exit;
mod import;
mod output;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match commands::run(cli.command) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(),
    }
}
