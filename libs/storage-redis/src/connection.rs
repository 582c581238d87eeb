//! The connection: one to a server, or one to each node of a cluster, shared by all calls and made anew when it breaks.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
    time::{Duration, Instant},
};

use redis::{
    Client, Cmd, ConnectionInfo, ErrorKind as Kind, FromRedisValue, IntoConnectionInfo, ProtocolVersion,
    RedisError, ServerErrorKind, TlsCertificates,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
    io::tcp::TcpSettings,
};
use service_kit::{
    files::Watched,
    metrics::{CallMetrics, CallStore, Metrics},
    refusal::{Refusal, Server},
};
use storage::{ErrorKind, StoreError};

use crate::{
    RedisSettings,
    keys::Keys,
    script::Script,
    settings::{Files, SettingsError},
};

/// Octets that were sent and stay unacknowledged for this long end the connection, so that a server that vanished without
/// a word is not waited for until the system gives it up.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(5);
/// Calls that wait to be written to the connection; more wait before it.
const PIPELINE_MAX: usize = 1024;
/// How often a call is sent again within its deadline, where a cluster says that the key is elsewhere, or a node is lost.
/// Each script can be said twice: see [`crate::script`].
const CLUSTER_RETRIES: u32 = 10;

const CONNECT: &str = "connect to Redis";

/// Redis: sessions, hot device records and work marks. A copy shares the connection.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    settings: RedisSettings,
    link: RwLock<Link>,
    /// The files that the link was made with.
    files: Mutex<Watched>,
    keys: Keys,
    call_timeout: Duration,
    device_keep: Duration,
    idle_keep: Duration,
    calls: OnceLock<CallMetrics>,
}

#[derive(Clone)]
enum Link {
    Single(ConnectionManager),
    Cluster(ClusterConnection),
}

/// Whether a call that failed may have changed something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Reads,
    Writes,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}

impl Redis {
    /// Connects.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when the server cannot be reached now, or refuses the credentials: to be tried again;
    /// [`ErrorKind::Corrupt`] when the settings cannot be used, with a [`SettingsError`] as the source.
    pub async fn connect(settings: &RedisSettings) -> Result<Self, StoreError> {
        // The same provider for every library in the process; where someone chose one before, theirs.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Before they are read: what changes meanwhile is seen as a change.
        let files = watched(settings);
        let redis = Self(Arc::new(Inner {
            settings: settings.clone(),
            link: RwLock::new(connect(settings).await?),
            files: Mutex::new(files),
            keys: Keys::new(&settings.key_prefix),
            call_timeout: settings.call_timeout.value(),
            device_keep: settings.device_keep.value(),
            idle_keep: settings.idle_keep.value(),
            calls: OnceLock::new(),
        }));
        redis.ping().await?;
        Ok(redis)
    }

    /// Connects anew where the files of the password and the certificates are others than before; says whether it did. Calls
    /// that have begun end on the connection they began on. To be called now and then, by one at a time.
    ///
    /// # Errors
    ///
    /// As [`Self::connect`]; the connection of before stays, and the files count as new the next time too.
    pub async fn refresh(&self) -> Result<bool, StoreError> {
        let Some(stamps) = self.files().changed() else { return Ok(false) };
        let link = connect(&self.0.settings).await?;
        let ping = redis::cmd("PING");
        match tokio::time::timeout(self.0.call_timeout, query::<()>(link.clone(), &ping)).await {
            Ok(answer) => answer.map_err(|error| store_error(CONNECT, Effect::Reads, error))?,
            Err(late) => return Err(StoreError::unavailable(CONNECT, late)),
        }
        *self.0.link.write().unwrap_or_else(PoisonError::into_inner) = link;
        self.files().taken(stamps);
        Ok(true)
    }

    fn files(&self) -> std::sync::MutexGuard<'_, Watched> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks whether the server answers; of a cluster, whether any of its nodes does.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] or [`ErrorKind::TimedOut`] when it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.call::<()>("ask Redis", Effect::Reads, &redis::cmd("PING")).await
    }

    /// From now on its calls are timed and counted there.
    pub fn measure(&self, metrics: &Metrics) {
        // Asked for again: it is so already.
        let _ = self.0.calls.set(CallMetrics::new(metrics, CallStore::Redis));
    }

    fn measured<T>(&self, begun: Instant, done: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Some(calls) = self.0.calls.get() {
            calls.done(begun, done.as_ref().err().map(|error| error.kind.name()));
        }
        done
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.0.keys
    }

    pub(crate) fn device_keep(&self) -> Duration {
        self.0.device_keep
    }

    pub(crate) fn idle_keep(&self) -> Duration {
        self.0.idle_keep
    }

    /// One command, one round trip.
    pub(crate) async fn call<T: FromRedisValue>(
        &self,
        operation: &'static str,
        effect: Effect,
        command: &Cmd,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let done = match tokio::time::timeout(self.0.call_timeout, self.query(command)).await {
            Ok(answer) => answer.map_err(|error| store_error(operation, effect, error)),
            Err(elapsed) => {
                Err(StoreError { kind: ErrorKind::TimedOut, operation, source: Some(elapsed.into()) })
            }
        };
        self.measured(begun, done)
    }

    /// One script on one key: one round trip, but for the first time on a server, which has to be told the script.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        operation: &'static str,
        script: &Script,
        key: &str,
        arguments: &[&[u8]],
    ) -> Result<T, StoreError> {
        let running = async {
            match self.query(&script.by_digest(key, arguments)).await {
                // Told whole, and not loaded first: so it reaches the node that has the key, also while the key is moving.
                Err(error) if error.kind() == Kind::Server(ServerErrorKind::NoScript) => {
                    self.query(&script.whole(key, arguments)).await
                }
                answer => answer,
            }
        };
        let begun = Instant::now();
        let done = match tokio::time::timeout(self.0.call_timeout, running).await {
            Ok(answer) => answer.map_err(|error| store_error(operation, Effect::Writes, error)),
            Err(elapsed) => {
                Err(StoreError { kind: ErrorKind::TimedOut, operation, source: Some(elapsed.into()) })
            }
        };
        self.measured(begun, done)
    }

    async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        let link = self.0.link.read().unwrap_or_else(PoisonError::into_inner).clone();
        query(link, command).await
    }
}

async fn query<T: FromRedisValue>(link: Link, command: &Cmd) -> Result<T, RedisError> {
    match link {
        Link::Single(mut connection) => command.query_async(&mut connection).await,
        Link::Cluster(mut connection) => command.query_async(&mut connection).await,
    }
}

fn watched(settings: &RedisSettings) -> Watched {
    Watched::new([
        settings.password_file.as_ref(),
        settings.ca.as_ref(),
        settings.certificate.as_ref(),
        settings.key.as_ref(),
    ])
}

async fn connect(settings: &RedisSettings) -> Result<Link, StoreError> {
    let unusable = |error: SettingsError| StoreError::corrupt(CONNECT, error);
    let Files { password, certificates: tls } = Files::read(settings).map_err(unusable)?;
    let nodes = nodes(settings, password.as_deref()).map_err(unusable)?;
    let link = if settings.cluster {
        connect_cluster(settings, nodes, tls).await
    } else {
        connect_single(settings, nodes, tls).await
    };
    link.map_err(|error| match error.kind() {
        Kind::InvalidClientConfig => unusable(error.into()),
        _ => StoreError { kind: ErrorKind::Unavailable, operation: CONNECT, source: Some(explain(error)) },
    })
}

/// Names the setting at fault where there is one.
fn explain(error: RedisError) -> Box<dyn std::error::Error + Send + Sync> {
    Refusal::explain(Server::Redis, error)
}

fn nodes(settings: &RedisSettings, password: Option<&String>) -> Result<Vec<ConnectionInfo>, SettingsError> {
    let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(UNACKNOWLEDGED_MAX);
    settings
        .nodes
        .iter()
        .map(|node| {
            let info = node.as_str().into_connection_info()?;
            let mut login = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
            if let Some(username) = &settings.username {
                login = login.set_username(username);
            }
            if let Some(password) = password {
                login = login.set_password(password);
            }
            Ok(info.set_redis_settings(login).set_tcp_settings(tcp.clone()))
        })
        .collect()
}

async fn connect_single(
    settings: &RedisSettings,
    nodes: Vec<ConnectionInfo>,
    tls: TlsCertificates,
) -> Result<Link, RedisError> {
    let node = nodes.into_iter().next().ok_or((Kind::InvalidClientConfig, "no address"))?;
    let client = if matches!(node.addr(), redis::ConnectionAddr::TcpTls { .. }) {
        Client::build_with_tls(node, tls)?
    } else {
        Client::open(node)?
    };
    // No retries here: a call that finds the server away fails at once, and sets off the next attempt to connect.
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(0)
        .set_connection_timeout(Some(settings.connect_timeout.value()))
        .set_response_timeout(Some(settings.call_timeout.value()))
        .set_pipeline_buffer_size(PIPELINE_MAX);
    Ok(Link::Single(ConnectionManager::new_with_config(client, config).await?))
}

async fn connect_cluster(
    settings: &RedisSettings,
    nodes: Vec<ConnectionInfo>,
    tls: TlsCertificates,
) -> Result<Link, RedisError> {
    let is_tls = nodes.iter().any(|node| matches!(node.addr(), redis::ConnectionAddr::TcpTls { .. }));
    let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(UNACKNOWLEDGED_MAX);
    let mut builder = ClusterClientBuilder::new(nodes)
        .use_protocol(ProtocolVersion::RESP3)
        .tcp_settings(tcp)
        .retries(CLUSTER_RETRIES)
        .min_retry_wait(10)
        .max_retry_wait(200)
        .connection_timeout(settings.connect_timeout.value())
        .response_timeout(settings.call_timeout.value());
    if is_tls {
        builder = builder.certs(tls);
    }
    Ok(Link::Cluster(builder.build()?.get_async_connection().await?))
}

fn store_error(operation: &'static str, effect: Effect, error: RedisError) -> StoreError {
    let kind = match error.kind() {
        _ if error.is_timeout() => ErrorKind::TimedOut,
        Kind::Parse | Kind::UnexpectedReturnType => ErrorKind::Corrupt,
        // What was sent before the connection broke may have been done.
        Kind::Io if effect == Effect::Writes && !error.is_connection_refusal() => ErrorKind::TimedOut,
        _ if error.code() == Some("WRONGTYPE") => ErrorKind::Corrupt,
        _ => ErrorKind::Unavailable,
    };
    // An answer to a command names no setting by accident: the words of connections are looked for in their errors only.
    let is_login = matches!(kind, ErrorKind::Unavailable | ErrorKind::TimedOut);
    let source = if is_login { explain(error) } else { error.into() };
    StoreError { kind, operation, source: Some(source) }
}
