//! What the demo prints and writes at its end.

use std::path::Path;

use admin_service::api::CampaignView;
use anyhow::Context as _;
use loadtest::FleetReport;
use serde::Serialize;

use super::check::{self, Check};
use crate::{
    commands::campaign,
    exit::Failure,
    output::{self, grouped, octets},
};

/// Everything the demo measured.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// Every check holds.
    pub(super) ended_well: bool,
    pub(super) checks: Vec<Check>,
    /// Times the server was killed and started again.
    pub(super) kills: u32,
    /// From the start of the program to the last check.
    pub(super) total_s: f64,
    pub(super) import_s: f64,
    /// From the campaign's start to its end.
    pub(super) campaign_s: f64,
    pub(super) server: ServerFigures,
    pub(super) campaign: CampaignView,
    pub(super) fleet: FleetReport,
}

/// What the server took.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct ServerFigures {
    /// From its start until it took connections, the last time.
    pub(super) ready_ms: u64,
    /// The most resident memory; `None` where the system does not say.
    pub(super) memory_peak_bytes: Option<u64>,
    pub(super) disk_bytes: u64,
    pub(super) disk_bytes_per_device: u64,
}

impl Summary {
    /// Names and values, for the terminal and the page.
    fn rows(&self) -> Vec<(&'static str, String)> {
        let Self { fleet, server, .. } = self;
        let ms = |us: u64| format!("{:.1} ms", us as f64 / 1000.0);
        let mut rows = vec![
            ("devices", grouped(fleet.devices.into())),
            ("seed", fleet.seed.to_string()),
            ("import", format!("{:.1} s", self.import_s)),
            ("campaign", format!("{:.1} s", self.campaign_s)),
            (
                "sessions",
                format!(
                    "{}, {:.0}/s, at best {:.0}/s",
                    grouped(fleet.sessions.done),
                    fleet.sessions.per_s,
                    fleet.sessions.per_s_peak
                ),
            ),
            (
                "messages",
                format!("{}, {:.0}/s", grouped(fleet.sessions.messages), fleet.sessions.messages_per_s),
            ),
            ("latency", format!("p50 {}, p99 {}", ms(fleet.latency_us.p50), ms(fleet.latency_us.p99))),
            ("downloads", format!("{}, {}", grouped(fleet.downloads.done), octets(fleet.downloads.octets))),
            ("states", campaign::states(&self.campaign.summary.counts)),
            ("server ready", format!("{} ms", server.ready_ms)),
            ("server memory", server.memory_peak_bytes.map_or_else(|| "unknown".into(), octets)),
            (
                "server disk",
                format!("{}, {} a device", octets(server.disk_bytes), octets(server.disk_bytes_per_device)),
            ),
        ];
        if fleet.triggers != loadtest::report::Triggers::default() {
            rows.push(("triggers", crate::commands::fleet::triggers(&fleet.triggers)));
        }
        if self.kills > 0 {
            rows.push(("kills", self.kills.to_string()));
        }
        let faults: Vec<_> =
            fleet.faults_injected.iter().map(|(name, count)| format!("{} {name}", grouped(*count))).collect();
        if !faults.is_empty() {
            rows.push(("faults", faults.join(", ")));
        }
        rows
    }

    /// Prints figures and checks.
    pub(super) fn print(&self) -> Result<(), Failure> {
        output::print_pairs(&self.rows())?;
        output::print_line("")?;
        check::print(&self.checks)
    }

    /// Writes a page and a JSON beside it; for a name in `.json`, the JSON alone.
    pub(super) fn write(&mut self, path: &Path) -> Result<(), Failure> {
        let rows = self.rows().into_iter().map(|(name, value)| (name.to_owned(), value));
        let checks = self.checks.iter().map(|check| {
            let word = if check.holds { "ok" } else { "FAIL" };
            (check.claim.clone(), format!("{word}: {}", check.detail))
        });
        self.fleet.notes = rows.chain(checks).collect();
        let json = serde_json::to_string_pretty(self).map_err(|error| Failure::error(error.to_string()))?;
        let write = |path: &Path, text: &str| {
            std::fs::write(path, text).with_context(|| format!("could not write {}", path.display()))
        };
        if path.extension().is_some_and(|extension| extension == "json") {
            write(path, &json)?;
        } else {
            write(path, &self.fleet.to_html())?;
            write(&path.with_extension("json"), &json)?;
        }
        Ok(())
    }
}
