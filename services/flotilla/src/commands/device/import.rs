//! `flotilla device import`

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal as _, Read},
    path::PathBuf,
    time::{Duration, Instant},
};

use admin_service::api::{BulkCounts, BulkLine};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::{
    client::Client,
    exit::{Exit, Failure},
    import::{BadRow, Roster, RosterFormat},
    output::{self, Format, grouped},
};

/// Rows that one request carries.
const BLOCK_ROWS: usize = 10_000;
/// Octets after which a request is sent although it has fewer rows.
const BLOCK_OCTETS: usize = 4 << 20;

#[derive(Args, Debug)]
pub(super) struct ImportArgs {
    /// The file; `-` is standard input
    file: PathBuf,
    /// What it is written in; told by its name, else by how it begins
    #[arg(long, value_enum)]
    format: Option<RosterFormat>,
    /// Exit with 0 although rows were bad
    #[arg(long)]
    lenient: bool,
    /// Give devices that are there already the credentials of their rows, and their tags and address where the row has them
    #[arg(long)]
    replace: bool,
}

/// How an import ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Summary {
    /// Rows that were read.
    pub(crate) rows: u64,
    #[serde(flatten)]
    pub(crate) counts: BulkCounts,
}

pub(super) fn import(client: &Client, format: Format, args: &ImportArgs) -> Result<Exit, Failure> {
    let name = args.file.display().to_string();
    let bar = progress();
    let began = Instant::now();
    let mut report = |bad: &BadRow| {
        bar.suspend(|| eprintln!("{name}:{}: {}", bad.line, output::printable(bad.detail.clone())));
    };
    let how = How { format: args.format, replace: args.replace };
    let result = if name == "-" {
        import_from(client, &name, how, bar.wrap_read(io::stdin().lock()), &mut report)
    } else {
        let file = File::open(&args.file).map_err(|error| Failure::error(format!("{name}: {error}")))?;
        if let Ok(metadata) = file.metadata() {
            bar.set_length(metadata.len());
        }
        import_from(client, &name, how, bar.wrap_read(file), &mut report)
    };
    bar.finish_and_clear();
    let summary = result?;
    print_summary(format, summary, began.elapsed())?;
    Ok(if summary.counts.bad() > 0 && !args.lenient { Exit::Error } else { Exit::Ok })
}

/// How to read a roster, and what to do with it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct How {
    /// What it is written in, where that is not to be guessed.
    pub(crate) format: Option<RosterFormat>,
    /// Devices that are there get what their rows say.
    pub(crate) replace: bool,
}

/// Sends a roster's rows in blocks; bad rows go to `report`, in the order of their lines within a block.
pub(crate) fn import_from(
    client: &Client,
    name: &str,
    How { format, replace }: How,
    reader: impl Read,
    report: &mut dyn FnMut(&BadRow),
) -> Result<Summary, Failure> {
    let named = |error: io::Error| Failure::error(format!("{name}: {error}"));
    let mut reader = BufReader::with_capacity(1 << 16, reader);
    let beginning = reader.fill_buf().map_err(named)?;
    let format = format.unwrap_or_else(|| RosterFormat::guess(name, beginning));
    let mut roster =
        Roster::new(format, reader).map_err(|detail| Failure::error(format!("{name}: {detail}")))?;
    let mut summary = Summary::default();
    let mut block = Block::default();
    while let Some(row) = roster.next_row().map_err(named)? {
        summary.rows += 1;
        match row {
            Ok(row) => block.push(row.line, &row.json),
            Err(bad) => block.bad.push(bad),
        }
        if block.is_full() {
            summary.counts.add(block.send(client, replace, report)?);
        }
    }
    summary.counts.add(block.send(client, replace, report)?);
    Ok(summary)
}

/// Rows that are sent together.
#[derive(Default)]
struct Block {
    /// The file's line of each row.
    lines: Vec<u64>,
    body: Vec<u8>,
    /// Rows that are not worth sending.
    bad: Vec<BadRow>,
}

impl Block {
    fn push(&mut self, line: u64, json: &[u8]) {
        self.lines.push(line);
        self.body.extend_from_slice(json);
        self.body.push(b'\n');
    }

    fn is_full(&self) -> bool {
        self.lines.len() + self.bad.len() >= BLOCK_ROWS || self.body.len() >= BLOCK_OCTETS
    }

    /// Sends what there is and begins anew.
    fn send(
        &mut self,
        client: &Client,
        replace: bool,
        report: &mut dyn FnMut(&BadRow),
    ) -> Result<BulkCounts, Failure> {
        let Self { lines, body, mut bad } = std::mem::take(self);
        let mut counts = BulkCounts { invalid: bad.len() as u64, ..BulkCounts::default() };
        let mut outcome = Ok(());
        if let Some(first) = lines.first() {
            let answer = post(client, replace, &body);
            let taken = answer.and_then(|answer| read_answer(&answer, &lines, &mut bad));
            match taken {
                Ok(stored) => counts.add(stored),
                Err(failure) => {
                    outcome = Err(Failure::new(failure.exit, format!("stopped at line {first}: {failure}"))
                        .hint("what came before is stored; importing the file again goes on from there"));
                }
            }
        }
        bad.sort_by_key(|row| row.line);
        bad.iter().for_each(report);
        outcome.map(|()| counts)
    }
}

/// Sending rows again changes nothing, so a broken connection is tried again.
fn post(client: &Client, replace: bool, body: &[u8]) -> Result<String, Failure> {
    let path = match replace {
        true => "/v1/devices/bulk?results=bad&existing=replace",
        false => "/v1/devices/bulk?results=bad",
    };
    let mut pause = Duration::from_millis(500);
    for _ in 0..3 {
        match client.post_for_text(path, "application/x-ndjson", body) {
            Err(failure) if failure.is_transient() => std::thread::sleep(pause),
            done => return done,
        }
        pause *= 3;
    }
    client.post_for_text(path, "application/x-ndjson", body)
}

/// Takes the bad rows out of an answer, by the file's own lines, and its counts.
fn read_answer(answer: &str, lines: &[u64], bad: &mut Vec<BadRow>) -> Result<BulkCounts, Failure> {
    for text in answer.lines() {
        let line: BulkLine = serde_json::from_str(text)
            .map_err(|error| Failure::error(format!("the server's answer cannot be read: {error}")))?;
        match line {
            BulkLine::Summary { summary } => return Ok(summary),
            BulkLine::Stopped { problem } => return Err(problem.into()),
            BulkLine::Row(row) => {
                let at = usize::try_from(row.line).ok().and_then(|line| lines.get(line.checked_sub(1)?));
                bad.push(BadRow {
                    line: at.copied().unwrap_or(row.line),
                    detail: row.detail.unwrap_or_else(|| "refused".into()),
                });
            }
        }
    }
    Err(Failure::transient("the server's answer broke off"))
}

fn print_summary(format: Format, summary: Summary, took: Duration) -> Result<(), Failure> {
    if format == Format::Json {
        return output::print_json(&summary);
    }
    let BulkCounts { created, unchanged, replaced, conflict, invalid } = summary.counts;
    let mut text = format!("{} rows: {} added", grouped(summary.rows), grouped(created));
    let others =
        [(replaced, "replaced"), (unchanged, "unchanged"), (conflict, "in conflict"), (invalid, "not valid")];
    for (count, word) in others {
        if count > 0 {
            text.push_str(&format!(", {} {word}", grouped(count)));
        }
    }
    output::print_line(&format!("{text} ({:.1} s)", took.as_secs_f64()))
}

/// A bar for octets read; hidden unless standard error is a terminal.
fn progress() -> ProgressBar {
    let terminal = io::stderr().is_terminal();
    let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    match ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
