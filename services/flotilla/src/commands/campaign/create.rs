//! `flotilla campaign create`

use std::{
    fs::File,
    io::{self, Read},
};

use admin_service::api::{CampaignView, PreviewView};

use super::{CreateArgs, show};
use crate::{
    client::{Client, escape},
    exit::{Exit, Failure},
    output::{self, Format, Table, grouped},
};

/// Octets of the largest file that is sent; the server's bound.
const FILE_OCTETS_MAX: u64 = 1 << 20;

pub(super) fn create(client: &Client, format: Format, args: &CreateArgs) -> Result<Exit, Failure> {
    let name = args.file.display().to_string();
    let named = |error: io::Error| Failure::error(format!("{name}: {error}"));
    let mut text = String::new();
    let read = if name == "-" {
        io::stdin().lock().take(FILE_OCTETS_MAX + 1).read_to_string(&mut text)
    } else {
        File::open(&args.file).map_err(named)?.take(FILE_OCTETS_MAX + 1).read_to_string(&mut text)
    };
    read.map_err(named)?;
    let media_type = if text.trim_start().starts_with('{') { "application/json" } else { "application/toml" };
    if args.dry_run {
        let preview: PreviewView =
            client.post_bytes("/v1/campaigns/preview", media_type, text.as_bytes(), None)?;
        print_preview(format, &preview)?;
        return Ok(Exit::Ok);
    }
    let campaign = submit(client, media_type, &text, args.start, args.idempotency_key.as_deref())?;
    show::print(format, &campaign)?;
    Ok(Exit::Ok)
}

/// Creates a campaign, and starts it where asked. The start is a step of its own, so that a start that is refused
/// leaves a draft to look at.
pub(crate) fn submit(
    client: &Client,
    media_type: &str,
    text: &str,
    start: bool,
    key: Option<&str>,
) -> Result<CampaignView, Failure> {
    let campaign: CampaignView = client.post_bytes("/v1/campaigns", media_type, text.as_bytes(), key)?;
    if !start || campaign.summary.state != "draft" {
        return Ok(campaign);
    }
    let path = format!("/v1/campaigns/{}/start", escape(&campaign.summary.id));
    client.post(&path, &serde_json::json!({}), None).map_err(|failure: Failure| {
        let id = &campaign.summary.id;
        let hint = format!("{id} is created as a draft; flotilla campaign start {id} tries again");
        Failure::new(failure.exit, failure.message).hint(hint)
    })
}

fn print_preview(format: Format, preview: &PreviewView) -> Result<(), Failure> {
    if format == Format::Json {
        return output::print_json(preview);
    }
    output::print_pairs(&[
        ("devices", grouped(preview.devices.into())),
        ("members", grouped(preview.members.into())),
        ("to download", output::octets(preview.download_bytes)),
        ("at most", preview.longest.clone()),
    ])?;
    output::print_line("")?;
    let mut table = Table::new(&["WAVE", "MAKER", "MODEL", "MEMBERS"]);
    for wave in &preview.waves {
        for model in &wave.models {
            let (maker, model_name) = (output::or_dash(&model.maker), output::or_dash(&model.model));
            table.row(vec![(wave.wave + 1).to_string(), maker, model_name, grouped(model.members.into())]);
        }
    }
    table.print()?;
    if preview.refusals.is_empty() {
        return Ok(());
    }
    output::print_line("")?;
    let mut table = Table::new(&["REFUSED", "DEVICES", "SUCH AS"]);
    for refusal in &preview.refusals {
        table.row(vec![refusal.reason.clone(), grouped(refusal.devices.into()), refusal.samples.join(" ")]);
    }
    table.print()
}
