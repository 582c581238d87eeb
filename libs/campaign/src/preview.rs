//! What a campaign would do, before it does it.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;
use serde::Serialize;

use crate::{Period, Plan, Refusal, TimedPhase, Waves};

/// Names shown for each reason of refusal.
const SAMPLES_MAX: usize = 5;

/// A dry run: who is in, who is not and why, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// Devices looked at.
    pub devices: u32,
    /// Devices that would be members.
    pub members: u32,
    /// By wave, exactly as they would be.
    pub waves: Vec<WavePreview>,
    /// Why the others would not, most frequent first.
    pub refusals: Vec<RefusalPreview>,
    /// Octets that members would download at their first attempts.
    pub download_bytes: u64,
    /// How long it takes at most while nobody is retried and nobody pauses it: the timers of each turn of the budget, wave
    /// by wave, with the soaks between them.
    pub longest: Period,
}

/// A wave of a dry run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WavePreview {
    /// Its number, from 0.
    pub wave: u16,
    /// Its members.
    pub members: u32,
    /// The same by maker and model, most frequent first.
    pub models: Vec<ModelPreview>,
}

/// The members of one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelPreview {
    /// `./DevInfo/Man`
    pub maker: String,
    /// `./DevInfo/Mod`
    pub model: String,
    /// How many.
    pub members: u32,
}

/// A reason of refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusalPreview {
    /// Its stable name.
    pub reason: &'static str,
    /// How many devices.
    pub devices: u32,
    /// Some of them.
    pub samples: Vec<String>,
}

/// Who would be in, collected device by device.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    members: RoaringBitmap,
    models: BTreeMap<(String, String), RoaringBitmap>,
    refusals: BTreeMap<Refusal, (u32, Vec<String>)>,
}

impl Selection {
    /// Takes a device in.
    pub fn admit(&mut self, ordinal: u32, maker: &str, model: &str) {
        self.members.insert(ordinal);
        // Models are few; the names are copied only for a new one.
        let key = (maker.to_owned(), model.to_owned());
        self.models.entry(key).or_default().insert(ordinal);
    }

    /// Leaves a device out.
    pub fn refuse(&mut self, id: &str, refusal: Refusal) {
        let (count, samples) = self.refusals.entry(refusal).or_default();
        *count += 1;
        if samples.len() < SAMPLES_MAX {
            samples.push(id.into());
        }
    }

    /// The members.
    pub fn members(&self) -> &RoaringBitmap {
        &self.members
    }

    /// What the plan would do with them.
    pub fn preview(&self, plan: &Plan) -> Preview {
        let waves = Waves::new(plan, &self.members);
        let mut by_wave: Vec<Vec<ModelPreview>> = vec![Vec::new(); waves.count()];
        for ((maker, model), members) in &self.models {
            let mut counts = vec![0; waves.count()];
            members.iter().for_each(|ordinal| counts[usize::from(waves.wave_of(ordinal))] += 1);
            for (models, members) in by_wave.iter_mut().zip(counts).filter(|(_, members)| *members > 0) {
                models.push(ModelPreview { maker: maker.clone(), model: model.clone(), members });
            }
        }
        let waves: Vec<_> = (0..).zip(by_wave).map(|(wave, models)| WavePreview::new(wave, models)).collect();
        let mut refusals: Vec<_> = self
            .refusals
            .iter()
            .map(|(refusal, (devices, samples))| RefusalPreview {
                reason: refusal.name(),
                devices: *devices,
                samples: samples.clone(),
            })
            .collect();
        refusals.sort_by_key(|refusal| std::cmp::Reverse(refusal.devices));
        let members = waves.iter().map(|wave| wave.members).sum();
        Preview {
            devices: members + refusals.iter().map(|refusal| refusal.devices).sum::<u32>(),
            members,
            download_bytes: u64::from(members) * plan.artifact.size,
            longest: longest(plan, &waves),
            waves,
            refusals,
        }
    }
}

impl WavePreview {
    fn new(wave: u16, mut models: Vec<ModelPreview>) -> Self {
        models.sort_by_key(|model| std::cmp::Reverse(model.members));
        Self { wave, members: models.iter().map(|model| model.members).sum(), models }
    }
}

fn longest(plan: &Plan, waves: &[WavePreview]) -> Period {
    let budget = plan.definition.in_flight_max.get();
    let turn = [
        TimedPhase::Wait,
        TimedPhase::Session,
        TimedPhase::Download,
        TimedPhase::Install,
        TimedPhase::Report,
    ]
    .map(|phase| plan.definition.timers.of(phase))
    .into_iter()
    .fold(Period::ZERO, Period::plus);
    waves.iter().zip(&plan.definition.waves).fold(Period::ZERO, |sum, (wave, definition)| {
        let turns = u64::from(wave.members.div_ceil(budget));
        let soak = if usize::from(wave.wave) + 1 < waves.len() { definition.gate.soak } else { Period::ZERO };
        sum.plus(Period::from_ms(turn.as_ms().saturating_mul(turns))).plus(soak)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan_of;

    #[test]
    fn a_preview_counts_waves_models_and_refusals() {
        let mut selection = Selection::default();
        for ordinal in 0..100 {
            selection.admit(ordinal, "Acme", if ordinal % 4 == 0 { "M1" } else { "M2" });
        }
        for at in 0..7 {
            selection.refuse(&format!("d{at}"), Refusal::Firmware);
        }
        selection.refuse("x", Refusal::Maker);
        let timers = "timers = {wait = '1d', session = '1h', download = '1h', install = '1h', report = '1h'}";
        let plan = plan_of(&format!(
            "in_flight_max = 40\nwaves = [{{percent = 10, gate = {{soak = '2h'}}}}, {{}}]\n{timers}"
        ));
        let preview = selection.preview(&plan);
        assert_eq!((preview.devices, preview.members, preview.download_bytes), (108, 100, 100_000));
        assert_eq!(preview.waves.iter().map(|wave| wave.members).collect::<Vec<_>>(), [10, 90]);
        let models: u32 = preview.waves.iter().flat_map(|wave| &wave.models).map(|model| model.members).sum();
        assert_eq!(models, 100);
        assert_eq!(preview.waves[1].models[0].model, "M2");
        let reasons: Vec<_> =
            preview.refusals.iter().map(|one| (one.reason, one.devices, one.samples.len())).collect();
        assert_eq!(reasons, [("firmware", 7, 5), ("maker", 1, 1)]);
        // One turn for the first wave and three for the second, 28 hours each, and the soak between.
        assert_eq!(preview.longest, Period::from_secs((4 * 28 + 2) * 3600));
    }
}
