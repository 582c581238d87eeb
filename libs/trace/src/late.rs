//! A span that learns on its way which trace it belongs to.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use crate::{
    Finished, Kind, Traceparent, Value, is_on,
    keep::{draw_span, keep},
    scope::{Scope, Trace},
};

/// Something whose trace is found out while it is done. It ends when the last of its clones, and of its parts, is dropped.
#[derive(Clone)]
pub struct Late(Arc<Open>);

pub(crate) struct Open {
    span: [u8; 8],
    name: &'static str,
    kind: Kind,
    begun: SystemTime,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    session: Option<Traceparent>,
    attributes: Vec<(&'static str, Value)>,
    links: Vec<Traceparent>,
    failure: Option<String>,
    parts: Vec<Finished>,
}

impl Late {
    /// Begins; `None` where nobody keeps traces.
    pub fn begin(name: &'static str, kind: Kind, begun: SystemTime) -> Option<Self> {
        let open = || Open { span: draw_span(), name, kind, begun, state: Mutex::default() };
        is_on().then(|| Self(Arc::new(open())))
    }

    /// It is a part of this, or of nothing that is kept. What was said last holds.
    pub fn belongs_to(&self, context: Option<Traceparent>) {
        self.0.lock().session = context.filter(|context| context.is_sampled);
    }

    /// What it is a part of, as far as is known now.
    pub fn parent(&self) -> Option<Traceparent> {
        self.0.session()
    }

    /// States a fact; what was stated last holds.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        let mut state = self.0.lock();
        let value = value.into();
        match state.attributes.iter_mut().find(|(known, _)| *known == key) {
            Some(known) => known.1 = value,
            None => state.attributes.push((key, value)),
        }
    }

    /// It has to do with a span of another trace.
    pub fn link(&self, to: Traceparent) {
        let mut state = self.0.lock();
        if to.is_sampled && !state.links.contains(&to) {
            state.links.push(to);
        }
    }

    /// It went wrong.
    #[allow(clippy::needless_pass_by_value, reason = "a text or an error, as the caller has it")]
    pub fn fail(&self, what: impl std::fmt::Display) {
        self.0.lock().failure = Some(what.to_string());
    }

    /// The root of the trace has ended with this.
    pub fn ends_session(
        &self,
        name: &'static str,
        begun: SystemTime,
        attributes: Vec<(&'static str, Value)>,
    ) {
        let mut state = self.0.lock();
        let Some(context) = state.session else { return };
        let links = state.links.clone();
        state.parts.push(Finished {
            context,
            parent: None,
            name,
            kind: Kind::Internal,
            begun,
            ended: SystemTime::now(),
            attributes,
            links,
            failure: None,
        });
    }

    /// Runs what it is about: what that does are parts of it.
    pub async fn run<F: Future>(&self, work: F) -> F::Output {
        Scope { trace: Trace::Late(Arc::clone(&self.0)), span: self.0.span }.run(work).await
    }
}

/// The [`Late`] span that the caller is part of.
pub fn late() -> Option<Late> {
    if !is_on() {
        return None;
    }
    match Scope::now()?.trace {
        Trace::Late(open) => Some(Late(open)),
        Trace::Known { .. } => None,
    }
}

impl Open {
    pub(crate) fn session(&self) -> Option<Traceparent> {
        self.lock().session
    }

    /// A part of it has ended.
    pub(crate) fn push(&self, part: Finished) {
        self.lock().parts.push(part);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let state = std::mem::take(self.state.get_mut().unwrap_or_else(PoisonError::into_inner));
        let Some(session) = state.session else { return };
        let in_trace = |span| Traceparent { trace: session.trace, span, is_sampled: true };
        for part in state.parts {
            keep(Finished { context: in_trace(part.context.span), ..part });
        }
        keep(Finished {
            context: in_trace(self.span),
            parent: Some(session.span),
            name: self.name,
            kind: self.kind,
            begun: self.begun,
            ended: SystemTime::now(),
            attributes: state.attributes,
            links: state.links,
            failure: state.failure,
        });
    }
}
