//! `flotilla support-bundle`: what one needs to see to find out what went wrong, in one archive, without secrets.
//!
//! What goes in is chosen, and then all of it goes through [`scrub::Scrub`], which takes out what is known to be a secret and
//! hashes the names of devices: so a secret that stands where nobody expects it is taken out too.

mod gather;
mod scrub;

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;
use serde_json::json;
use service_kit::Settings;

use self::scrub::Scrub;
use super::doctor;
use crate::{
    exit::{Exit, Failure},
    output,
};

#[derive(Args, Debug)]
pub(crate) struct SupportBundleArgs {
    /// The server's settings file
    #[arg(long, env = "FLOTILLA_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The server's data directory
    #[arg(long, env = "FLOTILLA_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// The admin listener's URL [default: from the settings]
    #[arg(long, env = "FLOTILLA_SERVER", value_name = "URL")]
    server: Option<String>,
    /// The admin token [default: from its file]
    #[arg(long, env = "FLOTILLA_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The file of the admin token [default: the settings']
    #[arg(long, env = "FLOTILLA_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file of the authorities that the server's certificate is checked against [default: the system's]
    #[arg(long, env = "FLOTILLA_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// PEM file of a certificate to show to the server
    #[arg(long, env = "FLOTILLA_CLIENT_CERT", value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(long, env = "FLOTILLA_CLIENT_KEY", value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
    /// The process of the server [default: that which has the data directory]
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// A log of the server, of which the end is taken; may be given again for more
    #[arg(long, value_name = "FILE")]
    log: Vec<PathBuf>,
    /// Where to write it; it must not be there yet [default: flotilla-support-TIME.tar.gz]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// How long a check of the doctor may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(15);

const README: &str = "\
A support bundle of flotilla.

settings.json    the settings as they are in force: what stands in files of passwords, tokens and keys is not in it
versions.json    of the program and of the system
doctor.json      what `flotilla doctor` says
health.txt       what the process says of its health
metrics.txt      its metrics
campaigns.json   campaigns: their state, their counters, their definitions
process.txt      what the system says of the process: limits, memory, threads
system.txt       load, memory and disks of the machine
log-*.txt        the end of each log that was named
missing.txt      what could not be had, and why

Left out on purpose: devices, their trees and their sessions, the environment of the process, every secret.
Names of devices are replaced by `device-` and twelve hexadecimal digits, the same name by the same digits within this
bundle and by others in the next.
";

/// The files of a bundle, as they are gathered.
#[derive(Default)]
struct Parts {
    files: Vec<(String, String)>,
    missing: Vec<String>,
}

impl Parts {
    fn add(&mut self, name: &str, text: Result<String, String>) {
        match text {
            Ok(text) => self.files.push((name.to_owned(), text)),
            Err(why) => self.missing.push(format!("{name}: {why}")),
        }
    }
}

pub(crate) fn run(args: &SupportBundleArgs) -> Result<Exit, Failure> {
    let now = Timestamp::now();
    let name = format!("flotilla-support-{}", now.strftime("%Y%m%dT%H%M%SZ"));
    let output = args.output.clone().unwrap_or_else(|| format!("{name}.tar.gz").into());
    // Before anything is gathered: a place that cannot be written is said at once.
    let file = create(&output)?;
    let written = gather(args, now).and_then(|(parts, scrub)| write(file, &name, now, &parts, &scrub));
    if written.is_err() {
        // A part of a bundle is none.
        let _ = std::fs::remove_file(&output);
    }
    let missing = written?;
    output::print_line(&format!("wrote {}", output.display()))?;
    for what in missing {
        output::print_line(&format!("left out {what}"))?;
    }
    Ok(Exit::Ok)
}

/// For its owner alone: what it says of a site is nobody else's.
fn create(path: &Path) -> Result<File, Failure> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    Ok(created.with_context(|| format!("could not make {}", path.display()))?)
}

fn gather(args: &SupportBundleArgs, now: Timestamp) -> Result<(Parts, Scrub), Failure> {
    let mut parts = Parts::default();
    let settings = load(args, &mut parts);
    let token = match (&args.token, &args.token_file) {
        (None, Some(file)) => Some(gather::token_in(file)?),
        (given, _) => given.clone().or_else(|| gather::token(settings.as_ref()?)),
    };
    let scrub = Scrub::new(settings.as_ref(), token.as_deref())?;
    let versions = json!({
        "flotilla": env!("CARGO_PKG_VERSION"),
        "made": now,
        "kafka_tls": cfg!(feature = "kafka-tls"),
        "architecture": std::env::consts::ARCH,
        "kernel": std::fs::read_to_string("/proc/version").unwrap_or_default().trim(),
    });
    parts.add("versions.json", pretty(&versions));
    if let Some(settings) = &settings {
        parts.add("settings.json", pretty(&gather::settings(settings)));
        let report = doctor::examine(settings.clone(), CHECK_TIMEOUT)?;
        parts.add("doctor.json", pretty(&serde_json::to_value(report).unwrap_or_default()));
        gather::from_server(args, token, settings, &mut parts);
        let process = args.pid.or_else(|| doctor::lock_holder(&settings.storage.data));
        let none = || "expected the server's process, got none: name it with --pid".to_owned();
        parts.add("process.txt", process.ok_or_else(none).and_then(gather::process));
        parts.add("system.txt", Ok(gather::system(&settings.storage.data)));
    }
    for (at, log) in args.log.iter().enumerate() {
        parts.add(&format!("log-{}.txt", at + 1), gather::log(log));
    }
    Ok((parts, scrub))
}

fn load(args: &SupportBundleArgs, parts: &mut Parts) -> Option<Settings> {
    let data = args.data.as_ref().map(|data| ("storage.data".to_owned(), data.display().to_string()));
    match Settings::load(args.config.as_deref(), std::env::vars(), data) {
        Ok(settings) => Some(settings),
        // Not their text: what stands at the wrong place may be a secret.
        Err(errors) => {
            let keys: Vec<_> = errors.iter().map(service_kit::settings::SettingsError::key).collect();
            let what = format!("they cannot be used, by {}; see flotilla doctor", keys.join(", "));
            parts.add("settings.json", Err(what));
            None
        }
    }
}

fn pretty(value: &serde_json::Value) -> Result<String, String> {
    serde_json::to_string_pretty(value).map_err(|error| error.to_string())
}

/// Writes the archive; answers what is missing in it.
fn write(
    file: File,
    name: &str,
    now: Timestamp,
    parts: &Parts,
    scrub: &Scrub,
) -> Result<Vec<String>, Failure> {
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    let mut put = |file: &str, text: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(now.as_second()).unwrap_or(0));
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, format!("{name}/{file}"), text.as_bytes())
    };
    put("README.txt", README)?;
    for (file, text) in &parts.files {
        put(file, &scrub.text(text))?;
    }
    let missing: Vec<String> = parts.missing.iter().map(|what| scrub.text(what)).collect();
    put("missing.txt", &missing.iter().map(|what| format!("{what}\n")).collect::<String>())?;
    let mut file = archive.into_inner()?.finish()?;
    file.flush()?;
    file.sync_all()?;
    Ok(missing)
}
