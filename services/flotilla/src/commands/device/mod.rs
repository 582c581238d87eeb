//! `flotilla device`

mod add;
mod credentials;
mod import;
mod show;

use clap::{Args, Subcommand};

use crate::{
    client::ClientArgs,
    exit::{Exit, Failure},
    output::Format,
};

pub(crate) use import::{How, import_from};

#[derive(Args, Debug)]
pub(crate) struct DeviceArgs {
    #[command(subcommand)]
    command: DeviceCommand,
    #[command(flatten)]
    client: ClientArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, global = true)]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum DeviceCommand {
    /// Add one device with its credentials
    #[command(after_help = "\
A password on the command line can be read by everyone on this machine while the command runs;
--password-file does not have that.

Examples:
  flotilla device add --id IMEI:490154203237518 --auth md5 --user alice --password-file secret.txt
  flotilla device add --id urn:uuid:1b4e28ba --auth basic --user alice --password secret \\
      --server-id flotilla --server-password other-secret --tag lab
  echo secret | flotilla device add --id d1 --auth md5 --user alice --password-file -")]
    Add(add::AddArgs),
    /// Add the devices of a CSV or NDJSON file
    #[command(after_help = "\
Columns of a CSV (in any order; only id is needed), and keys of an NDJSON row:
  id, auth (none, basic, md5), user, password, server_id, server_password, server_auth,
  client_nonce, server_nonce (base64), notify_address, tags (in a CSV separated by ;)

A bad row is reported on standard error with its line, and the rest is kept. Importing a file again
changes nothing: rows that are there already count as unchanged. Exits with 1 if any row was bad,
unless --lenient.

With --replace, rows of devices that are there with other credentials change these; without it, they
are bad.

Examples:
  flotilla device import roster.csv
  flotilla device import --replace new-passwords.csv
  zcat roster.ndjson.gz | flotilla device import -")]
    Import(import::ImportArgs),
    /// List devices in the order of their names
    #[command(after_help = "\
Examples:
  flotilla device list --tag lab
  flotilla device list --model R7000 --firmware 1.0 --limit 0 -o json")]
    List(show::ListArgs),
    /// Show one device
    #[command(after_help = "Example:\n  flotilla device show IMEI:490154203237518")]
    Show {
        /// Its name
        id: String,
    },
    /// Show a device's management tree, now or as it was
    #[command(after_help = "\
Examples:
  flotilla device tree IMEI:490154203237518
  flotilla device tree IMEI:490154203237518 --uri ./DevDetail --at 2026-01-31T12:00:00Z
  flotilla device tree IMEI:490154203237518 --since 2026-01-31T12:00:00Z")]
    Tree(show::TreeArgs),
    /// Show how a device's tree changed and what campaigns did with it
    #[command(after_help = "Example:\n  flotilla device history IMEI:490154203237518")]
    History {
        /// Its name
        id: String,
        /// Rows of each list
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Say what a device is waiting for in each campaign it is in
    #[command(after_help = "Example:\n  flotilla device explain IMEI:490154203237518")]
    Explain {
        /// Its name
        id: String,
    },
    /// Set a device's tags
    #[command(after_help = "\
Examples:
  flotilla device tag IMEI:490154203237518 lab canary
  flotilla device tag IMEI:490154203237518")]
    Tag {
        /// Its name
        id: String,
        /// All its tags from now on; none takes them away
        tags: Vec<String>,
    },
    /// Give a device other credentials in place of all that it has
    #[command(after_help = "\
They count from the device's next session on; one that has proved itself by the old ones goes on to
its end. Without --server-id the server no longer proves itself to the device. A nonce that is not
given stays, and a device that has another one is challenged. Credentials that it has already change
nothing, so the command can be repeated. For many devices: `flotilla device import --replace`.

Examples:
  flotilla device credentials IMEI:490154203237518 --user alice --password-file secret.txt
  openssl rand -hex 32 | flotilla device credentials IMEI:490154203237518 --user stolen --password-file -")]
    Credentials {
        /// Its name
        id: String,
        #[command(flatten)]
        credentials: credentials::CredentialArgs,
    },
    /// Say where a device can be asked to come
    #[command(after_help = "\
Examples:
  flotilla device address IMEI:490154203237518 sms:+15550100
  flotilla device address IMEI:490154203237518")]
    Address {
        /// Its name
        id: String,
        /// `udp://host:port`, `wap://host:port`, or `scheme:address` of a gateway; none: it comes by itself only
        address: Option<String>,
    },
}

pub(crate) fn run(args: DeviceArgs) -> Result<Exit, Failure> {
    let client = args.client.client()?;
    match args.command {
        DeviceCommand::Add(add_args) => add::add(&client, args.output, add_args),
        DeviceCommand::Import(import_args) => import::import(&client, args.output, &import_args),
        DeviceCommand::List(list_args) => show::list(&client, args.output, &list_args),
        DeviceCommand::Show { id } => show::show(&client, args.output, &id),
        DeviceCommand::Tree(tree_args) => show::tree(&client, args.output, &tree_args),
        DeviceCommand::History { id, limit } => show::history(&client, args.output, &id, limit),
        DeviceCommand::Explain { id } => show::explain(&client, args.output, &id),
        DeviceCommand::Tag { id, tags } => show::tag(&client, args.output, &id, tags),
        DeviceCommand::Credentials { id, credentials } => {
            credentials::replace(&client, args.output, &id, credentials)
        }
        DeviceCommand::Address { id, address } => show::address(&client, args.output, &id, address),
    }
}
