//! A roster's rows as the lines that the API's bulk request takes.

use std::io::{self, BufRead};

use clap::ValueEnum;
use serde_json::{Map, Value};

/// Octets of the longest row that is taken; the server's bound.
const ROW_OCTETS_MAX: usize = 64 * 1024;

/// The columns of a CSV roster.
const COLUMNS: [&str; 11] = [
    "id",
    "auth",
    "user",
    "password",
    "server_id",
    "server_password",
    "server_auth",
    "client_nonce",
    "server_nonce",
    "notify_address",
    "tags",
];

/// What a roster is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RosterFormat {
    /// Comma-separated, with a header line
    Csv,
    /// One JSON object a line
    Ndjson,
}

impl RosterFormat {
    /// By the file's name, else by how its content begins.
    pub(crate) fn guess(name: &str, beginning: &[u8]) -> Self {
        let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
        match extension.as_deref() {
            Some("csv") => Self::Csv,
            Some("ndjson" | "jsonl" | "json") => Self::Ndjson,
            _ if beginning.trim_ascii_start().starts_with(b"{") => Self::Ndjson,
            _ => Self::Csv,
        }
    }
}

/// A row that cannot be sent, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadRow {
    /// Its line in the file, from 1.
    pub(crate) line: u64,
    pub(crate) detail: String,
}

/// A row of the file as a line of NDJSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its line in the file, from 1.
    pub(crate) line: u64,
    pub(crate) json: Vec<u8>,
}

/// A roster that is being read.
pub(crate) enum Roster<R> {
    Csv { reader: csv::Reader<R>, columns: Vec<&'static str>, record: csv::StringRecord },
    Ndjson { reader: R, line: u64, buffer: Vec<u8> },
}

impl<R: BufRead> Roster<R> {
    /// Begins to read; of a CSV the header is read and checked.
    pub(crate) fn new(format: RosterFormat, reader: R) -> Result<Self, String> {
        match format {
            RosterFormat::Ndjson => Ok(Self::Ndjson { reader, line: 0, buffer: Vec::new() }),
            RosterFormat::Csv => {
                let mut reader =
                    csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::Headers).from_reader(reader);
                let header = reader.headers().map_err(|error| format!("cannot read the header: {error}"))?;
                let columns = parse_header(header)?;
                Ok(Self::Csv { reader, columns, record: csv::StringRecord::new() })
            }
        }
    }

    /// The next row, or what is wrong with it; `None` at the end.
    ///
    /// # Errors
    ///
    /// When the file cannot be read any further.
    pub(crate) fn next_row(&mut self) -> io::Result<Option<Result<Row, BadRow>>> {
        match self {
            Self::Csv { reader, columns, record } => next_csv(reader, columns, record),
            Self::Ndjson { reader, line, buffer } => next_ndjson(reader, line, buffer),
        }
    }
}

fn parse_header(header: &csv::StringRecord) -> Result<Vec<&'static str>, String> {
    let mut columns = Vec::new();
    for name in header {
        let plain = name.trim_start_matches('\u{feff}').to_ascii_lowercase().replace('-', "_");
        match COLUMNS.iter().find(|column| **column == plain) {
            Some(column) if columns.contains(column) => {
                return Err(format!("line 1: column {column} is there twice"));
            }
            Some(column) => columns.push(*column),
            None => {
                let known = COLUMNS.join(", ");
                return Err(format!("line 1: expected columns out of {known}; got {name:?}"));
            }
        }
    }
    if columns.contains(&"id") {
        Ok(columns)
    } else {
        Err("line 1: expected a column id; there is none".into())
    }
}

fn next_csv<R: io::Read>(
    reader: &mut csv::Reader<R>,
    columns: &[&'static str],
    record: &mut csv::StringRecord,
) -> io::Result<Option<Result<Row, BadRow>>> {
    let began = reader.position().line();
    match reader.read_record(record) {
        Ok(false) => Ok(None),
        Ok(true) => {
            // The reader counts a record from the blank lines before it on, so its line is counted from its end.
            let inside = record.iter().flat_map(str::bytes).filter(|octet| *octet == b'\n').count() as u64;
            let line = began.max(reader.position().line().saturating_sub(inside + 1));
            Ok(Some(
                csv_row(columns, record)
                    .map(|json| Row { line, json })
                    .map_err(|detail| BadRow { line, detail }),
            ))
        }
        Err(error) => match error.kind() {
            csv::ErrorKind::Io(_) => Err(error.into()),
            csv::ErrorKind::Utf8 { pos, err } => {
                let line = pos.as_ref().map_or(began, csv::Position::line);
                let column = columns.get(err.field()).copied().unwrap_or("a column");
                Ok(Some(Err(BadRow {
                    line,
                    detail: format!("{column}: expected UTF-8 text, got other octets"),
                })))
            }
            _ => Ok(Some(Err(BadRow { line: began, detail: error.to_string() }))),
        },
    }
}

fn csv_row(columns: &[&'static str], record: &csv::StringRecord) -> Result<Vec<u8>, String> {
    if record.len() != columns.len() {
        return Err(format!("expected {} columns, got {}", columns.len(), record.len()));
    }
    let mut object = Map::new();
    for (column, cell) in columns.iter().zip(record) {
        // Spaces belong to a password and to nothing else.
        let cell = if column.ends_with("password") { cell } else { cell.trim() };
        if cell.is_empty() && *column != "id" {
            continue;
        }
        let value = match *column {
            "tags" => {
                let tags = cell.split([';', ',', ' ']).filter(|tag| !tag.is_empty());
                Value::Array(tags.map(Value::from).collect())
            }
            "auth" | "server_auth" => Value::from(cell.to_ascii_lowercase()),
            _ => Value::from(cell),
        };
        object.insert((*column).to_owned(), value);
    }
    let json = serde_json::to_vec(&object).map_err(|error| error.to_string())?;
    if json.len() > ROW_OCTETS_MAX { Err(too_long()) } else { Ok(json) }
}

fn next_ndjson<R: BufRead>(
    reader: &mut R,
    line: &mut u64,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<Result<Row, BadRow>>> {
    loop {
        buffer.clear();
        let Some(whole) = read_line(reader, buffer)? else { return Ok(None) };
        *line += 1;
        if !whole {
            return Ok(Some(Err(BadRow { line: *line, detail: too_long() })));
        }
        let text = buffer.trim_ascii();
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        if !text.is_empty() {
            return Ok(Some(Ok(Row { line: *line, json: text.to_vec() })));
        }
    }
}

fn too_long() -> String {
    format!("expected at most {ROW_OCTETS_MAX} octets in a row, got more")
}

/// Reads a line into `buffer`; `Some(false)` for one that is too long, which is passed over without keeping it.
fn read_line<R: BufRead>(reader: &mut R, buffer: &mut Vec<u8>) -> io::Result<Option<bool>> {
    let (mut any, mut whole) = (false, true);
    loop {
        let part = reader.fill_buf()?;
        if part.is_empty() {
            return Ok(any.then_some(whole));
        }
        any = true;
        let end = part.iter().position(|octet| *octet == b'\n');
        let text = &part[..end.unwrap_or(part.len())];
        whole &= buffer.len() + text.len() <= ROW_OCTETS_MAX;
        if whole {
            buffer.extend_from_slice(text);
        }
        let used = end.map_or(part.len(), |at| at + 1);
        reader.consume(used);
        if end.is_some() {
            return Ok(Some(whole));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Outcome = Result<(u64, String), (u64, String)>;

    fn rows(format: RosterFormat, text: &[u8]) -> Vec<Outcome> {
        let mut roster = Roster::new(format, text).unwrap();
        let mut out = Vec::new();
        while let Some(row) = roster.next_row().unwrap() {
            out.push(match row {
                Ok(row) => Ok((row.line, String::from_utf8(row.json).unwrap())),
                Err(bad) => Err((bad.line, bad.detail)),
            });
        }
        out
    }

    #[test]
    fn csv_rows_keep_their_lines_and_bad_ones_do_not_stop_the_rest() {
        let text = b"\xef\xbb\xbfID,auth,user,password,tags\n\
            a,MD5,u, p ,x;y\n\
            \n\
            b,none,,,\n\
            c,none\n\
            \"d\n\",none,,,\n\
            \xff,none,,,\n\
            e,none,,,";
        let rows = rows(RosterFormat::Csv, text);
        let ok = |line, json: &str| Ok((line, json.to_owned()));
        assert_eq!(
            rows,
            [
                ok(2, r#"{"auth":"md5","id":"a","password":" p ","tags":["x","y"],"user":"u"}"#),
                ok(4, r#"{"auth":"none","id":"b"}"#),
                Err((5, "expected 5 columns, got 2".into())),
                ok(6, r#"{"auth":"none","id":"d"}"#),
                Err((8, "id: expected UTF-8 text, got other octets".into())),
                ok(9, r#"{"auth":"none","id":"e"}"#),
            ]
        );
    }

    #[test]
    fn a_header_that_is_not_understood_stops_the_import() {
        for (header, word) in [("id,passwort\n", "passwort"), ("auth\n", "column id"), ("id,id\n", "twice")] {
            let error = Roster::new(RosterFormat::Csv, header.as_bytes()).err().unwrap();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn ndjson_lines_keep_their_numbers() {
        let long = format!("{{\"id\":\"{}\"}}", "x".repeat(ROW_OCTETS_MAX));
        let text = format!("{{\"id\":\"a\"}}\r\n\n{long}\n{{\"id\":\"b\"}}");
        assert_eq!(
            rows(RosterFormat::Ndjson, text.as_bytes()),
            [Ok((1, r#"{"id":"a"}"#.into())), Err((3, too_long())), Ok((4, r#"{"id":"b"}"#.into()))]
        );
    }

    #[test]
    fn the_form_is_told_by_name_and_then_by_content() {
        for (name, beginning, format) in [
            ("a.csv", &b"{"[..], RosterFormat::Csv),
            ("a.NDJSON", b"id", RosterFormat::Ndjson),
            ("-", b" \n{\"id\"", RosterFormat::Ndjson),
            ("-", b"id,auth", RosterFormat::Csv),
        ] {
            assert_eq!(RosterFormat::guess(name, beginning), format, "{name}");
        }
    }
}
