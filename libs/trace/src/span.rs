//! A span while it goes on.

use std::{future::Future, time::SystemTime};

use crate::{
    Finished, Kind, Traceparent, Value, is_on,
    keep::{draw_span, keep},
    scope::{Scope, Trace},
};

/// The most traces that one span links to: a batch may have more.
const LINKS_MAX: usize = 128;

/// Something that is being done; it ends when it is dropped. Where nobody keeps its trace it is nothing.
#[derive(Default)]
#[must_use = "a span ends where it is dropped"]
pub struct Span(Option<Box<Recording>>);

struct Recording {
    trace: Trace,
    span: Finished,
}

impl Span {
    /// A part of what the caller is doing.
    pub fn child(name: &'static str, kind: Kind) -> Self {
        if !is_on() {
            return Self(None);
        }
        match Scope::now() {
            None | Some(Scope { trace: Trace::Known { is_sampled: false, .. }, .. }) => Self(None),
            Some(Scope { trace, span }) => Self::record(trace, Some(span), name, kind),
        }
    }

    /// The root of a trace of its own, which is kept whatever part of sessions is.
    pub fn root(name: &'static str, kind: Kind) -> Self {
        if !is_on() {
            return Self(None);
        }
        let Some(Traceparent { trace, .. }) = Traceparent::draw() else { return Self(None) };
        Self::record(Trace::Known { trace, is_sampled: true }, None, name, kind)
    }

    /// The root of a trace about messages that came from these. Where none of them is kept, this one is not either.
    pub fn of_batch(
        name: &'static str,
        kind: Kind,
        causes: impl Iterator<Item = Option<Traceparent>>,
    ) -> Self {
        if !is_on() {
            return Self(None);
        }
        let mut links: Vec<Traceparent> = Vec::new();
        for cause in causes.flatten().filter(|cause| cause.is_sampled) {
            // Those of one cause mostly come together.
            if links.last() != Some(&cause) && links.len() < LINKS_MAX && !links.contains(&cause) {
                links.push(cause);
            }
        }
        if links.is_empty() {
            return Self(None);
        }
        let mut span = Self::root(name, kind);
        if let Some(recording) = &mut span.0 {
            recording.span.links = links;
        }
        span
    }

    fn record(trace: Trace, parent: Option<[u8; 8]>, name: &'static str, kind: Kind) -> Self {
        let known = match &trace {
            Trace::Known { trace, .. } => *trace,
            Trace::Late(_) => [0; 16],
        };
        let begun = SystemTime::now();
        let span = Finished {
            context: Traceparent { trace: known, span: draw_span(), is_sampled: true },
            parent,
            name,
            kind,
            begun,
            ended: begun,
            attributes: Vec::new(),
            links: Vec::new(),
            failure: None,
        };
        Self(Some(Box::new(Recording { trace, span })))
    }

    /// Somebody keeps it.
    pub fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// States a fact. The value is made only where somebody keeps the span.
    pub fn set<V: Into<Value>>(&mut self, key: &'static str, value: impl FnOnce() -> V) {
        if let Some(recording) = &mut self.0 {
            recording.span.attributes.push((key, value().into()));
        }
    }

    /// It has to do with a span of another trace.
    pub fn link(&mut self, to: Traceparent) {
        if let Some(recording) = &mut self.0
            && to.is_sampled
            && recording.span.links.len() < LINKS_MAX
        {
            recording.span.links.push(to);
        }
    }

    /// It went wrong.
    #[allow(clippy::needless_pass_by_value, reason = "a text or an error, as the caller has it")]
    pub fn fail(&mut self, what: impl std::fmt::Display) {
        if let Some(recording) = &mut self.0 {
            recording.span.failure = Some(what.to_string());
        }
    }

    /// Nothing was done that is worth keeping.
    pub fn forget(mut self) {
        self.0 = None;
    }

    /// Runs what it is about: what that does are parts of it.
    pub async fn run<F: Future>(&self, work: F) -> F::Output {
        match &self.0 {
            Some(recording) => {
                let scope = Scope { trace: recording.trace.clone(), span: recording.span.context.span };
                scope.run(work).await
            }
            None => work.await,
        }
    }

    /// Runs what it is about, as [`Self::run`] does, and went wrong where that goes wrong.
    pub async fn attempt<T, E: std::fmt::Display>(
        &mut self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let result = self.run(work).await;
        if let Err(error) = &result {
            self.fail(error);
        }
        result
    }
}

impl std::fmt::Debug for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Span").field(&self.0.as_ref().map(|recording| &recording.span)).finish()
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(recording) = self.0.take() else { return };
        let Recording { trace, mut span } = *recording;
        span.ended = SystemTime::now();
        match trace {
            Trace::Known { .. } => keep(span),
            Trace::Late(open) => open.push(span),
        }
    }
}
