//! `flotilla device list|show|tree|history|tag|address`

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
};

use admin_service::api::{
    ChangeView, DeviceView, DiffView, EventView, ExplainView, HistoryView, NodeView, NotifyAddressInput,
    TagsInput, TreeView,
};
use clap::Args;

use crate::{
    client::{Client, escape},
    exit::{Exit, Failure},
    output::{self, Format, Table, or_dash},
};

/// Rows of a table that are aligned together, so that a list of millions starts to print at once.
const TABLE_ROWS: usize = 1000;

#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// Only devices with this tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Only devices of this maker
    #[arg(long, value_name = "MAKER")]
    maker: Option<String>,
    /// Only devices of this model
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Only devices with this firmware version
    #[arg(long, value_name = "VERSION")]
    firmware: Option<String>,
    /// Most devices to list; 0 for all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

#[derive(Args, Debug)]
pub(super) struct TreeArgs {
    /// The device's name
    id: String,
    /// As it was at this instant (RFC 3339)
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Only the node at this address and what is below it
    #[arg(long, value_name = "URI", conflicts_with = "since")]
    uri: Option<String>,
    /// Only what changed since this instant (up to --at, else up to now)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

pub(super) fn list(client: &Client, format: Format, args: &ListArgs) -> Result<Exit, Failure> {
    let mut query = String::from("/v1/devices");
    let filters =
        [("tag", &args.tag), ("maker", &args.maker), ("model", &args.model), ("firmware", &args.firmware)];
    for (name, value) in filters {
        if let Some(value) = value {
            let separator = if query.contains('?') { '&' } else { '?' };
            query.push_str(&format!("{separator}{name}={}", escape(value)));
        }
    }
    let more = match format {
        Format::Json => list_json(client, &query, args.limit)?,
        Format::Table => list_table(client, &query, args.limit)?,
    };
    if more {
        eprintln!("there are more; --limit 0 lists all");
    }
    Ok(Exit::Ok)
}

/// One JSON array, written as it comes.
fn list_json(client: &Client, query: &str, limit: usize) -> Result<bool, Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut before = "[";
    let more = client.get_pages(query, limit, |device: DeviceView| {
        let text = serde_json::to_string(&device).map_err(|error| Failure::error(error.to_string()))?;
        output::written(write!(out, "{before}\n{text}"))?;
        before = ",";
        Ok(())
    })?;
    let end = if before == "[" { "[]" } else { "\n]" };
    output::written(writeln!(out, "{end}").and_then(|()| out.flush()))?;
    Ok(more)
}

fn list_table(client: &Client, query: &str, limit: usize) -> Result<bool, Failure> {
    let new_table = || Table::new(&["ID", "AUTH", "MAKER", "MODEL", "FIRMWARE", "LAST SEEN", "TAGS"]);
    let (mut table, mut rows) = (new_table(), 0);
    let more = client.get_pages(query, limit, |device: DeviceView| {
        if rows == TABLE_ROWS {
            std::mem::replace(&mut table, new_table()).print()?;
            rows = 0;
        }
        rows += 1;
        let inventory = &device.inventory;
        table.row(vec![
            device.id.clone(),
            auth(&device).to_owned(),
            or_dash(&inventory.maker),
            or_dash(&inventory.model),
            or_dash(&inventory.firmware),
            output::instant_or_dash(device.last_seen),
            tags(&device),
        ]);
        Ok(())
    })?;
    table.print()?;
    Ok(more)
}

pub(super) fn show(client: &Client, format: Format, id: &str) -> Result<Exit, Failure> {
    let device: DeviceView = client.get(&format!("/v1/devices/{}", escape(id)))?;
    print_device(format, &device)?;
    Ok(Exit::Ok)
}

/// Prints one device.
pub(super) fn print_device(format: Format, device: &DeviceView) -> Result<(), Failure> {
    if format == Format::Json {
        return output::print_json(device);
    }
    let inventory = &device.inventory;
    let mut pairs = vec![
        ("device", device.id.clone()),
        ("auth", auth(device).to_owned()),
        ("user", or_dash(device.user.as_deref().unwrap_or_default())),
        ("server id", or_dash(device.server_id.as_deref().unwrap_or_default())),
        ("notify at", or_dash(device.notify_address.as_deref().unwrap_or_default())),
        ("tags", tags(device)),
        ("added", output::instant(device.added)),
        ("last seen", output::instant_or_dash(device.last_seen)),
        ("maker", or_dash(&inventory.maker)),
        ("model", or_dash(&inventory.model)),
        ("firmware", or_dash(&inventory.firmware)),
        ("software", or_dash(&inventory.software)),
        ("hardware", or_dash(&inventory.hardware)),
        ("dm version", or_dash(&inventory.dm_version)),
        ("fumo node", or_dash(device.fumo_root.as_deref().unwrap_or_default())),
    ];
    for (uri, value) in &inventory.more {
        pairs.push((uri, value.clone()));
    }
    output::print_pairs(&pairs)
}

pub(super) fn tree(client: &Client, format: Format, args: &TreeArgs) -> Result<Exit, Failure> {
    let base = format!("/v1/devices/{}", escape(&args.id));
    if let Some(since) = &args.since {
        let to = args.at.as_ref().map(|at| format!("&to={}", escape(at))).unwrap_or_default();
        let diff: DiffView = client.get(&format!("{base}/diff?from={}{to}", escape(since)))?;
        print_diff(format, &diff)?;
        return Ok(Exit::Ok);
    }
    let mut query = Vec::new();
    for (name, value) in [("at", &args.at), ("uri", &args.uri)] {
        query.extend(value.as_ref().map(|value| format!("{name}={}", escape(value))));
    }
    let tree: TreeView = client.get(&format!("{base}/tree?{}", query.join("&")))?;
    match format {
        Format::Json => output::print_json(&tree)?,
        Format::Table => print_nodes(&tree)?,
    }
    Ok(Exit::Ok)
}

fn print_nodes(tree: &TreeView) -> Result<(), Failure> {
    let mut table = Table::new(&["NODE", "FORMAT", "VALUE"]);
    for node in &tree.nodes {
        let (format, value) = node_cells(node);
        table.row(vec![format!("./{}", node.uri.trim_start_matches('.')), format, value]);
    }
    table.print()?;
    let snapshot = &tree.snapshot;
    eprintln!("so since {}, last seen {}", output::instant(snapshot.since), output::instant(snapshot.seen));
    Ok(())
}

fn print_diff(format: Format, diff: &DiffView) -> Result<(), Failure> {
    if format == Format::Json {
        return output::print_json(diff);
    }
    let mut table = Table::new(&["CHANGE", "NODE", "VALUE"]);
    for change in &diff.changes {
        let (word, uri, value) = match change {
            ChangeView::Leaf(node) => ("now", &node.uri, node_cells(node).1),
            ChangeView::Interior(node) => ("new", &node.uri, node_cells(node).1),
            ChangeView::Children { uri, names } => ("has only", uri, names.join(" ")),
            ChangeView::Removed { uri } => ("gone", uri, String::new()),
        };
        table.row(vec![word.into(), format!("./{uri}"), value]);
    }
    table.print()
}

/// Format and value of a node.
fn node_cells(node: &NodeView) -> (String, String) {
    match &node.leaf {
        None => ("node".into(), node.object.clone().unwrap_or_default()),
        Some(leaf) => {
            let value = leaf.value.clone().or_else(|| {
                let base64 = leaf.value_base64.as_ref()?;
                Some(format!("base64:{base64}"))
            });
            (leaf.format.clone(), value.unwrap_or_default())
        }
    }
}

pub(super) fn history(client: &Client, format: Format, id: &str, limit: u16) -> Result<Exit, Failure> {
    let history: HistoryView = client.get(&format!("/v1/devices/{}/history?limit={limit}", escape(id)))?;
    if format == Format::Json {
        output::print_json(&history)?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&["TREE SINCE", "LAST SEEN", "ROOT"]);
    for snapshot in &history.snapshots {
        let root = snapshot.root.get(..16).unwrap_or(&snapshot.root).to_owned();
        table.row(vec![output::instant(snapshot.since), output::instant(snapshot.seen), root]);
    }
    table.print()?;
    output::print_line("")?;
    let mut table = Table::new(&["TIME", "CAMPAIGN", "ATTEMPT", "EVENT"]);
    for event in &history.events {
        let attempt = event.attempt.map_or_else(|| "-".into(), |attempt| attempt.to_string());
        table.row(vec![output::instant(event.at), event.campaign.clone(), attempt, describe(event)]);
    }
    table.print()?;
    Ok(Exit::Ok)
}

/// An event in words.
pub(crate) fn describe(event: &EventView) -> String {
    let mut text = event.event.clone();
    let parts = [
        event.wave.map(|wave| format!("wave {}", wave + 1)),
        event.phase.map(phase),
        event.outcome.as_ref().map(|outcome| match event.event.as_str() {
            "released" => format!("after {outcome}"),
            _ => outcome.clone(),
        }),
        event.code.map(|code| format!("({code})")),
        event.version.as_ref().map(|version| format!("version {version}")),
        event.retry_at.map(|at| format!("again from {}", output::instant(at))),
        event.detail.as_ref().map(|detail| format!("- {detail}")),
    ];
    for part in parts.into_iter().flatten() {
        text.push(' ');
        text.push_str(&part);
    }
    text
}

fn phase(phase: campaign::Phase) -> String {
    use campaign::Phase;
    let stage = serde_json::to_value(phase.stage()).ok();
    let stage = stage.as_ref().and_then(|stage| stage.as_str()).unwrap_or_default();
    match phase {
        Phase::Waiting => "to waiting".into(),
        Phase::Session(_) => format!("to {stage} (in session)"),
        Phase::Running(_) => format!("to {stage}"),
    }
}

pub(super) fn explain(client: &Client, format: Format, id: &str) -> Result<Exit, Failure> {
    let campaigns: Vec<ExplainView> = client.get(&format!("/v1/devices/{}/explain", escape(id)))?;
    if format == Format::Json {
        output::print_json(&campaigns)?;
        return Ok(Exit::Ok);
    }
    if campaigns.is_empty() {
        output::print_line("there is no campaign")?;
    }
    for campaign in &campaigns {
        let ExplainView { campaign: id, name, campaign_state, member, refusal } = campaign;
        let mut lines = vec![format!("{id} {name} ({campaign_state})")];
        if let Some(member) = member {
            let code = member.code.map(|code| format!(" ({code})")).unwrap_or_default();
            let outcome = member.outcome.as_ref().map(|outcome| format!(", last outcome {outcome}{code}"));
            let outcome = outcome.unwrap_or_default();
            let (state, wave, attempt) = (&member.state, member.wave + 1, member.attempt);
            lines.push(format!("  {state}, wave {wave}, attempt {attempt}{outcome}"));
            lines.push(format!("  {}", member.reason));
        }
        lines.extend(refusal.as_ref().map(|refusal| format!("  not a member: {refusal}")));
        for line in lines {
            output::print_line(&output::printable(line))?;
        }
    }
    Ok(Exit::Ok)
}

pub(super) fn tag(client: &Client, format: Format, id: &str, tags: Vec<String>) -> Result<Exit, Failure> {
    let input = TagsInput { tags: tags.into_iter().collect::<BTreeSet<_>>() };
    let device: DeviceView = client.put(&format!("/v1/devices/{}/tags", escape(id)), &input)?;
    print_device(format, &device)?;
    Ok(Exit::Ok)
}

pub(super) fn address(
    client: &Client,
    format: Format,
    id: &str,
    address: Option<String>,
) -> Result<Exit, Failure> {
    let input = NotifyAddressInput { notify_address: address };
    let device: DeviceView = client.put(&format!("/v1/devices/{}/notify-address", escape(id)), &input)?;
    print_device(format, &device)?;
    Ok(Exit::Ok)
}

fn auth(device: &DeviceView) -> &'static str {
    use admin_service::api::AuthScheme;
    match device.auth {
        AuthScheme::None => "none",
        AuthScheme::Basic => "basic",
        AuthScheme::Md5 => "md5",
    }
}

fn tags(device: &DeviceView) -> String {
    or_dash(&device.tags.iter().cloned().collect::<Vec<_>>().join(" "))
}
