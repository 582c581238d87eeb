//! `flotilla convert`

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read, Write as _},
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use syncml::{Encoding, Limits};

use crate::{
    exit::{Exit, Failure},
    output,
};

#[derive(Args, Debug)]
pub(crate) struct ConvertArgs {
    /// What to write
    #[arg(long, value_enum)]
    to: Target,
    /// What the input is in; told by its first octet where nothing is said
    #[arg(long, value_enum)]
    from: Option<Input>,
    /// The message; standard input where none is named, or with `-`
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// Text
    Xml,
    /// Binary
    Wbxml,
    /// To look at; it cannot be read back
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Input {
    /// Text
    Xml,
    /// Binary
    Wbxml,
}

pub(crate) fn run(args: &ConvertArgs) -> Result<Exit, Failure> {
    let limits = Limits::default();
    let (name, input) = read(args.file.as_deref(), limits.message_bytes_max)?;
    let wrong = |error: &dyn std::fmt::Display| Failure::error(format!("{name}: {error}"));
    let encoding = match args.from {
        Some(Input::Xml) => Encoding::Xml,
        Some(Input::Wbxml) => Encoding::Wbxml,
        None => Encoding::of(None, &input).map_err(|error| wrong(&error))?,
    };
    let message = syncml::decode(encoding, &input, &limits).map_err(|error| wrong(&error))?;
    let mut out = Vec::new();
    match args.to {
        Target::Xml => syncml::encode(Encoding::Xml, &message, &mut out),
        Target::Wbxml if io::stdout().is_terminal() => {
            return Err(Failure::error("WBXML is binary and standard output is a terminal").hint(
                "send it to a file or through a pipe: flotilla convert --to wbxml FILE > message.wbxml",
            ));
        }
        Target::Wbxml => syncml::encode(Encoding::Wbxml, &message, &mut out),
        Target::Json => out.extend_from_slice(syncml::json::to_json(&message).as_bytes()),
    }
    if args.to != Target::Wbxml {
        out.push(b'\n');
    }
    output::written(io::stdout().lock().write_all(&out))?;
    Ok(Exit::Ok)
}

/// The input and its name, one octet past the bound at most, so that the decoder says what is too large.
fn read(file: Option<&std::path::Path>, octets_max: usize) -> Result<(String, Vec<u8>), Failure> {
    let mut input = Vec::new();
    let bound = octets_max as u64 + 1;
    let (name, result) = match file.filter(|path| path.as_os_str() != "-") {
        None => ("standard input".to_owned(), io::stdin().lock().take(bound).read_to_end(&mut input)),
        Some(path) => {
            let result = File::open(path).and_then(|file| file.take(bound).read_to_end(&mut input));
            (path.display().to_string(), result)
        }
    };
    match result {
        Ok(_) => Ok((name, input)),
        Err(error) => Err(Failure::error(format!("{name}: {error}"))),
    }
}
