//! The trace that what is being done belongs to, carried beside the calls (W3C Trace Context, level 1).
//!
//! Whoever begins something names its trace with [`within`]; a backend that sends it on to other processes asks
//! [`current`]. No store decides anything by it.

use std::{fmt, future::Future, str::FromStr};

tokio::task_local! {
    static CURRENT: Traceparent;
}

/// A position in a trace: the header `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traceparent {
    /// Names the trace; never all zero.
    pub trace: [u8; 16],
    /// Names what was done; never all zero.
    pub span: [u8; 8],
    /// Somebody keeps the trace.
    pub is_sampled: bool,
}

/// A text that is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a traceparent such as 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
pub struct BadTraceparent;

impl Traceparent {
    /// A new trace; `None` where the system gives no random octets, and what is done is done without one.
    pub fn draw() -> Option<Self> {
        let mut random = [0; 24];
        getrandom::fill(&mut random).ok()?;
        Self::begin(random)
    }

    /// A new trace of these random octets; `None` where they are all zero.
    fn begin(random: [u8; 24]) -> Option<Self> {
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        trace.copy_from_slice(&random[..16]);
        span.copy_from_slice(&random[16..]);
        (trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, is_sampled: true })
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        self.trace.iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
        f.write_str("-")?;
        self.span.iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
        write!(f, "-{:02x}", u8::from(self.is_sampled))
    }
}

impl FromStr for Traceparent {
    type Err = BadTraceparent;

    /// Reads version 00, and of later versions what they have in common with it (Trace Context 3.2.4).
    fn from_str(text: &str) -> Result<Self, BadTraceparent> {
        let mut parts = text.split('-');
        let version: [u8; 1] = part(parts.next())?;
        let (trace, span, [flags]) = (part(parts.next())?, part(parts.next())?, part(parts.next())?);
        let is_closed = version != [0] || parts.next().is_none();
        if version == [0xff] || !is_closed || trace == [0; 16] || span == [0; 8] {
            return Err(BadTraceparent);
        }
        Ok(Self { trace, span, is_sampled: flags & 1 == 1 })
    }
}

/// Lower-case hexadecimal digits of exactly this many octets.
fn part<const N: usize>(text: Option<&str>) -> Result<[u8; N], BadTraceparent> {
    let text = text.filter(|text| text.len() == 2 * N).ok_or(BadTraceparent)?;
    let digit = |octet: u8| match octet {
        b'0'..=b'9' => Ok(octet - b'0'),
        b'a'..=b'f' => Ok(octet - b'a' + 10),
        _ => Err(BadTraceparent),
    };
    let mut octets = [0; N];
    for (octet, pair) in octets.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return Err(BadTraceparent) };
        *octet = digit(*high)? << 4 | digit(*low)?;
    }
    Ok(octets)
}

/// Runs something as part of a trace.
pub async fn within<F: Future>(trace: Option<Traceparent>, work: F) -> F::Output {
    match trace {
        Some(trace) => CURRENT.scope(trace, work).await,
        None => work.await,
    }
}

/// The trace that the caller is part of. What is spawned is part of none unless it is run [`within`] it.
pub fn current() -> Option<Traceparent> {
    CURRENT.try_with(|trace| *trace).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_and_written() {
        let read: Traceparent = TEXT.parse().unwrap();
        assert!(read.is_sampled);
        assert_eq!(read.to_string(), TEXT);
        let later = TEXT.replace("00-0a", "01-0a") + "-more";
        assert_eq!(later.parse(), Ok(read), "a later version says more");
        for wrong in [
            "",
            "00",
            &TEXT[1..],
            &TEXT.to_uppercase(),
            &(TEXT.to_owned() + "-more"),
            &TEXT.replace("00-0a", "ff-0a"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319ü-b7ad6b7169203331-01",
        ] {
            assert_eq!(wrong.parse::<Traceparent>(), Err(BadTraceparent), "{wrong}");
        }
    }

    #[tokio::test]
    async fn what_is_run_within_a_trace_knows_it_and_nothing_else_does() {
        let trace = Traceparent::begin([7; 24]);
        assert_eq!(within(trace, async { current() }).await, trace);
        assert_eq!(current(), None);
        let spawned = within(trace, async { tokio::spawn(async { current() }).await }).await;
        assert_eq!(spawned.unwrap(), None);
        assert_eq!(Traceparent::begin([0; 24]), None);
    }
}
