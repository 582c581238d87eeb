//! What every backend of the ports of this crate keeps, one function a port: real servers and simulated ones pass the same.
//!
//! A law panics with the claim that does not hold, so call it from tests only. It uses groups and keys of its own, and
//! leaves alone what others have published.

// Laws are tests that live in the library so that every log can call them.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

mod hot;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

pub use hot::{hot_devices_laws, work_marks_laws};
use storage::ErrorKind;

use crate::topics::{Consumer, Incoming, Outgoing, Polled, Publisher, Topic};

/// One poll waits so long at most.
const WAIT: Duration = Duration::from_millis(50);

/// A law gives up after so many polls that bring nothing.
const IDLE_MAX: usize = 600;

/// Makes a member of a group.
pub type Join<'a> = &'a (dyn Fn(Topic, &str) -> Box<dyn Consumer> + Send + Sync);

/// All of the laws. `run` makes the names of groups and keys fresh: another for each call on the same log.
pub async fn topics_laws(publisher: &dyn Publisher, join: Join<'_>, run: &str) {
    published_is_read_in_the_order_of_its_key(publisher, join, run).await;
    another_member_reads_on_from_what_was_committed(publisher, join, run).await;
    members_come_and_go_without_loss_and_without_double_work(publisher, join, run).await;
    only_what_is_owned_is_committed_and_sought(publisher, join, run).await;
    what_is_put_aside_is_kept(publisher, join, run).await;
}

fn message(key: &str, number: usize) -> Outgoing {
    Outgoing {
        key: key.as_bytes().to_vec(),
        partition: None,
        payload: number.to_string().into_bytes(),
        traceparent: (number.is_multiple_of(2))
            .then(|| format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{number:016x}-01")),
    }
}

/// A member, with what it must keep track of.
struct Member {
    consumer: Box<dyn Consumer>,
    owned: BTreeSet<u32>,
    idle: usize,
    /// The next offset of each owned partition that was read, to see that none is left out.
    next: BTreeMap<u32, u64>,
}

impl Member {
    fn new(consumer: Box<dyn Consumer>) -> Self {
        Self { consumer, owned: BTreeSet::new(), idle: 0, next: BTreeMap::new() }
    }

    /// One poll, checked against what every poll keeps.
    async fn poll(&mut self) -> Polled {
        let polled = self.consumer.poll(100, WAIT).await.unwrap();
        self.idle = if matches!(polled, Polled::Idle) { self.idle + 1 } else { 0 };
        assert!(self.idle < IDLE_MAX, "what was published and not committed arrives");
        match &polled {
            Polled::Assigned(partitions) => {
                for &partition in partitions {
                    assert!(self.owned.insert(partition), "what is assigned was not owned before");
                }
            }
            Polled::Revoked(partitions) => {
                for partition in partitions {
                    assert!(self.owned.remove(partition), "what is revoked was owned");
                    self.next.remove(partition);
                    let late = self.consumer.commit(*partition, 1).await.unwrap_err();
                    assert_eq!(late.kind, ErrorKind::Conflict, "what was revoked is not committed: {late:?}");
                }
            }
            Polled::Messages(messages) => {
                assert!((1..=100).contains(&messages.len()), "no more than was asked for, and some");
                for message in messages {
                    assert!(self.owned.contains(&message.partition), "only what is owned is read");
                    if let Some(next) = self.next.insert(message.partition, message.offset + 1) {
                        assert!(message.offset >= next, "offsets grow within a partition");
                    }
                }
            }
            Polled::Idle => {}
        }
        polled
    }

    /// Polls until `count` messages of `keys` were read.
    async fn read(&mut self, keys: &str, count: usize) -> Vec<Incoming> {
        let mut read = Vec::new();
        while read.len() < count {
            if let Polled::Messages(messages) = self.poll().await {
                read.extend(messages.into_iter().filter(|message| is_of(message, keys)));
            }
        }
        assert_eq!(read.len(), count, "nothing arrives twice");
        read
    }

    /// Commits all that was read.
    async fn commit(&mut self) {
        for (&partition, &next) in &self.next {
            self.consumer.commit(partition, next).await.unwrap();
        }
    }
}

fn is_of(message: &Incoming, keys: &str) -> bool {
    message.key.starts_with(keys.as_bytes())
}

async fn published_is_read_in_the_order_of_its_key(publisher: &dyn Publisher, join: Join<'_>, run: &str) {
    let keys = format!("{run}-order");
    let mut sent = Vec::new();
    for number in 0..60 {
        sent.push(message(&format!("{keys}-{}", number % 6), number));
    }
    let last = publisher.partitions(Topic::Events) - 1;
    sent.extend(
        (0..4).map(|number| Outgoing { partition: Some(last), ..message(&format!("{keys}-x"), number) }),
    );
    publisher.publish(Topic::Events, sent.clone()).await.unwrap();
    let wrong = Outgoing { partition: Some(last + 1), ..message(&keys, 0) };
    let refused = publisher.publish(Topic::Events, vec![wrong]).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Missing, "a topic has the partitions it says");

    let mut groups = Vec::new();
    for group in ["a", "b"] {
        let mut member = Member::new(join(Topic::Events, &format!("{run}-order-{group}")));
        let read = member.read(&keys, sent.len()).await;
        let mut partitions = BTreeMap::new();
        for key in sent.iter().map(|sent| sent.key.clone()).collect::<BTreeSet<_>>() {
            let of_key: Vec<&Incoming> = read.iter().filter(|message| message.key == key).collect();
            let told: Vec<_> = of_key.iter().map(|told| (&told.payload, &told.traceparent)).collect();
            let want = sent.iter().filter(|sent| sent.key == key);
            let want: Vec<_> = want.map(|sent| (&sent.payload, &sent.traceparent)).collect();
            assert_eq!(told, want, "messages of a key keep their order and all they carry");
            let place = of_key[0].partition;
            assert!(of_key.iter().all(|told| told.partition == place), "a key has one partition");
            partitions.insert(key, place);
        }
        assert_eq!(
            partitions.get(format!("{keys}-x").as_bytes()),
            Some(&last),
            "an asked partition is taken"
        );
        groups.push(partitions);
        member.consumer.leave().await;
    }
    assert_eq!(groups[0], groups[1], "every group reads the same");
}

async fn another_member_reads_on_from_what_was_committed(
    publisher: &dyn Publisher,
    join: Join<'_>,
    run: &str,
) {
    let (keys, group) = (format!("{run}-resume"), format!("{run}-resume"));
    let sent = (0..10).map(|number| Outgoing { partition: Some(0), ..message(&keys, number) });
    publisher.publish(Topic::Jobs, sent.collect()).await.unwrap();
    let mut first = Member::new(join(Topic::Jobs, &group));
    let read = first.read(&keys, 10).await;
    first.consumer.commit(0, read[4].offset).await.unwrap();
    // An earlier place does not undo a later one.
    first.consumer.commit(0, read[2].offset).await.unwrap();
    first.consumer.seek(0, read[7].offset).await.unwrap();
    first.next.clear();
    assert_eq!(first.read(&keys, 3).await, read[7..], "a sought place is read from");
    first.consumer.leave().await;

    let mut second = Member::new(join(Topic::Jobs, &group));
    assert_eq!(second.read(&keys, 6).await, read[4..], "what was not committed is read by another");
    second.commit().await;
    second.consumer.leave().await;
}

async fn members_come_and_go_without_loss_and_without_double_work(
    publisher: &dyn Publisher,
    join: Join<'_>,
    run: &str,
) {
    let (keys, group) = (format!("{run}-group"), format!("{run}-group"));
    let mut members = vec![Member::new(join(Topic::Triggers, &group))];
    let (mut sent, mut worked) = (0, BTreeMap::<Vec<u8>, usize>::new());
    let mut step = 0;
    let mut settled = 0;
    // One member, then two, then three, then two again, with messages coming in all the time.
    let mut plan = vec![1, 2, 3, 2].into_iter();
    let mut want = plan.next().unwrap();
    loop {
        step += 1;
        assert!(step < 4 * IDLE_MAX, "a group finds its order");
        if sent < 4_000 && usize::is_multiple_of(step, 2) {
            let batch = (sent..sent + 20).map(|number| message(&format!("{keys}-{}", number % 50), number));
            publisher.publish(Topic::Triggers, batch.collect()).await.unwrap();
            sent += 20;
        }
        for member in &mut members {
            member.idle = 0;
            if let Polled::Messages(messages) = member.poll().await {
                for message in messages.iter().filter(|message| is_of(message, &keys)) {
                    *worked.entry(message.payload.clone()).or_default() += 1;
                }
                // What it had an effect of is committed before it asks for more, so nobody does it again.
                member.commit().await;
            }
        }
        let owned: Vec<u32> = members.iter().flat_map(|member| member.owned.iter().copied()).collect();
        let distinct: BTreeSet<u32> = owned.iter().copied().collect();
        assert_eq!(owned.len(), distinct.len(), "a partition has one owner: {owned:?}");
        let all = usize::try_from(publisher.partitions(Topic::Triggers)).unwrap();
        let in_order = members.len() == want
            && owned.len() == all
            && members.iter().all(|member| !member.owned.is_empty() || all < want);
        settled = if in_order { settled + 1 } else { 0 };
        if members.len() < want {
            members.push(Member::new(join(Topic::Triggers, &group)));
        } else if members.len() > want {
            members.remove(0).consumer.leave().await;
        } else if settled > 3 {
            let Some(next) = plan.next() else { break };
            want = next;
        }
    }
    let mut quiet = 0;
    while worked.len() < sent {
        quiet += 1;
        assert!(quiet < IDLE_MAX, "nothing is lost: {} of {sent} arrived", worked.len());
        for member in &mut members {
            member.idle = 0;
            if let Polled::Messages(messages) = member.poll().await {
                for message in messages.iter().filter(|message| is_of(message, &keys)) {
                    *worked.entry(message.payload.clone()).or_default() += 1;
                }
                member.commit().await;
            }
        }
    }
    let double: Vec<_> = worked.iter().filter(|(_, times)| **times != 1).collect();
    assert!(double.is_empty(), "what was committed is not read again: {double:?}");
    for member in members {
        member.consumer.leave().await;
    }
}

async fn only_what_is_owned_is_committed_and_sought(publisher: &dyn Publisher, join: Join<'_>, run: &str) {
    let mut member = Member::new(join(Topic::Jobs, &format!("{run}-owned")));
    for partition in [0, publisher.partitions(Topic::Jobs)] {
        let early = member.consumer.commit(partition, 1).await.unwrap_err();
        assert_eq!(early.kind, ErrorKind::Conflict, "what is not assigned is not committed");
        let early = member.consumer.seek(partition, 0).await.unwrap_err();
        assert_eq!(early.kind, ErrorKind::Conflict, "what is not assigned is not sought");
    }
    while member.owned.is_empty() {
        member.poll().await;
    }
    let other = publisher.partitions(Topic::Jobs);
    let never = member.consumer.commit(other, 1).await.unwrap_err();
    assert_eq!(never.kind, ErrorKind::Conflict, "what is not there is not committed");
    member.consumer.leave().await;
}

async fn what_is_put_aside_is_kept(publisher: &dyn Publisher, join: Join<'_>, run: &str) {
    let keys = format!("{run}-dead");
    publisher.publish(Topic::Jobs, vec![message(&keys, 42)]).await.unwrap();
    let mut member = Member::new(join(Topic::Jobs, &format!("{run}-dead")));
    let poison = member.read(&keys, 1).await.remove(0);
    member.consumer.put_aside(&poison, "it cannot be read").await.unwrap();
    member.commit().await;
    member.consumer.leave().await;

    let mut dead = Member::new(join(Topic::Dead, &format!("{run}-dead-reader")));
    let kept = dead.read(&keys, 1).await.remove(0);
    assert_eq!(
        (&kept.key, &kept.payload),
        (&poison.key, &poison.payload),
        "what is put aside is kept as it was"
    );
    dead.consumer.leave().await;
}
