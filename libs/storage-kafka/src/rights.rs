//! What the user may do, found by trying what changes nothing.

use std::time::Duration;

use rdkafka::{
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode as Code},
    topic_partition_list::{Offset, TopicPartitionList},
};
use storage::StoreError;

use crate::{
    Kafka,
    config::{self, Quiet},
    error::cut_off,
};

const OPERATION: &str = "look at what the user may do";

/// How long brokers have to refuse a read: they answer the first fetch at once.
const READ: Duration = Duration::from_millis(1500);

impl Kafka {
    /// What the user may not do of what a process does, as sentences: reading the topics that are there, and being in the groups.
    /// Publishing is not tried, as it would leave something.
    ///
    /// # Errors
    ///
    /// [`storage::ErrorKind::Unavailable`] when no client can be made.
    pub async fn refused_rights(&self, groups: &[&str]) -> Result<Vec<String>, StoreError> {
        let metadata = self.metadata().await.map_err(|error| StoreError::unavailable(OPERATION, error))?;
        let there = |name: &String| metadata.topics().iter().any(|topic| topic.name() == name);
        let topics: Vec<String> =
            self.topic_plans().into_iter().map(|plan| plan.name).filter(there).collect();
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let groups: Vec<String> =
            groups.iter().map(|group| format!("{}{group}", self.settings().prefix)).collect();
        let settings = self.settings().clone();
        let timeout = settings.request_timeout.value();
        let work = tokio::task::spawn_blocking(move || {
            let mut refused = Vec::new();
            for group in &groups {
                use rdkafka::config::FromClientConfigAndContext as _;
                let config = config::consumer(&settings, group, None)
                    .map_err(|error| StoreError::unavailable(OPERATION, error))?;
                let member = BaseConsumer::from_config_and_context(&config, Quiet)
                    .map_err(|error| StoreError::unavailable(OPERATION, error))?;
                let mut list = TopicPartitionList::new();
                list.add_partition(&topics[0], 0);
                if let Err(error) = member.committed_offsets(list, timeout)
                    && is_refusal(&error)
                {
                    refused.push(format!("be in the group {group}"));
                }
                if group == &groups[0] {
                    refused.extend(unreadable(&member, &topics));
                }
            }
            Ok(refused)
        });
        work.await.map_err(|error| cut_off(OPERATION, error))?
    }
}

/// Which topics may not be read.
fn unreadable(reader: &BaseConsumer<Quiet>, topics: &[String]) -> Vec<String> {
    let mut refused = Vec::new();
    for topic in topics {
        let mut list = TopicPartitionList::new();
        // Nothing is taken: what comes after the end is not there yet.
        if list.add_partition_offset(topic, 0, Offset::End).is_err() || reader.assign(&list).is_err() {
            continue;
        }
        if let Some(Err(error)) = reader.poll(READ / 4)
            && is_refusal(&error)
        {
            refused.push(format!("read {topic}"));
        }
    }
    refused
}

fn is_refusal(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed
        )
    )
}
