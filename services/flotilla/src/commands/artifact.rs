//! `flotilla artifact`

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read},
    path::PathBuf,
};

use admin_service::api::ArtifactView;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    client::{ClientArgs, escape},
    exit::{Exit, Failure},
    output::{self, Format, Table},
};

#[derive(Args, Debug)]
pub(crate) struct ArtifactArgs {
    #[command(subcommand)]
    command: ArtifactCommand,
    #[command(flatten)]
    client: ClientArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, global = true)]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum ArtifactCommand {
    /// Store a firmware file
    #[command(after_help = "\
The same octets are stored once: adding a file again answers its record.

Examples:
  flotilla artifact add router-2.1.bin --name router --version 2.1
  curl -sL https://example.com/fw.bin | flotilla artifact add - --name router --version 2.1")]
    Add(AddArgs),
    /// List the artifacts, newest first
    #[command(after_help = "Example:\n  flotilla artifact list -o json | jq -r '.[].digest'")]
    List,
}

#[derive(Args, Debug)]
struct AddArgs {
    /// The file; `-` is standard input
    file: PathBuf,
    /// The name campaigns know it by
    #[arg(long, value_name = "NAME")]
    name: String,
    /// The version a device reports once it runs it (`./DevDetail/FwV`)
    #[arg(long, value_name = "VERSION")]
    version: String,
    /// Its media type
    #[arg(long, value_name = "TYPE", default_value = "application/octet-stream")]
    media_type: String,
}

pub(crate) fn run(args: ArtifactArgs) -> Result<Exit, Failure> {
    match args.command {
        ArtifactCommand::Add(add_args) => add(&args.client, args.output, &add_args),
        ArtifactCommand::List => list(&args.client, args.output),
    }
}

fn add(client: &ClientArgs, format: Format, args: &AddArgs) -> Result<Exit, Failure> {
    let client = client.client()?;
    let path = format!("/v1/artifacts?name={}&version={}", escape(&args.name), escape(&args.version));
    let artifact: ArtifactView = if args.file.as_os_str() == "-" {
        client.post_reader(&path, &args.media_type, None, &mut io::stdin().lock())?
    } else {
        let named = |error| Failure::error(format!("{}: {error}", args.file.display()));
        let file = File::open(&args.file).map_err(named)?;
        let size = file.metadata().map_err(named)?.len();
        let bar = progress(size);
        let mut reader = bar.wrap_read(file).take(size);
        let artifact = client.post_reader(&path, &args.media_type, Some(size), &mut reader);
        bar.finish_and_clear();
        artifact?
    };
    match format {
        Format::Json => output::print_json(&artifact)?,
        Format::Table => output::print_pairs(&[
            ("artifact", format!("{} {}", artifact.name, artifact.version)),
            ("size", format!("{} ({})", artifact.size, output::octets(artifact.size))),
            ("sha256", artifact.digest),
            ("added", output::instant(artifact.added)),
        ])?,
    }
    Ok(Exit::Ok)
}

fn list(client: &ClientArgs, format: Format) -> Result<Exit, Failure> {
    let mut artifacts = Vec::new();
    client.client()?.get_pages("/v1/artifacts", 0, |artifact: ArtifactView| {
        artifacts.push(artifact);
        Ok(())
    })?;
    if format == Format::Json {
        output::print_json(&artifacts)?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["NAME", "VERSION", "SIZE", "ADDED", "SHA256"]);
    for artifact in artifacts {
        let (size, added) = (output::octets(artifact.size), output::instant(artifact.added));
        table.row(vec![artifact.name, artifact.version, size, added, artifact.digest]);
    }
    table.print()?;
    Ok(Exit::Ok)
}

/// A bar for octets sent; hidden unless standard error is a terminal.
fn progress(size: u64) -> ProgressBar {
    let target =
        if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(size), target);
    match ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
