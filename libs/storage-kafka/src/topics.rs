//! The topics on the brokers: how they should be, how they are, and making the one the other.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Duration,
};

use rdkafka::{
    admin::{
        AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewTopic, ResourceSpecifier,
        TopicReplication,
    },
    config::FromClientConfigAndContext as _,
    error::{KafkaError, RDKafkaErrorCode},
    metadata::Metadata,
};
use storage_cluster::topics::{Publisher as _, Topic};
use tokio::time::Instant;

use crate::{
    ConnectError, Kafka,
    config::{self, Quiet},
};

/// Brokers know of a new topic some moments after it is made.
const SETTLE: Duration = Duration::from_secs(10);

/// How long a segment of a topic takes messages, where they may not stand for ever.
const SEGMENT: Duration = Duration::from_hours(24);
/// How late brokers may be with deleting what is over.
const LATE: Duration = Duration::from_hours(24);

const PARTITIONS: &str = "partitions";
const COPIES: &str = "copies of each partition";

/// Problems that only a person can mend.
const LASTING: [&str; 2] = [PARTITIONS, COPIES];

/// How a topic should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPlan {
    /// Which.
    pub topic: Topic,
    /// Its name on the brokers.
    pub name: String,
    /// Exactly so many partitions.
    pub partitions: u32,
    /// At least so many copies.
    pub replication: u32,
    /// Keeps messages at least so long.
    pub retention: Duration,
    /// Nothing may stand in it for so long. `None`: it may stand for ever.
    pub stay_max: Option<Duration>,
    /// A message counts as published when at least so many copies have it.
    pub min_insync_replicas: u32,
    /// Takes messages at least so large.
    pub message_bytes_max: u64,
}

/// What is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The topic's name on the brokers.
    pub topic: String,
    /// What it is about.
    pub what: &'static str,
    /// What was expected.
    pub expected: String,
    /// What is there.
    pub got: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: expected {}, got {}", self.topic, self.what, self.expected, self.got)
    }
}

/// What was done to a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was there, and good.
    Kept,
    /// It was made.
    Created,
    /// These of its settings were changed.
    Changed(Vec<String>),
}

/// Bounds of a topic that may not keep its messages for ever.
struct Stay {
    retention_max: Option<i128>,
    segment_max: Option<i128>,
}

/// How a topic is.
struct Found {
    partitions: u32,
    /// Of the partition with the fewest.
    replication: u32,
    /// The effective settings, and whether each stands at the topic itself.
    config: BTreeMap<String, (String, bool)>,
}

impl TopicPlan {
    /// The settings it is made with.
    fn config(&self) -> BTreeMap<String, String> {
        let segment = self.stay_max.map(|_| ("segment.ms", SEGMENT.as_millis().to_string()));
        let pairs = [
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", self.retention.as_millis().to_string()),
            ("retention.bytes", "-1".to_owned()),
            ("min.insync.replicas", self.min_insync_replicas.to_string()),
            ("max.message.bytes", (self.message_bytes_max + 1_024).to_string()),
            ("unclean.leader.election.enable", "false".to_owned()),
        ];
        pairs.into_iter().chain(segment).map(|(key, value)| (key.to_owned(), value)).collect()
    }

    fn problem(&self, what: &'static str, expected: impl Into<String>, got: impl Into<String>) -> Problem {
        Problem { topic: self.name.clone(), what, expected: expected.into(), got: got.into() }
    }

    /// What is wrong with what was found.
    fn problems(&self, found: Option<&Found>) -> Vec<Problem> {
        let Some(found) = found else {
            let what = format!("{} partitions in {} copies", self.partitions, self.replication);
            return vec![self.problem("topic", what, "no such topic: run `flotilla topics apply`")];
        };
        let mut problems = Vec::new();
        if found.partitions != self.partitions {
            problems.push(self.problem(
                PARTITIONS,
                format!("{} (they are fixed once the topic is made)", self.partitions),
                found.partitions.to_string(),
            ));
        }
        if found.replication < self.replication {
            let expected = format!("at least {}", self.replication);
            problems.push(self.problem(COPIES, expected, found.replication.to_string()));
        }
        problems.extend(self.config_problems(found).into_iter().map(|(_, problem)| problem));
        problems
    }

    /// How long a topic may keep its messages and its segments, in milliseconds. A message goes with the last of its
    /// segment, so it stands there for both together.
    fn stay(&self, retention: Option<i128>) -> Stay {
        let millis = |time: Duration| i128::try_from(time.as_millis()).unwrap_or(i128::MAX);
        let Some(stay_max) = self.stay_max.map(millis) else {
            return Stay { retention_max: None, segment_max: None };
        };
        let retention_max = stay_max - millis(SEGMENT) - millis(LATE);
        // Too long a retention is its own problem.
        let retention = retention.filter(|ms| (0..=retention_max).contains(ms));
        let segment_max = stay_max - millis(LATE) - retention.unwrap_or(0);
        Stay { retention_max: Some(retention_max), segment_max: Some(segment_max) }
    }

    /// The settings that do not do, by key.
    fn config_problems(&self, found: &Found) -> Vec<(&'static str, Problem)> {
        let value = |key: &str| found.config.get(key).map_or("", |(value, _)| value.as_str());
        let mut problems = Vec::new();
        let mut want = |key: &'static str, expected: String, holds: bool| {
            if !holds {
                problems.push((key, self.problem(key, expected, value(key))));
            }
        };
        want("cleanup.policy", "delete".to_owned(), value("cleanup.policy") == "delete");
        let least = i128::try_from(self.retention.as_millis()).unwrap_or(i128::MAX);
        let retention: Option<i128> = value("retention.ms").parse().ok();
        let Stay { retention_max, segment_max } = self.stay(retention);
        match retention_max {
            None => want(
                "retention.ms",
                format!("at least {least}, or -1"),
                retention.is_some_and(|ms| ms == -1 || ms >= least),
            ),
            Some(most) => want(
                "retention.ms",
                format!("{least} to {most}: jobs that are told again later would be done again"),
                retention.is_some_and(|ms| ms >= least && ms <= most),
            ),
        }
        if let Some(most) = segment_max {
            let segment: Option<i128> = value("segment.ms").parse().ok();
            let expected = format!("at most {most}: with retention.ms it is how long a job may stand there");
            want("segment.ms", expected, segment.is_some_and(|ms| ms <= most));
        }
        let is_unbounded = value("retention.bytes") == "-1";
        want(
            "retention.bytes",
            "-1: what is not read yet may not be deleted for room".to_owned(),
            is_unbounded,
        );
        let least = self.min_insync_replicas;
        let in_sync: Option<u32> = value("min.insync.replicas").parse().ok();
        want("min.insync.replicas", format!("at least {least}"), in_sync.is_some_and(|count| count >= least));
        let least = self.message_bytes_max;
        let size: Option<u64> = value("max.message.bytes").parse().ok();
        want("max.message.bytes", format!("at least {least}"), size.is_some_and(|size| size >= least));
        let is_clean = value("unclean.leader.election.enable") != "true";
        want("unclean.leader.election.enable", "false: a stale copy may not take over".to_owned(), is_clean);
        problems
    }
}

impl Kafka {
    /// How the topics should be.
    pub fn topic_plans(&self) -> Vec<TopicPlan> {
        let settings = self.settings();
        let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let plan = |topic| TopicPlan {
            topic,
            name: self.topic_name(topic),
            partitions: self.partitions(topic),
            replication: small(settings.replication.value()),
            retention: match topic {
                Topic::Jobs => settings.jobs_retention.value(),
                Topic::Triggers => settings.triggers_retention.value(),
                Topic::Events => settings.events_retention.value(),
                Topic::Dead => settings.dead_retention.value(),
            },
            stay_max: topic.stay_max(),
            min_insync_replicas: small(settings.min_insync_replicas.value()),
            message_bytes_max: settings.message_bytes_max.value(),
        };
        Topic::ALL.into_iter().map(plan).collect()
    }

    /// What is not as the settings ask. Empty: all is well.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Unreachable`].
    pub async fn check_topics(&self) -> Result<Vec<Problem>, ConnectError> {
        let plans = self.topic_plans();
        let found = self.find(&plans).await?;
        Ok(plans.iter().flat_map(|plan| plan.problems(found.get(&plan.topic))).collect())
    }

    /// Makes the topics that are missing, and sets what can be set of those that are there. What neither can mend is
    /// found by [`Self::check_topics`].
    ///
    /// # Errors
    ///
    /// [`ConnectError::Unreachable`], also where a broker refuses.
    pub async fn apply_topics(&self) -> Result<Vec<(TopicPlan, Applied)>, ConnectError> {
        let plans = self.topic_plans();
        let found = self.find(&plans).await?;
        let admin = self.admin()?;
        let mut applied = Vec::new();
        for plan in plans {
            let done = match found.get(&plan.topic) {
                None => self.create(&admin, &plan).await?,
                Some(found) => self.mend(&admin, &plan, found).await?,
            };
            applied.push((plan, done));
        }
        self.settle().await?;
        Ok(applied)
    }

    /// Deletes the topics with all that is in them.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Unreachable`], also where a broker refuses.
    pub async fn delete_topics(&self) -> Result<(), ConnectError> {
        let names: Vec<String> = Topic::ALL.into_iter().map(|topic| self.topic_name(topic)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let operation = "delete topics";
        let results = self.admin()?.delete_topics(&names, &self.options()).await;
        for result in results.map_err(|error| self.unreachable(operation, error, self.trouble()))? {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
                Err((_, code)) => {
                    return Err(self.unreachable(operation, KafkaError::AdminOp(code), self.trouble()));
                }
            }
        }
        Ok(())
    }

    fn admin(&self) -> Result<AdminClient<Quiet>, ConnectError> {
        let config = config::client(self.settings())?;
        AdminClient::from_config_and_context(&config, Quiet).map_err(ConnectError::Client)
    }

    fn options(&self) -> AdminOptions {
        let timeout = Some(self.settings().request_timeout.value());
        AdminOptions::new().request_timeout(timeout).operation_timeout(timeout)
    }

    async fn create(&self, admin: &AdminClient<Quiet>, plan: &TopicPlan) -> Result<Applied, ConnectError> {
        let config = plan.config();
        let (partitions, replication) = (plan.partitions.cast_signed(), plan.replication.cast_signed());
        let mut topic = NewTopic::new(&plan.name, partitions, TopicReplication::Fixed(replication));
        for (key, value) in &config {
            topic = topic.set(key, value);
        }
        let operation = "create a topic";
        let results = admin.create_topics([&topic], &self.options()).await;
        for result in results.map_err(|error| self.unreachable(operation, error, self.trouble()))? {
            match result {
                // Another process was faster; the check that follows says whether it made the same.
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => {
                    return Err(self.unreachable(operation, KafkaError::AdminOp(code), self.trouble()));
                }
            }
        }
        Ok(Applied::Created)
    }

    /// Sets what does not do, and keeps every other setting of the topic: the request replaces them all.
    async fn mend(
        &self,
        admin: &AdminClient<Quiet>,
        plan: &TopicPlan,
        found: &Found,
    ) -> Result<Applied, ConnectError> {
        let wrong: Vec<String> =
            plan.config_problems(found).iter().map(|(key, _)| (*key).to_owned()).collect();
        if wrong.is_empty() {
            return Ok(Applied::Kept);
        }
        let own = found.config.iter().filter(|(_, (_, own))| *own);
        let mut config: BTreeMap<String, String> =
            own.map(|(key, (value, _))| (key.clone(), value.clone())).collect();
        config.extend(plan.config().into_iter().filter(|(key, _)| wrong.contains(key)));
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(&plan.name));
        for (key, value) in &config {
            change = change.set(key, value);
        }
        let operation = "change a topic's settings";
        let results = admin.alter_configs([&change], &self.options()).await;
        for result in results.map_err(|error| self.unreachable(operation, error, self.trouble()))? {
            if let Err((_, code)) = result {
                return Err(self.unreachable(operation, KafkaError::AdminOp(code), self.trouble()));
            }
        }
        Ok(Applied::Changed(wrong))
    }

    /// Waits until what was done is seen, so that a start right after finds it.
    async fn settle(&self) -> Result<(), ConnectError> {
        let deadline = Instant::now() + SETTLE;
        loop {
            let problems = self.check_topics().await?;
            let is_mended = problems.iter().all(|problem| LASTING.contains(&problem.what));
            if is_mended || Instant::now() > deadline {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn find(&self, plans: &[TopicPlan]) -> Result<HashMap<Topic, Found>, ConnectError> {
        let metadata = self
            .metadata()
            .await
            .map_err(|error| self.unreachable("ask for topics", error, self.trouble()))?;
        let mut found = HashMap::new();
        for plan in plans {
            if let Some((partitions, replication)) = size(&metadata, &plan.name) {
                found.insert(plan.topic, Found { partitions, replication, config: BTreeMap::new() });
            }
        }
        let present: Vec<&TopicPlan> = plans.iter().filter(|plan| found.contains_key(&plan.topic)).collect();
        if present.is_empty() {
            return Ok(found);
        }
        let resources: Vec<_> = present.iter().map(|plan| ResourceSpecifier::Topic(&plan.name)).collect();
        let operation = "ask for topics' settings";
        let answers = self.admin()?.describe_configs(&resources, &self.options()).await;
        let answers = answers.map_err(|error| self.unreachable(operation, error, self.trouble()))?;
        for (plan, answer) in present.iter().zip(answers) {
            let resource = answer
                .map_err(|code| self.unreachable(operation, KafkaError::AdminOp(code), self.trouble()))?;
            if let Some(found) = found.get_mut(&plan.topic) {
                found.config = config_of(resource);
            }
        }
        Ok(found)
    }
}

/// Partitions and copies of a topic that is there.
fn size(metadata: &Metadata, name: &str) -> Option<(u32, u32)> {
    let topic = metadata.topics().iter().find(|topic| topic.name() == name)?;
    let copies = topic.partitions().iter().map(|partition| partition.replicas().len()).min()?;
    Some((u32::try_from(topic.partitions().len()).ok()?, u32::try_from(copies).ok()?))
}

fn config_of(resource: ConfigResource) -> BTreeMap<String, (String, bool)> {
    let entries = resource.entries.into_iter();
    entries
        .filter_map(|entry| Some((entry.name, (entry.value?, entry.source == ConfigSource::DynamicTopic))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> TopicPlan {
        TopicPlan {
            topic: Topic::Jobs,
            name: "x-dm.jobs".to_owned(),
            partitions: 4,
            replication: 2,
            retention: Duration::from_secs(60),
            stay_max: None,
            min_insync_replicas: 2,
            message_bytes_max: 1_000,
        }
    }

    fn found() -> Found {
        let config = plan().config().into_iter().map(|(key, value)| (key, (value, true))).collect();
        Found { partitions: 4, replication: 2, config }
    }

    #[test]
    fn a_topic_made_by_the_plan_has_no_problems() {
        assert_eq!(plan().problems(Some(&found())), []);
        let longer = Found { replication: 3, ..found() };
        assert_eq!(plan().problems(Some(&longer)), []);
    }

    #[test]
    fn a_topic_that_would_keep_jobs_beyond_the_ends_of_their_rows_is_a_problem() {
        const DAY: u64 = 24 * 60 * 60 * 1000;
        let plan = TopicPlan { stay_max: Some(Duration::from_hours(30 * 24)), ..plan() };
        let made: BTreeMap<_, _> =
            plan.config().into_iter().map(|(key, value)| (key, (value, true))).collect();
        for (retention, segment, wrong) in [
            ("60000".to_owned(), None, &[][..]),
            ((28 * DAY).to_string(), None, &[]),
            ((28 * DAY + 1).to_string(), None, &["retention.ms"]),
            ("-1".to_owned(), None, &["retention.ms"]),
            ((7 * DAY).to_string(), Some(7 * DAY), &[]),
            ((23 * DAY).to_string(), Some(7 * DAY), &["segment.ms"]),
        ] {
            let mut config = made.clone();
            config.insert("retention.ms".to_owned(), (retention.clone(), true));
            if let Some(segment) = segment {
                config.insert("segment.ms".to_owned(), (segment.to_string(), true));
            }
            let problems = plan.problems(Some(&Found { config, ..found() }));
            let found: Vec<_> = problems.iter().map(|problem| problem.what).collect();
            assert_eq!(found, wrong, "{retention} with {segment:?}: {problems:?}");
        }
    }

    #[test]
    fn each_difference_is_named_with_what_was_expected_and_what_is_there() {
        let with = |key: &str, value: &str| {
            let mut found = found();
            found.config.insert(key.to_owned(), (value.to_owned(), true));
            found
        };
        for (found, want) in [
            (
                Found { partitions: 3, ..found() },
                "partitions: expected 4 (they are fixed once the topic is made), got 3",
            ),
            (Found { replication: 1, ..found() }, "copies of each partition: expected at least 2, got 1"),
            (with("cleanup.policy", "compact"), "cleanup.policy: expected delete, got compact"),
            (with("retention.ms", "59999"), "retention.ms: expected at least 60000, or -1, got 59999"),
            (with("min.insync.replicas", "1"), "min.insync.replicas: expected at least 2, got 1"),
            (with("max.message.bytes", "999"), "max.message.bytes: expected at least 1000, got 999"),
        ] {
            let problems: Vec<String> =
                plan().problems(Some(&found)).iter().map(ToString::to_string).collect();
            assert_eq!(problems, [format!("x-dm.jobs: {want}")]);
        }
        assert_eq!(plan().problems(Some(&with("retention.bytes", "1048576"))).len(), 1);
        assert_eq!(plan().problems(Some(&with("unclean.leader.election.enable", "true"))).len(), 1);
        let missing = plan().problems(None);
        assert!(missing[0].got.contains("flotilla topics apply"), "{missing:?}");
    }
}
