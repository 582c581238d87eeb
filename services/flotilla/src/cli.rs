//! The command line: what it takes.

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::commands::{
    artifact::ArtifactArgs,
    backup::{BackupArgs, RestoreArgs},
    campaign::CampaignArgs,
    config::ConfigArgs,
    convert::ConvertArgs,
    dead::DeadArgs,
    demo::DemoArgs,
    device::DeviceArgs,
    doctor::DoctorArgs,
    fleet::FleetArgs,
    health::HealthArgs,
    log_level::LogLevelArgs,
    metrics::MetricsArgs,
    ordeal::OrdealArgs,
    reference::ReferenceArgs,
    schema::SchemaArgs,
    secrets::SecretsArgs,
    serve::ServeArgs,
    snapshot::SnapshotArgs,
    support_bundle::SupportBundleArgs,
    topics::TopicsArgs,
    transfer::{ExportArgs, ImportArgs, SettleArgs},
};

/// An OMA Device Management server for fleets of millions, and its command line.
#[derive(Debug, Parser)]
#[command(
    name = "flotilla",
    version,
    arg_required_else_help = true,
    after_help = "\
Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 conflict, 5 a campaign that was watched was stopped or is held,
6 nothing is wrong but something may soon be (flotilla doctor).

Examples:
  flotilla demo --devices 1000
  flotilla serve --data ./flotilla-data
  flotilla device import roster.csv --data ./flotilla-data"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch a firmware campaign run: a server, a simulated fleet and a campaign in one go
    #[command(after_help = "\
Starts a server in a temporary directory, makes it know a simulated fleet, adds a made-up firmware, and
runs a campaign over all devices in three waves, over real HTTP. Ends with 0 only if the campaign finished,
its ledger adds up, no device ran an Exec twice for one attempt, and every device that could be updated
reports the new version by its own tree, which the server's stored tree agrees with.

Examples:
  flotilla demo --devices 1000
  flotilla demo --devices 20000 --report demo.html
  flotilla demo --devices 5000 --rough --kills 10 --seed 7")]
    Demo(Box<DemoArgs>),
    /// Put a cluster through kills, freezes, lost servers and bad links while a campaign runs, and check its history
    #[command(after_help = "\
Starts two front-ends, two campaign processes, snapshot, notify and admin on the cluster that the settings
name, with a proxy on each link to Redis, Kafka and Scylla, and runs a campaign over a simulated fleet.
Meanwhile every process is killed or frozen in turn, Redis is emptied, Kafka and Cassandra are restarted,
and each link is cut, delayed and black-holed. Ends with 0 only if nothing was lost, nothing was done
twice, the budget was never exceeded, and every device came to its last state.

Examples:
  deploy/dev/ordeal
  flotilla ordeal --config cluster.toml --kafka-link 127.0.0.1:26022=127.0.0.1:26023 --devices 20000")]
    Ordeal(Box<OrdealArgs>),
    /// Run the server: all of it, or some of its roles
    #[command(after_help = "\
Prints the addresses of both listeners once they take connections. At first start an admin token is
made in the data directory (admin.token, readable by its owner only). SIGTERM or Ctrl-C drains and
ends with 0; a second one does not wait.

Settings: the file is weakest, then the environment (FLOTILLA__SESSION__LISTEN is session.listen),
then flags.

Examples:
  flotilla serve --data ./flotilla-data
  flotilla serve --data /var/lib/flotilla --config /etc/flotilla/flotilla.toml --listen 0.0.0.0:8080
  flotilla serve --config cluster.toml --roles session,snapshot
  flotilla serve --config flotilla.toml --check-config")]
    Serve(ServeArgs),
    /// Ask the server on this machine how it is: ends with 0 if it can do its work, else says what is missing
    #[command(after_help = "\
For the health checks of containers, and for people. Where to ask is read from the settings, as the server reads
them; flags of the server are not known here, so name an address that was given by one.

Examples:
  flotilla health
  flotilla health --live
  flotilla health --config /etc/flotilla/flotilla.toml --serving
  flotilla health --address 127.0.0.1:8082")]
    Health(HealthArgs),
    /// Check everything that a server needs, and say what is wrong and what to do
    #[command(after_help = "\
Looks at settings, data directory, clock, certificates, secrets, listeners and limits, and in a cluster at Redis, Kafka and
Scylla. Changes nothing; a server may run meanwhile. Run it where the server runs, as the user that runs it.
Ends with 0 where all is well, with 6 where there are warnings, with 1 where a server would not start or not work.

Examples:
  flotilla doctor --data ./flotilla-data
  flotilla doctor --config /etc/flotilla/flotilla.toml -o json")]
    Doctor(DoctorArgs),
    /// Gather what is needed to find out what went wrong, without secrets
    #[command(after_help = "\
Writes an archive with the settings, versions, the doctor's report, health, metrics, what the system says of the process,
campaigns and the end of a log. Secrets are left out, and the names of devices are hashed; see its README.txt.

Examples:
  flotilla support-bundle --data ./flotilla-data
  flotilla support-bundle --config /etc/flotilla/flotilla.toml --log /var/log/flotilla.log --output bundle.tar.gz")]
    SupportBundle(SupportBundleArgs),
    /// Add, import, list and look into devices
    Device(DeviceArgs),
    /// Add and list firmware files
    Artifact(ArtifactArgs),
    /// Create, start, watch and stop campaigns
    Campaign(CampaignArgs),
    /// Simulated devices against a server
    Fleet(FleetArgs),
    /// Look after the stored trees of all devices
    Snapshot(SnapshotArgs),
    /// The tables of a cluster: make them, and compare them with what this version needs
    Schema(SchemaArgs),
    /// Keys that secrets are sealed with: look, and replace one
    Secrets(SecretsArgs),
    /// Show and change what a running process logs
    #[command(after_help = "\
Asks one process: by its admin listener with the token, or, on the machine or in the container where it runs, by
its health listener, which takes this from loopback only. A restart, or SIGHUP, goes back to the settings.

Examples:
  flotilla log-level --data ./flotilla-data
  flotilla log-level info,session_service=debug --for 10m --data ./flotilla-data
  flotilla log-level debug --for 10m --server http://127.0.0.1:8082
  flotilla log-level --reset --data ./flotilla-data")]
    LogLevel(LogLevelArgs),
    /// Write and check settings files
    Config(ConfigArgs),
    /// Copy the whole data directory of a running server to one file, as it is at one instant
    #[command(after_help = "\
Everything but sessions in flight: devices, trees, campaigns with their ledgers and jobs, artifacts, and the key that
the data directory made for itself, so keep the file as you keep the directory. A file of this name that is there
already is left alone; one that is not whole never has the name. For a cluster, see docs/backup.md.

Examples:
  flotilla backup --data /var/lib/flotilla --output flotilla.backup
  flotilla backup --data /var/lib/flotilla --into /var/backups/flotilla --keep 14")]
    Backup(BackupArgs),
    /// Write what `flotilla backup` made to a new data directory
    #[command(after_help = "\
The file is checked, part by part. What comes out is put right before a server may open it: nonces are forgotten, so
that no digest is accepted twice; attempts in flight send no Exec any more, but ask the device what became of them;
campaigns that ran are paused until you resume them.

Examples:
  flotilla restore flotilla.backup --data /var/lib/flotilla
  flotilla restore flotilla.backup --data /var/lib/flotilla --key-file /etc/flotilla/keys
  flotilla restore flotilla.backup --check")]
    Restore(RestoreArgs),
    /// Write everything that is stored as lines of JSON, to move it to another store
    #[command(after_help = "\
Writes files, devices with their credentials (sealed with the newest key), the history of their trees, campaigns,
ledgers and jobs in flight. Opens the store itself: an embedded one must not be served meanwhile, and campaigns of
a cluster should be paused.

Examples:
  flotilla export --data ./flotilla-data > everything.ndjson
  flotilla export --config cluster.toml --out everything.ndjson
  flotilla export --config cluster.toml --out everything.ndjson --resume --devices-per-second 2000")]
    Export(ExportArgs),
    /// Read what `flotilla export` wrote into an empty store, embedded or cluster
    #[command(after_help = "\
The key that sealed the credentials must be in the key file of the store they come to (secrets.key_file). An
import that was broken off goes on with the same command.

Examples:
  flotilla import everything.ndjson --config cluster.toml
  flotilla import everything.ndjson --data ./flotilla-data --key-file keys
  flotilla import everything.ndjson --config other-cluster.toml --settle")]
    Import(ImportArgs),
    /// Put right a store that was brought back from a backup of its servers, before anything else opens it
    #[command(after_help = "\
What `flotilla restore` does to what it restored: nonces are forgotten, attempts in flight send no Exec any more,
campaigns that ran are paused. All processes have to be stopped meanwhile, and Redis has to be empty; see docs/backup.md.

Example:
  flotilla settle --config cluster.toml --taken 2026-01-31T03:10:00Z")]
    Settle(SettleArgs),
    /// Print the reference of all metrics: name, kind, unit, labels and meaning
    #[command(after_help = "\
What a process shows at /metrics depends on its roles and its stores; this is all of it. docs/metrics.md is made by it.

Examples:
  flotilla metrics
  flotilla metrics -o json")]
    Metrics(MetricsArgs),
    /// Print a page of docs/ that is made from the program
    #[command(hide = true, after_help = "Example:\n  flotilla reference cli")]
    Reference(ReferenceArgs),
    /// Make and check Kafka's topics
    Topics(TopicsArgs),
    /// List and send back messages that could not be taken in
    Dead(DeadArgs),
    /// Show a SyncML message in another form
    #[command(after_help = "\
Examples:
  flotilla convert --to json message.wbxml
  flotilla convert --to wbxml < message.xml > message.wbxml")]
    Convert(ConvertArgs),
    /// Print a completion script for a shell
    #[command(after_help = "\
Examples:
  flotilla completions bash > /etc/bash_completion.d/flotilla
  flotilla completions zsh > ~/.zfunc/_flotilla
  flotilla completions fish > ~/.config/fish/completions/flotilla.fish")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_that_does_something_shows_examples() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let mut leaves = command.get_subcommands().filter(|sub| sub.get_name() != "help").peekable();
            if leaves.peek().is_none() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example"), "{path} has no example");
                assert!(help.contains(path.trim()), "the example of {path} is of something else");
            }
            for sub in leaves {
                check(sub, &path);
            }
        }
        check(&Cli::command(), "");
    }
}
