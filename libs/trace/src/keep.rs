//! Who keeps traces, and what is kept.

use std::{
    borrow::Cow,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use crate::Traceparent;

/// Takes spans that have ended.
pub trait Sink: Send + Sync {
    /// Takes one. It must not block: it is called wherever a span ends.
    fn take(&self, span: Finished);
}

/// Which side of a call a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Neither.
    Internal,
    /// Answers a request.
    Server,
    /// Makes one.
    Client,
    /// Publishes messages.
    Producer,
    /// Takes messages in.
    Consumer,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// A span that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The trace, and the span's own name in it.
    pub context: Traceparent,
    /// The span that it is a part of; `None` for the root of a trace.
    pub parent: Option<[u8; 8]>,
    /// What was done, from a closed set.
    pub name: &'static str,
    /// Which side of a call it is.
    pub kind: Kind,
    /// When it began.
    pub begun: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// Facts, each name once.
    pub attributes: Vec<(&'static str, Value)>,
    /// Spans of other traces that it has to do with.
    pub links: Vec<Traceparent>,
    /// What went wrong, where something did.
    pub failure: Option<String>,
}

struct Keeper {
    sink: Box<dyn Sink>,
    /// Of 2^56 traces so many are kept.
    kept_below: u64,
}

static KEEPER: OnceLock<Keeper> = OnceLock::new();
/// Random numbers that a trace may have in its last seven octets (Trace Context level 2, 3.2.2.5.1).
const NUMBERS: f64 = (1_u64 << 56) as f64;

/// From here on this process keeps traces: of those that begin in it this part (0 to 1), of others those that their
/// beginners keep. False where somebody keeps them already; nothing changes then.
pub fn install(sink: Box<dyn Sink>, ratio: f64) -> bool {
    let kept_below = (ratio.clamp(0.0, 1.0) * NUMBERS) as u64;
    KEEPER.set(Keeper { sink, kept_below }).is_ok()
}

/// Somebody keeps traces.
pub fn is_on() -> bool {
    KEEPER.get().is_some()
}

/// A new trace, if it is one of those that are kept.
pub fn begin() -> Option<Traceparent> {
    let keeper = KEEPER.get()?;
    let drawn = Traceparent::draw()?;
    is_kept(drawn.trace, keeper.kept_below).then_some(Traceparent { is_sampled: true, ..drawn })
}

pub(crate) fn is_kept(trace: [u8; 16], kept_below: u64) -> bool {
    let [.., a, b, c, d, e, f, g] = trace;
    u64::from_be_bytes([0, a, b, c, d, e, f, g]) < kept_below
}

/// Hands a span over.
pub(crate) fn keep(span: Finished) {
    if let Some(keeper) = KEEPER.get() {
        keeper.sink.take(span);
    }
}

/// The name of a new span: a random number of the process's, stepped through all numbers (splitmix64).
pub(crate) fn draw_span() -> [u8; 8] {
    static SEED: OnceLock<u64> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let seed = *SEED.get_or_init(|| {
        let mut octets = [0; 8];
        // Without randomness names are unique only within the process, which draws no traces then.
        let _ = getrandom::fill(&mut octets);
        u64::from_ne_bytes(octets)
    });
    let step = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut mixed = seed.wrapping_add(step);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    // One number of all is no name.
    (mixed ^ (mixed >> 31)).max(1).to_be_bytes()
}
