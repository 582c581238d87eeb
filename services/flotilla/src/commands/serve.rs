//! `flotilla serve`: the roles of this process, over the stores that the settings name.

use std::{
    future::pending,
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use admin_service::{TOKEN_FILE, Token};
use anyhow::Context as _;
use campaign_service::{CampaignMetrics, CampaignService, Process};
use clap::Args;
use service_kit::{
    Health, Metrics, Settings, Shutdown, Supervisor, health,
    metrics::{show_filesystem, show_process},
    refusal::with_causes,
    settings::{AdminSettings, Role, StorageBackend},
    telemetry::{self, otlp},
    tls::{self, ListenerTls},
};
use storage::{
    Stores, TenantId,
    seal::{self, Tried},
};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{
    backend::{Backend, Opening, Work},
    exit::{Exit, Failure},
    output,
};

/// Where a process without the role `admin` answers probes, where the settings say nothing.
pub(crate) const HEALTH_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8082);

/// Within the seconds that supervisors leave after the drain's deadline.
const LEFT_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Args, Clone, Debug)]
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
    /// What this process does, of session, campaign, snapshot, notify, admin [default: all]
    #[arg(long, value_name = "ROLE,...", value_delimiter = ',')]
    roles: Vec<String>,
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
    run_to_end(serve(settings, args, shutdown))??;
    Ok(Exit::Ok)
}

/// Runs `work` to its end. Calls that it left on threads of their own are waited for no longer than [`LEFT_TIMEOUT`]: one of them may wait for ever for a server that is
/// gone, as a commit of offsets does, and what counts is durable without them.
fn run_to_end<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(LEFT_TIMEOUT);
    Ok(done)
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
    // As an array of TOML, which the settings read as they read a file's.
    flag("process.roles", (!args.roles.is_empty()).then(|| format!("{:?}", args.roles)));
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

async fn serve(settings: Settings, args: &ServeArgs, shutdown: Shutdown) -> anyhow::Result<()> {
    let signals = tokio::spawn({
        let (shutdown, deadline) = (shutdown.clone(), settings.shutdown.deadline.value());
        async move { shutdown.run(deadline).await }
    });
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    let work = async {
        let exporting = Exporting::begin(&settings, &metrics)?;
        let served = serve_roles(&settings, &metrics, &shutdown).await;
        exporting.end().await;
        served
    };
    let reread = || match load(args) {
        Ok(settings) => Ok(settings.telemetry.level),
        Err(failure) => Err(failure.to_string()),
    };
    let served = tokio::select! {
        served = work => served,
        Err(error) = telemetry::follow_hang_ups(reread) => Err(error).context("the signal handler failed"),
    };
    shutdown.cut();
    signals.await.context("the signal handler failed")??;
    tracing::info!("ended");
    served
}

/// Traces on their way out; what is left of them leaves last.
struct Exporting {
    end: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Exporting {
    fn begin(settings: &Settings, metrics: &Metrics) -> anyhow::Result<Self> {
        let end = CancellationToken::new();
        let exporter =
            otlp::open(&settings.telemetry, env!("CARGO_PKG_VERSION"), &role_names(settings), metrics)?;
        let task = exporter.map(|exporter| tokio::spawn(exporter.run(end.clone().cancelled_owned())));
        Ok(Self { end, task })
    }

    async fn end(self) {
        self.end.cancel();
        if let Some(task) = self.task
            && task.await.is_err()
        {
            tracing::error!("the exporter of traces failed");
        }
    }
}

fn role_names(settings: &Settings) -> String {
    let named: Vec<_> = settings.process.all().iter().map(|role| role.name()).collect();
    named.join(",")
}

async fn serve_roles(settings: &Settings, metrics: &Metrics, shutdown: &Shutdown) -> anyhow::Result<()> {
    let roles = settings.process.all();
    show_process(metrics);
    if settings.storage.backend == StorageBackend::Embedded {
        show_filesystem(metrics, settings.storage.data.clone());
    }
    let health = Health::new(shutdown.clone()).shown_in(metrics);
    let listeners = Listeners::bind(settings, &roles).await?;
    let opening = Opening { settings, roles: &roles, health: &health, metrics, shutdown };
    let opened = tokio::select! {
        opened = Backend::open(&opening) => opened?,
        () = listeners.answer_probes(&health, metrics) => None,
    };
    // The end was asked for while a server was waited for.
    let Some(mut backend) = opened else { return Ok(()) };
    let ended = std::mem::replace(&mut backend.ended, Box::pin(std::future::ready(())));
    let Listeners { admin, admin_tls, health: health_listener } = listeners;
    let admin_in_drain = admin.as_ref().map(another_handle).transpose()?;
    let tasks = start(opening, backend, admin, admin_tls.clone()).await?;
    if let Some(listener) = &health_listener {
        announce(&format!("health listener  http://{}/health/readyz", listener.local_addr()?))?;
    }
    shutdown.set_ready();
    tracing::info!(roles = role_names(settings), "serving");
    let reporting = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { Supervisor::from_environment().report(&shutdown).await }
    });
    let work = async {
        let outcome = end_of(tasks, shutdown).await;
        ended.await;
        reporting.abort();
        outcome
    };
    // Until the last request is done, whoever asks hears that this process drains, and gets its metrics.
    let answer_on_admin = async {
        shutdown.draining().await;
        answer_probes(admin_in_drain.as_ref(), admin_tls.as_ref(), &health, None).await;
    };
    let answer = async {
        tokio::join!(answer_probes(health_listener.as_ref(), None, &health, Some(metrics)), answer_on_admin);
    };
    tokio::select! {
        outcome = work => outcome,
        () = answer => Ok(()),
    }
}

/// The listeners that answer probes. They listen before the stores are there.
struct Listeners {
    admin: Option<TcpListener>,
    admin_tls: Option<Arc<ListenerTls>>,
    /// Speaks no TLS: a kubelet checks no certificate and has none.
    health: Option<TcpListener>,
}

impl Listeners {
    async fn bind(settings: &Settings, roles: &[Role]) -> anyhow::Result<Self> {
        let has_admin = roles.contains(&Role::Admin);
        let admin_tls = if has_admin {
            ListenerTls::open(&settings.admin_tls.listener(), tls::HTTP_1)
                .context("admin.tls cannot be used")?
        } else {
            None
        };
        let admin = if has_admin { Some(bind(settings.admin.listen, "admin.listen").await?) } else { None };
        let health = settings.health.listen.or((!has_admin).then_some(HEALTH_LISTEN));
        let health = match health {
            Some(address) => Some(bind(address, "health.listen").await?),
            None => None,
        };
        Ok(Self { admin, admin_tls, health })
    }

    /// Answers probes while the stores are opened. Never completes.
    async fn answer_probes(&self, health: &Health, metrics: &Metrics) {
        // Metrics of the admin listener are behind its token.
        let admin = answer_probes(self.admin.as_ref(), self.admin_tls.as_ref(), health, None);
        tokio::join!(admin, answer_probes(self.health.as_ref(), None, health, Some(metrics)));
    }
}

/// Never completes.
async fn answer_probes(
    listener: Option<&TcpListener>,
    tls: Option<&Arc<ListenerTls>>,
    health: &Health,
    metrics: Option<&Metrics>,
) {
    match listener {
        Some(listener) => health::serve(listener, tls, health, metrics, pending::<()>()).await,
        None => pending().await,
    }
}

/// Another handle on the same socket: the API's server gives its own up when the drain begins.
fn another_handle(listener: &TcpListener) -> anyhow::Result<TcpListener> {
    let handle = || {
        let socket = std::net::TcpListener::from(listener.as_fd().try_clone_to_owned()?);
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket)
    };
    handle().context("could not keep the admin listener for the drain")
}

/// Starts the roles and what runs beside them, and says where they listen.
async fn start(
    opening: Opening<'_>,
    backend: Backend,
    admin_listener: Option<TcpListener>,
    admin_tls: Option<Arc<ListenerTls>>,
) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let Opening { settings, roles, metrics, shutdown, .. } = opening;
    let Backend { work, collector, beside, .. } = backend;
    let mut tasks = JoinSet::new();
    for (name, work) in beside {
        tasks.spawn(async move { work.await.with_context(|| format!("{name} could not run")) });
    }
    if roles.contains(&Role::Snapshot) {
        let (settings, metrics) = (settings.snapshot.clone(), metrics.clone());
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            snapshot_service::run(&settings, collector, &metrics, shutdown).await;
            Ok(())
        });
    }
    if let Some(work) = work {
        start_work(&opening, work, admin_listener, admin_tls, &mut tasks).await?;
    }
    Ok(tasks)
}

/// Starts the roles that work on stores.
async fn start_work(
    opening: &Opening<'_>,
    work: Work,
    admin: Option<TcpListener>,
    tls: Option<Arc<ListenerTls>>,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let Opening { settings, roles, health, metrics, shutdown } = *opening;
    let Work { stores, keys, ownership, backup } = work;
    let tenant = TenantId::default();
    try_keys(&stores, &tenant).await?;
    let process = if roles.contains(&Role::Campaign) {
        Process::of_many(ownership, CampaignMetrics::new(metrics))
    } else {
        // What is shown of campaigns is what their owners see.
        Process { ownership, ..Process::default() }
    };
    let campaigns = CampaignService::in_process(stores.clone(), tenant.clone(), process);
    if roles.contains(&Role::Campaign) {
        tasks.spawn(own_campaigns(campaigns.clone(), shutdown.clone()));
    }
    if roles.contains(&Role::Session) {
        // Before anybody is told that devices are served.
        let tls = session_service::open_tls(settings).context("session.tls cannot be used")?;
        let listener = bind(settings.session.listen, "session.listen").await?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        announce(&format!("device listener  {scheme}://{}/dm", listener.local_addr()?))?;
        let (settings, stores, metrics) = (settings.clone(), stores.clone(), metrics.clone());
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            let run = session_service::run(&settings, stores, listener, tls, &metrics, shutdown).await;
            run.context("the device front-end could not run")
        });
    }
    if roles.contains(&Role::Notify) {
        let (settings, stores, metrics) = (settings.notify.clone(), stores.clone(), metrics.clone());
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            let run = notify_service::run(&settings, stores, &metrics, shutdown).await;
            run.context("triggers could not be sent")
        });
    }
    if let Some(listener) = admin {
        // Whoever waits for the address wants the token next.
        let token = token(&settings.admin, &settings.storage.data)?;
        if let Some(tls) = &tls {
            tls.show(metrics, "admin");
        }
        if let Some(token) = token.clone() {
            let file = token_file(&settings.admin, &settings.storage.data);
            tasks.spawn(keep_token_fresh(
                token,
                file,
                settings.secrets.reload_period.value(),
                shutdown.clone(),
            ));
        }
        let scheme = if tls.is_some() { "https" } else { "http" };
        announce(&format!("admin listener   {scheme}://{}", listener.local_addr()?))?;
        let services = admin_service::Services {
            tenant,
            devices: stores.devices,
            snapshots: stores.snapshots,
            jobs: stores.jobs,
            artifacts: stores.artifacts,
            limits: stores.limits,
            campaigns,
            metrics: metrics.clone(),
            health: health.clone(),
            keys,
            backup,
        };
        let (settings, limits) = (settings.admin.clone(), settings.limits.clone());
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            admin_service::run(&settings, &limits, services, token, listener, tls, shutdown).await;
            Ok(())
        });
    }
    Ok(())
}

/// Refuses to begin with keys that open nothing: each visit would fail. Where they open something, that is served.
async fn try_keys(stores: &Stores, tenant: &TenantId) -> anyhow::Result<()> {
    match seal::try_keys(&*stores.devices, tenant).await {
        Ok(Tried { opened: 0, refused: Some(error) }) => {
            Err(error).context("secrets.key_file: expected the keys of the stored credentials, got others")
        }
        Ok(Tried { refused: Some(error), .. }) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(
                error,
                "some stored credentials cannot be opened by the keys of secrets.key_file"
            );
            Ok(())
        }
        Ok(_) => Ok(()),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the keys of stored credentials were not tried");
            Ok(())
        }
    }
}

async fn own_campaigns(campaigns: CampaignService, shutdown: Shutdown) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
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

/// Waits until everything has ended.
async fn end_of(mut tasks: JoinSet<anyhow::Result<()>>, shutdown: &Shutdown) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    while let Some(ended) = tasks.join_next().await {
        let ended_by_itself = !shutdown.is_draining();
        // A part that ends by itself leaves half a server, so the others end too.
        shutdown.begin();
        match ended.context("a part of the server failed").flatten() {
            Ok(()) if ended_by_itself => {
                outcome = Err(anyhow::anyhow!("a part of the server ended by itself"));
            }
            Ok(()) => {}
            Err(error) => outcome = Err(error),
        }
    }
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
    let file = token_file(settings, data);
    if settings.token_file.is_some() {
        if tls::is_open_to_all(&file) {
            let path = file.display();
            tracing::warn!(%path, "the token can be read by every user of this machine, expected mode 0600 or 0640");
        }
        return Ok(Some(Token::read(&file)?));
    }
    std::fs::create_dir_all(data).with_context(|| format!("could not make {}", data.display()))?;
    Ok(Some(Token::read_or_make(&file)?))
}

pub(super) fn token_file(settings: &AdminSettings, data: &Path) -> PathBuf {
    settings.token_file.clone().unwrap_or_else(|| data.join(TOKEN_FILE))
}

/// Takes another token when its file has one.
async fn keep_token_fresh(
    token: Token,
    file: PathBuf,
    period: Duration,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut said = String::new();
    loop {
        tokio::select! {
            () = shutdown.draining() => return Ok(()),
            () = tokio::time::sleep(period) => {}
        }
        let (reading, path) = (token.clone(), file.clone());
        match tokio::task::spawn_blocking(move || reading.refresh(&path)).await? {
            Ok(false) => said.clear(),
            Ok(true) => tracing::info!("the admin token is another one now"),
            Err(error) => {
                let reason = with_causes(&error);
                if reason != said {
                    tracing::warn!(reason, "the admin token cannot be read again, going on with the old one");
                    said = reason;
                }
            }
        }
    }
}

async fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("could not listen on {address} ({key})"))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_call_that_never_comes_back_does_not_hold_up_the_end() {
        let (answer, server) = mpsc::channel::<()>();
        let (begin, begun) = tokio::sync::oneshot::channel();
        let call = move || begin.send(()).map(|()| server.recv_timeout(Duration::from_secs(60)));
        run_to_end(async {
            drop(tokio::task::spawn_blocking(call));
            begun.await.unwrap();
        })
        .unwrap();
        assert!(answer.send(()).is_ok(), "the end waited until the call gave up");
    }
}
