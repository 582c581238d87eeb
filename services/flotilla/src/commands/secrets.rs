//! `flotilla secrets`

use std::collections::BTreeMap;

use admin_service::api::SecretsView;
use clap::{Args, Subcommand};
use storage::seal::{KeyId, new_key_line};

use crate::{
    client::{Client, ClientArgs},
    exit::{Exit, Failure},
    output::{self, Format, Table},
};

#[derive(Args, Debug)]
pub(crate) struct SecretsArgs {
    #[command(subcommand)]
    command: SecretsCommand,
    #[command(flatten)]
    client: ClientArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, global = true)]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum SecretsCommand {
    /// Print a new key as a line for the key file (secrets.key_file)
    #[command(after_help = "\
The last line of the key file seals, all lines open. In a cluster, put the new line before the last one
first, until every process has read it, and then at the end.

Example:
  (umask 077; flotilla secrets new-key --id 2 >> /etc/flotilla/keys)")]
    NewKey {
        /// Its id: a number that no key of the file has
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        id: u32,
    },
    /// Count devices by the key that their credentials are sealed with
    #[command(after_help = "Example:\n  flotilla secrets status --data ./flotilla-data")]
    Status,
    /// Seal the credentials of all devices anew with the newest key, while the server runs
    #[command(after_help = "\
Goes from device to device; what has the newest key already is left alone, so it can be ended at any time
and begun again. A key may leave the key file once `flotilla secrets status` counts no device under it.

Examples:
  flotilla secrets rotate --data ./flotilla-data
  flotilla secrets rotate --from 250000")]
    Rotate {
        /// The ordinal of the device to begin with
        #[arg(long, default_value_t = 0)]
        from: u32,
    },
}

pub(crate) fn run(args: &SecretsArgs) -> Result<Exit, Failure> {
    let total = match args.command {
        SecretsCommand::NewKey { id } => {
            let line = new_key_line(KeyId(id)).map_err(|error| Failure::error(error.to_string()))?;
            output::print_line(&line)?;
            return Ok(Exit::Ok);
        }
        SecretsCommand::Status => {
            let client = args.client.client()?;
            over_all(0, |from| client.get(&format!("/v1/secrets?from={from}")))?
        }
        SecretsCommand::Rotate { from } => rotate(&args.client.client()?, from)?,
    };
    print(args, &total)?;
    Ok(Exit::Ok)
}

fn rotate(client: &Client, from: u32) -> Result<SecretsView, Failure> {
    over_all(from, |from| {
        let done = client.post_bytes(&format!("/v1/secrets/rotate?from={from}"), "text/plain", b"", None);
        done.map_err(|failure: Failure| {
            failure.hint(format!("go on with: flotilla secrets rotate --from {from}"))
        })
    })
}

/// Asks for range after range, and adds up what they come to.
fn over_all(
    from: u32,
    mut ask: impl FnMut(u32) -> Result<SecretsView, Failure>,
) -> Result<SecretsView, Failure> {
    let mut total = SecretsView { keys: Vec::new(), found: BTreeMap::new(), resealed: 0, next: Some(from) };
    while let Some(from) = total.next {
        let part = ask(from)?;
        for (key, devices) in part.found {
            *total.found.entry(key).or_default() += devices;
        }
        total = SecretsView {
            keys: part.keys,
            resealed: total.resealed + part.resealed,
            next: part.next,
            ..total
        };
    }
    Ok(total)
}

fn print(args: &SecretsArgs, total: &SecretsView) -> Result<(), Failure> {
    if args.output == Format::Json {
        return output::print_json(total);
    }
    let mut table = Table::new(&["KEY", "DEVICES", "USE"]);
    for key in &total.keys {
        let what = if Some(key) == total.keys.last() { "seals and opens" } else { "opens" };
        let devices = total.found.get(key).copied().unwrap_or_default();
        table.row(vec![key.to_string(), devices.to_string(), what.to_owned()]);
    }
    table.print()?;
    if matches!(args.command, SecretsCommand::Rotate { .. }) {
        output::print_line(&format!("{} sealed anew; the counts are of before", total.resealed))?;
    }
    Ok(())
}
