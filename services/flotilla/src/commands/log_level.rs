//! `flotilla log-level`

use clap::Args;
use service_kit::telemetry::{Level, LevelWish};

use crate::{
    client::ClientArgs,
    exit::{Exit, Failure},
    output::{self, Format, instant_or_dash},
};

#[derive(Args, Debug)]
pub(crate) struct LogLevelArgs {
    /// What to log: error, warn, info, debug or trace, also by module; nothing: print what is logged now
    level: Option<String>,
    /// For how long, such as 10m; after it the settings hold again [default: until the next change]
    #[arg(long = "for", value_name = "TIME", requires = "level")]
    span: Option<String>,
    /// Go back to the level of the settings
    #[arg(long, conflicts_with = "level")]
    reset: bool,
    #[command(flatten)]
    client: ClientArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) fn run(args: &LogLevelArgs) -> Result<Exit, Failure> {
    const PATH: &str = "/v1/log-level";
    let client = args.client.client()?;
    let level: Level = match &args.level {
        Some(level) => client.put(PATH, &LevelWish { level: level.clone(), span: args.span.clone() })?,
        None if args.reset => client.delete(PATH)?,
        None => client.get(PATH)?,
    };
    if args.output == Format::Json {
        output::print_json(&level)?;
    } else {
        let Level { level, configured, until } = level;
        let until =
            if until.is_some() { format!(", until {}", instant_or_dash(until)) } else { String::new() };
        output::print_line(&format!("{level} (the settings say {configured}{until})"))?;
    }
    Ok(Exit::Ok)
}
