//! What commands print.
//!
//! The form does not depend on where it goes: a table stays a table in a pipe, so that a command shows in a script
//! what it showed when it was tried. Only colours and live progress need a terminal.

use std::io::{self, IsTerminal as _, Write};

use clap::ValueEnum;
use jiff::{Timestamp, Unit, tz::TimeZone};
use serde::Serialize;

use crate::exit::Failure;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns for people.
    #[default]
    Table,
    /// One JSON document: the API's own words.
    Json,
}

/// Rows of columns, aligned when printed.
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.headings.len(), "a cell a column");
        self.rows.push(cells.into_iter().map(printable).collect());
    }

    /// Writes the table; headings are bold where `colours` says so.
    pub(crate) fn write(&self, out: &mut dyn Write, colours: bool) -> io::Result<()> {
        let mut widths: Vec<_> = self.headings.iter().map(|heading| heading.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let headings: Vec<_> = self.headings.iter().map(|heading| (*heading).to_owned()).collect();
        if colours {
            write!(out, "\x1b[1m")?;
        }
        write!(out, "{}", line(&headings, &widths))?;
        writeln!(out, "{}", if colours { "\x1b[0m" } else { "" })?;
        for row in &self.rows {
            writeln!(out, "{}", line(row, &widths))?;
        }
        Ok(())
    }

    /// Prints the table on standard output.
    pub(crate) fn print(&self) -> Result<(), Failure> {
        written(self.write(&mut io::stdout().lock(), colours()))
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        text.push_str(cell);
        let pad = width.saturating_sub(cell.chars().count()) + 2;
        text.extend(std::iter::repeat_n(' ', pad));
    }
    text.truncate(text.trim_end().len());
    text
}

/// What a device sent may hold anything; a terminal gets no control characters of it.
pub(crate) fn printable(text: String) -> String {
    if text.contains(char::is_control) {
        text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
    } else {
        text
    }
}

/// Prints names and values below each other.
pub(crate) fn print_pairs(pairs: &[(&str, String)]) -> Result<(), Failure> {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut out = io::stdout().lock();
    for (name, value) in pairs {
        written(writeln!(out, "{name:width$}  {}", printable(value.clone())))?;
    }
    Ok(())
}

/// Prints a value as JSON.
pub(crate) fn print_json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::error(error.to_string()))?;
    written(writeln!(out, "{text}"))
}

/// Prints a line.
pub(crate) fn print_line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    written(writeln!(out, "{text}").and_then(|()| out.flush()))
}

/// A reader that has enough (`flotilla device list | head`) is no error: there is nobody to print for, so the
/// command ends.
pub(crate) fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}

/// Whether standard output takes colours.
pub(crate) fn colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// An instant for people: to the second, in UTC.
pub(crate) fn instant(at: Timestamp) -> String {
    let second = at.round(Unit::Second).unwrap_or(at);
    second.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// An instant that may be none.
pub(crate) fn instant_or_dash(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "-".into(), instant)
}

/// A text, or a dash where there is none.
pub(crate) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".into() } else { text.into() }
}

/// Octets for people.
pub(crate) fn octets(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A number in groups of three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_columns_and_leaves_no_trailing_space() {
        let mut table = Table::new(&["ID", "AUTH"]);
        table.row(vec!["a-long-name".into(), "md5".into()]);
        table.row(vec!["é".into(), "-".into()]);
        let mut out = Vec::new();
        table.write(&mut out, false).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "ID           AUTH\na-long-name  md5\né            -\n");
    }

    #[test]
    fn shows_no_control_characters_of_a_device() {
        assert_eq!(printable("\x1b[2Jx".into()), "\u{fffd}[2Jx");
    }

    #[test]
    fn numbers_read_well() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        for (count, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")] {
            assert_eq!(octets(count), text);
        }
        assert_eq!(instant("2026-01-02T03:04:05.6Z".parse().unwrap()), "2026-01-02 03:04:06Z");
    }
}
