//! What goes into a bundle, as it is found.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
    time::Duration,
};

use admin_service::Token;
use serde_json::{Map, Value};
use service_kit::{Settings, settings::Role};
use ureq::{Agent, tls::TlsConfig};

use super::{Parts, SupportBundleArgs};
use crate::{
    client::tls,
    commands::{
        doctor::reachable,
        serve::{HEALTH_LISTEN, token_file},
    },
};

/// Octets of the end of a log.
const LOG_OCTETS_MAX: u64 = 4 << 20;
/// Octets of an answer of the server.
const ANSWER_OCTETS_MAX: u64 = 32 << 20;
/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Campaigns of which more than a line is taken, the newest.
const CAMPAIGNS_MAX: usize = 100;

/// Every key with what is in force. What may be a secret stands in files of its own, which are named and not read.
pub(super) fn settings(settings: &Settings) -> Value {
    let values = settings.values().into_iter();
    Value::Object(values.map(|(key, value)| (key.to_owned(), json_of(value))).collect())
}

fn json_of(value: Option<toml::Value>) -> Value {
    value.and_then(|value| serde_json::to_value(value).ok()).unwrap_or(Value::Null)
}

/// The token of the running server, where its file can be read.
pub(super) fn token(settings: &Settings) -> Option<String> {
    token_in(&token_file(&settings.admin, &settings.storage.data)).ok()
}

/// The token that stands in a file.
pub(super) fn token_in(file: &Path) -> anyhow::Result<String> {
    Ok(Token::read(file)?.reveal().to_string())
}

/// Health, metrics and campaigns, from a process that runs.
pub(super) fn from_server(
    args: &SupportBundleArgs,
    token: Option<String>,
    settings: &Settings,
    parts: &mut Parts,
) {
    let server = args.server.as_deref();
    let has_admin = server.is_some() || settings.process.all().contains(&Role::Admin);
    let scheme = if settings.admin_tls.certificate.is_some() { "https" } else { "http" };
    let admin = server.map_or_else(
        || format!("{scheme}://{}", reachable(settings.admin.listen)),
        |server| server.trim_end_matches('/').to_owned(),
    );
    let tls = if admin.starts_with("https://") {
        let identity = args.client_cert.as_deref().zip(args.client_key.as_deref());
        match tls::config(args.ca.as_deref(), identity) {
            Ok(tls) => tls,
            Err(why) => return parts.add("health.txt, metrics.txt, campaigns.json", Err(why.to_string())),
        }
    } else {
        TlsConfig::default()
    };
    let config = Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .timeout_global(Some(ANSWER_TIMEOUT))
        .build();
    let asking = Asking { agent: config.new_agent(), token };
    let own = settings.health.listen.or((!has_admin).then_some(HEALTH_LISTEN));
    let health = own.map_or_else(|| admin.clone(), |address| format!("http://{}", reachable(address)));
    let pages = ["livez", "readyz"].map(|page| {
        let url = format!("{health}/health/{page}");
        format!("{url}\n{}\n", asking.any(&url).unwrap_or_else(|why| why))
    });
    parts.add("health.txt", Ok(pages.concat()));
    parts.add("metrics.txt", asking.good(&format!("{health}/metrics")));
    if has_admin {
        let campaigns = campaigns(&asking, &admin);
        parts.add("campaigns.json", campaigns.and_then(|campaigns| super::pretty(&campaigns)));
    }
}

struct Asking {
    agent: Agent,
    token: Option<String>,
}

impl Asking {
    fn ask(&self, url: &str) -> Result<(u16, String), String> {
        let mut request = self.agent.get(url);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = request.call().map_err(|error| format!("{url}: {error}"))?;
        let status = answer.status().as_u16();
        let mut text = String::new();
        let read = answer.into_body().into_reader().take(ANSWER_OCTETS_MAX).read_to_string(&mut text);
        read.map_err(|error| format!("{url}: {error}"))?;
        Ok((status, text))
    }

    /// Whatever is answered.
    fn any(&self, url: &str) -> Result<String, String> {
        self.ask(url).map(|(status, text)| format!("{status}\n{text}"))
    }

    /// What is answered, where it is no refusal.
    fn good(&self, url: &str) -> Result<String, String> {
        match self.ask(url)? {
            (200, text) => Ok(text),
            (status, _) => Err(format!("{url} answered {status}")),
        }
    }

    fn json(&self, url: &str) -> Result<Value, String> {
        serde_json::from_str(&self.good(url)?).map_err(|error| format!("{url}: {error}"))
    }
}

fn campaigns(asking: &Asking, admin: &str) -> Result<Value, String> {
    let page = asking.json(&format!("{admin}/v1/campaigns?limit=1000"))?;
    let items = page.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    let named = items.iter().rev().take(CAMPAIGNS_MAX).filter_map(|item| item.get("id")?.as_str());
    let mut whole = Map::new();
    for id in named {
        let view = asking.json(&format!("{admin}/v1/campaigns/{id}"));
        whole.insert(id.to_owned(), view.map_or_else(Value::String, without_devices));
    }
    Ok(serde_json::json!({ "listed": items.len(), "campaigns": whole }))
}

/// A list of devices in a definition becomes its length.
fn without_devices(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| match value {
                    Value::Array(items) if name == "ids" || name == "ids_not" => {
                        (name, Value::String(format!("{} devices", items.len())))
                    }
                    value => (name, without_devices(value)),
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_devices).collect()),
        value => value,
    }
}

/// What the system says of a process. Neither its environment nor its arguments.
pub(super) fn process(id: u32) -> Result<String, String> {
    let dir = format!("/proc/{id}");
    let mut text = format!("process {id}\n");
    for name in ["status", "limits", "io", "schedstat", "wchan", "cgroup"] {
        let shown = fs::read_to_string(format!("{dir}/{name}")).unwrap_or_else(|error| format!("{error}\n"));
        let _ = writeln!(text, "\n== {name}\n{shown}");
    }
    let count = |name: &str| fs::read_dir(format!("{dir}/{name}")).map_or(0, Iterator::count);
    let _ = writeln!(text, "\nopen files {}, threads {}", count("fd"), count("task"));
    let threads = fs::read_dir(format!("{dir}/task")).map_err(|error| format!("process {id}: {error}"))?;
    for thread in threads.flatten() {
        let read =
            |name: &str| fs::read_to_string(thread.path().join(name)).unwrap_or_default().trim().to_owned();
        let stat = read("stat");
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('?');
        let _ = writeln!(text, "{} {state} {} {}", thread.file_name().display(), read("comm"), read("wchan"));
    }
    Ok(text)
}

/// Load, memory and disks of the machine.
pub(super) fn system(data: &Path) -> String {
    let mut text = String::new();
    for name in ["loadavg", "meminfo", "mounts", "pressure/cpu", "pressure/memory", "pressure/io"] {
        let shown = fs::read_to_string(format!("/proc/{name}")).unwrap_or_else(|error| format!("{error}\n"));
        let _ = writeln!(text, "== {name}\n{shown}");
    }
    if let Ok(disk) = rustix::fs::statvfs(data) {
        let size = |blocks: u64| blocks.saturating_mul(disk.f_frsize) >> 20;
        let (free, whole) = (size(disk.f_bavail), size(disk.f_blocks));
        let _ = writeln!(text, "== data directory\n{free} of {whole} MiB free, {} files free", disk.f_favail);
    }
    text
}

/// The end of a log, from the beginning of a line.
pub(super) fn log(path: &Path) -> Result<String, String> {
    let read = || {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        let from = size.saturating_sub(LOG_OCTETS_MAX);
        file.seek(SeekFrom::Start(from))?;
        let mut octets = Vec::new();
        file.take(LOG_OCTETS_MAX).read_to_end(&mut octets)?;
        let text = String::from_utf8_lossy(&octets).into_owned();
        Ok(match text.split_once('\n') {
            Some((_, rest)) if from > 0 => rest.to_owned(),
            _ => text,
        })
    };
    read().map_err(|error: std::io::Error| format!("{}: {error}", path.display()))
}
