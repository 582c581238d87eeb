//! What the demo's campaign is, fitted to the size of its fleet.

use std::time::Duration;

/// Visits a second that a small machine serves while everything else of the demo runs on it too.
const VISITS_PER_S: u64 = 1000;
/// The shortest time from one visit of a device to its next.
const POLL_MIN: Duration = Duration::from_secs(2);

/// The name the demo's firmware is added by.
pub(in crate::commands) const ARTIFACT: &str = "demo-firmware";
/// Its version: newer than any that a simulated device leaves the factory with.
pub(in crate::commands) const VERSION: &str = "9.0.0";

/// Times that follow from how many devices there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) struct Plan {
    pub(in crate::commands) devices: u32,
    /// From one visit of a device to its next.
    pub(in crate::commands) poll: Duration,
}

impl Plan {
    pub(in crate::commands) fn new(devices: u32, poll: Option<Duration>) -> Self {
        let fitting = Duration::from_secs(u64::from(devices) / VISITS_PER_S);
        Self { devices, poll: poll.unwrap_or(fitting).max(POLL_MIN) }
    }

    /// The campaign: three waves, gates that let a rough night through, timers of a few visits.
    pub(in crate::commands) fn definition(&self, seed: u64) -> String {
        self.definition_with(seed, 0)
    }

    /// The same, with timers that outlast servers which are away for a while.
    pub(in crate::commands) fn ordeal(&self, seed: u64) -> String {
        self.definition_with(seed, 240)
    }

    fn definition_with(&self, seed: u64, outage_s: u64) -> String {
        let poll = self.poll.as_secs().max(1);
        let in_flight_max = (self.devices / 2).clamp(50, 20_000);
        let seed = seed >> 1;
        // A device that falls silent with an update under way ends after twice the phase: download and install. One whose
        // messages are lost again and again waits longer each time, up to half a minute, and a killed server adds to that.
        let (wait, session) = (120 + outage_s + 10 * poll, 180 + outage_s + 4 * poll);
        let phase = 60 + outage_s + 4 * poll;
        format!(
            "\
name = \"demo: firmware {VERSION}\"
artifact = {{ name = \"{ARTIFACT}\", version = \"{VERSION}\" }}
in_flight_max = {in_flight_max}
seed = {seed}

[[waves]]
up_to_percent = 5
gate = {{ success_min_percent = 60, failure_max_percent = 30, silence_max_percent = 30 }}

[[waves]]
up_to_percent = 30
gate = {{ success_min_percent = 60, failure_max_percent = 30, silence_max_percent = 30 }}

[[waves]]
up_to_percent = 100

[failure_gate]
failure_max_percent = 40
silence_max_percent = 50

[timers]
wait = \"{wait}s\"
session = \"{session}s\"
download = \"{phase}s\"
install = \"{phase}s\"
report = \"{phase}s\"

[retry.transient]
attempts_max = 5
delay = \"1s\"
delay_max = \"10s\"

[retry.needs-user]
attempts_max = 2
delay = \"1s\"
delay_max = \"10s\"

[retry.device-fault]
attempts_max = 3
delay = \"1s\"
delay_max = \"10s\"

[retry.exec-lost]
attempts_max = 10
delay = \"0s\"
delay_max = \"10s\"

[retry.refused]
attempts_max = 3
delay = \"1s\"
delay_max = \"10s\"

[retry.timed-out]
attempts_max = 1
"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_one_for_every_size() {
        for devices in [1, 50, 1_000, 20_000, 1_000_000] {
            let definition = Plan::new(devices, None).definition(u64::MAX);
            let read = campaign::Definition::parse_toml(&definition).map_err(|error| error.to_string());
            assert_eq!(read.map(|definition| definition.waves.len()), Ok(3), "{definition}");
        }
    }

    #[test]
    fn no_device_waits_for_long_for_another_attempt() {
        let definition = Plan::new(1_000, None).definition(1);
        let Ok(read) = campaign::Definition::parse_toml(&definition) else { panic!("{definition}") };
        let retry = read.retry;
        for rule in [
            retry.transient,
            retry.needs_user,
            retry.device_fault,
            retry.package_fault,
            retry.refused,
            retry.wrong_version,
            retry.exec_lost,
            retry.silent,
            retry.timed_out,
        ] {
            assert!(rule.attempts_max == 1 || rule.delay_max.as_ms() <= 10_000, "{rule:?}");
        }
    }

    #[test]
    fn devices_of_a_large_fleet_come_less_often() {
        for (devices, poll, want) in [(10, None, 2), (20_000, None, 20), (20_000, Some(5), 5)] {
            let plan = Plan::new(devices, poll.map(Duration::from_secs));
            assert_eq!(plan.poll.as_secs(), want, "{devices}");
        }
    }
}
