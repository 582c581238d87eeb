//! Durations and shares as people write them and as the store keeps them.

use std::fmt;

use jiff::{SignedDuration, SpanRelativeTo, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A length of time of whole milliseconds, up to 10 years. Written `90s`, `30m`, `12h`, `7d`, `1d 12h`; a day is 24 hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period {
    ms: u64,
}

impl Period {
    /// The longest.
    pub const MAX: Self = Self { ms: 10 * 365 * 24 * 3_600_000 };
    /// None.
    pub const ZERO: Self = Self { ms: 0 };

    /// So many milliseconds, at most [`Period::MAX`].
    pub const fn from_ms(ms: u64) -> Self {
        if ms > Self::MAX.ms { Self::MAX } else { Self { ms } }
    }

    /// So many seconds, at most [`Period::MAX`].
    pub const fn from_secs(secs: u64) -> Self {
        Self::from_ms(secs.saturating_mul(1000))
    }

    /// In milliseconds.
    pub const fn as_ms(self) -> u64 {
        self.ms
    }

    /// This long after `start`; the last instant there is where that would be later.
    pub fn after(self, start: Timestamp) -> Timestamp {
        let ms = i64::try_from(self.ms).unwrap_or(i64::MAX);
        start.saturating_add(SignedDuration::from_millis(ms)).unwrap_or(Timestamp::MAX)
    }

    /// Both one after the other, at most [`Period::MAX`].
    pub const fn plus(self, other: Self) -> Self {
        Self::from_ms(self.ms.saturating_add(other.ms))
    }

    /// Reads `30m` and the like.
    ///
    /// # Errors
    ///
    /// A sentence that says what was expected and what came.
    pub fn parse(text: &str) -> Result<Self, PeriodError> {
        let wrong = || PeriodError(text.into());
        let span: jiff::Span = text.parse().map_err(|_| wrong())?;
        let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
        let ms = u64::try_from(length.as_millis()).map_err(|_| wrong())?;
        if ms > Self::MAX.ms || length.subsec_nanos() % 1_000_000 != 0 {
            return Err(wrong());
        }
        Ok(Self { ms })
    }
}

/// A text that is no [`Period`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a duration such as 90s, 30m, 12h or 7d, of at most 10 years, got {0:?}")]
pub struct PeriodError(Box<str>);

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.ms;
        let mut first = true;
        for (unit_ms, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")] {
            let (count, left) = (rest / unit_ms, rest % unit_ms);
            if count > 0 {
                write!(f, "{}{count}{unit}", if first { "" } else { " " })?;
                first = false;
            }
            rest = left;
        }
        if first { f.write_str("0s") } else { Ok(()) }
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u64(self.ms)
        }
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
        } else {
            Ok(Self::from_ms(u64::deserialize(deserializer)?))
        }
    }
}

/// A share of a whole in millionths, from 0 to 1,000,000. Written as a percentage: `12.5`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Share {
    ppm: u32,
}

impl Share {
    /// The whole.
    pub const ALL: Self = Self { ppm: 1_000_000 };

    /// So many whole percent, at most all.
    pub const fn from_percent(percent: u32) -> Self {
        if percent >= 100 { Self::ALL } else { Self { ppm: percent * 10_000 } }
    }

    /// A percentage from 0 to 100, to four places.
    pub fn try_from_percent(percent: f64) -> Option<Self> {
        // The range is checked first, so the cast cannot cut anything off.
        (0.0..=100.0).contains(&percent).then(|| Self { ppm: (percent * 10_000.0).round() as u32 })
    }

    /// As a percentage.
    pub fn as_percent(self) -> f64 {
        f64::from(self.ppm) / 10_000.0
    }

    /// The two together, or `None` where that is more than all.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let ppm = self.ppm + other.ppm;
        (ppm <= Self::ALL.ppm).then_some(Self { ppm })
    }

    /// This share of `whole`, rounded up: the smallest count that is at least the share.
    pub fn of(self, whole: u32) -> u32 {
        let product = u64::from(self.ppm) * u64::from(whole);
        // At most `whole`, since the share is at most all.
        product.div_ceil(1_000_000) as u32
    }

    /// `part` of `whole` is more than this share.
    pub fn is_below(self, part: u32, whole: u32) -> bool {
        u64::from(part) * 1_000_000 > u64::from(self.ppm) * u64::from(whole)
    }

    /// `part` of `whole` is less than this share.
    pub fn is_above(self, part: u32, whole: u32) -> bool {
        u64::from(part) * 1_000_000 < u64::from(self.ppm) * u64::from(whole)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.as_percent())
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_f64(self.as_percent())
        } else {
            serializer.serialize_u32(self.ppm)
        }
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let share = if deserializer.is_human_readable() {
            Self::try_from_percent(f64::deserialize(deserializer)?)
        } else {
            let ppm = u32::deserialize(deserializer)?;
            (ppm <= Self::ALL.ppm).then_some(Self { ppm })
        };
        share.ok_or_else(|| D::Error::custom("expected a percentage from 0 to 100"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_read_what_people_write_and_write_what_they_read() {
        for (text, ms, shown) in [
            ("30m", 1_800_000, "30m"),
            ("7d", 604_800_000, "7d"),
            ("2w", 1_209_600_000, "14d"),
            ("1d 12h", 129_600_000, "1d 12h"),
            ("250ms", 250, "250ms"),
            ("PT1H", 3_600_000, "1h"),
            ("0s", 0, "0s"),
        ] {
            let period = Period::parse(text).unwrap();
            assert_eq!((period.as_ms(), period.to_string().as_str()), (ms, shown), "{text}");
            assert_eq!(Period::parse(&period.to_string()).unwrap(), period);
        }
        for text in ["", "30", "-5m", "11y", "soon", "1 month"] {
            assert!(Period::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_round_up_and_compare_without_rounding() {
        assert_eq!(Share::from_percent(1).of(10), 1);
        assert_eq!(Share::from_percent(0).of(10), 0);
        assert_eq!(Share::ALL.of(u32::MAX), u32::MAX);
        let third = Share::try_from_percent(33.3333).unwrap();
        assert!(third.is_below(1, 3), "a third is more than 33.3333 %");
        assert!(!Share::from_percent(50).is_below(1, 2) && !Share::from_percent(50).is_above(1, 2));
        assert_eq!(Share::try_from_percent(100.1), None);
        assert_eq!(Share::try_from_percent(f64::NAN), None);
    }
}
