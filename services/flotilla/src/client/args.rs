//! How client commands find the server and its token.

use std::path::PathBuf;

use admin_service::Token;
use clap::Args;

use super::Client;
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
    /// The admin token
    #[arg(long, env = "FLOTILLA_TOKEN", value_name = "TOKEN", hide_env_values = true, global = true)]
    pub(crate) token: Option<String>,
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
        let token = match (&self.token, &self.data) {
            (Some(token), _) => Some(token.trim().to_owned()),
            (None, Some(data)) => Some(read_token(data)?),
            (None, None) => None,
        };
        Ok(Client::new(server, token))
    }
}

fn read_token(data: &std::path::Path) -> Result<String, Failure> {
    let path = data.join(admin_service::TOKEN_FILE);
    match Token::read(&path) {
        Ok(token) => Ok(token.reveal().to_owned()),
        Err(error) => Err(Failure::from(anyhow::Error::from(error))),
    }
}
