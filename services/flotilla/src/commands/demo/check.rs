//! Whether what the demo shows is true: the ledger, the devices' own trees and the server's picture of them agree.

use std::{
    collections::{BTreeMap, HashMap},
    process::ExitStatus,
};

use ::campaign::history::{Entry, History};
use admin_service::api::{CampaignView, DeviceView, EventView, EventsView, MemberView, TreeView, VerifyView};
use loadtest::{FleetReport, report::Final};
use serde::Serialize;

use super::plan::VERSION;
use crate::{
    client::{Client, escape},
    commands::campaign::{self, Ending},
    exit::Failure,
    output::{self, grouped},
};

/// The most trees that are read from the server one by one.
const TREES_MAX: usize = 20_000;
/// Events read at once.
const EVENTS_PAGE: usize = 1000;
/// Devices that a failed check names.
const NAMED_MAX: usize = 5;
/// From this result code on a FUMO report is a failure (FUMO 1.0, 8.1).
const FAILURE_CODE_MIN: u16 = 400;

/// One thing that must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(in crate::commands) struct Check {
    pub(in crate::commands) holds: bool,
    pub(in crate::commands) claim: String,
    /// What was compared, or what is wrong.
    pub(in crate::commands) detail: String,
}

impl Check {
    pub(in crate::commands) fn of(claim: &str, wrong: &[String], compared: String) -> Self {
        let holds = wrong.is_empty();
        let detail = if holds {
            compared
        } else {
            let named = wrong.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join("; ");
            format!("{} of {compared}: {named}", grouped(wrong.len() as u64))
        };
        Self { holds, claim: claim.to_owned(), detail }
    }
}

/// What the checks are made on.
pub(in crate::commands) struct Found<'a> {
    pub(in crate::commands) client: &'a Client,
    pub(in crate::commands) campaign: &'a str,
    pub(in crate::commands) ending: Ending,
    pub(in crate::commands) fleet: &'a FleetReport,
    /// Nothing was to go wrong.
    pub(in crate::commands) fair_weather: bool,
}

/// Makes all checks.
pub(in crate::commands) fn checks(found: &Found<'_>) -> Result<Vec<Check>, Failure> {
    let states = member_states(found)?;
    Ok(vec![
        finished(found.ending),
        adds_up(found)?,
        keeps_promises(found)?,
        no_exec_twice(found.fleet),
        updated(found, &states),
        told_the_truth(found, &states),
        inventory_agrees(found, &states)?,
        trees_agree(found, &states)?,
    ])
}

fn finished(ending: Ending) -> Check {
    let wrong = match ending {
        Ending::Finished => Vec::new(),
        Ending::Held => vec!["a gate holds it".to_owned()],
        Ending::Stopped => vec!["it was stopped".to_owned()],
    };
    Check::of("the campaign finished", &wrong, "every device is in its last state".to_owned())
}

fn adds_up(found: &Found<'_>) -> Result<Check, Failure> {
    let path = format!("{}/verify", campaign::path(found.campaign));
    let verified: VerifyView = found.client.post(&path, &serde_json::json!({}), None)?;
    let mut wrong = verified.differences;
    if verified.members != found.fleet.devices {
        wrong.push(format!("{} members of {} devices", verified.members, found.fleet.devices));
    }
    if !verified.adds_up && wrong.is_empty() {
        wrong.push("it does not say why".to_owned());
    }
    let compared = format!("{} events, recounted", grouped(verified.events));
    Ok(Check::of("the campaign's ledger adds up", &wrong, compared))
}

fn no_exec_twice(fleet: &FleetReport) -> Check {
    let compared = format!("{} orders by the devices' own counters", grouped(fleet.execs.orders));
    let mut wrong = fleet.execs.repeated.clone();
    if fleet.execs.max_per_correlator > 1 && wrong.is_empty() {
        wrong.push(format!("one came {} times", fleet.execs.max_per_correlator));
    }
    Check::of("no Exec ran twice for one attempt", &wrong, compared)
}

/// The ledger read from its beginning, against what every ledger keeps.
fn keeps_promises(found: &Found<'_>) -> Result<Check, Failure> {
    let path = campaign::path(found.campaign);
    let view: CampaignView = found.client.get(&path)?;
    let mut history = History::new(view.in_flight_max);
    let mut from = 0;
    loop {
        let page: EventsView = found.client.get(&format!("{path}/events?from={from}&limit={EVENTS_PAGE}"))?;
        if page.items.is_empty() {
            break;
        }
        for event in &page.items {
            if let (Some(device), Some(entry)) = (&event.device, entry(event)) {
                history.take(device, event.attempt.unwrap_or(0), entry);
            }
        }
        from = page.next;
    }
    let found = history.finish(view.members);
    let compared = format!(
        "{} events, at most {} of {} devices in flight",
        grouped(found.events),
        grouped(found.in_flight_most.into()),
        grouped(view.in_flight_max.into())
    );
    let claim = "the ledger never exceeds the budget, gives one attempt at a time, and ends each device once";
    Ok(Check::of(claim, &found.told, compared))
}

fn entry(event: &EventView) -> Option<Entry> {
    match event.event.as_str() {
        "released" => Some(Entry::Released),
        "moved" => event.phase.map(Entry::Moved),
        "ended" => Some(Entry::Ended { may_retry: event.retry_at.is_some() }),
        _ => None,
    }
}

/// A server's end.
pub(in crate::commands) fn ended(name: &str, status: ExitStatus) -> Check {
    let wrong = if status.success() { Vec::new() } else { vec![status.to_string()] };
    Check::of(&format!("{name} drained and ended well"), &wrong, "exit code 0".to_owned())
}

/// Prints checks, a line each.
pub(in crate::commands) fn print(checks: &[Check]) -> Result<(), Failure> {
    let colours = output::colours();
    for check in checks {
        let (word, colour) = if check.holds { ("ok  ", "32") } else { ("FAIL", "31") };
        let word = if colours { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.to_owned() };
        output::print_line(&format!("{word} {} ({})", check.claim, output::printable(check.detail.clone())))?;
    }
    Ok(())
}

/// The kills that were asked for.
pub(in crate::commands) fn killed(asked: u32, done: u32) -> Check {
    let wrong = if asked == done { Vec::new() } else { vec![format!("{done} were done in time")] };
    Check::of("the server was killed and came back", &wrong, format!("{asked} times"))
}

/// Devices that come every hour came because they were asked.
pub(super) fn asked_to_come(fleet: &FleetReport) -> Check {
    let triggers = &fleet.triggers;
    let wrong =
        if triggers.sessions == 0 { vec!["no trigger led to a session".to_owned()] } else { Vec::new() };
    Check::of("devices that were asked to come did", &wrong, crate::commands::fleet::triggers(triggers))
}

/// The state of each device in the campaign.
fn member_states(found: &Found<'_>) -> Result<HashMap<String, String>, Failure> {
    let mut states = HashMap::new();
    let path = format!("{}/devices", campaign::path(found.campaign));
    found.client.get_pages(&path, 0, |member: MemberView| {
        states.insert(member.device, member.state);
        Ok(())
    })?;
    Ok(states)
}

fn state<'a>(states: &'a HashMap<String, String>, device: &Final) -> &'a str {
    states.get(&device.id).map_or("no member", String::as_str)
}

/// A device that could be updated is one that no injected fault kept from it.
fn updated(found: &Found<'_>, states: &HashMap<String, String>) -> Check {
    let mut excused: BTreeMap<&str, u64> = BTreeMap::new();
    let mut wrong = Vec::new();
    for device in found.fleet.finals.iter().filter(|device| device.version != VERSION) {
        match excuse(found.fleet, device) {
            Some(reason) => *excused.entry(reason).or_default() += 1,
            None => wrong.push(format!("{} has {} ({})", device.id, device.version, state(states, device))),
        }
    }
    let lost = u64::from(found.fleet.devices) - found.fleet.finals.len() as u64;
    if lost > 0 {
        wrong.push(format!("{lost} devices were lost by the generator"));
    }
    let devices = found.fleet.finals.len() as u64;
    let mut compared = format!("{} devices", grouped(devices));
    for (reason, count) in excused {
        compared.push_str(&format!(", {} {reason}", grouped(count)));
    }
    Check::of("every device that could be updated has the new version in its own tree", &wrong, compared)
}

/// Which injected fault kept a device from its update.
fn excuse(fleet: &FleetReport, device: &Final) -> Option<&'static str> {
    let faults = &fleet.faults;
    let failed = device.last_report.is_some_and(|code| code >= FAILURE_CODE_MIN);
    if device.is_gone && faults.silent > 0.0 {
        Some("silent for ever")
    } else if failed && faults.failing > 0.0 {
        Some("failing")
    } else if !failed && device.last_report.is_some() && faults.wrong_version > 0.0 {
        Some("of the wrong version after success")
    } else {
        None
    }
}

/// A device that the campaign says has succeeded has; one that it gave up on may have updated all the same, late, but
/// not in fair weather.
fn told_the_truth(found: &Found<'_>, states: &HashMap<String, String>) -> Check {
    let mut wrong = Vec::new();
    let mut late = 0;
    for device in &found.fleet.finals {
        let state = state(states, device);
        let succeeded = matches!(state, "succeeded" | "already-current");
        match (succeeded, device.version == VERSION) {
            (true, true) | (false, false) => {}
            (true, false) => wrong.push(format!("{} {state}, but it has {}", device.id, device.version)),
            (false, true) if found.fair_weather => {
                wrong.push(format!("{} {state}, but it is updated", device.id));
            }
            (false, true) => late += 1,
        }
    }
    let mut compared = format!("{} devices", grouped(found.fleet.finals.len() as u64));
    if late > 0 {
        compared.push_str(&format!(", {} updated after the campaign gave up on them", grouped(late)));
    }
    Check::of("the campaign says of each device what is true of it", &wrong, compared)
}

/// What the server keeps of every device to choose by.
fn inventory_agrees(found: &Found<'_>, states: &HashMap<String, String>) -> Result<Check, Failure> {
    let mut firmware = HashMap::new();
    found.client.get_pages("/v1/devices", 0, |device: DeviceView| {
        firmware.insert(device.id, device.inventory.firmware);
        Ok(())
    })?;
    let wrong = succeeded(found, states).filter_map(|device| {
        let known = firmware.get(&device.id).map_or("nothing", String::as_str);
        (known != device.version)
            .then(|| format!("{} has {}, the server knows {known}", device.id, device.version))
    });
    let wrong: Vec<_> = wrong.collect();
    let compared = format!("{} updated devices", grouped(succeeded(found, states).count() as u64));
    Ok(Check::of("the server's inventory says so too", &wrong, compared))
}

/// The stored trees, one by one.
fn trees_agree(found: &Found<'_>, states: &HashMap<String, String>) -> Result<Check, Failure> {
    let mut wrong = Vec::new();
    let mut compared = 0;
    for device in succeeded(found, states).take(TREES_MAX) {
        compared += 1;
        let path = format!("/v1/devices/{}/tree?uri=./DevDetail/FwV", escape(&device.id));
        let tree: TreeView = found.client.get(&path)?;
        let version =
            tree.nodes.iter().find_map(|node| node.leaf.as_ref()?.value.clone()).unwrap_or_default();
        if version != device.version {
            wrong.push(format!("{} has {}, the stored tree {version:?}", device.id, device.version));
        }
    }
    let compared = format!("{} trees", grouped(compared));
    Ok(Check::of("the server's stored trees say so too", &wrong, compared))
}

fn succeeded<'a>(
    found: &'a Found<'_>,
    states: &'a HashMap<String, String>,
) -> impl Iterator<Item = &'a Final> {
    let ended_well = |device: &&Final| matches!(state(states, device), "succeeded" | "already-current");
    found.fleet.finals.iter().filter(ended_well)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_with_something_wrong_does_not_hold_and_names_it() {
        let good = Check::of("c", &[], "3 devices".into());
        assert!(good.holds && good.detail == "3 devices");
        let wrong: Vec<_> = (0..7).map(|n| format!("d{n}")).collect();
        let bad = Check::of("c", &wrong, "9 devices".into());
        assert!(!bad.holds);
        assert_eq!(bad.detail, "7 of 9 devices: d0; d1; d2; d3; d4");
    }
}
