//! Redis, Kafka and Scylla: reached as a server would reach them, and asked what they are.

use std::{collections::BTreeMap, sync::Arc};

use service_kit::{Metrics, Settings, refusal::with_causes, settings::Replication};
use storage_kafka::Kafka;
use storage_redis::{Info, Redis};
use storage_scylla::{Scylla, ScyllaError, schema};

use super::Finding;
use crate::backend::CONSUMER_GROUPS;

/// Clocks that differ by more are a warning: times of sessions and of writes come from several machines.
const CLOCK_WARN_MS: i64 = 1_000;
/// Clocks that differ by more are a failure: the later write is not the one that counts.
const CLOCK_FAIL_MS: i64 = 30_000;
/// The oldest Redis that speaks the protocol we use (RESP3).
const REDIS_MAJOR_MIN: u32 = 6;

fn clocks(check: &'static str, server: &str, ahead_ms: i64) -> Finding {
    let what = format!("the clock of {server} is {ahead_ms} ms ahead of this machine's");
    let remedy = "run a time service on both: timedatectl set-ntp true";
    match ahead_ms.abs() {
        CLOCK_FAIL_MS.. => Finding::fail(check, what, remedy),
        CLOCK_WARN_MS.. => Finding::warn(check, what, remedy),
        _ => Finding::ok(check, format!("the clocks of {server} and of this machine agree")),
    }
}

pub(super) async fn redis(settings: Arc<Settings>) -> Vec<Finding> {
    const CHECK: &str = "redis";
    let settings = &settings.redis;
    let nodes = settings.nodes.join(", ");
    let redis = match Redis::connect(settings).await {
        Ok(redis) => redis,
        Err(error) => {
            let why = with_causes(&error);
            let remedy = if why.contains("cluster support disabled") {
                "set redis.cluster = false: the server is none of a Redis Cluster".to_owned()
            } else {
                format!("redis-cli -u {} ping", settings.nodes.first().map_or("", String::as_str))
            };
            return vec![Finding::fail(CHECK, format!("{nodes}: {why}"), remedy)];
        }
    };
    let mut findings = vec![Finding::ok(CHECK, format!("{nodes} lets us in"))];
    match redis.examine().await {
        Ok(found) => {
            findings.push(clocks("clock", "Redis", found.clock_ahead_ms));
            findings.extend(found.servers.iter().flat_map(|info| of_redis(info, settings.cluster)));
        }
        Err(error) => findings.push(Finding::warn(
            CHECK,
            format!("it does not say how it is: {}", with_causes(&error)),
            "allow the user INFO and TIME: ACL SETUSER name +info +time",
        )),
    }
    findings
}

/// What one server's own words come to.
fn of_redis(info: &Info, is_cluster: bool) -> Vec<Finding> {
    const CHECK: &str = "redis";
    let mut findings = Vec::new();
    let version = info.field("redis_version").unwrap_or("unknown");
    let major: Option<u32> = version.split('.').next().and_then(|major| major.parse().ok());
    findings.push(if major.is_some_and(|major| major < REDIS_MAJOR_MIN) {
        let what = format!("expected Redis {REDIS_MAJOR_MIN} or later, got {version}");
        Finding::fail(CHECK, what, "upgrade Redis")
    } else {
        Finding::ok(CHECK, format!("version {version}"))
    });
    if info.field("redis_mode") == Some("cluster") && !is_cluster {
        let what = "redis.cluster: expected true, as the server is of a Redis Cluster, got false";
        findings.push(Finding::fail(
            CHECK,
            what,
            "set redis.cluster = true, and name some of its nodes in redis.nodes",
        ));
    }
    if info.field("role") == Some("slave") && !is_cluster {
        let what = "redis.nodes: expected a server that takes writes, got a replica";
        findings.push(Finding::fail(CHECK, what, "name its master in redis.nodes"));
    }
    let (used, most) = (info.number("used_memory").unwrap_or(0), info.number("maxmemory").unwrap_or(0));
    let policy = info.field("maxmemory_policy").unwrap_or("noeviction");
    if policy == "noeviction" {
        findings.push(Finding::ok("redis-eviction", "maxmemory-policy is noeviction"));
    } else {
        let what = format!(
            "maxmemory-policy is {policy}: sessions are thrown out in the middle when memory is short"
        );
        let remedy = "redis-cli CONFIG SET maxmemory-policy noeviction, and the same in redis.conf";
        findings.push(Finding::warn("redis-eviction", what, remedy));
    }
    if most > 0 && used > most / 10 * 9 {
        let what = format!("{} of {} MiB are in use", used >> 20, most >> 20);
        findings.push(Finding::warn(
            "redis-memory",
            what,
            "give it more: redis-cli CONFIG SET maxmemory ...",
        ));
    }
    for (field, what) in [("rdb_last_bgsave_status", "snapshot"), ("aof_last_write_status", "log")] {
        if info.field(field).is_some_and(|status| status != "ok") {
            let said = format!("its last {what} could not be written, and soon it takes no writes");
            findings.push(Finding::fail("redis-persistence", said, "see its log: the disk may be full"));
        }
    }
    findings.push(if info.field("aof_enabled") == Some("1") {
        Finding::ok("redis-persistence", "what it holds outlives a restart (appendonly)")
    } else {
        Finding::ok(
            "redis-persistence",
            "without appendonly: after a restart of it, sessions in flight begin again; nothing else is lost",
        )
    });
    findings
}

pub(super) async fn kafka(settings: Arc<Settings>) -> Vec<Finding> {
    const CHECK: &str = "kafka";
    let settings = &settings.kafka;
    let kafka = match Kafka::new(settings, &Metrics::new(env!("CARGO_PKG_VERSION"))) {
        Ok(kafka) => kafka,
        Err(error) => {
            return vec![Finding::fail(CHECK, with_causes(&error), "mend the setting that is named")];
        }
    };
    let problems = match kafka.check_topics().await {
        Ok(problems) => problems,
        Err(error) => {
            let remedy = "see that brokers run and are reached from here, and that kafka.security is theirs";
            return vec![Finding::fail(CHECK, with_causes(&error), remedy)];
        }
    };
    let mut findings = vec![Finding::ok(CHECK, format!("{} lets us in", settings.bootstrap))];
    if problems.is_empty() {
        let names: Vec<_> = kafka.topic_plans().into_iter().map(|plan| plan.name).collect();
        findings.push(Finding::ok("topics", format!("{} are as the settings ask", names.join(", "))));
    }
    for problem in problems {
        let remedy = "flotilla topics apply; where the topic is there for a user with more rights, its ACL is at fault";
        findings.push(Finding::fail("topics", problem.to_string(), remedy));
    }
    match kafka.refused_rights(&CONSUMER_GROUPS).await {
        Ok(refused) if refused.is_empty() => {
            findings.push(Finding::ok("kafka-rights", "the user may read the topics and be in the groups"));
        }
        Ok(refused) => findings.extend(refused.into_iter().map(|what| {
            let user = settings.sasl_user.as_deref().unwrap_or("of the certificate");
            let remedy = format!("kafka-acls.sh --add --allow-principal User:{user} ..., see docs/topics.md");
            Finding::fail("kafka-rights", format!("the user {user} may not {what}"), remedy)
        })),
        Err(error) => {
            findings.push(Finding::warn("kafka-rights", with_causes(&error), "look at the brokers' log"));
        }
    }
    findings
}

pub(super) async fn scylla(settings: Arc<Settings>) -> Vec<Finding> {
    const CHECK: &str = "scylla";
    let settings = &settings.scylla;
    let scylla = match Scylla::connect_unchecked(settings).await {
        Ok(scylla) => scylla,
        Err(error) => {
            let remedy = match error {
                ScyllaError::NoKeyspace(_) => "flotilla schema apply",
                _ => "see that nodes run and are reached from here: cqlsh HOST PORT",
            };
            return vec![Finding::fail(CHECK, with_causes(&error), remedy)];
        }
    };
    let mut findings = vec![Finding::ok(CHECK, format!("{} let us in", settings.contact_points.join(", ")))];
    // Nobody would be asked: what follows would fail for that alone.
    if let Some(finding) = elsewhere(settings, &scylla.datacenters()) {
        findings.push(finding);
        return findings;
    }
    // The table is read at the consistency of the settings, so an answer says that enough replicas are there.
    findings.push(match schema::status(&scylla).await {
        Ok(status) => match status.check() {
            Ok(()) => Finding::ok("schema", "the tables are those of this version"),
            Err(error) => {
                let remedy = match error {
                    ScyllaError::SchemaNewer(_) => "run the newer flotilla",
                    ScyllaError::SchemaOlder(_) => "flotilla schema apply",
                    _ => "restore the keyspace, or serve it with the version that made it",
                };
                Finding::fail("schema", with_causes(&error), remedy)
            }
        },
        Err(error) => {
            let consistency = settings.consistency;
            let what = format!(
                "scylla.consistency: not enough replicas answer for {consistency:?}: {}",
                with_causes(&error)
            );
            Finding::fail("scylla-consistency", what, "nodetool status: see which nodes are down")
        }
    });
    match scylla.examine().await {
        Ok(found) => findings.extend(of_scylla(settings, &found)),
        Err(error) => findings.push(Finding::warn(CHECK, with_causes(&error), "look at the nodes' log")),
    }
    findings
}

fn elsewhere(
    settings: &storage_scylla::ScyllaSettings,
    datacenters: &BTreeMap<String, u32>,
) -> Option<Finding> {
    let datacenter = settings.local_datacenter.as_ref().filter(|name| !datacenters.contains_key(*name))?;
    let there: Vec<_> = datacenters.keys().map(String::as_str).collect();
    let what = format!("scylla.local_datacenter: expected one of {}, got {datacenter}", there.join(", "));
    Some(Finding::fail("scylla", what, "nodetool status names the datacenters"))
}

fn of_scylla(settings: &storage_scylla::ScyllaSettings, found: &storage_scylla::Examined) -> Vec<Finding> {
    let mut findings = vec![clocks("clock", "Scylla", found.clock_ahead_ms)];
    let nodes: u32 = found.datacenters.values().sum();
    findings.push(Finding::ok("scylla", format!("{nodes} nodes, release {}", found.release)));
    if !found.agreed {
        let what = "the nodes do not agree on the schema";
        findings.push(Finding::warn(
            "schema",
            what,
            "nodetool describecluster: see which node is behind, and restart it",
        ));
    }
    if let Some(why) = &found.serial_read {
        let what = format!("scylla.serial_consistency: conditional reads are not answered: {why}");
        findings.push(Finding::fail("scylla-consistency", what, "nodetool status: see which nodes are down"));
    } else {
        findings.push(Finding::ok("scylla-consistency", "reads and conditional reads are answered"));
    }
    findings.extend(replication(settings, found));
    findings
}

/// Whether the keyspace has the copies that are asked for, and as many nodes as copies.
fn replication(settings: &storage_scylla::ScyllaSettings, found: &storage_scylla::Examined) -> Vec<Finding> {
    const CHECK: &str = "replication";
    let mut findings = Vec::new();
    let remedy =
        format!("ALTER KEYSPACE {} WITH replication = ..., and then nodetool repair", settings.keyspace);
    for (datacenter, nodes) in &found.datacenters {
        let wanted = match &settings.replication {
            Replication::Everywhere(copies) => *copies,
            Replication::Datacenters(each) => each.get(datacenter).copied().unwrap_or(0),
        };
        let named = found.replication.get(datacenter).or_else(|| found.replication.get("replication_factor"));
        let copies: u32 = named.and_then(|copies| copies.parse().ok()).unwrap_or(0);
        let what = format!("{copies} copies of each row in {datacenter}, which has {nodes} nodes");
        findings.push(if copies > *nodes {
            Finding::fail(CHECK, format!("{what}: a quorum of copies may not be there"), remedy.clone())
        } else if copies < wanted {
            let what = format!("{what}; scylla.replication asks for {wanted}");
            Finding::warn(CHECK, what, remedy.clone())
        } else {
            Finding::ok(CHECK, what)
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use storage_scylla::{Examined, ScyllaSettings};

    use super::super::State;
    use super::*;

    #[test]
    fn clocks_that_differ_are_named_by_how_much() {
        for (ahead, want) in [
            (0, State::Ok),
            (-999, State::Ok),
            (-1_000, State::Warn),
            (29_999, State::Warn),
            (-40_000, State::Fail),
        ] {
            assert_eq!(clocks("clock", "it", ahead).state, want, "{ahead}");
        }
    }

    #[test]
    fn what_a_cluster_lacks_is_named() {
        let found = Examined {
            datacenters: [("dc1".to_owned(), 3)].into(),
            replication: [("dc1".to_owned(), "3".to_owned())].into(),
            agreed: true,
            ..Examined::default()
        };
        let settings = ScyllaSettings::default();
        let worst = |settings: &ScyllaSettings, found: &Examined| {
            let findings = of_scylla(settings, found);
            findings.into_iter().max_by_key(|finding| finding.state).map(|it| (it.state, it.what)).unwrap()
        };
        assert_eq!(worst(&settings, &found).0, State::Ok);
        let few = Examined { replication: [("dc1".to_owned(), "2".to_owned())].into(), ..found.clone() };
        let (state, what) = worst(&settings, &few);
        assert!(state == State::Warn && what.contains("scylla.replication"), "{what}");
        let small = Examined { datacenters: [("dc1".to_owned(), 1)].into(), ..found.clone() };
        assert_eq!(worst(&settings, &small).0, State::Fail);
        let split = Examined { agreed: false, ..found.clone() };
        assert_eq!(worst(&settings, &split).0, State::Warn);
        assert!(elsewhere(&settings, &found.datacenters).is_none());
        let other = ScyllaSettings { local_datacenter: Some("dc2".into()), ..settings };
        let named = elsewhere(&other, &found.datacenters).unwrap();
        assert!(
            named.state == State::Fail && named.what.contains("expected one of dc1, got dc2"),
            "{named:?}"
        );
    }
}
