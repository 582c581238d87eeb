//! The `Range` header (RFC 9110, section 14), as far as a download that is resumed needs it.

/// What to send of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Span {
    /// All of it: nothing else was asked for, or nothing that we serve.
    Whole,
    /// From `first` to `last`, both included.
    Part {
        /// The first octet.
        first: u64,
        /// The last octet.
        last: u64,
    },
    /// Nothing of it: what was asked for lies behind its end.
    Unsatisfiable,
}

/// Reads a `Range` header for a file of `size` octets.
///
/// One range is served. Several, other units, and what cannot be read are answered with the whole file, as the
/// header may always be (section 14.2).
pub(crate) fn parse(header: &str, size: u64) -> Span {
    let Some((unit, set)) = header.split_once('=') else { return Span::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Span::Whole;
    }
    let Some((first, last)) = set.trim().split_once('-') else { return Span::Whole };
    let (first, last) = (first.trim(), last.trim());
    match (number(first), number(last)) {
        // The last octets; more than there are is all there are.
        (None, Some(length)) if first.is_empty() => match length {
            0 => Span::Unsatisfiable,
            _ if size == 0 => Span::Unsatisfiable,
            length => Span::Part { first: size.saturating_sub(length), last: size - 1 },
        },
        (Some(first), None) if last.is_empty() => within(first, u64::MAX, size),
        (Some(first), Some(last)) if first <= last => within(first, last, size),
        _ => Span::Whole,
    }
}

fn within(first: u64, last: u64, size: u64) -> Span {
    if first < size { Span::Part { first, last: last.min(size - 1) } } else { Span::Unsatisfiable }
}

/// Digits only: `+5` is no number here. One beyond 64 bits is as good as the largest.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serves_one_range_and_refuses_what_lies_behind_the_end() {
        let part = |first, last| Span::Part { first, last };
        for (header, size, want) in [
            ("bytes=0-0", 10, part(0, 0)),
            ("bytes=0-9", 10, part(0, 9)),
            ("bytes=2-5", 10, part(2, 5)),
            ("bytes=5-", 10, part(5, 9)),
            ("bytes=5-99", 10, part(5, 9)),
            ("bytes=9-", 10, part(9, 9)),
            ("bytes=-3", 10, part(7, 9)),
            ("bytes=-99", 10, part(0, 9)),
            ("Bytes = 1 - 2", 10, part(1, 2)),
            ("bytes=0-18446744073709551615", 10, part(0, 9)),
            ("bytes=0-99999999999999999999999", 10, part(0, 9)),
            ("bytes=10-", 10, Span::Unsatisfiable),
            ("bytes=10-20", 10, Span::Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Span::Unsatisfiable),
            ("bytes=-0", 10, Span::Unsatisfiable),
            ("bytes=0-", 0, Span::Unsatisfiable),
            ("bytes=-1", 0, Span::Unsatisfiable),
            ("bytes=5-2", 10, Span::Whole),
            ("bytes=0-1,3-4", 10, Span::Whole),
            ("bytes=", 10, Span::Whole),
            ("bytes=-", 10, Span::Whole),
            ("bytes=a-b", 10, Span::Whole),
            ("bytes=+1-2", 10, Span::Whole),
            ("items=0-1", 10, Span::Whole),
            ("bytes 0-1", 10, Span::Whole),
            ("", 10, Span::Whole),
        ] {
            assert_eq!(parse(header, size), want, "{header:?} of {size}");
        }
    }
}
