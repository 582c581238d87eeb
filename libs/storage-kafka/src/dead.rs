//! Messages that were put aside: `dm.dead`, its reading and its replay.
//!
//! A record keeps key and payload as they were, and says in headers where it comes from and why. Nothing can be taken
//! out of a log, so a replay adds a record that names the one it replayed.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rdkafka::{
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::{BorrowedMessage, Headers as _, Message as _},
    topic_partition_list::{Offset, TopicPartitionList},
};
use storage::StoreError;
use storage_cluster::topics::{Incoming, Publisher as _, Topic};

use crate::{
    Kafka,
    config::Quiet,
    error::{store_error, timed_out},
    producer::{Record, TRACEPARENT},
};

const ORIGIN_TOPIC: &str = "dm-origin-topic";
const ORIGIN_PARTITION: &str = "dm-origin-partition";
const ORIGIN_OFFSET: &str = "dm-origin-offset";
const REASON: &str = "dm-reason";
const AT: &str = "dm-put-aside-at";
/// On the record of a replay: the partition and offset, in `dm.dead`, of what was replayed.
const REPLAYED: &str = "dm-replayed";

const READ: &str = "read what was put aside";

/// Reasons are for people; what is longer helps nobody.
const REASON_MAX: usize = 1_024;

/// Messages replayed before they are noted as replayed.
const REPLAY_BATCH: usize = 500;

/// A message that was put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it stands in `dm.dead`.
    pub partition: u32,
    /// Its place there.
    pub offset: u64,
    /// Where it was put aside from; `None` for a name this program does not know.
    pub topic: Option<Topic>,
    /// Its partition there.
    pub origin_partition: u32,
    /// Its offset there.
    pub origin_offset: u64,
    /// Why it could not be taken in.
    pub reason: String,
    /// When it was put aside.
    pub at: Option<Timestamp>,
    /// When it was last sent back to its origin.
    pub replayed: Option<Timestamp>,
    /// Its key.
    pub key: Vec<u8>,
    /// Its octets.
    pub payload: Vec<u8>,
    /// W3C `traceparent` of what caused it.
    pub traceparent: Option<String>,
}

/// Which messages to replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those not replayed yet; of one topic or of all.
    New(Option<Topic>),
    /// The one at this partition and offset of `dm.dead`, also once more.
    At {
        /// Its partition.
        partition: u32,
        /// Its offset.
        offset: u64,
    },
}

pub(crate) async fn put_aside(
    kafka: &Kafka,
    topic: Topic,
    message: &Incoming,
    reason: &str,
) -> Result<(), StoreError> {
    let end = reason.floor_char_boundary(REASON_MAX);
    let headers = vec![
        (ORIGIN_TOPIC, topic.name().to_owned()),
        (ORIGIN_PARTITION, message.partition.to_string()),
        (ORIGIN_OFFSET, message.offset.to_string()),
        (REASON, reason[..end].to_owned()),
        (AT, Timestamp::now().to_string()),
    ];
    let record = Record {
        topic: &kafka.topic_name(Topic::Dead),
        partition: None,
        key: &message.key,
        payload: &message.payload,
        traceparent: message.traceparent.as_deref(),
        headers,
    };
    kafka.publish_records(Topic::Dead, vec![record]).await?;
    let (partition, offset) = (message.partition, message.offset);
    tracing::warn!(topic = topic.name(), partition, offset, reason, "message put aside");
    kafka.counters().put_aside(topic);
    Ok(())
}

impl Kafka {
    /// Up to `limit` messages that were put aside, oldest first, of one topic or of all; those that were sent back only
    /// where `replayed` asks for them too.
    ///
    /// # Errors
    ///
    /// [`storage::ErrorKind::Unavailable`] or [`storage::ErrorKind::TimedOut`].
    pub async fn dead_letters(
        &self,
        topic: Option<Topic>,
        replayed: bool,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let wanted = move |letter: &DeadLetter| {
            (topic.is_none() || letter.topic == topic) && (replayed || letter.replayed.is_none())
        };
        self.read_dead(wanted, limit).await
    }

    /// Sends messages back to where they come from, durably, and notes that. Answers how many.
    ///
    /// A call that fails half-way may have sent some that are not noted; they are sent again by the next. Consumers
    /// leave out what they had before.
    ///
    /// # Errors
    ///
    /// As of publishing; [`storage::ErrorKind::Missing`] when there is no message at the place that was named.
    pub async fn replay_dead(&self, which: &Which) -> Result<usize, StoreError> {
        let mut count = 0;
        loop {
            let by = which.clone();
            let wanted = move |letter: &DeadLetter| match &by {
                Which::New(topic) => {
                    letter.replayed.is_none()
                        && letter.topic.is_some()
                        && (topic.is_none() || letter.topic == *topic)
                }
                Which::At { partition, offset } => (letter.partition, letter.offset) == (*partition, *offset),
            };
            let letters = self.read_dead(wanted, REPLAY_BATCH).await?;
            if letters.is_empty() && matches!(which, Which::At { .. }) {
                return Err(StoreError::missing("replay a message"));
            }
            self.send_back(&letters).await?;
            count += letters.len();
            if letters.len() < REPLAY_BATCH || matches!(which, Which::At { .. }) {
                return Ok(count);
            }
        }
    }

    async fn send_back(&self, letters: &[DeadLetter]) -> Result<(), StoreError> {
        let names: BTreeMap<Topic, String> =
            Topic::ALL.into_iter().map(|topic| (topic, self.topic_name(topic))).collect();
        let mut back: BTreeMap<Topic, Vec<Record<'_>>> = BTreeMap::new();
        for letter in letters {
            let topic = letter.topic.ok_or_else(|| StoreError::missing("replay to a topic"))?;
            if letter.origin_partition >= self.partitions(topic) {
                return Err(StoreError::missing("replay to a partition"));
            }
            back.entry(topic).or_default().push(Record {
                topic: &names[&topic],
                partition: Some(letter.origin_partition),
                key: &letter.key,
                payload: &letter.payload,
                traceparent: letter.traceparent.as_deref(),
                headers: Vec::new(),
            });
        }
        for (topic, records) in back {
            self.publish_records(topic, records).await?;
        }
        let now = Timestamp::now().to_string();
        let note = |letter: &DeadLetter| Record {
            topic: &names[&Topic::Dead],
            partition: Some(letter.partition),
            key: &[],
            payload: &[],
            traceparent: None,
            headers: vec![(REPLAYED, format!("{}:{}", letter.partition, letter.offset)), (AT, now.clone())],
        };
        self.publish_records(Topic::Dead, letters.iter().map(note).collect()).await
    }

    /// Two passes, because the note of a replay stands behind what was replayed, and what was put aside may be large.
    async fn read_dead(
        &self,
        wanted: impl Fn(&DeadLetter) -> bool + Send + 'static,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let (name, timeout) = (self.topic_name(Topic::Dead), self.settings().request_timeout.value());
        self.with_reader(READ, move |reader| {
            let scan = Scan { reader, name: &name, timeout };
            let mut replayed = BTreeMap::new();
            scan.run(|message| {
                if let Some((place, at)) = note_of(message) {
                    replayed.insert(place, at);
                }
                true
            })?;
            let mut letters = Vec::new();
            scan.run(|message| {
                letters.extend(letter_of(message, &replayed).filter(|letter| wanted(letter)));
                letters.len() < limit
            })?;
            Ok(letters)
        })
        .await
    }
}

/// Reads a topic from its beginning to where it ended when that was asked.
struct Scan<'a> {
    reader: &'a BaseConsumer<Quiet>,
    name: &'a str,
    timeout: Duration,
}

impl Scan<'_> {
    /// Calls `visit` with each record until it answers false.
    fn run(&self, mut visit: impl FnMut(&BorrowedMessage<'_>) -> bool) -> Result<(), StoreError> {
        let failed = |error: KafkaError| store_error(READ, error);
        // `dm.dead` has one partition.
        let (begin, end) = self.reader.fetch_watermarks(self.name, 0, self.timeout).map_err(failed)?;
        if begin >= end {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(self.name, 0, Offset::Beginning).map_err(failed)?;
        self.reader.assign(&list).map_err(failed)?;
        let mut heard = Instant::now();
        loop {
            match self.reader.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    if !visit(&message) || message.offset() + 1 >= end {
                        return Ok(());
                    }
                }
                Some(Err(error)) => return Err(failed(error)),
                None if heard.elapsed() > self.timeout => return Err(timed_out(READ)),
                None => {}
            }
        }
    }
}

fn header<'a>(message: &'a BorrowedMessage<'_>, name: &str) -> Option<&'a str> {
    let header = message.headers()?.iter().find(|header| header.key == name)?;
    std::str::from_utf8(header.value?).ok()
}

/// What a record of a replay says: which one, and when.
fn note_of(message: &BorrowedMessage<'_>) -> Option<((u32, u64), Timestamp)> {
    let (partition, offset) = header(message, REPLAYED)?.split_once(':')?;
    let at = header(message, AT)?.parse().ok()?;
    Some(((partition.parse().ok()?, offset.parse().ok()?), at))
}

fn letter_of(
    message: &BorrowedMessage<'_>,
    replayed: &BTreeMap<(u32, u64), Timestamp>,
) -> Option<DeadLetter> {
    let (partition, offset) =
        (u32::try_from(message.partition()).ok()?, u64::try_from(message.offset()).ok()?);
    Some(DeadLetter {
        partition,
        offset,
        topic: Topic::of_name(header(message, ORIGIN_TOPIC)?),
        origin_partition: header(message, ORIGIN_PARTITION)?.parse().ok()?,
        origin_offset: header(message, ORIGIN_OFFSET)?.parse().ok()?,
        reason: header(message, REASON).unwrap_or_default().to_owned(),
        at: header(message, AT).and_then(|at| at.parse().ok()),
        replayed: replayed.get(&(partition, offset)).copied(),
        key: message.key().unwrap_or_default().to_vec(),
        payload: message.payload().unwrap_or_default().to_vec(),
        traceparent: header(message, TRACEPARENT).map(ToOwned::to_owned),
    })
}
