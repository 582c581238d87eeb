//! `flotilla config`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use service_kit::Settings;

use crate::{
    exit::{Exit, Failure},
    output,
};

#[derive(Args, Debug)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print a settings file with every key, what it does and its default
    #[command(after_help = "Example:\n  flotilla config example > flotilla.toml")]
    Example,
    /// Check a settings file and the environment together
    #[command(after_help = "\
All mistakes are reported together, each with its key.

Example:
  flotilla config check flotilla.toml")]
    Check {
        /// The settings file
        file: PathBuf,
    },
}

pub(crate) fn run(args: ConfigArgs) -> Result<Exit, Failure> {
    match args.command {
        ConfigCommand::Example => output::print_line(Settings::example().trim_end())?,
        ConfigCommand::Check { file } => {
            Settings::load(Some(&file), std::env::vars(), [])
                .map_err(|errors| Failure::error(format!("the settings cannot be used\n{errors}")))?;
            output::print_line("the settings are good")?;
        }
    }
    Ok(Exit::Ok)
}
