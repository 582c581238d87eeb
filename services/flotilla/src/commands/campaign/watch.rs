//! `flotilla campaign watch`

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use admin_service::api::CampaignView;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::path;
use crate::{
    client::Client,
    exit::Failure,
    output::{self, grouped},
};

/// How long a server that has gone away is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two tries to reach it.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Between two lines where there is no terminal.
const LINE_PAUSE: Duration = Duration::from_secs(5);

/// How a watched campaign ended, or why nothing more will happen by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Every device is in its last state.
    Finished,
    /// Somebody stopped it.
    Stopped,
    /// A gate holds it until somebody resumes it.
    Held,
}

impl Ending {
    fn of(campaign: &CampaignView) -> Option<Self> {
        match (campaign.summary.state.as_str(), &campaign.pause) {
            ("finished", _) => Some(Self::Finished),
            ("stopped", _) => Some(Self::Stopped),
            ("paused", Some(pause)) if pause.cause != "operator" => Some(Self::Held),
            _ => None,
        }
    }
}

/// Shows a campaign's progress until it ends.
pub(crate) fn watch(client: &Client, id: &str) -> Result<Ending, Failure> {
    let mut shown = progress();
    let ending = follow_to_end(client, id, &mut |campaign, last| shown.show(campaign, last));
    shown.finish();
    ending
}

/// Bars on a terminal, lines elsewhere.
pub(crate) fn progress() -> Box<dyn Shown> {
    if io::stderr().is_terminal() { Box::<Bars>::default() } else { Box::<Lines>::default() }
}

/// Tells `see` of a campaign whenever it has changed, until it ends; waits out a server that is restarted.
pub(crate) fn follow_to_end(
    client: &Client,
    id: &str,
    see: &mut dyn FnMut(&CampaignView, bool),
) -> Result<Ending, Failure> {
    let mut heard = Instant::now();
    loop {
        let broken = match follow(client, id, see, &mut heard) {
            Ok(ending) => return Ok(ending),
            Err(failure) => failure,
        };
        if !broken.is_transient() || heard.elapsed() > PATIENCE {
            return Err(broken);
        }
        std::thread::sleep(RETRY_PAUSE);
    }
}

/// Follows the campaign's server-sent events until it ends or the connection does.
fn follow(
    client: &Client,
    id: &str,
    see: &mut dyn FnMut(&CampaignView, bool),
    heard: &mut Instant,
) -> Result<Ending, Failure> {
    for line in client.get_lines(&format!("{}/watch", path(id)))? {
        let line = line.map_err(|error| Failure::transient(format!("the server went away: {error}")))?;
        *heard = Instant::now();
        let Some(data) = line.strip_prefix("data:") else { continue };
        let campaign: CampaignView = serde_json::from_str(data.trim())
            .map_err(|error| Failure::error(format!("the server's event cannot be read: {error}")))?;
        let ending = Ending::of(&campaign);
        see(&campaign, ending.is_some());
        if let Some(ending) = ending {
            return Ok(ending);
        }
    }
    Err(Failure::transient("the server went away"))
}

/// Where progress is shown.
pub(crate) trait Shown {
    fn show(&mut self, campaign: &CampaignView, last: bool);
    /// A line about something else that goes on beside the campaign.
    fn note(&mut self, text: &str);
    fn finish(&mut self) {}
}

/// Lines for a log.
#[derive(Default)]
struct Lines {
    last: Option<(Instant, String)>,
    note: String,
}

impl Shown for Lines {
    fn show(&mut self, campaign: &CampaignView, last: bool) {
        let text = summary(campaign);
        let due = match &self.last {
            None => true,
            Some((at, before)) => *before != text && (last || at.elapsed() >= LINE_PAUSE),
        };
        if due {
            let note = if self.note.is_empty() { String::new() } else { format!("; {}", self.note) };
            eprintln!("{} {text}{note}", campaign.summary.id);
            self.last = Some((Instant::now(), text));
        }
    }

    fn note(&mut self, text: &str) {
        text.clone_into(&mut self.note);
    }
}

/// A campaign's progress in a line.
pub(crate) fn summary(campaign: &CampaignView) -> String {
    let counts = &campaign.summary.counts;
    let mut text = format!(
        "{}: {} of {} ended, {} in flight, {} succeeded",
        campaign.summary.state,
        grouped(counts.ended().into()),
        grouped(campaign.members.into()),
        grouped(counts.in_flight().into()),
        grouped(counts.succeeding().into()),
    );
    for (count, word) in
        [(counts.failing(), "failed"), (counts.unheard(), "unheard"), (counts.retry(), "to be retried")]
    {
        if count > 0 {
            text.push_str(&format!(", {} {word}", grouped(count.into())));
        }
    }
    if let Some(pause) = &campaign.pause {
        text.push_str(&format!(" - {}", pause.detail));
    }
    output::printable(text)
}

/// Bars for a terminal: one for the campaign and one for each wave.
#[derive(Default)]
struct Bars {
    group: MultiProgress,
    bars: Vec<ProgressBar>,
    line: Option<ProgressBar>,
    note: Option<ProgressBar>,
}

impl Bars {
    fn text_line(&self) -> ProgressBar {
        let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        self.group.add(ProgressBar::no_length().with_style(style))
    }
}

impl Shown for Bars {
    fn show(&mut self, campaign: &CampaignView, _last: bool) {
        let line = self.line.take().unwrap_or_else(|| self.text_line());
        line.set_message(format!("{} {}", campaign.summary.name, summary(campaign)));
        while self.bars.len() < campaign.waves.len() {
            let bar = ProgressBar::no_length().with_style(bar_style());
            let bar = self.group.insert_before(&line, bar);
            bar.set_prefix(format!("wave {}", self.bars.len() + 1));
            self.bars.push(bar);
        }
        for (bar, wave) in self.bars.iter().zip(&campaign.waves) {
            bar.set_length(wave.members.into());
            bar.set_position(wave.counts.ended().into());
            bar.set_message(if wave.open { "" } else { "not open" });
        }
        self.line = Some(line);
    }

    fn note(&mut self, text: &str) {
        let note = self.note.take().unwrap_or_else(|| self.text_line());
        note.set_message(text.to_owned());
        self.note = Some(note);
    }

    fn finish(&mut self) {
        self.bars.iter().chain(&self.line).chain(&self.note).for_each(ProgressBar::abandon);
    }
}

fn bar_style() -> ProgressStyle {
    let template = "{prefix:>8} {wide_bar} {pos}/{len} {elapsed} {msg}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;
    use admin_service::api::{CampaignSummary, PauseView};

    fn campaign(state: &str, cause: Option<&str>) -> CampaignView {
        let summary = CampaignSummary {
            id: "c1".into(),
            name: "n".into(),
            state: state.into(),
            created: None,
            started: None,
            counts: campaign::Counts { succeeded: 1, pending: 2, ..Default::default() },
        };
        CampaignView {
            summary,
            pause: cause.map(|cause| PauseView { cause: cause.into(), detail: "why".into() }),
            artifact: "fw".into(),
            artifact_version: "2".into(),
            artifact_digest: String::new(),
            target_version: "2".into(),
            members: 3,
            in_flight: 0,
            in_flight_max: 1,
            ended: 1,
            waves: Vec::new(),
            outcomes: Vec::new(),
            ended_per_minute: None,
            eta: None,
            events: 0,
            events_ignored: 0,
            definition: serde_json::Value::Null,
        }
    }

    #[test]
    fn ends_with_the_campaign_or_with_a_gate_but_not_with_an_operators_pause() {
        for (state, cause, ending) in [
            ("draft", None, None),
            ("running", None, None),
            ("paused", Some("operator"), None),
            ("paused", Some("wave-gate"), Some(Ending::Held)),
            ("paused", Some("approval"), Some(Ending::Held)),
            ("stopping", None, None),
            ("stopped", None, Some(Ending::Stopped)),
            ("finished", None, Some(Ending::Finished)),
        ] {
            assert_eq!(Ending::of(&campaign(state, cause)), ending, "{state} {cause:?}");
        }
    }

    #[test]
    fn a_line_says_what_counts() {
        let text = summary(&campaign("paused", Some("wave-gate")));
        assert_eq!(text, "paused: 1 of 3 ended, 0 in flight, 1 succeeded - why");
    }
}
