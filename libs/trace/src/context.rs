//! A position in a trace: the header `traceparent`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A position in a trace: the header `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// A new trace that nobody keeps; `None` where the system gives no random octets, and what is done is done without
    /// one.
    pub fn draw() -> Option<Self> {
        let mut random = [0; 24];
        getrandom::fill(&mut random).ok()?;
        Self::of_random(random)
    }

    /// A new trace of these random octets; `None` where they are all zero.
    pub(crate) fn of_random(random: [u8; 24]) -> Option<Self> {
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        trace.copy_from_slice(&random[..16]);
        span.copy_from_slice(&random[16..]);
        (trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, is_sampled: false })
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

    #[test]
    fn a_trace_without_a_name_is_none() {
        assert_eq!(Traceparent::of_random([0; 24]), None);
        assert_ne!(Traceparent::draw(), Traceparent::draw());
    }
}
