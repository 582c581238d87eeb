//! A device's credentials on the command line, and `flotilla device credentials`

use std::{
    io::{self, BufRead as _, Read as _},
    path::{Path, PathBuf},
};

use admin_service::api::{AuthScheme, CredentialsInput, DeviceView, Secret};
use clap::{Args, ValueEnum};

use super::show::print_device;
use crate::{
    client::{Client, escape},
    exit::{Exit, Failure},
    output::Format,
};

#[derive(Args, Debug)]
pub(super) struct CredentialArgs {
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
    /// The nonce, in base64, that the device makes its next MD5 credential with
    #[arg(long, value_name = "BASE64")]
    client_nonce: Option<String>,
    /// The nonce, in base64, that the device expects in the server's next MD5 credential
    #[arg(long, value_name = "BASE64")]
    server_nonce: Option<String>,
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

impl CredentialArgs {
    /// What they say, with the passwords from their files.
    pub(super) fn read(self) -> Result<CredentialsInput, Failure> {
        Ok(CredentialsInput {
            auth: self.auth.into(),
            user: self.user,
            password: secret(self.password, self.password_file.as_deref())?,
            server_id: self.server_id,
            server_password: secret(self.server_password, self.server_password_file.as_deref())?,
            server_auth: None,
            client_nonce: self.client_nonce,
            server_nonce: self.server_nonce,
        })
    }
}

pub(super) fn replace(
    client: &Client,
    format: Format,
    id: &str,
    credentials: CredentialArgs,
) -> Result<Exit, Failure> {
    let path = format!("/v1/devices/{}/credentials", escape(id));
    let device: DeviceView = client.put(&path, &credentials.read()?)?;
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
