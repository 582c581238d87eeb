//! `flotilla doctor`: looks at everything that a server needs, and says what is wrong and what to do.
//!
//! Every check runs beside the others and has a time within which it answers. Nothing is changed anywhere: a data directory is
//! looked at from outside, and its lock is never taken, so it may be served meanwhile.

mod certificates;
mod files;
mod machine;
mod servers;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use clap::Args;
use futures_util::future::{BoxFuture, join_all};
use serde::Serialize;
use service_kit::{
    Settings,
    settings::{Role, Span, StorageBackend},
};

use crate::{
    exit::{Exit, Failure},
    output::{self, Format, Table},
};

pub(super) use self::{
    files::{lock_holder, secret_files},
    machine::reachable,
};

#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// The server's settings file
    #[arg(long, env = "FLOTILLA_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The server's data directory
    #[arg(long, env = "FLOTILLA_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// How long a check may take
    #[arg(long, value_name = "SPAN", default_value = "15s", value_parser = span)]
    timeout: Duration,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

fn span(text: &str) -> Result<Duration, String> {
    let span: Span<100, 300_000> = serde_json::from_value(text.into()).map_err(|error| error.to_string())?;
    Ok(span.value())
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// It is as it should be.
    Ok,
    /// It works, and may not for long, or not as well as it could.
    Warn,
    /// A server would not start, or not do its work.
    Fail,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    check: &'static str,
    state: State,
    what: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, state: State::Ok, what: what.into(), remedy: None }
    }

    fn warn(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, state: State::Warn, what: what.into(), remedy: Some(remedy.into()) }
    }

    fn fail(check: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, state: State::Fail, what: what.into(), remedy: Some(remedy.into()) }
    }
}

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: &'static str,
    state: State,
    findings: Vec<Finding>,
}

impl Report {
    fn of(mut findings: Vec<Finding>) -> Self {
        // The worst first, and otherwise in the order of the checks.
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.state));
        let state = findings.first().map_or(State::Ok, |finding| finding.state);
        Self { version: env!("CARGO_PKG_VERSION"), state, findings }
    }
}

pub(crate) fn run(args: &DoctorArgs) -> Result<Exit, Failure> {
    let report = match load(args) {
        Ok(settings) => examine(settings, args.timeout)?,
        Err(findings) => Report::of(findings),
    };
    match args.output {
        Format::Json => output::print_json(&report)?,
        Format::Table => print(&report)?,
    }
    Ok(match report.state {
        State::Ok => Exit::Ok,
        State::Warn => Exit::Warnings,
        State::Fail => Exit::Error,
    })
}

/// The settings as `flotilla serve` would read them, or their mistakes.
fn load(args: &DoctorArgs) -> Result<Settings, Vec<Finding>> {
    let data = args.data.as_ref().map(|data| ("storage.data".to_owned(), data.display().to_string()));
    Settings::load(args.config.as_deref(), std::env::vars(), data).map_err(|errors| {
        let remedy = "`flotilla config example` prints every key with what it takes";
        errors.iter().map(|error| Finding::fail("settings", error.to_string(), remedy)).collect()
    })
}

/// Runs every check that the settings give reason for.
pub(super) fn examine(settings: Settings, timeout: Duration) -> Result<Report, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    let findings = runtime.block_on(all(Arc::new(settings), timeout));
    // What blocks and did not answer in time is not waited for.
    runtime.shutdown_background();
    Ok(Report::of(findings))
}

type Check = (&'static str, BoxFuture<'static, Vec<Finding>>);

async fn all(settings: Arc<Settings>, timeout: Duration) -> Vec<Finding> {
    let mut checks: Vec<Check> = vec![
        ("clock", Box::pin(machine::clock())),
        ("open-files", on_thread(&settings, machine::open_files)),
        ("listeners", Box::pin(machine::listeners(Arc::clone(&settings)))),
        ("secrets", on_thread(&settings, files::secrets)),
        ("certificates", on_thread(&settings, certificates::all)),
    ];
    if settings.session.public_url.is_some() {
        checks.push(("public-url", Box::pin(machine::public_url(Arc::clone(&settings)))));
    }
    match settings.storage.backend {
        StorageBackend::Embedded => checks.push(("data", on_thread(&settings, files::data))),
        StorageBackend::Cluster => {
            if uses(&settings, "redis") {
                checks.push(("redis", Box::pin(servers::redis(Arc::clone(&settings)))));
            }
            if uses(&settings, "kafka") {
                checks.push(("kafka", Box::pin(servers::kafka(Arc::clone(&settings)))));
            }
            checks.push(("scylla", Box::pin(servers::scylla(Arc::clone(&settings)))));
        }
    }
    let bounded = checks.into_iter().map(|(check, run)| async move {
        tokio::time::timeout(timeout, run).await.unwrap_or_else(|_| {
            let remedy = "see whether what it asks can be reached, or give it more time with --timeout";
            vec![Finding::fail(check, format!("no answer within {timeout:?}"), remedy)]
        })
    });
    let found: Vec<Vec<Finding>> = join_all(bounded).await;
    let mut findings = vec![Finding::ok("settings", "they can be used")];
    findings.extend(found.into_iter().flatten());
    findings
}

/// Whether a process of these roles connects to a server of the cluster: all of them, but who looks after stored trees alone.
fn uses(settings: &Settings, server: &str) -> bool {
    settings.storage.backend == StorageBackend::Cluster
        && (server == "scylla" || settings.process.all() != [Role::Snapshot])
}

/// A check that blocks: files may lie on a network.
fn on_thread(
    settings: &Arc<Settings>,
    check: fn(&Settings) -> Vec<Finding>,
) -> BoxFuture<'static, Vec<Finding>> {
    let settings = Arc::clone(settings);
    Box::pin(async move {
        let done = tokio::task::spawn_blocking(move || check(&settings)).await;
        done.unwrap_or_else(|error| {
            vec![Finding::fail(
                "doctor",
                format!("a check failed: {error}"),
                "report this as a mistake of flotilla",
            )]
        })
    })
}

fn print(report: &Report) -> Result<(), Failure> {
    let mut table = Table::new(&["STATE", "CHECK", "FOUND"]);
    for finding in &report.findings {
        let state = match finding.state {
            State::Ok => "ok",
            State::Warn => "WARN",
            State::Fail => "FAIL",
        };
        table.row(vec![state.to_owned(), finding.check.to_owned(), finding.what.clone()]);
        if let Some(remedy) = &finding.remedy {
            table.row(vec![String::new(), String::new(), format!("-> {remedy}")]);
        }
    }
    table.print()
}
