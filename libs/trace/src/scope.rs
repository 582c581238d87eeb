//! Which trace a task works on.
//!
//! Whoever begins something names its trace with [`within`]; who sends it on to other processes asks [`current`].
//! Nothing is decided by it.

use std::{future::Future, sync::Arc};

use crate::{Traceparent, late::Open};

tokio::task_local! {
    static CURRENT: Scope;
}

/// A trace, and the span in it that what is done now is a part of.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) trace: Trace,
    pub(crate) span: [u8; 8],
}

#[derive(Clone)]
pub(crate) enum Trace {
    Known {
        trace: [u8; 16],
        is_sampled: bool,
    },
    /// It will be found out.
    Late(Arc<Open>),
}

impl From<Traceparent> for Scope {
    fn from(context: Traceparent) -> Self {
        let Traceparent { trace, span, is_sampled } = context;
        Self { trace: Trace::Known { trace, is_sampled }, span }
    }
}

impl Scope {
    pub(crate) fn now() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    pub(crate) async fn run<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// What other processes are told.
    fn context(&self) -> Option<Traceparent> {
        let (trace, is_sampled) = match &self.trace {
            Trace::Known { trace, is_sampled } => (*trace, *is_sampled),
            Trace::Late(open) => (open.session()?.trace, true),
        };
        Some(Traceparent { trace, span: self.span, is_sampled })
    }
}

/// Runs something as part of a trace.
pub async fn within<F: Future>(trace: Option<Traceparent>, work: F) -> F::Output {
    match trace {
        Some(trace) => Scope::from(trace).run(work).await,
        None => work.await,
    }
}

/// The trace that the caller is part of. What is spawned is part of none unless it is run [`within`] it.
pub fn current() -> Option<Traceparent> {
    CURRENT.try_with(Scope::context).ok().flatten()
}
