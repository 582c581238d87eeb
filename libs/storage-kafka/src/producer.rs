//! Publishing: messages are handed to the library's queue, and the call waits until the last is durable.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock,
    atomic::{AtomicUsize, Ordering},
};
use std::time::Duration;

use rdkafka::{
    ClientConfig, ClientContext,
    config::{FromClientConfigAndContext as _, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer},
};
use storage::StoreError;
use tokio::sync::Notify;

use crate::{config, error::store_error};

const PUBLISH: &str = "publish";

/// The header of the trace context.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// While the queue is full of a call's own messages it looks again so often.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(1);

/// One message as it goes out.
pub(crate) struct Record<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: Option<u32>,
    pub(crate) key: &'a [u8],
    pub(crate) payload: &'a [u8],
    pub(crate) traceparent: Option<&'a str>,
    pub(crate) headers: Vec<(&'a str, String)>,
}

/// A producer that is replaced when the library gives it up.
pub(crate) struct Producer {
    config: RwLock<ClientConfig>,
    current: RwLock<Arc<Threaded>>,
    trouble: Trouble,
}

/// The last thing that kept a client from a broker. Calls that fail say no more than that no broker was reached in time.
#[derive(Clone, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self, error: &KafkaError, reason: &str) {
        // That no broker is left says less than what was said before.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.lock() = Some(reason.to_owned());
        }
    }

    /// What it was. It stays until a broker answers: between two attempts to connect nothing more is heard.
    pub(crate) fn last(&self) -> Option<String> {
        self.lock().clone()
    }

    /// A broker has answered.
    pub(crate) fn clear(&self) {
        *self.lock() = None;
    }
}

pub(crate) type Threaded = ThreadedProducer<Deliveries>;

impl Producer {
    pub(crate) fn new(config: ClientConfig) -> Result<Self, KafkaError> {
        let trouble = Trouble::default();
        let current = RwLock::new(Arc::new(make(&config, &trouble)?));
        Ok(Self { config: RwLock::new(config), current, trouble })
    }

    /// Another takes its place, made with what settings and files say now, if it reaches a broker within `timeout`; blocks
    /// meanwhile. Calls that have begun end with the one of before.
    pub(crate) fn renew(&self, config: ClientConfig, timeout: Duration) -> Result<(), (KafkaError, Trouble)> {
        let trouble = Trouble::default();
        let failed = |error| (error, trouble.clone());
        let tried = make(&config, &trouble).map_err(failed)?;
        tried.client().fetch_metadata(None, timeout).map_err(failed)?;
        drop(tried);
        let fresh = Arc::new(make(&config, &self.trouble).map_err(failed)?);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, fresh);
        drop(current);
        drop(old);
        Ok(())
    }

    pub(crate) fn trouble(&self) -> &Trouble {
        &self.trouble
    }

    /// Publishes in order; all are durable when it returns.
    pub(crate) async fn publish(&self, records: Vec<Record<'_>>) -> Result<(), StoreError> {
        let producer = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let batch = Arc::new(Batch::default());
        let mut refused = None;
        for record in &records {
            if let Err(error) = enqueue(&producer, &batch, record).await {
                refused = Some(error);
                break;
            }
        }
        // Also what went before a refusal is waited for: an answer says what is so, not what may yet be.
        let delivered = batch.all_delivered().await;
        let outcome = match refused {
            Some(error) => Err(error),
            None => delivered,
        };
        outcome.map_err(|error| {
            self.replace_if_fatal(&producer);
            store_error(PUBLISH, error)
        })
    }

    /// An idempotent producer that has lost its place refuses everything from then on, and says so.
    fn replace_if_fatal(&self, failed: &Arc<Threaded>) {
        let Some((code, reason)) = failed.client().fatal_error() else { return };
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&current, failed) {
            return;
        }
        tracing::warn!(?code, reason, "kafka producer failed for good, another takes its place");
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner).clone();
        match make(&config, &self.trouble) {
            Ok(producer) => *current = Arc::new(producer),
            Err(error) => tracing::error!(%error, "kafka producer could not be made again"),
        }
    }

    pub(crate) fn current(&self) -> Arc<Threaded> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn make(config: &ClientConfig, trouble: &Trouble) -> Result<Threaded, KafkaError> {
    Threaded::from_config_and_context(config, Deliveries(trouble.clone()))
}

async fn enqueue(producer: &Threaded, batch: &Arc<Batch>, record: &Record<'_>) -> Result<(), KafkaError> {
    let mut message =
        BaseRecord::with_opaque_to(record.topic, batch.clone()).key(record.key).payload(record.payload);
    message.partition = record.partition.map(|partition| i32::try_from(partition).unwrap_or(i32::MAX));
    message.headers = headers(record);
    batch.left.fetch_add(1, Ordering::Relaxed);
    loop {
        let Err((error, returned)) = producer.send(message) else { return Ok(()) };
        let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
        // The call itself is one of `left` until its message is taken.
        let waits_for_own = batch.left.load(Ordering::Relaxed) > 1;
        if !(is_full && waits_for_own) {
            batch.left.fetch_sub(1, Ordering::Relaxed);
            return Err(error);
        }
        message = returned;
        tokio::time::sleep(QUEUE_FULL_PAUSE).await;
    }
}

fn headers(record: &Record<'_>) -> Option<OwnedHeaders> {
    let trace = record.traceparent.map(|value| (TRACEPARENT, value));
    let others = record.headers.iter().map(|(key, value)| (*key, value.as_str()));
    let mut headers = None;
    for (key, value) in trace.into_iter().chain(others) {
        let so_far: OwnedHeaders = headers.unwrap_or_default();
        headers = Some(so_far.insert(Header { key, value: Some(value) }));
    }
    headers
}

/// The messages of one call. Its last delivery wakes the call.
#[derive(Default)]
pub(crate) struct Batch {
    left: AtomicUsize,
    failed: Mutex<Option<KafkaError>>,
    done: Notify,
}

impl Batch {
    fn delivered(&self, result: Result<(), KafkaError>) {
        if let Err(error) = result {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }

    /// The library answers for every message within its delivery timeout, so this ends.
    async fn all_delivered(&self) -> Result<(), KafkaError> {
        while self.left.load(Ordering::Acquire) > 0 {
            self.done.notified().await;
        }
        match self.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Hears what became of messages.
pub(crate) struct Deliveries(Trouble);

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        config::log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.heard(&error, reason);
        tracing::debug!(%error, reason, "kafka producer met an error");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        batch.delivered(result.as_ref().map(|_| ()).map_err(|(error, _)| error.clone()));
    }
}
