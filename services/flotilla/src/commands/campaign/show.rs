//! `flotilla campaign list|show|devices|verify`

use admin_service::api::{CampaignSummary, CampaignView, MemberView, VerifyView};

use super::path;
use crate::{
    client::{Client, escape},
    exit::{Exit, Failure},
    output::{self, Format, Table, grouped, or_dash},
};

/// Rows of a table that are aligned together.
const TABLE_ROWS: usize = 1000;

pub(super) fn list(client: &Client, format: Format) -> Result<Exit, Failure> {
    let mut campaigns = Vec::new();
    client.get_pages("/v1/campaigns", 0, |campaign: CampaignSummary| {
        campaigns.push(campaign);
        Ok(())
    })?;
    if format == Format::Json {
        output::print_json(&campaigns)?;
        return Ok(Exit::Ok);
    }
    let mut table =
        Table::new(&["ID", "NAME", "STATE", "MEMBERS", "IN FLIGHT", "SUCCEEDED", "FAILED", "STARTED"]);
    for campaign in campaigns {
        let counts = &campaign.counts;
        table.row(vec![
            campaign.id.clone(),
            campaign.name.clone(),
            campaign.state.clone(),
            grouped(counts.members().into()),
            grouped(counts.in_flight().into()),
            grouped(counts.succeeding().into()),
            grouped(counts.failing().into()),
            output::instant_or_dash(campaign.started),
        ]);
    }
    table.print()?;
    Ok(Exit::Ok)
}

pub(super) fn show(client: &Client, format: Format, id: &str) -> Result<Exit, Failure> {
    print(format, &client.get(&path(id))?)?;
    Ok(Exit::Ok)
}

/// Prints one campaign.
pub(super) fn print(format: Format, campaign: &CampaignView) -> Result<(), Failure> {
    if format == Format::Json {
        return output::print_json(campaign);
    }
    let pause = campaign.pause.as_ref().map(|pause| format!(" ({})", pause.detail)).unwrap_or_default();
    let summary = &campaign.summary;
    let artifact = &campaign.artifact;
    let mut pairs = vec![
        ("campaign", format!("{} {}", summary.id, summary.name)),
        ("state", format!("{}{pause}", summary.state)),
        ("artifact", format!("{artifact} {} sha256:{}", campaign.artifact_version, campaign.artifact_digest)),
        ("to version", campaign.target_version.clone()),
        ("created", output::instant_or_dash(summary.created)),
        ("started", output::instant_or_dash(summary.started)),
        ("members", grouped(campaign.members.into())),
        (
            "in flight",
            format!("{} of {}", grouped(campaign.in_flight.into()), grouped(campaign.in_flight_max.into())),
        ),
        ("states", or_dash(&states(&summary.counts))),
    ];
    if let Some(eta) = campaign.eta {
        pairs.push(("done by", output::instant(eta)));
    }
    output::print_pairs(&pairs)?;
    if campaign.waves.is_empty() {
        return Ok(());
    }
    output::print_line("")?;
    let mut table =
        Table::new(&["WAVE", "OPEN", "MEMBERS", "PENDING", "IN FLIGHT", "SUCCEEDED", "FAILED", "UNHEARD"]);
    for wave in &campaign.waves {
        let counts = &wave.counts;
        let numbers = [
            wave.members,
            counts.pending,
            counts.in_flight(),
            counts.succeeding(),
            counts.failing(),
            counts.unheard(),
        ];
        let mut row = vec![(wave.wave + 1).to_string(), if wave.open { "yes" } else { "no" }.to_owned()];
        row.extend(numbers.map(|number| grouped(number.into())));
        table.row(row);
    }
    table.print()?;
    print_outcomes(campaign)
}

fn print_outcomes(campaign: &CampaignView) -> Result<(), Failure> {
    if campaign.outcomes.is_empty() {
        return Ok(());
    }
    output::print_line("")?;
    let mut table = Table::new(&["OUTCOME", "CODE", "DEVICES"]);
    for row in &campaign.outcomes {
        let code = row.code.map_or_else(|| "-".into(), |code| code.to_string());
        table.row(vec![row.outcome.clone(), code, grouped(row.devices.into())]);
    }
    table.print()
}

/// Every state that has a device, with how many: `succeeded 40, silent 2`.
pub(crate) fn states(counts: &campaign::Counts) -> String {
    let value = serde_json::to_value(counts).unwrap_or_default();
    let states = value.as_object().into_iter().flatten();
    let some = states.filter_map(|(name, count)| {
        let count = count.as_u64().filter(|count| *count > 0)?;
        Some(format!("{name} {}", grouped(count)))
    });
    some.collect::<Vec<_>>().join(", ")
}

pub(super) fn devices(
    client: &Client,
    format: Format,
    id: &str,
    state: Option<&str>,
    limit: usize,
) -> Result<Exit, Failure> {
    let query = state.map(|state| format!("?state={}", escape(state))).unwrap_or_default();
    let path = format!("{}/devices{query}", path(id));
    let new_table = || Table::new(&["DEVICE", "STATE", "WAVE", "ATTEMPT", "CODE"]);
    let (mut table, mut rows, mut all) = (new_table(), 0, Vec::new());
    let more = client.get_pages(&path, limit, |member: MemberView| {
        if format == Format::Json {
            all.push(member);
            return Ok(());
        }
        if rows == TABLE_ROWS {
            std::mem::replace(&mut table, new_table()).print()?;
            rows = 0;
        }
        rows += 1;
        let code = member.code.map_or_else(|| "-".into(), |code| code.to_string());
        let wave = (member.wave + 1).to_string();
        table.row(vec![member.device, member.state, wave, member.attempt.to_string(), code]);
        Ok(())
    })?;
    match format {
        Format::Json => output::print_json(&all)?,
        Format::Table => table.print()?,
    }
    if more {
        eprintln!("there are more; --limit 0 lists all");
    }
    Ok(Exit::Ok)
}

pub(super) fn verify(client: &Client, format: Format, id: &str) -> Result<Exit, Failure> {
    let found: VerifyView = client.post(&format!("{}/verify", path(id)), &serde_json::json!({}), None)?;
    if format == Format::Json {
        output::print_json(&found)?;
    } else {
        let verdict = if found.adds_up { "adds up" } else { "does not add up" };
        output::print_pairs(&[
            ("ledger", format!("{verdict}, {} events", grouped(found.events))),
            ("members", grouped(found.members.into())),
            ("states", or_dash(&states(&found.counts))),
        ])?;
        found.differences.iter().try_for_each(|text| output::print_line(&format!("  {text}")))?;
    }
    Ok(if found.adds_up { Exit::Ok } else { Exit::Error })
}
