//! `flotilla serve`: every role in one process, on the embedded store.

use std::{
    io::{self, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use admin_service::{TOKEN_FILE, Token};
use anyhow::Context as _;
use campaign_service::CampaignService;
use clap::Args;
use service_kit::{Metrics, Settings, Shutdown, settings::AdminSettings, telemetry};
use storage::{Embedded, TenantId};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    exit::{Exit, Failure},
    output,
};

#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// The data directory; made when it is not there [default: flotilla-data]
    #[arg(long, env = "FLOTILLA_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// A settings file; `flotilla config example` shows every key
    #[arg(long, env = "FLOTILLA_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where devices connect; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where operators connect; port 0 takes a free one [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<SocketAddr>,
    /// Check the settings and end
    #[arg(long)]
    check_config: bool,
    /// Drain and end when standard input ends: for a parent process that must not leave a server behind
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
}

pub(crate) fn run(args: &ServeArgs) -> Result<Exit, Failure> {
    let settings = load(args)?;
    if args.check_config {
        output::print_line("the settings are good")?;
        return Ok(Exit::Ok);
    }
    telemetry::init(&settings.telemetry).map_err(Failure::error)?;
    let shutdown = Shutdown::new();
    if args.until_stdin_ends {
        end_with_stdin(shutdown.clone());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    runtime.block_on(serve(settings, shutdown))?;
    Ok(Exit::Ok)
}

/// File, then environment, then flags.
fn load(args: &ServeArgs) -> Result<Settings, Failure> {
    let mut flags = Vec::new();
    let mut flag = |key: &str, value: Option<String>| {
        flags.extend(value.map(|value| (key.to_owned(), value)));
    };
    flag("storage.data", args.data.as_ref().map(|data| data.display().to_string()));
    flag("session.listen", args.listen.map(|address| address.to_string()));
    flag("admin.listen", args.admin_listen.map(|address| address.to_string()));
    Settings::load(args.config.as_deref(), std::env::vars(), flags)
        .map_err(|errors| Failure::error(format!("the settings cannot be used\n{errors}")))
}

/// Asks for the end once standard input has ended. A thread of its own, because a read of standard input cannot be
/// taken back and would hold up the runtime's end.
fn end_with_stdin(shutdown: Shutdown) {
    std::thread::spawn(move || {
        let mut sink = [0; 256];
        let mut stdin = io::stdin().lock();
        while matches!(stdin.read(&mut sink), Ok(1..)) {}
        shutdown.begin();
    });
}

async fn serve(settings: Settings, shutdown: Shutdown) -> anyhow::Result<()> {
    let data = settings.storage.data.clone();
    let store = tokio::task::spawn_blocking({
        let data = data.clone();
        move || Embedded::open(&data, &storage::embedded::Options::default())
    })
    .await??;
    let token = token(&settings.admin, &data)?;
    let device_listener = bind(settings.session.listen, "session.listen").await?;
    let admin_listener = bind(settings.admin.listen, "admin.listen").await?;
    let (device_address, admin_address) = (device_listener.local_addr()?, admin_listener.local_addr()?);

    let store = Arc::new(store);
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let tenant = TenantId::default();
    let campaign_stores = campaign_service::Stores::of((*store).clone());
    let campaigns = CampaignService::new(campaign_stores, tenant.clone(), campaign_service::system_clock());
    let services = admin_service::Services {
        tenant,
        devices: store.clone(),
        snapshots: store.clone(),
        jobs: store.clone(),
        artifacts: store.clone(),
        campaigns: campaigns.clone(),
        metrics: metrics.clone(),
    };
    let mut roles = JoinSet::new();
    let stores = session_service::Stores::of((*store).clone());
    roles.spawn({
        let (settings, shutdown) = (settings.clone(), shutdown.clone());
        async move {
            let run = session_service::run(&settings, stores, device_listener, &metrics, shutdown).await;
            run.context("the device front-end could not run")
        }
    });
    roles.spawn({
        let (stop, shutdown) = (CancellationToken::new(), shutdown.clone());
        async move {
            let run = campaigns.run(stop.clone());
            tokio::pin!(run);
            let ended = tokio::select! {
                ended = &mut run => ended,
                () = shutdown.draining() => {
                    stop.cancel();
                    run.await
                }
            };
            ended.context("the campaigns' owner could not run")
        }
    });
    roles.spawn({
        let (settings, shutdown) = (settings.admin.clone(), shutdown.clone());
        async move {
            admin_service::run(&settings, services, token, admin_listener, shutdown).await;
            Ok(())
        }
    });

    let signals = tokio::spawn({
        let (shutdown, deadline) = (shutdown.clone(), settings.shutdown.deadline.value());
        async move { shutdown.run(deadline).await }
    });
    let scheme = if settings.tls.certificate.is_some() { "https" } else { "http" };
    announce(&format!("device listener  {scheme}://{device_address}/dm"))?;
    announce(&format!("admin listener   http://{admin_address}"))?;
    shutdown.set_ready();
    tracing::info!(%device_address, %admin_address, data = %data.display(), "serving");

    let mut outcome = Ok(());
    while let Some(role) = roles.join_next().await {
        let ended_by_itself = !shutdown.is_draining();
        // A role that ends by itself leaves half a server, so the others end too.
        shutdown.begin();
        match role.context("a part of the server failed").flatten() {
            Ok(()) if ended_by_itself => {
                outcome = Err(anyhow::anyhow!("a part of the server ended by itself"));
            }
            Ok(()) => {}
            Err(error) => outcome = Err(error),
        }
    }
    shutdown.cut();
    signals.await.context("the signal handler failed")??;
    tracing::info!("ended");
    outcome
}

fn announce(line: &str) -> anyhow::Result<()> {
    output::print_line(line).map_err(|failure| anyhow::anyhow!("{failure}"))
}

fn token(settings: &AdminSettings, data: &Path) -> anyhow::Result<Option<Token>> {
    if !settings.token_required {
        tracing::warn!("the admin listener asks for no token");
        return Ok(None);
    }
    match &settings.token_file {
        Some(path) => Ok(Some(Token::read(path)?)),
        None => Ok(Some(Token::read_or_make(&data.join(TOKEN_FILE))?)),
    }
}

async fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("could not listen on {address} ({key})"))
}
