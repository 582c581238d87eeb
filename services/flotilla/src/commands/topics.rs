//! `flotilla topics`: Kafka's topics, as the settings ask for them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Serialize;
use service_kit::{Metrics, Settings};
use storage_kafka::{Applied, Kafka, Problem, TopicPlan};

use crate::{
    exit::{Exit, Failure},
    output::{self, Format, Table},
};

#[derive(Args, Debug)]
pub(crate) struct TopicsArgs {
    #[command(subcommand)]
    command: TopicsCommand,
    #[command(flatten)]
    kafka: KafkaArgs,
}

/// What every command needs that speaks to Kafka itself.
#[derive(Args, Debug)]
pub(crate) struct KafkaArgs {
    /// The cluster's settings file; its section kafka is used
    #[arg(long, env = "FLOTILLA_CONFIG", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, global = true)]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum TopicsCommand {
    /// Make what is missing and set what can be set
    #[command(after_help = "\
A topic that is there keeps its partitions and copies; where they differ from the settings, the command says so and
ends with 1.

Example:
  flotilla topics apply --config flotilla.toml")]
    Apply,
    /// Compare the topics with the settings
    #[command(after_help = "\
Ends with 0 only if a start with these settings would accept the topics.

Examples:
  flotilla topics status --config flotilla.toml
  flotilla topics status -o json")]
    Status,
}

/// A topic as it is shown.
#[derive(Serialize)]
struct TopicView {
    topic: String,
    partitions: u32,
    replication: u32,
    retention_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<String>,
    problems: Vec<ProblemView>,
}

#[derive(Serialize)]
struct ProblemView {
    what: &'static str,
    expected: String,
    got: String,
}

pub(crate) fn run(args: &TopicsArgs) -> Result<Exit, Failure> {
    with_kafka(&args.kafka, async |kafka| {
        let plans: Vec<(TopicPlan, Option<Applied>)> = match args.command {
            TopicsCommand::Apply => {
                let applied = kafka.apply_topics().await.context("could not apply the topics")?;
                applied.into_iter().map(|(plan, done)| (plan, Some(done))).collect()
            }
            TopicsCommand::Status => kafka.topic_plans().into_iter().map(|plan| (plan, None)).collect(),
        };
        let problems = kafka.check_topics().await.context("could not look at the topics")?;
        let views: Vec<TopicView> =
            plans.into_iter().map(|(plan, done)| view(plan, done.as_ref(), &problems)).collect();
        print(&views, args.kafka.output)?;
        Ok(if problems.is_empty() { Exit::Ok } else { Exit::Error })
    })
}

/// Runs a command with Kafka as the settings name it.
pub(super) fn with_kafka(
    args: &KafkaArgs,
    run: impl AsyncFnOnce(Kafka) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let settings = load(args.config.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    runtime.block_on(async {
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        let kafka = Kafka::new(&settings.kafka, &metrics).context("could not use Kafka")?;
        run(kafka).await
    })
}

impl KafkaArgs {
    pub(super) fn output(&self) -> Format {
        self.output
    }
}

fn load(config: Option<&Path>) -> Result<Settings, Failure> {
    Settings::load(config, std::env::vars(), [])
        .map_err(|errors| Failure::error(format!("the settings cannot be used\n{errors}")))
}

fn view(plan: TopicPlan, done: Option<&Applied>, problems: &[Problem]) -> TopicView {
    let of_topic = problems.iter().filter(|problem| problem.topic == plan.name);
    let problems = of_topic
        .map(|problem| ProblemView {
            what: problem.what,
            expected: problem.expected.clone(),
            got: problem.got.clone(),
        })
        .collect();
    TopicView {
        topic: plan.name,
        partitions: plan.partitions,
        replication: plan.replication,
        retention_seconds: plan.retention.as_secs(),
        done: done.map(|done| match done {
            Applied::Kept => "kept".to_owned(),
            Applied::Created => "created".to_owned(),
            Applied::Changed(keys) => format!("changed {}", keys.join(", ")),
        }),
        problems,
    }
}

fn print(views: &[TopicView], format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        return output::print_json(&views);
    }
    let mut table = Table::new(&["TOPIC", "PARTITIONS", "COPIES", "KEPT FOR", "STATE"]);
    for view in views {
        let state = match (&view.done, view.problems.is_empty()) {
            (Some(done), true) => done.clone(),
            (None, true) => "good".to_owned(),
            (_, false) => "WRONG".to_owned(),
        };
        table.row(vec![
            view.topic.clone(),
            view.partitions.to_string(),
            view.replication.to_string(),
            format!("{:#}", jiff::SignedDuration::from_secs(view.retention_seconds.cast_signed())),
            state,
        ]);
    }
    table.print()?;
    for view in views {
        for ProblemView { what, expected, got } in &view.problems {
            output::print_line(&format!("{}: {what}: expected {expected}, got {got}", view.topic))?;
        }
    }
    Ok(())
}
