//! `flotilla backup` and `flotilla restore`

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use jiff::{Timestamp, tz::TimeZone};
use storage::{
    Embedded, Stores, TenantId,
    backup::{self, BackupError, Head, Totals},
};
use transfer::{Settled, Side, settle};

use crate::{
    client::ClientArgs,
    exit::{Exit, Failure},
    output::{self, grouped},
};

/// What the names of backups in a folder begin and end with.
const NAME: (&str, &str) = ("flotilla-", ".backup");

#[derive(Args, Debug)]
pub(crate) struct BackupArgs {
    /// The file to write
    #[arg(long, value_name = "FILE", required_unless_present = "into")]
    output: Option<PathBuf>,
    /// A folder, which is there, to write it into, named by its time
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    into: Option<PathBuf>,
    /// How many backups of the folder to keep, this one among them; the oldest go
    #[arg(long, value_name = "N", requires = "into", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// What `flotilla backup` made
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The data directory to make: empty, or not there yet
    #[arg(long, env = "FLOTILLA_DATA", value_name = "DIR", required_unless_present = "check")]
    data: Option<PathBuf>,
    /// The keys that credentials are sealed with, where the server had secrets.key_file
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Only check that the file is whole and as it was written
    #[arg(long)]
    check: bool,
}

pub(crate) fn back_up(args: &BackupArgs) -> Result<Exit, Failure> {
    let path = match (&args.output, &args.into) {
        (Some(path), _) => path.clone(),
        (None, Some(dir)) => {
            let time = Timestamp::now().to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string();
            dir.join(format!("{}{time}{}", NAME.0, NAME.1))
        }
        (None, None) => return Err(Failure::error("expected --output or --into")),
    };
    if path.as_os_str() == "-" {
        let what = "expected a file, got standard output: a backup is read back before it counts";
        return Err(Failure::error(what).hint("or take it as it comes, with its end: curl .../v1/backup"));
    }
    if path.exists() {
        return Err(Failure::new(Exit::Conflict, format!("{} is there already", path.display())));
    }
    let unfinished = PathBuf::from(format!("{}.new", path.display()));
    let mut input = args.client.client()?.get_octets("/v1/backup")?;
    let written = write(&mut input, &unfinished).and_then(|(head, totals)| {
        put_in_place(&unfinished, &path).with_context(|| format!("could not write {}", path.display()))?;
        Ok((head, totals))
    });
    let (head, totals) = written.inspect_err(|_| {
        // What is not whole is of no use to anybody.
        let _ = fs::remove_file(&unfinished);
    })?;
    output::print_line(&format!("{}: {}", path.display(), in_words(&head, &totals)))?;
    if let (Some(dir), Some(keep)) = (&args.into, args.keep) {
        remove_oldest(dir, keep as usize)?;
    }
    Ok(Exit::Ok)
}

/// Writes what comes, and reads back what was written.
fn write(input: &mut dyn io::Read, path: &Path) -> Result<(Head, Totals), Failure> {
    let named = || format!("could not write {}", path.display());
    // Whoever has it has the credentials.
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut out = BufWriter::with_capacity(1 << 20, file.with_context(named)?);
    io::copy(input, &mut out).context("the backup broke off")?;
    out.flush().with_context(named)?;
    out.get_ref().sync_all().with_context(named)?;
    let mut file = BufReader::with_capacity(1 << 20, File::open(path).with_context(named)?);
    backup::verify(&mut file).map_err(failed)
}

/// Gives the file its name, durably.
fn put_in_place(unfinished: &Path, path: &Path) -> io::Result<()> {
    fs::rename(unfinished, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn remove_oldest(dir: &Path, keep: usize) -> Result<(), Failure> {
    let named = || format!("could not look into {}", dir.display());
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(dir).with_context(named)? {
        let name = entry.with_context(named)?.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(NAME.0) && name.ends_with(NAME.1)) {
            found.push(dir.join(name));
        }
    }
    // The names follow the time.
    found.sort();
    for old in found.iter().rev().skip(keep) {
        fs::remove_file(old).with_context(|| format!("could not remove {}", old.display()))?;
    }
    Ok(())
}

pub(crate) fn restore(args: &RestoreArgs) -> Result<Exit, Failure> {
    let file = File::open(&args.file).with_context(|| format!("could not open {}", args.file.display()))?;
    let mut file = BufReader::with_capacity(1 << 20, file);
    let Some(data) = args.data.as_ref().filter(|_| !args.check) else {
        let (head, totals) = backup::verify(&mut file).map_err(failed)?;
        output::print_line(&format!("good: {}", in_words(&head, &totals)))?;
        return Ok(Exit::Ok);
    };
    let options = storage::embedded::Options { key_file: args.key_file.clone(), ..Default::default() };
    let restored = Embedded::restore(data, &mut file, &options).map_err(failed)?;
    let (head, totals) = (restored.head.clone(), restored.totals);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let store = restored.store.clone();
    let side = Side { tenant: TenantId::default(), keys: store.keys().clone(), stores: Stores::of(store) };
    let settled = runtime.context("could not start the runtime")?.block_on(async {
        let settled = settle(&side, Some(head.taken), Timestamp::now()).await;
        drop(side);
        settled
    });
    let settled = settled.map_err(|error| {
        let failure = Failure::error(format!("{:#}", anyhow::Error::from(error)));
        let place = data.display();
        failure.hint(format!("empty {place} before the next try; credentials that are sealed with a key of secrets.key_file need --key-file"))
    })?;
    restored.finish().map_err(failed)?;
    output::print_line(&format!("restored {}: {}", data.display(), in_words(&head, &totals)))?;
    output::print_line(&told(&settled))?;
    Ok(Exit::Ok)
}

fn failed(error: BackupError) -> Failure {
    let exit = if matches!(error, BackupError::NotEmpty(_)) { Exit::Conflict } else { Exit::Error };
    let failure = Failure::new(exit, format!("{:#}", anyhow::Error::from(error)));
    match exit {
        Exit::Conflict => {
            failure.hint("name another directory by --data, or move what is there out of the way")
        }
        _ => failure,
    }
}

fn in_words(head: &Head, totals: &Totals) -> String {
    let Totals { rows, artifacts, octets } = *totals;
    format!(
        "as of {} (flotilla {}), {} records, {} artifacts, {} octets",
        output::instant(head.taken),
        head.program,
        grouped(rows),
        grouped(artifacts),
        grouped(octets)
    )
}

/// What whoever restores has to know.
pub(crate) fn told(settled: &Settled) -> String {
    let Settled { devices, attempts, lost, campaigns } = *settled;
    format!(
        "{} devices will be challenged and asked anew; {} attempts in flight will look what became of them; {} are lost and have ended; {} campaigns are paused: \
        look at them, then `flotilla campaign resume` or `stop`",
        grouped(devices),
        grouped(attempts),
        grouped(lost),
        grouped(campaigns)
    )
}
