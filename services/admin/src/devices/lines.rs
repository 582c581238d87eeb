//! Lines out of a request's content, with a bound on each.

use std::time::Duration;

use axum::body::BodyDataStream;
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::StreamExt as _;

/// Octets of the longest line that is taken.
pub(super) const LINE_OCTETS_MAX: usize = 64 * 1024;
/// How long the next part of the content may take to come.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A line of the content.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Its text, without the line's end.
    Text(Bytes),
    /// It was longer than [`LINE_OCTETS_MAX`] and has been passed over.
    TooLong,
}

/// Splits a stream of octets into lines.
pub(super) struct Lines {
    stream: BodyDataStream,
    buffer: BytesMut,
    skipping: bool,
    ended: bool,
}

impl Lines {
    pub(super) fn new(stream: BodyDataStream) -> Self {
        Self { stream, buffer: BytesMut::new(), skipping: false, ended: false }
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    ///
    /// A sentence, when the content broke off or nothing came for too long.
    pub(super) async fn next(&mut self) -> Result<Option<Line>, String> {
        // Octets before `searched` are known to hold no line's end.
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|octet| *octet == b'\n') {
                let line = self.buffer.split_to(searched + at).freeze();
                self.buffer.advance(1);
                if std::mem::take(&mut self.skipping) || line.len() > LINE_OCTETS_MAX {
                    return Ok(Some(Line::TooLong));
                }
                return Ok(Some(Line::Text(line)));
            }
            if self.buffer.len() > LINE_OCTETS_MAX {
                self.skipping = true;
            }
            if self.skipping {
                self.buffer.clear();
            }
            searched = self.buffer.len();
            if self.ended {
                return Ok(self.last());
            }
            match tokio::time::timeout(IDLE_TIMEOUT, self.stream.next()).await {
                Err(_) => return Err(format!("nothing came for {} seconds", IDLE_TIMEOUT.as_secs())),
                Ok(Some(Err(error))) => return Err(format!("the content broke off: {error}")),
                Ok(Some(Ok(part))) => self.buffer.extend_from_slice(&part),
                Ok(None) => self.ended = true,
            }
        }
    }

    /// What stands after the last line's end.
    fn last(&mut self) -> Option<Line> {
        if std::mem::take(&mut self.skipping) {
            return Some(Line::TooLong);
        }
        let rest = self.buffer.split().freeze();
        (!rest.is_empty()).then_some(Line::Text(rest))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Body;

    use super::*;

    async fn lines_of(parts: &[&[u8]]) -> Vec<Line> {
        let parts: Vec<_> =
            parts.iter().map(|part| Ok::<_, Infallible>(Bytes::copy_from_slice(part))).collect();
        let body = Body::from_stream(futures_util::stream::iter(parts));
        let mut lines = Lines::new(body.into_data_stream());
        let mut out = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            out.push(line);
        }
        out
    }

    fn text(text: &'static str) -> Line {
        Line::Text(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn splits_wherever_the_parts_are_cut() {
        for parts in
            [&[&b"a\nbc\n\nd"[..]][..], &[b"a", b"\nb", b"c\n", b"\n", b"d"], &[b"a\nbc\n", b"\nd\n"]]
        {
            assert_eq!(lines_of(parts).await, [text("a"), text("bc"), text(""), text("d")], "{parts:?}");
        }
    }

    #[tokio::test]
    async fn passes_over_a_line_without_keeping_it() {
        let long = vec![b'x'; LINE_OCTETS_MAX];
        let parts: [&[u8]; 5] = [b"a\n", &long, &long, b"y\nb\n", &long];
        let lines = lines_of(&parts).await;
        assert_eq!(lines[..3], [text("a"), Line::TooLong, text("b")]);
        assert_eq!(lines.len(), 4, "a line of exactly the bound is taken");
        assert!(matches!(&lines[3], Line::Text(line) if line.len() == LINE_OCTETS_MAX));
    }
}
