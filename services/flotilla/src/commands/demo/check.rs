//! Whether what the demo shows is true: the ledger, the devices' own trees and the server's picture of them agree.

use std::{
    collections::{BTreeMap, HashMap},
    process::ExitStatus,
};

use admin_service::api::{DeviceView, MemberView, TreeView, VerifyView};
use loadtest::{FleetReport, report::Final};
use serde::Serialize;

use super::plan::VERSION;
use crate::{
    client::{Client, escape},
    commands::campaign::{self, Ending},
    exit::Failure,
    output::grouped,
};

/// The most trees that are read from the server one by one.
const TREES_MAX: usize = 20_000;
/// Devices that a failed check names.
const NAMED_MAX: usize = 5;
/// From this result code on a FUMO report is a failure (FUMO 1.0, 8.1).
const FAILURE_CODE_MIN: u16 = 400;

/// One thing that must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) holds: bool,
    pub(super) claim: String,
    /// What was compared, or what is wrong.
    pub(super) detail: String,
}

impl Check {
    fn of(claim: &str, wrong: &[String], compared: String) -> Self {
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
pub(super) struct Found<'a> {
    pub(super) client: &'a Client,
    pub(super) campaign: &'a str,
    pub(super) ending: Ending,
    pub(super) fleet: &'a FleetReport,
    /// Nothing was to go wrong.
    pub(super) fair_weather: bool,
}

/// Makes all checks.
pub(super) fn checks(found: &Found<'_>) -> Result<Vec<Check>, Failure> {
    let states = member_states(found)?;
    Ok(vec![
        finished(found.ending),
        adds_up(found)?,
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

/// The server's end.
pub(super) fn ended(status: ExitStatus) -> Check {
    let wrong = if status.success() { Vec::new() } else { vec![status.to_string()] };
    Check::of("the server drained and ended well", &wrong, "exit code 0".to_owned())
}

/// The kills that were asked for.
pub(super) fn killed(asked: u32, done: u32) -> Check {
    let wrong = if asked == done { Vec::new() } else { vec![format!("{done} were done in time")] };
    Check::of("the server was killed and came back", &wrong, format!("{asked} times"))
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
