//! The connection to a cluster: one for a process, shared by all its stores.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::{Duration, Instant},
};

use rustls::ClientConfig;
use scylla::{
    client::{
        PoolSize,
        execution_profile::{ExecutionProfile, ExecutionProfileBuilder, ExecutionProfileHandle},
        session::Session,
        session_builder::SessionBuilder,
    },
    errors::{DbError, NewSessionError, RequestAttemptError, UseKeyspaceError},
    frame::{Compression, types},
    policies::{
        load_balancing::DefaultPolicy,
        retry::{DefaultRetryPolicy, FallthroughRetryPolicy},
        speculative_execution::SimpleSpeculativeExecutionPolicy,
    },
    statement::{prepared::PreparedStatement, unprepared::Statement},
};
use service_kit::{
    metrics::{CallMetrics, CallStore, Metrics},
    refusal::{Refusal, Server, with_causes},
    settings::{Consistency, SerialConsistency},
};
use storage::StoreError;

use crate::{
    ScyllaError, ScyllaSettings,
    error::prepare_failed,
    schema,
    settings::Files,
    statement::{Cql, Kind},
    tls::what_the_node_says,
};

/// A connection to a cluster and one keyspace of it. Cheap to clone; all clones are the same connection.
///
/// It is the [`storage::CampaignStore`] and the [`storage::ArtifactStore`] itself.
#[derive(Clone)]
pub struct Scylla(Arc<Inner>);

struct Inner {
    session: Session,
    keyspace: String,
    profiles: Profiles,
    prepared: RwLock<HashMap<Cql, PreparedStatement>>,
    calls: OnceLock<CallMetrics>,
}

/// Why nodes let no connection of ours come about. A node refuses a certificate only after the handshake is done for us, and
/// the driver, which has begun to send by then, often sees no more than a broken connection.
async fn refused_handshake(contact_points: &[String], tls: Option<Arc<ClientConfig>>) -> Option<Refusal> {
    let tls = tls?;
    for node in contact_points {
        let said = what_the_node_says(node, &tls).await;
        if let Some(refusal) = said.and_then(|said| Refusal::of(Server::Scylla, &said)) {
            return Some(refusal);
        }
    }
    None
}

/// What a statement of each kind is run with.
struct Profiles {
    read: ExecutionProfileHandle,
    serial_read: ExecutionProfileHandle,
    write: ExecutionProfileHandle,
    conditional: ExecutionProfileHandle,
}

impl fmt::Debug for Scylla {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scylla").field("keyspace", &self.0.keyspace).finish_non_exhaustive()
    }
}

impl Scylla {
    /// Connects, and makes sure that the tables are those of this binary.
    ///
    /// # Errors
    ///
    /// [`ScyllaError`]: the settings, no answer, or a schema that is older or newer. To wait for a cluster that is
    /// away is the caller's part.
    pub async fn connect(settings: &ScyllaSettings) -> Result<Self, ScyllaError> {
        let scylla = Self::connect_unchecked(settings).await?;
        schema::check(&scylla).await?;
        Ok(scylla)
    }

    /// Connects to a keyspace whose tables may be of another version: for [`schema::status`].
    ///
    /// # Errors
    ///
    /// As [`Scylla::connect`], but for the schema.
    pub async fn connect_unchecked(settings: &ScyllaSettings) -> Result<Self, ScyllaError> {
        let scylla = Self::connect_without_keyspace(settings).await?;
        scylla.use_keyspace().await?;
        Ok(scylla)
    }

    pub(crate) async fn connect_without_keyspace(settings: &ScyllaSettings) -> Result<Self, ScyllaError> {
        let Files { login, tls } = Files::read(settings)?;
        let profiles = Profiles::of(settings);
        let connect_timeout = settings.connect_timeout.value();
        let mut builder = SessionBuilder::new()
            .known_nodes(&settings.contact_points)
            // To all contact points together; one node gets half of it.
            .connection_timeout(connect_timeout / 2)
            .pool_size(PoolSize::default())
            .compression(Some(Compression::Lz4))
            .keyspaces_to_fetch([&settings.keyspace])
            .schema_agreement_timeout(Duration::from_secs(60))
            .default_execution_profile_handle(profiles.write.clone())
            .tls_context(tls.clone());
        if let Some(login) = login {
            builder = builder.authenticator_provider(login);
        }
        let contact_points = settings.contact_points.join(", ");
        let session = match tokio::time::timeout(connect_timeout, builder.build()).await {
            Ok(Ok(session)) => session,
            Ok(Err(error)) => {
                let refusal = match Refusal::of(Server::Scylla, &with_causes(&error)) {
                    None => refused_handshake(&settings.contact_points, tls).await,
                    told => told,
                };
                let source = refusal.map_or_else(|| error.into(), Into::into);
                return Err(ScyllaError::Connect { contact_points, source });
            }
            Err(_) => {
                return Err(ScyllaError::ConnectDeadline { contact_points, within: connect_timeout });
            }
        };
        let keyspace = settings.keyspace.clone();
        let (prepared, calls) = (RwLock::default(), OnceLock::new());
        Ok(Self(Arc::new(Inner { session, keyspace, profiles, prepared, calls })))
    }

    /// Asks whether a node answers.
    ///
    /// # Errors
    ///
    /// The store's, when none does in time.
    pub async fn ping(&self) -> Result<(), StoreError> {
        const PING: Cql = Cql::read("SELECT key FROM system.local");
        self.row::<(String,)>("ask Scylla", &PING, ()).await.map(drop)
    }

    /// From now on its calls are timed and counted there; of what is read page by page as it comes, none is.
    pub fn measure(&self, metrics: &Metrics) {
        // Asked for again: it is so already.
        let _ = self.0.calls.set(CallMetrics::new(metrics, CallStore::Scylla));
    }

    /// A call that was begun then has ended.
    pub(crate) fn measured(&self, begun: Instant, failure: Option<&StoreError>) {
        if let Some(calls) = self.0.calls.get() {
            calls.done(begun, failure.map(|error| error.kind.name()));
        }
    }

    pub(crate) async fn use_keyspace(&self) -> Result<(), ScyllaError> {
        let keyspace = self.keyspace();
        let unusable = |error: NewSessionError| ScyllaError::Connect {
            contact_points: format!("keyspace {keyspace}"),
            source: Refusal::explain(Server::Scylla, error),
        };
        self.session().refresh_metadata().await.map_err(|error| unusable(error.into()))?;
        if self.session().get_cluster_state().get_keyspace(keyspace).is_none() {
            return Err(ScyllaError::NoKeyspace(keyspace.to_owned()));
        }
        self.session().use_keyspace(keyspace, false).await.map_err(|error| match error {
            // Listed already, and not there yet for the node: someone is making it.
            UseKeyspaceError::RequestError(RequestAttemptError::DbError(DbError::Invalid, _)) => {
                ScyllaError::NoKeyspace(keyspace.to_owned())
            }
            error => unusable(error.into()),
        })
    }

    /// The keyspace.
    pub fn keyspace(&self) -> &str {
        &self.0.keyspace
    }

    /// The driver's session, for what the helpers of [`crate::statement`] do not do.
    pub(crate) fn session(&self) -> &Session {
        &self.0.session
    }

    /// The statement with the profile of its kind, prepared when it is first used.
    pub(crate) async fn prepared(
        &self,
        operation: &'static str,
        cql: &Cql,
    ) -> Result<PreparedStatement, StoreError> {
        let known = self.0.prepared.read().unwrap_or_else(PoisonError::into_inner).get(cql).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let mut statement = Statement::new(cql.within(self.keyspace()));
        statement.set_is_idempotent(cql.kind != Kind::Conditional);
        statement.set_page_size(cql.page_rows);
        statement.set_execution_profile_handle(Some(self.profile(cql.kind)));
        // Preparing has no deadline of its own.
        let preparing = self.session().prepare(statement);
        let deadline = self.profile(cql.kind).to_profile().get_request_timeout();
        let prepared = match tokio::time::timeout(deadline.unwrap_or(Duration::MAX), preparing).await {
            Ok(prepared) => prepared.map_err(|error| prepare_failed(operation, error))?,
            Err(late) => return Err(StoreError::unavailable(operation, late)),
        };
        let mut cache = self.0.prepared.write().unwrap_or_else(PoisonError::into_inner);
        Ok(cache.entry(*cql).or_insert(prepared).clone())
    }

    /// What statements of a kind are run with.
    pub(crate) fn profile(&self, kind: Kind) -> ExecutionProfileHandle {
        let profiles = &self.0.profiles;
        match kind {
            Kind::Read => &profiles.read,
            Kind::SerialRead => &profiles.serial_read,
            Kind::Write => &profiles.write,
            Kind::Conditional => &profiles.conditional,
        }
        .clone()
    }
}

impl Profiles {
    fn of(settings: &ScyllaSettings) -> Self {
        let consistency = match settings.consistency {
            Consistency::LocalQuorum => types::Consistency::LocalQuorum,
            Consistency::Quorum => types::Consistency::Quorum,
        };
        let (serial, serial_read) = match settings.serial_consistency {
            SerialConsistency::LocalSerial => {
                (types::SerialConsistency::LocalSerial, types::Consistency::LocalSerial)
            }
            SerialConsistency::Serial => (types::SerialConsistency::Serial, types::Consistency::Serial),
        };
        let mut policy = DefaultPolicy::builder().token_aware(true);
        if let Some(datacenter) = &settings.local_datacenter {
            // Another datacenter may answer when ours is gone; at a local quorum it would be its own quorum, which
            // has not seen our last writes, so it may only at a quorum of all.
            policy = policy
                .prefer_datacenter(datacenter.clone())
                .permit_dc_failover(settings.consistency == Consistency::Quorum);
        }
        let policy = policy.build();
        let base = || -> ExecutionProfileBuilder {
            ExecutionProfile::builder()
                .consistency(consistency)
                .serial_consistency(Some(serial))
                .request_timeout(Some(settings.request_timeout.value()))
                .load_balancing_policy(Arc::clone(&policy))
                .retry_policy(Arc::new(DefaultRetryPolicy::new()))
        };
        let speculative_delay = Some(settings.speculative_delay.value()).filter(|delay| !delay.is_zero());
        let speculative = speculative_delay.map(|retry_interval| {
            Arc::new(SimpleSpeculativeExecutionPolicy { max_retry_count: 1, retry_interval }) as Arc<_>
        });
        let handle = |builder: ExecutionProfileBuilder| builder.build().into_handle();
        Self {
            read: handle(base().speculative_execution_policy(speculative)),
            serial_read: handle(base().consistency(serial_read)),
            write: handle(base()),
            conditional: handle(base().retry_policy(Arc::new(FallthroughRetryPolicy::new()))),
        }
    }
}
