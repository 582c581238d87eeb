//! One process keeps traces once, so what is kept goes into one list, and each test looks for its own traces in it.

use std::{
    sync::Mutex,
    time::{Duration, SystemTime},
};

use super::*;

static KEPT: Mutex<Vec<Finished>> = Mutex::new(Vec::new());

struct List;

impl Sink for List {
    fn take(&self, span: Finished) {
        KEPT.lock().unwrap().push(span);
    }
}

fn keep_all() {
    install(Box::new(List), 1.0);
}

fn kept(trace: [u8; 16]) -> Vec<Finished> {
    KEPT.lock().unwrap().iter().filter(|span| span.context.trace == trace).cloned().collect()
}

#[tokio::test]
async fn what_is_run_within_a_trace_knows_it_and_nothing_else_does() {
    let trace = Traceparent::of_random([7; 24]);
    assert_eq!(within(trace, async { current() }).await, trace);
    assert_eq!(current(), None);
    let spawned = within(trace, async { tokio::spawn(async { current() }).await }).await;
    assert_eq!(spawned.unwrap(), None);
}

#[tokio::test]
async fn parts_of_a_kept_trace_are_kept_under_each_other() {
    keep_all();
    let session = begin().unwrap();
    within(Some(session), async {
        let mut outer = Span::child("outer", Kind::Client);
        outer.set("number", || 7_u32);
        outer
            .run(async {
                let mut inner = Span::child("inner", Kind::Producer);
                inner.fail("no answer");
            })
            .await;
    })
    .await;
    let spans = kept(session.trace);
    let [inner, outer] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((outer.name, outer.parent), ("outer", Some(session.span)));
    assert_eq!(outer.attributes, [("number", Value::Number(7))]);
    assert_eq!((inner.parent, inner.failure.as_deref()), (Some(outer.context.span), Some("no answer")));
    assert!(outer.begun <= inner.begun && inner.ended <= outer.ended);
}

#[tokio::test]
async fn nothing_is_kept_of_a_trace_that_its_beginner_does_not_keep() {
    keep_all();
    let other = Traceparent::of_random([9; 24]).unwrap();
    assert!(!other.is_sampled);
    within(Some(other), async { assert!(!Span::child("part", Kind::Internal).is_kept()) }).await;
    assert!(!Span::of_batch("batch", Kind::Consumer, [Some(other), None].into_iter()).is_kept());
    assert_eq!(kept(other.trace), []);
}

#[tokio::test]
async fn a_late_span_and_what_came_before_its_trace_was_known_are_in_it() {
    keep_all();
    let (session, job) = (begin().unwrap(), begin().unwrap());
    let begun = SystemTime::now() - Duration::from_secs(3);
    let message = Late::begin("message", Kind::Server, SystemTime::now()).unwrap();
    let told = message
        .run(async {
            drop(Span::child("load", Kind::Client));
            assert_eq!(current(), None, "nobody knows yet");
            let message = late().unwrap();
            message.belongs_to(Some(session));
            message.link(job);
            message.ends_session("session", begun, Vec::new());
            current()
        })
        .await;
    assert_eq!(kept(session.trace), [], "it goes on");
    drop(message);
    let spans = kept(session.trace);
    let [load, root, message] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(told, Some(message.context));
    assert_eq!((load.name, load.parent), ("load", Some(message.context.span)));
    assert_eq!((root.context, root.parent, root.begun), (session, None, begun));
    assert_eq!((message.parent, &message.links[..]), (Some(session.span), &[job][..]));
}

#[tokio::test]
async fn a_late_span_of_a_session_that_nobody_keeps_is_forgotten_with_its_parts() {
    keep_all();
    let message = Late::begin("message", Kind::Server, SystemTime::now()).unwrap();
    let session = begin().unwrap();
    message.run(async { drop(Span::child("load", Kind::Client)) }).await;
    message.belongs_to(Some(session));
    // A race was lost: the session is another one, which is not kept.
    message.belongs_to(None);
    drop(message);
    assert_eq!(kept(session.trace), []);
}

#[test]
fn a_batch_names_each_of_its_causes_once() {
    keep_all();
    let (one, other) = (begin().unwrap(), begin().unwrap());
    let span = Span::of_batch("batch", Kind::Consumer, [Some(one), None, Some(other), Some(one)].into_iter());
    drop(span);
    let batch = |span: &&Finished| span.links.contains(&one);
    let found: Vec<Finished> = KEPT.lock().unwrap().iter().filter(batch).cloned().collect();
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].links[..], found[0].parent), (&[one, other][..], None));
}

#[test]
fn as_many_traces_are_kept_as_was_asked_for() {
    let of = |ratio: f64| {
        let below = (ratio * (1_u64 << 56) as f64) as u64;
        let drawn = (0..4000).filter_map(|_| Traceparent::draw());
        drawn.filter(|drawn| keep::is_kept(drawn.trace, below)).count()
    };
    assert_eq!((of(0.0), of(1.0)), (0, 4000));
    let quarter = of(0.25);
    assert!((800..1200).contains(&quarter), "{quarter} of 4000");
}
