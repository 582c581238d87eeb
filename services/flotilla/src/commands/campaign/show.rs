//! `flotilla campaign list|show|devices|verify`

use admin_service::api::{CampaignView, MemberView, VerifyView};

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
    client.get_pages("/v1/campaigns", 0, |campaign: CampaignView| {
        campaigns.push(campaign);
        Ok(())
    })?;
    if format == Format::Json {
        output::print_json(&campaigns)?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&[
        "ID",
        "NAME",
        "STATE",
        "VERSION",
        "MEMBERS",
        "IN FLIGHT",
        "SUCCEEDED",
        "FAILED",
        "STARTED",
    ]);
    for campaign in campaigns {
        let counts = &campaign.counts;
        table.row(vec![
            campaign.id.clone(),
            campaign.name.clone(),
            campaign.state.clone(),
            campaign.target_version.clone(),
            grouped(campaign.members.into()),
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
    let started_by = campaign.started_by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    output::print_pairs(&[
        ("campaign", format!("{} {}", campaign.id, campaign.name)),
        ("state", format!("{}{pause}", campaign.state)),
        ("version", campaign.target_version.clone()),
        ("artifact", campaign.artifact.clone()),
        ("created", output::instant_or_dash(campaign.created)),
        ("started", format!("{}{started_by}", output::instant_or_dash(campaign.started))),
        ("members", grouped(campaign.members.into())),
        ("in flight", format!("{} of {}", campaign.counts.in_flight(), campaign.in_flight_max)),
        ("states", or_dash(&states(&campaign.counts))),
    ])?;
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
    let new_table = || Table::new(&["DEVICE", "STATE", "WAVE", "ATTEMPT", "LAST OUTCOME"]);
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
        let code = member.code.map(|code| format!(" ({code})")).unwrap_or_default();
        let outcome = format!("{}{code}", member.outcome.as_deref().unwrap_or("-"));
        let wave = (member.wave + 1).to_string();
        table.row(vec![member.device, member.state, wave, member.attempt.to_string(), outcome]);
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
            ("members", grouped(found.counts.members().into())),
            ("states", or_dash(&states(&found.counts))),
        ])?;
        found.problems.iter().try_for_each(|problem| output::print_line(&format!("  {problem}")))?;
    }
    Ok(if found.adds_up { Exit::Ok } else { Exit::Error })
}
