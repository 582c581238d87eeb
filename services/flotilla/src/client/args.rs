//! How client commands find the server and its token.

use std::path::{Path, PathBuf};

use admin_service::Token;
use clap::Args;

use super::{Client, tls};
use crate::exit::Failure;

/// Where the server is, and the right to ask it.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(next_help_heading = "Server")]
pub(crate) struct ClientArgs {
    /// The admin listener's URL
    #[arg(
        long,
        env = "FLOTILLA_SERVER",
        value_name = "URL",
        default_value = "http://127.0.0.1:8081",
        global = true
    )]
    pub(crate) server: String,
    /// The admin token. Others on this machine see a command line: a file or the environment keeps it from them
    #[arg(long, env = "FLOTILLA_TOKEN", value_name = "TOKEN", hide_env_values = true, global = true)]
    pub(crate) token: Option<String>,
    /// The file of the admin token
    #[arg(long, env = "FLOTILLA_TOKEN_FILE", value_name = "FILE", global = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// PEM file of the authorities that the server's certificate is checked against [default: the system's]
    #[arg(long, env = "FLOTILLA_CA", value_name = "FILE", global = true)]
    pub(crate) ca: Option<PathBuf>,
    /// PEM file of a certificate to show to the server
    #[arg(long, env = "FLOTILLA_CLIENT_CERT", value_name = "FILE", global = true)]
    pub(crate) client_cert: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(long, env = "FLOTILLA_CLIENT_KEY", value_name = "FILE", global = true)]
    pub(crate) client_key: Option<PathBuf>,
    /// The server's data directory: the token is read from it when none is given
    #[arg(long, env = "FLOTILLA_DATA", value_name = "DIR", global = true)]
    pub(crate) data: Option<PathBuf>,
}

impl ClientArgs {
    /// The client.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let server = self.server.trim();
        if !server.starts_with("http://") && !server.starts_with("https://") {
            return Err(Failure::error(format!(
                "--server: expected a URL with http:// or https://, got {server:?}"
            )));
        }
        let token = match (&self.token, &self.token_file, &self.data) {
            (Some(token), ..) => Some(token.trim().to_owned()),
            (None, Some(path), _) => Some(read_token(path)?),
            (None, None, Some(data)) => Some(read_token(&data.join(admin_service::TOKEN_FILE))?),
            (None, None, None) => None,
        };
        if !server.starts_with("https://") {
            return Ok(Client::new(server, token));
        }
        let identity = match (&self.client_cert, &self.client_key) {
            (Some(certificate), Some(key)) => Some((&**certificate, &**key)),
            (None, None) => None,
            // One of them may stand in the environment, where clap does not look for the other.
            _ => {
                return Err(Failure::error(
                    "expected both --client-cert and --client-key, or neither".to_owned(),
                ));
            }
        };
        Ok(Client::with_tls(server, token, Some(tls::config(self.ca.as_deref(), identity)?)))
    }
}

fn read_token(path: &Path) -> Result<String, Failure> {
    match Token::read(path) {
        Ok(token) => Ok(token.reveal().to_string()),
        Err(error) => Err(Failure::from(anyhow::Error::from(error))),
    }
}
