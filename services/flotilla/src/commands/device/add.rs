//! `flotilla device add`

use admin_service::api::{DeviceInput, DeviceView};
use clap::Args;

use super::{credentials::CredentialArgs, show::print_device};
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
    #[command(flatten)]
    credentials: CredentialArgs,
    /// Where it can be asked to come: `udp://host:port`, `wap://host:port`, or `scheme:address` of a gateway
    #[arg(long, value_name = "ADDR")]
    notify_address: Option<String>,
    /// A free label; may be given more than once
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

pub(super) fn add(client: &Client, format: Format, args: AddArgs) -> Result<Exit, Failure> {
    let credentials = args.credentials.read()?;
    let input = DeviceInput {
        id: args.id,
        auth: credentials.auth,
        user: credentials.user,
        password: credentials.password,
        server_id: credentials.server_id,
        server_password: credentials.server_password,
        server_auth: credentials.server_auth,
        client_nonce: credentials.client_nonce,
        server_nonce: credentials.server_nonce,
        notify_address: args.notify_address,
        tags: args.tags.into_iter().collect(),
    };
    let device: DeviceView = client.post("/v1/devices", &input, None)?;
    print_device(format, &device)?;
    Ok(Exit::Ok)
}
