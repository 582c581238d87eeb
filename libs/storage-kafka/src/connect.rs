//! A connection to Kafka: the settings, the one producer of the process, and what is made from them.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use rdkafka::{
    config::FromClientConfigAndContext as _, consumer::BaseConsumer, error::KafkaError, metadata::Metadata,
    producer::Producer as _,
};
use service_kit::{
    Metrics,
    files::Watched,
    refusal::{Refusal, Server},
    settings::KafkaSettings,
};
use storage::StoreError;
use storage_cluster::topics::{Outgoing, Publisher, Topic};

use crate::{
    ConnectError, KafkaConsumer,
    config::{self, Quiet},
    error::{cut_off, store_error},
    metrics::TopicMetrics,
    producer::{Producer, Record, Trouble},
};

/// Kafka, for all of a process. Clones share it.
#[derive(Clone)]
pub struct Kafka(Arc<Inner>);

struct Inner {
    settings: KafkaSettings,
    metrics: Metrics,
    counters: TopicMetrics,
    producer: Producer,
    /// The files that clients are made with.
    files: Mutex<Watched>,
    /// How often they were others than before. A client of an older one is replaced.
    generation: AtomicU64,
}

impl Kafka {
    /// Makes the clients; they connect by themselves when they are used. Nothing is asked of a broker.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Settings`] or [`ConnectError::Client`].
    pub fn new(settings: &KafkaSettings, metrics: &Metrics) -> Result<Self, ConnectError> {
        // Before they are read: what changes meanwhile is seen as a change.
        let files = Watched::new([
            settings.sasl_password_file.as_ref(),
            settings.ca.as_ref(),
            settings.certificate.as_ref(),
            settings.key.as_ref(),
        ]);
        let producer = Producer::new(config::producer(settings)?).map_err(ConnectError::Client)?;
        let inner = Inner {
            settings: settings.clone(),
            metrics: metrics.clone(),
            counters: TopicMetrics::new(metrics),
            producer,
            files: Mutex::new(files),
            generation: AtomicU64::new(0),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Makes clients anew where the files of the password and the certificates are others than before; says whether it did.
    /// A consumer leaves its group for that, and joins it again. To be called now and then, by one at a time.
    ///
    /// # Errors
    ///
    /// As [`Self::new`], or [`ConnectError::Unreachable`] where no broker is reached with them; the clients of before go on, and
    /// the files count as new the next time too.
    pub async fn refresh(&self) -> Result<bool, ConnectError> {
        let Some(stamps) = self.files().changed() else { return Ok(false) };
        let config = config::producer(&self.0.settings)?;
        let (this, timeout) = (self.clone(), self.0.settings.request_timeout.value());
        let renewing = tokio::task::spawn_blocking(move || this.0.producer.renew(config, timeout));
        let renewed = renewing.await.unwrap_or_else(|_| Err((KafkaError::Canceled, Trouble::default())));
        renewed.map_err(|(error, trouble)| self.unreachable("connect with other files", error, &trouble))?;
        self.files().taken(stamps);
        self.0.generation.fetch_add(1, Ordering::AcqRel);
        Ok(true)
    }

    fn files(&self) -> std::sync::MutexGuard<'_, Watched> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    /// The same, and refuses topics that are not as the settings ask.
    ///
    /// # Errors
    ///
    /// As [`Self::new`], [`ConnectError::Setup`], and [`ConnectError::Unreachable`], which may pass.
    pub async fn connect(settings: &KafkaSettings, metrics: &Metrics) -> Result<Self, ConnectError> {
        let kafka = Self::new(settings, metrics)?;
        let problems = kafka.check_topics().await?;
        if problems.is_empty() { Ok(kafka) } else { Err(ConnectError::Setup(problems)) }
    }

    /// A member of a group of consumers of a topic. It joins when it is first polled.
    ///
    /// # Errors
    ///
    /// [`storage::ErrorKind::Unavailable`] when the client cannot be made.
    pub fn consumer(&self, topic: Topic, group: &str) -> Result<KafkaConsumer, StoreError> {
        KafkaConsumer::new(self, topic, group)
    }

    /// Whether a broker answers, within `kafka.request_timeout`.
    ///
    /// # Errors
    ///
    /// [`storage::ErrorKind::Unavailable`] or [`storage::ErrorKind::TimedOut`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        let Err(error) = self.metadata().await else { return Ok(()) };
        let mut failed = store_error("reach kafka", error.clone());
        failed.source = Some(explain(error, self.trouble()));
        Err(failed)
    }

    /// What the brokers say of themselves and of all topics. Asking for one topic by name could make it.
    pub(crate) async fn metadata(&self) -> Result<Metadata, KafkaError> {
        let producer = self.0.producer.current();
        let timeout = self.0.settings.request_timeout.value();
        let ask = tokio::task::spawn_blocking(move || producer.client().fetch_metadata(None, timeout));
        let answer = ask.await.unwrap_or(Err(KafkaError::Canceled));
        if answer.is_ok() {
            self.0.producer.trouble().clear();
        }
        answer
    }

    /// A failure to reach a broker, with the setting at fault where what was heard names one.
    pub(crate) fn unreachable(
        &self,
        operation: &'static str,
        error: KafkaError,
        trouble: &Trouble,
    ) -> ConnectError {
        let source = explain(error, trouble);
        ConnectError::Unreachable { operation, bootstrap: self.0.settings.bootstrap.clone(), source }
    }

    pub(crate) fn trouble(&self) -> &Trouble {
        self.0.producer.trouble()
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &KafkaSettings {
        &self.0.settings
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn counters(&self) -> &TopicMetrics {
        &self.0.counters
    }

    /// The topic's name on the brokers.
    pub fn topic_name(&self, topic: Topic) -> String {
        format!("{}{}", self.0.settings.prefix, topic.name())
    }

    pub(crate) async fn publish_records(
        &self,
        topic: Topic,
        records: Vec<Record<'_>>,
    ) -> Result<(), StoreError> {
        let (begun, count) = (std::time::Instant::now(), records.len());
        let done = self.0.producer.publish(records).await;
        self.counters().published(topic, count, begun, &done);
        done
    }

    /// Runs what blocks on a client of its own that belongs to no group.
    pub(crate) async fn with_reader<T: Send + 'static>(
        &self,
        operation: &'static str,
        run: impl FnOnce(&BaseConsumer<Quiet>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        // It assigns itself what it reads; the group's name is asked for, but nothing is ever committed to it.
        let group = format!("{}flotilla-readers", self.0.settings.prefix);
        let config = config::consumer(&self.0.settings, &group, None)
            .map_err(|error| StoreError::unavailable(operation, error))?;
        let work = tokio::task::spawn_blocking(move || {
            let reader = BaseConsumer::from_config_and_context(&config, Quiet);
            run(&reader.map_err(|error| store_error(operation, error))?)
        });
        work.await.map_err(|error| cut_off(operation, error))?
    }
}

/// Calls say no more than that no broker was reached; what was heard before may say why.
fn explain(error: KafkaError, trouble: &Trouble) -> Box<dyn std::error::Error + Send + Sync> {
    let heard = trouble.last();
    match heard.as_deref().and_then(|heard| Refusal::of(Server::Kafka, heard)) {
        Some(refusal) => Box::new(refusal),
        None => match heard {
            Some(heard) => format!("{error}: {heard}").into(),
            None => Refusal::explain(Server::Kafka, error),
        },
    }
}

#[async_trait]
impl Publisher for Kafka {
    async fn publish(&self, topic: Topic, messages: Vec<Outgoing>) -> Result<(), StoreError> {
        let partitions = self.partitions(topic);
        if messages.iter().any(|message| message.partition.is_some_and(|partition| partition >= partitions)) {
            return Err(StoreError::missing("publish to a partition"));
        }
        let name = self.topic_name(topic);
        let records = messages
            .iter()
            .map(|message| Record {
                topic: &name,
                partition: message.partition,
                key: &message.key,
                payload: &message.payload,
                traceparent: message.traceparent.as_deref(),
                headers: Vec::new(),
            })
            .collect();
        self.publish_records(topic, records).await
    }

    fn partitions(&self, topic: Topic) -> u32 {
        let settings = &self.0.settings;
        let partitions = match topic {
            Topic::Jobs => settings.jobs_partitions.value(),
            Topic::Triggers => settings.triggers_partitions.value(),
            Topic::Events => settings.events_partitions.value(),
            // Few, and their order among each other is what a reader wants to see.
            Topic::Dead => 1,
        };
        u32::try_from(partitions).unwrap_or(u32::MAX)
    }
}
