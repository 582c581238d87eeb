//! Types of single settings. Their bounds are in the type, so a value that was read is a value that fits.

use std::{fmt, num::NonZeroU32, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Count<MIN, MAX> {
    /// A number known at compile time to fit; the compilation fails where it does not.
    pub const fn of(value: u64) -> Self {
        assert!(MIN <= value && value <= MAX, "the value is out of the setting's bounds");
        Self(value)
    }

    /// The number.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The number, for a length or a count of things in memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// The number, as a bound that 0 leaves out.
    pub fn as_bound(self) -> Option<NonZeroU32> {
        NonZeroU32::new(u32::try_from(self.0).unwrap_or(u32::MAX))
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Count<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = i64::deserialize(from)?;
        match u64::try_from(value) {
            Ok(value) if (MIN..=MAX).contains(&value) => Ok(Self(value)),
            _ => Err(D::Error::custom(format!("expected a number from {MIN} to {MAX}, got {value}"))),
        }
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Count<MIN, MAX> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(self.0)
    }
}

/// A size in octets from `MIN` to `MAX`, written as a number or with a unit: `65536`, `"64 KiB"`, `"2MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Octets<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Octets<MIN, MAX> {
    /// A size known at compile time to fit; the compilation fails where it does not.
    pub const fn of(value: u64) -> Self {
        assert!(MIN <= value && value <= MAX, "the value is out of the setting's bounds");
        Self(value)
    }

    /// The size.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The size, for a length in memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Units of a size, the longest name first so that `KiB` is not read as `B`.
const SIZE_UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)];

fn parse_octets(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = SIZE_UNITS
        .iter()
        .find_map(|(name, unit)| text.strip_suffix(name).map(|number| (number, *unit)))
        .unwrap_or((text, 1));
    number.trim().parse::<u64>().ok()?.checked_mul(unit)
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Octets<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (value, shown) = match NumberOrText::deserialize(from)? {
            NumberOrText::Number(number) => (u64::try_from(number).ok(), number.to_string()),
            NumberOrText::Text(text) => (parse_octets(&text), text),
        };
        value.filter(|value| (MIN..=MAX).contains(value)).map(Self).ok_or_else(|| {
            let expected = format!("{} to {}", show_octets(MIN), show_octets(MAX));
            D::Error::custom(format!("expected a size from {expected}, got {shown}"))
        })
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Octets<MIN, MAX> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&show_octets(self.0))
    }
}

fn show_octets(value: u64) -> String {
    for (name, unit) in [SIZE_UNITS[2], SIZE_UNITS[1], SIZE_UNITS[0]] {
        if value != 0 && value.is_multiple_of(unit) {
            return format!("{} {name}", value / unit);
        }
    }
    format!("{value} B")
}

/// A span of time from `MIN_MS` to `MAX_MS` milliseconds, written with its unit: `"30s"`, `"500ms"`, `"1h 30m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span<const MIN_MS: u64, const MAX_MS: u64>(Duration);

impl<const MIN_MS: u64, const MAX_MS: u64> Span<MIN_MS, MAX_MS> {
    /// A span known at compile time to fit; the compilation fails where it does not.
    pub const fn of_ms(ms: u64) -> Self {
        assert!(MIN_MS <= ms && ms <= MAX_MS, "the value is out of the setting's bounds");
        Self(Duration::from_millis(ms))
    }

    /// The span.
    pub const fn value(self) -> Duration {
        self.0
    }
}

impl<'de, const MIN_MS: u64, const MAX_MS: u64> Deserialize<'de> for Span<MIN_MS, MAX_MS> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = match NumberOrText::deserialize(from)? {
            NumberOrText::Number(number) => {
                let expected = "expected a span of time with its unit, such as \"30s\"";
                return Err(D::Error::custom(format!("{expected}, got the bare number {number}")));
            }
            NumberOrText::Text(text) => text,
        };
        let (least, most) = (Duration::from_millis(MIN_MS), Duration::from_millis(MAX_MS));
        text.parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|span| Duration::try_from(span).ok())
            .filter(|span| (least..=most).contains(span))
            .map(Self)
            .ok_or_else(|| {
                let expected = format!("{} to {}", show_span(least), show_span(most));
                D::Error::custom(format!("expected a span of time from {expected}, got {text}"))
            })
    }
}

impl<const MIN_MS: u64, const MAX_MS: u64> Serialize for Span<MIN_MS, MAX_MS> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&show_span(self.0))
    }
}

fn show_span(span: Duration) -> String {
    jiff::SignedDuration::try_from(span).map_or_else(|_| format!("{span:?}"), |span| format!("{span:#}"))
}

/// A part of a whole, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio(f64);

impl Ratio {
    /// All of it.
    pub const ONE: Self = Self(1.0);

    /// The part.
    pub const fn value(self) -> f64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Whole(i64),
            Part(f64),
            Text(String),
        }
        let (part, shown) = match Written::deserialize(from)? {
            Written::Whole(whole) => (Some(whole as f64), whole.to_string()),
            Written::Part(part) => (Some(part), part.to_string()),
            Written::Text(text) => (text.parse().ok(), text),
        };
        part.filter(|part| (0.0..=1.0).contains(part))
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("expected a number from 0 to 1, got {shown}")))
    }
}

/// An address that something is reached by, such as that under which devices reach the session front-end: `http://` or `https://`, a host, perhaps a port
/// and a path prefix; without query, fragment or trailing `/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Checks and takes an address.
    ///
    /// # Errors
    ///
    /// A sentence that says what was expected and what came.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("expected {what}, got {text}"));
        let trimmed = text.trim_end_matches('/');
        let Ok(uri) = trimmed.parse::<::http::Uri>() else {
            return wrong("an address such as https://dm.example.org");
        };
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
            return wrong("an address that begins with http:// or https:// and a host");
        }
        if uri.query().is_some() || trimmed.contains('#') || trimmed.contains('@') {
            return wrong("an address without user, query and fragment");
        }
        Ok(Self(trimmed.to_owned()))
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PublicUrl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// What both a file (`65536`) and a command line (`65536` as text) give.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(i64),
    Text(String),
}
