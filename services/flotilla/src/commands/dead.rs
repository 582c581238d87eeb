//! `flotilla dead`: messages that could not be taken in.

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;
use storage::ErrorKind;
use storage_cluster::topics::Topic;
use storage_kafka::{DeadLetter, Kafka, Which};

use super::topics::{KafkaArgs, with_kafka};
use crate::{
    exit::{Exit, Failure},
    output::{self, Format, Table, instant_or_dash, or_dash},
};

#[derive(Args, Debug)]
pub(crate) struct DeadArgs {
    #[command(subcommand)]
    command: DeadCommand,
    #[command(flatten)]
    kafka: KafkaArgs,
}

#[derive(Debug, Subcommand)]
enum DeadCommand {
    /// List what was put aside and not sent back yet
    #[command(after_help = "\
The place is the partition and offset in dm.dead, for `flotilla dead replay --offset`. As JSON, each has its key and
its payload (base64) too.

Examples:
  flotilla dead list --config flotilla.toml
  flotilla dead list --topic dm.events -o json")]
    List(ListArgs),
    /// Send messages back to where they came from
    #[command(after_help = "\
They go to the partition they came from, with their key and payload as they were. Consumers leave out what they have
had before, so a message that is sent back twice does no harm.

Examples:
  flotilla dead replay --offset 0:17 --config flotilla.toml
  flotilla dead replay --all --topic dm.events")]
    Replay(ReplayArgs),
}

#[derive(Args, Debug)]
struct ListArgs {
    /// Only from this topic
    #[arg(long, value_parser = topic, value_name = "TOPIC")]
    topic: Option<Topic>,
    /// Also those that were sent back
    #[arg(long)]
    replayed: bool,
    /// Most messages to list
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    limit: usize,
}

#[derive(Args, Debug)]
#[group(id = "which", required = true, multiple = false, args = ["offset", "all"])]
struct ReplayArgs {
    /// The message at this partition and offset of dm.dead, also once more
    #[arg(long, value_parser = place, value_name = "P:O")]
    offset: Option<(u32, u64)>,
    /// All that were not sent back yet
    #[arg(long)]
    all: bool,
    /// With --all: only those from this topic
    #[arg(long, value_parser = topic, value_name = "TOPIC", requires = "all")]
    topic: Option<Topic>,
}

fn topic(text: &str) -> Result<Topic, String> {
    match Topic::of_name(text) {
        Some(topic) if topic != Topic::Dead => Ok(topic),
        _ => Err(format!("expected dm.jobs, dm.triggers or dm.events, got {text}")),
    }
}

fn place(text: &str) -> Result<(u32, u64), String> {
    let wrong = || format!("expected a partition and an offset such as 0:17, got {text}");
    let (partition, offset) = text.split_once(':').ok_or_else(wrong)?;
    Ok((partition.parse().map_err(|_| wrong())?, offset.parse().map_err(|_| wrong())?))
}

/// A message as it is shown.
#[derive(Serialize)]
struct LetterView {
    place: String,
    topic: Option<&'static str>,
    origin: String,
    at: Option<Timestamp>,
    replayed: Option<Timestamp>,
    reason: String,
    key: String,
    payload: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
}

impl From<DeadLetter> for LetterView {
    fn from(letter: DeadLetter) -> Self {
        Self {
            place: format!("{}:{}", letter.partition, letter.offset),
            topic: letter.topic.map(Topic::name),
            origin: format!("{}:{}", letter.origin_partition, letter.origin_offset),
            at: letter.at,
            replayed: letter.replayed,
            reason: letter.reason,
            key: String::from_utf8_lossy(&letter.key).into_owned(),
            payload: STANDARD.encode(&letter.payload),
            traceparent: letter.traceparent,
        }
    }
}

pub(crate) fn run(args: &DeadArgs) -> Result<Exit, Failure> {
    with_kafka(&args.kafka, async |kafka| match &args.command {
        DeadCommand::List(list) => show(&kafka, list, args.kafka.output()).await,
        DeadCommand::Replay(replay) => send_back(&kafka, replay, args.kafka.output()).await,
    })
}

async fn show(kafka: &Kafka, args: &ListArgs, format: Format) -> Result<Exit, Failure> {
    let letters = kafka.dead_letters(args.topic, args.replayed, args.limit).await;
    let letters = letters.context("could not list what was put aside")?;
    let views: Vec<LetterView> = letters.into_iter().map(Into::into).collect();
    if format == Format::Json {
        output::print_json(&views)?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["PLACE", "TOPIC", "FROM", "KEY", "PUT ASIDE", "SENT BACK", "REASON"]);
    for view in views {
        table.row(vec![
            view.place,
            view.topic.unwrap_or("?").to_owned(),
            view.origin,
            or_dash(&view.key),
            instant_or_dash(view.at),
            instant_or_dash(view.replayed),
            or_dash(&view.reason),
        ]);
    }
    table.print()?;
    Ok(Exit::Ok)
}

async fn send_back(kafka: &Kafka, args: &ReplayArgs, format: Format) -> Result<Exit, Failure> {
    // Partitions that are not as the settings say would put messages where nobody of their kind is.
    let problems = kafka.check_topics().await.context("could not look at the topics")?;
    if let Some(problem) = problems.first() {
        let failure = Failure::error(problem.to_string());
        return Err(failure.hint("`flotilla topics status` shows all that is wrong with the topics"));
    }
    let which = match args.offset {
        Some((partition, offset)) => Which::At { partition, offset },
        None => Which::New(args.topic),
    };
    let count = match kafka.replay_dead(&which).await {
        Err(error) if error.kind == ErrorKind::Missing => {
            return Err(Failure::new(
                Exit::NotFound,
                "there is no such message in dm.dead, or its topic is not known",
            ));
        }
        other => other.context("could not send messages back")?,
    };
    match format {
        Format::Json => output::print_json(&serde_json::json!({ "sent_back": count }))?,
        Format::Table => output::print_line(&format!("{count} sent back"))?,
    }
    Ok(Exit::Ok)
}
