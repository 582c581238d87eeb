//! `flotilla campaign`

mod create;
mod show;
mod watch;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::{
    client::{Client, ClientArgs, escape},
    exit::{Exit, Failure},
    output::Format,
};

pub(crate) use create::submit;
pub(crate) use show::states;
pub(crate) use watch::{Ending, follow_to_end, progress, watch};

#[derive(Args, Debug)]
pub(crate) struct CampaignArgs {
    #[command(subcommand)]
    command: CampaignCommand,
    #[command(flatten)]
    client: ClientArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, global = true)]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum CampaignCommand {
    /// Create a campaign from a file
    #[command(after_help = "\
The file is TOML or JSON; only name and artifact are needed:

  name = \"router 2.0\"
  artifact = { name = \"router\", version = \"2.0\" }
  in_flight_max = 500

  [target]
  model = [\"R7000\"]

  [[waves]]
  up_to_percent = 5
  gate = { success_min_percent = 95, soak = \"1h\" }

  [[waves]]
  up_to_percent = 100

Examples:
  flotilla campaign create -f campaign.toml --dry-run
  flotilla campaign create -f campaign.toml --start
  flotilla campaign create -f - --start --idempotency-key rollout-42 < campaign.json")]
    Create(CreateArgs),
    /// List the campaigns
    #[command(after_help = "Example:\n  flotilla campaign list")]
    List,
    /// Show a campaign and how far it is
    #[command(after_help = "Example:\n  flotilla campaign show c1 -o json | jq .counts")]
    Show {
        /// Its id
        id: String,
    },
    /// Start a draft
    #[command(after_help = "Example:\n  flotilla campaign start c1")]
    Start {
        /// Its id
        id: String,
    },
    /// Give no more devices work; what is in flight goes on
    #[command(after_help = "Example:\n  flotilla campaign pause c1 --reason 'support asks'")]
    Pause {
        /// Its id
        id: String,
        /// Why, for the ledger
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// Go on after a pause, also over the gate that held the campaign
    #[command(after_help = "Example:\n  flotilla campaign resume c1")]
    Resume {
        /// Its id
        id: String,
    },
    /// End a campaign for good; what is in flight ends by itself
    #[command(after_help = "\
With --hard, devices that were told to update are no longer waited for: they end as cancelled, although
they may still update.

Example:
  flotilla campaign stop c1")]
    Stop {
        /// Its id
        id: String,
        /// Wait for nothing in flight
        #[arg(long)]
        hard: bool,
    },
    /// Watch a campaign until it ends
    #[command(after_help = "\
Live bars on a terminal, a line now and then elsewhere. Goes on when the server is restarted.
Exits with 0 when the campaign finished, and with 5 when it was stopped or a gate holds it.
A pause that an operator asked for is waited out.

Example:
  flotilla campaign watch c1 && echo done")]
    Watch {
        /// Its id
        id: String,
    },
    /// List a campaign's devices, all or those in one state
    #[command(after_help = "\
Examples:
  flotilla campaign devices c1 --state failed-device-fault
  flotilla campaign devices c1 --limit 0 -o json")]
    Devices {
        /// Its id
        id: String,
        /// Only those in this state, such as `pending`, `updating`, `succeeded`, `silent`
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
        /// Most devices to list; 0 for all
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// Count a campaign anew from its ledger and compare
    #[command(after_help = "\
Exits with 1 when the counters are not what the ledger says.

Example:
  flotilla campaign verify c1")]
    Verify {
        /// Its id
        id: String,
    },
}

#[derive(Args, Debug)]
struct CreateArgs {
    /// The file; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Start it at once
    #[arg(long, conflicts_with = "dry_run")]
    start: bool,
    /// Say who would be in it and who not, and create nothing
    #[arg(long)]
    dry_run: bool,
    /// Makes it safe to run the command again: the same key gives the same campaign
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

pub(crate) fn run(args: CampaignArgs) -> Result<Exit, Failure> {
    let client = args.client.client()?;
    let format = args.output;
    match args.command {
        CampaignCommand::Create(create_args) => create::create(&client, format, &create_args),
        CampaignCommand::List => show::list(&client, format),
        CampaignCommand::Show { id } => show::show(&client, format, &id),
        CampaignCommand::Start { id } => act(&client, format, &id, "start", &serde_json::json!({})),
        CampaignCommand::Pause { id, reason } => {
            act(&client, format, &id, "pause", &serde_json::json!({ "reason": reason }))
        }
        CampaignCommand::Resume { id } => act(&client, format, &id, "resume", &serde_json::json!({})),
        CampaignCommand::Stop { id, hard } => {
            act(&client, format, &id, "stop", &serde_json::json!({ "hard": hard }))
        }
        CampaignCommand::Watch { id } => {
            let ending = watch(&client, &id)?;
            show::show(&client, format, &id)?;
            Ok(if ending == Ending::Finished { Exit::Ok } else { Exit::CampaignFailed })
        }
        CampaignCommand::Devices { id, state, limit } => {
            show::devices(&client, format, &id, state.as_deref(), limit)
        }
        CampaignCommand::Verify { id } => show::verify(&client, format, &id),
    }
}

/// The path of a campaign.
pub(crate) fn path(id: &str) -> String {
    format!("/v1/campaigns/{}", escape(id))
}

/// Asks for a change of a campaign and shows it as it is then.
fn act(
    client: &Client,
    format: Format,
    id: &str,
    verb: &str,
    input: &serde_json::Value,
) -> Result<Exit, Failure> {
    let campaign = client.post(&format!("{}/{verb}", path(id)), input, None)?;
    show::print(format, &campaign)?;
    Ok(Exit::Ok)
}
