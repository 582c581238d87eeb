//! `flotilla device add`

use std::{
    io::{self, BufRead as _, Read as _},
    path::{Path, PathBuf},
};

use admin_service::api::{AuthScheme, DeviceInput, DeviceView, Secret};
use clap::{Args, ValueEnum};

use super::show::print_device;
use crate::{
    client::Client,
    exit::{Exit, Failure},
    output::Format,
};

#[derive(Args, Debug)]
pub(super) struct AddArgs {
    /// Its name: what `./DevInfo/DevId` says
    #[arg(long, value_name = "ID")]
    id: String,
    /// How it proves itself
    #[arg(long, value_enum, default_value_t = Auth::Md5)]
    auth: Auth,
    /// Its user name
    #[arg(long, value_name = "NAME", required_if_eq_any([("auth", "basic"), ("auth", "md5")]))]
    user: Option<String>,
    /// Its password
    #[arg(long, value_name = "PASSWORD", conflicts_with = "password_file")]
    password: Option<String>,
    /// A file whose first line is its password; `-` is standard input
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The name the server proves itself to the device by
    #[arg(long, value_name = "NAME")]
    server_id: Option<String>,
    /// The server's password towards the device
    #[arg(long, value_name = "PASSWORD", conflicts_with = "server_password_file")]
    server_password: Option<String>,
    /// A file whose first line is the server's password towards the device
    #[arg(long, value_name = "FILE")]
    server_password_file: Option<PathBuf>,
    /// The nonce, in base64, that the device has for its first MD5 credential
    #[arg(long, value_name = "BASE64")]
    client_nonce: Option<String>,
    /// The nonce, in base64, that the device expects in the server's first MD5 credential
    #[arg(long, value_name = "BASE64")]
    server_nonce: Option<String>,
    /// Where it can be asked to come: `udp://host:port`, `wap://host:port`, or `scheme:address` of a gateway
    #[arg(long, value_name = "ADDR")]
    notify_address: Option<String>,
    /// A free label; may be given more than once
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Auth {
    /// It need not
    None,
    /// User and password, in the clear or as MD5
    Basic,
    /// MD5 with a nonce; basic is refused
    Md5,
}

impl From<Auth> for AuthScheme {
    fn from(auth: Auth) -> Self {
        match auth {
            Auth::None => Self::None,
            Auth::Basic => Self::Basic,
            Auth::Md5 => Self::Md5,
        }
    }
}

pub(super) fn add(client: &Client, format: Format, args: AddArgs) -> Result<Exit, Failure> {
    let input = DeviceInput {
        id: args.id,
        auth: args.auth.into(),
        user: args.user,
        password: secret(args.password, args.password_file.as_deref())?,
        server_id: args.server_id,
        server_password: secret(args.server_password, args.server_password_file.as_deref())?,
        server_auth: None,
        client_nonce: args.client_nonce,
        server_nonce: args.server_nonce,
        notify_address: args.notify_address,
        tags: args.tags.into_iter().collect(),
    };
    let device: DeviceView = client.post("/v1/devices", &input, None)?;
    print_device(format, &device)?;
    Ok(Exit::Ok)
}

/// A password from where it was given. Only the line's end is taken off: spaces may belong to it.
fn secret(given: Option<String>, file: Option<&Path>) -> Result<Option<Secret>, Failure> {
    let Some(path) = file else { return Ok(given.map(Secret::new)) };
    let mut line = String::new();
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().take(4096).read_line(&mut line)
    } else {
        std::fs::File::open(path).and_then(|file| io::BufReader::new(file.take(4096)).read_line(&mut line))
    };
    read.map_err(|error| Failure::error(format!("{}: {error}", path.display())))?;
    let length = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(length);
    Ok(Some(Secret::new(line)))
}
