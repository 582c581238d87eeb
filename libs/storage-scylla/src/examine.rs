//! What a cluster says of itself, for whoever looks for what is wrong.

use std::collections::BTreeMap;

use storage::StoreError;

use crate::{
    Scylla,
    statement::{Cql, Kind},
};

/// What a cluster says of itself.
#[derive(Clone, Debug, Default)]
pub struct Examined {
    /// The release of the node that answered.
    pub release: String,
    /// Nodes in each datacenter.
    pub datacenters: BTreeMap<String, u32>,
    /// The keyspace's strategy, and its options.
    pub replication: BTreeMap<String, String>,
    /// All nodes have the same schema.
    pub agreed: bool,
    /// By how many milliseconds the node's clock is ahead of ours, at least.
    pub clock_ahead_ms: i64,
    /// Why a conditional read was not answered, if it was not.
    pub serial_read: Option<String>,
}

impl Scylla {
    /// How many nodes each datacenter has, as the driver knows them.
    pub fn datacenters(&self) -> BTreeMap<String, u32> {
        let mut datacenters = BTreeMap::new();
        for node in self.session().get_cluster_state().get_nodes_info() {
            *datacenters.entry(node.datacenter.clone().unwrap_or_default()).or_default() += 1;
        }
        datacenters
    }

    /// Asks for it. Nothing is changed.
    ///
    /// # Errors
    ///
    /// The store's, when a node does not answer in time.
    pub async fn examine(&self) -> Result<Examined, StoreError> {
        const LOCAL: Cql =
            Cql::read("SELECT release_version, toUnixTimestamp(now()) FROM system.local WHERE key = 'local'");
        const KEYSPACE: Cql =
            Cql::read("SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?");
        const SERIAL: Cql = Cql {
            kind: Kind::SerialRead,
            ..Cql::read("SELECT version FROM schema_version WHERE part = 'flotilla' AND version = 1")
        };
        let before = jiff::Timestamp::now().as_millisecond();
        let local: Option<(String, i64)> = self.row("ask for the node", &LOCAL, ()).await?;
        let after = jiff::Timestamp::now().as_millisecond();
        let (release, theirs) = local.unwrap_or_default();
        let replication: Option<(BTreeMap<String, String>,)> =
            self.row("ask for the keyspace", &KEYSPACE, (self.keyspace(),)).await?;
        let serial: Result<Option<(i32,)>, _> = self.row("read conditionally", &SERIAL, ()).await;
        Ok(Examined {
            release,
            datacenters: self.datacenters(),
            replication: replication.unwrap_or_default().0,
            agreed: self.session().check_schema_agreement().await.is_ok_and(|version| version.is_some()),
            clock_ahead_ms: if theirs > after { theirs - after } else { (theirs - before).min(0) },
            serial_read: serial.err().map(|error| service_kit::refusal::with_causes(&error)),
        })
    }
}
