//! What the campaign service says, as the API shows it.

use campaign::{Explanation, Preview};
use campaign_service::{DeviceReport, DeviceRow, OutcomeRow, Status, Summary, Verification, WaveStatus};

use crate::api::{
    CampaignSummary, CampaignView, ExplainMember, ExplainView, MemberView, OutcomeView, PauseView,
    PreviewModel, PreviewRefusal, PreviewView, PreviewWave, VerifyView, WaveView, hex,
};

impl From<Summary> for CampaignSummary {
    fn from(summary: Summary) -> Self {
        let Summary { id, name, run, created, started, counts } = summary;
        Self { id, name, state: run.to_owned(), created, started, counts }
    }
}

impl From<Status> for CampaignView {
    fn from(status: Status) -> Self {
        let definition = &status.plan.definition;
        Self {
            pause: status
                .cause
                .map(|cause| PauseView { cause: cause.name().to_owned(), detail: cause.to_string() }),
            in_flight_max: definition.in_flight_max.get(),
            // Every key of a definition is text, so nothing in it can fail.
            definition: serde_json::to_value(definition).unwrap_or_default(),
            artifact: status.plan.artifact.name,
            artifact_version: status.plan.artifact.version,
            artifact_digest: hex(&status.plan.artifact.digest.0),
            target_version: status.plan.target_version,
            members: status.members,
            in_flight: status.in_flight,
            ended: status.ended,
            waves: status.waves.into_iter().map(Into::into).collect(),
            outcomes: status.outcomes.into_iter().map(Into::into).collect(),
            ended_per_minute: status.ended_per_minute,
            eta: status.eta,
            events: status.ledger_offset,
            events_ignored: status.ignored_events,
            summary: status.summary.into(),
        }
    }
}

impl From<WaveStatus> for WaveView {
    fn from(WaveStatus { wave, open, members, counts }: WaveStatus) -> Self {
        Self { wave, members, open, counts }
    }
}

impl From<OutcomeRow> for OutcomeView {
    fn from(OutcomeRow { outcome, code, devices }: OutcomeRow) -> Self {
        Self { outcome: outcome.to_owned(), code, devices }
    }
}

impl From<DeviceRow> for MemberView {
    fn from(row: DeviceRow) -> Self {
        let DeviceRow { device, ordinal, status, wave, attempt, code } = row;
        Self { device, ordinal, state: status.to_owned(), wave, attempt, code }
    }
}

impl From<Preview> for PreviewView {
    fn from(preview: Preview) -> Self {
        let waves = preview.waves.into_iter().map(|wave| PreviewWave {
            wave: wave.wave,
            members: wave.members,
            models: wave
                .models
                .into_iter()
                .map(|row| PreviewModel { maker: row.maker, model: row.model, members: row.members })
                .collect(),
        });
        let refusals = preview.refusals.into_iter().map(|row| PreviewRefusal {
            reason: row.reason.to_owned(),
            devices: row.devices,
            samples: row.samples,
        });
        Self {
            devices: preview.devices,
            members: preview.members,
            waves: waves.collect(),
            refusals: refusals.collect(),
            download_bytes: preview.download_bytes,
            longest: preview.longest.to_string(),
        }
    }
}

impl From<Verification> for VerifyView {
    fn from(found: Verification) -> Self {
        let Verification { adds_up, members, events, counts, differences } = found;
        Self { adds_up, members, differences, events, counts }
    }
}

/// A device's report with the campaign it is about.
pub(super) fn explain(summary: Summary, report: DeviceReport) -> ExplainView {
    ExplainView {
        campaign: summary.id,
        name: summary.name,
        campaign_state: summary.run.to_owned(),
        member: report.member.map(member),
        refusal: report.refusal.map(str::to_owned),
    }
}

fn member(explanation: Explanation) -> ExplainMember {
    let Explanation { status, wave, attempt, outcome, code, reason, until } = explanation;
    let (state, outcome) = (status.to_owned(), outcome.map(str::to_owned));
    ExplainMember { state, wave, attempt, outcome, code, reason, until }
}
