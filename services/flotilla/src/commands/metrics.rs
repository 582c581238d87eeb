//! `flotilla metrics`: what there is to see at `/metrics`, made from the metrics themselves.

use std::fmt::Write as _;

use campaign_service::CampaignMetrics;
use clap::Args;
use notify_service::TriggerMetrics;
use serde::Serialize;
use service_kit::{
    Health, Metrics, Shutdown,
    metrics::{
        CallMetrics, CallStore, Family, Kind, ListenerMetrics, SessionMetrics, show_filesystem, show_process,
    },
    telemetry::otlp,
    tls,
};

use crate::{
    exit::{Exit, Failure},
    output::{self, Format},
};

#[derive(Args, Debug)]
pub(crate) struct MetricsArgs {
    /// A table in Markdown, or JSON
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) fn run(args: &MetricsArgs) -> Result<Exit, Failure> {
    let chapters = chapters();
    match args.output {
        Format::Json => output::print_json(&chapters)?,
        Format::Table => output::print_line(markdown(&chapters).trim_end())?,
    }
    Ok(Exit::Ok)
}

/// Metrics that are shown together.
#[derive(Debug, Serialize)]
struct Chapter {
    title: &'static str,
    shown: &'static str,
    metrics: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    family: Family,
    unit: String,
}

/// Makes every metric as the parts of the program do.
fn chapters() -> Vec<Chapter> {
    let chapter = |title, shown, make: &dyn Fn(&Metrics)| {
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        make(&metrics);
        Chapter { title, shown, metrics: rows(&metrics) }
    };
    let mut chapters = vec![
        chapter("Every process", "by every process", &|metrics| {
            show_process(metrics);
            let _ = Health::new(Shutdown::new()).shown_in(metrics);
        }),
        chapter("Listeners", "by the roles `session` and `admin`, each its own", &|metrics| {
            ListenerMetrics::describe(metrics);
            for listener in ["session", "admin"] {
                tls::describe(metrics, listener);
            }
        }),
        chapter("Traces", "where `telemetry.otlp_endpoint` is set", &otlp::describe),
        chapter("Sessions and downloads", "by the role `session`", &|metrics| {
            SessionMetrics::new(metrics);
        }),
        chapter("Operators", "by the role `admin`", &|metrics| {
            ListenerMetrics::admin(metrics);
        }),
        chapter("Campaigns", "by the role `campaign`", &|metrics| {
            CampaignMetrics::new(metrics);
        }),
        chapter("Triggers", "by the role `notify`", &|metrics| {
            TriggerMetrics::new(metrics);
        }),
        chapter("Collections of trees", "by the role `snapshot`", &snapshot_service::describe),
        chapter("The embedded store", "where `storage.backend` is `embedded`", &|metrics| {
            show_filesystem(metrics, ".".into());
        }),
        chapter("The cluster's servers", "where `storage.backend` is `cluster`", &|metrics| {
            let health = Health::new(Shutdown::new()).shown_in(metrics);
            for store in CallStore::ALL {
                CallMetrics::new(metrics, store);
                health.needs(store.label(), "");
            }
            storage_kafka::describe(metrics);
        }),
    ];
    // What every process shows stands in its own chapter alone, and so does what both listeners do.
    for at in 1..chapters.len() {
        let (before, chapter) = chapters.split_at_mut(at);
        let common: Vec<_> =
            before.iter().take(2).flat_map(|chapter| &chapter.metrics).map(|row| &row.family.name).collect();
        chapter[0].metrics.retain(|row| !common.contains(&&row.family.name));
    }
    chapters
}

fn rows(metrics: &Metrics) -> Vec<Row> {
    let families = metrics.families().into_iter();
    families.map(|family| Row { unit: family.unit().to_owned(), family }).collect()
}

fn markdown(chapters: &[Chapter]) -> String {
    let mut text = String::from(
        "# Metrics\n\n\
        Made by `flotilla metrics`. Every process shows its own at `/metrics`: on the admin listener behind the token, on the \
        health listener without.\nNames begin with `dm_`, are in base units, and keep to Prometheus' conventions; `process_` is \
        what every Prometheus client calls the same things.\nLabels have closed sets of values, which are listed: no label ever \
        names a device or a campaign, whose figures are in the API.\nA series is there, at zero, from the start. \
        What wakes whom is in [the runbooks](runbooks/README.md).\n",
    );
    for chapter in chapters {
        let _ = write!(text, "\n## {}\n\nShown {}.\n\n", chapter.title, chapter.shown);
        text.push_str("| metric | kind | unit | labels | meaning |\n|---|---|---|---|---|\n");
        for Row { family, unit } in &chapter.metrics {
            let kind = match family.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let labels: Vec<_> =
                family.labels.iter().map(|(label, values)| label_cell(label, values)).collect();
            let labels = if labels.is_empty() { "–".to_owned() } else { labels.join("; ") };
            let _ = writeln!(text, "| `{}` | {kind} | {unit} | {labels} | {} |", family.name, family.help);
        }
    }
    text
}

/// A label with its values; where these are numbers or versions, what they are.
fn label_cell(label: &str, values: &std::collections::BTreeSet<String>) -> String {
    let is_number = |value: &String| value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if values.iter().all(is_number) {
        let what = if label == "version" { "as it is released" } else { "a number" };
        return format!("`{label}` ({what})");
    }
    let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
    format!("`{label}` ({})", values.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_GOLDEN=1 cargo test -p flotilla --bin flotilla metrics` writes the file anew.
    #[test]
    fn the_reference_is_what_the_program_shows() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
        let made = markdown(&chapters());
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(made == kept, "set UPDATE_GOLDEN=1 to write {path:?} anew");
    }

    #[test]
    fn a_name_stands_in_one_chapter() {
        let mut seen = std::collections::BTreeSet::new();
        for chapter in chapters() {
            assert!(!chapter.metrics.is_empty(), "{}", chapter.title);
            for row in chapter.metrics {
                assert!(seen.insert(row.family.name.clone()), "{} stands twice", row.family.name);
            }
        }
    }
}
