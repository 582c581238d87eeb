//! `flotilla health`: asks the process beside it how it is, for container health checks and for people.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use service_kit::{Settings, settings::Role};
use ureq::Agent;

use super::serve::HEALTH_LISTEN;
use crate::{
    exit::{Exit, Failure},
    output,
};

#[derive(Args, Debug)]
pub(crate) struct HealthArgs {
    /// Only whether the process runs, whatever else is away: what a health check that restarts should ask
    #[arg(long, conflicts_with = "serving")]
    live: bool,
    /// Only whether it answers requests, be it that a server is away
    #[arg(long)]
    serving: bool,
    /// The address that answers probes [default: what the settings say: health.listen, else admin.listen]
    #[arg(long, value_name = "ADDR")]
    address: Option<SocketAddr>,
    /// The settings file of the process that is asked about
    #[arg(long, env = "FLOTILLA_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// How long the answer may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

pub(crate) fn run(args: &HealthArgs) -> Result<Exit, Failure> {
    let address = match args.address {
        Some(address) => address,
        None => address_of(&settings(args)?)?,
    };
    let page = match (args.live, args.serving) {
        (true, _) => "livez",
        (_, true) => "servez",
        _ => "readyz",
    };
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(args.timeout)))
        // The process beside us is never behind a proxy.
        .proxy(None)
        .build();
    let url = format!("http://{address}/health/{page}");
    let unreachable = |error: ureq::Error| {
        Failure::error(format!("{url} gives no answer: {error}"))
            .hint("another address can be named by --address, or by the settings of the process (--config)")
    };
    let mut response = config.new_agent().get(&url).call().map_err(unreachable)?;
    let status = response.status();
    let text = response.body_mut().read_to_string().map_err(unreachable)?;
    let text = text.trim_end();
    if !status.is_success() {
        return Err(Failure::error(if text.is_empty() {
            format!("{url} answered {status}")
        } else {
            text.to_owned()
        }));
    }
    output::print_line(text)?;
    Ok(Exit::Ok)
}

fn settings(args: &HealthArgs) -> Result<Settings, Failure> {
    Settings::load(args.config.as_deref(), std::env::vars(), [])
        .map_err(|errors| Failure::error(format!("the settings cannot be used\n{errors}")))
}

/// Where a process with these settings answers probes, as one beside it reaches that.
fn address_of(settings: &Settings) -> Result<SocketAddr, Failure> {
    let admin = settings.process.all().contains(&Role::Admin).then_some(settings.admin.listen);
    if settings.health.listen.is_none() && admin.is_some() && settings.admin_tls.certificate.is_some() {
        return Err(Failure::error(
            "the admin listener speaks TLS, and there is no other that answers probes",
        )
        .hint(
            "set health.listen, such as to 127.0.0.1:8082: it answers in the clear, and asks for nothing",
        ));
    }
    let mut address = settings.health.listen.or(admin).unwrap_or(HEALTH_LISTEN);
    if address.ip().is_unspecified() {
        let loopback = match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        address.set_ip(loopback);
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_say_where_to_ask() {
        for (settings, want) in [
            (&[][..], "127.0.0.1:8081"),
            (&[("admin.listen", "0.0.0.0:9000")], "127.0.0.1:9000"),
            (&[("admin.listen", "10.0.0.7:9000")], "10.0.0.7:9000"),
            (&[("admin.listen", "[::]:9000")], "[::1]:9000"),
            (&[("health.listen", "0.0.0.0:9001")], "127.0.0.1:9001"),
            (
                &[
                    ("storage.backend", "cluster"),
                    ("secrets.key_file", "keys"),
                    ("process.roles", "[\"session\"]"),
                ],
                "127.0.0.1:8082",
            ),
        ] {
            let overrides = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            let settings = Settings::load(None, [], overrides).unwrap();
            assert_eq!(address_of(&settings).unwrap().to_string(), want);
        }
        let overrides = [("admin.tls.certificate", "a"), ("admin.tls.key", "b")];
        let overrides = overrides.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let settings = Settings::load(None, [], overrides).unwrap();
        assert!(address_of(&settings).unwrap_err().to_string().contains("speaks TLS"));
    }
}
