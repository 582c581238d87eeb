//! Whatever a device answers, an attempt keeps its promises.

#![allow(clippy::unwrap_used, reason = "a test may")]

use dm_objects::agenda::{Agenda, Fact, FirmwareFact, FirmwareMethod, FirmwareStage, FirmwareTask, Known};
use dm_protocol::server::{DeviceAlert, Draft, Event};
use dm_tree::{Format, Leaf};
use proptest::prelude::*;
use syncml::StatusCode;

/// Mostly good, or nothing would ever get as far as the second Exec.
const CODES: [u16; 16] = [200, 200, 200, 200, 200, 200, 202, 202, 202, 404, 405, 407, 425, 500, 215, 0];
const VALUES: [&str; 8] = ["2.0", "1.0", "10", "20", "30", "50", "80", ""];
const CHILDREN: [&str; 4] =
    ["Download/Update/State", "Download/Update/State/PkgName", "DownloadAndUpdate/State", "FwPkg"];
const STAGES: [FirmwareStage; 10] = [
    FirmwareStage::Pending,
    FirmwareStage::Pending,
    FirmwareStage::Pending,
    FirmwareStage::Pending,
    FirmwareStage::DownloadExecSent,
    FirmwareStage::Downloading,
    FirmwareStage::Downloaded,
    FirmwareStage::ExecSent,
    FirmwareStage::Updating,
    FirmwareStage::Reported,
];
const TYPES: [&str; 6] = [
    "org.openmobilealliance.dm.firmwareupdate.download",
    "org.openmobilealliance.dm.firmwareupdate.download",
    "org.openmobilealliance.dm.firmwareupdate.update",
    "org.openmobilealliance.dm.firmwareupdate.downloadandupdate",
    "org.openmobilealliance.dm.firmwareupdate.devicerequest",
    "something else",
];

/// Endless choices from finite octets.
struct Choices<'a>(std::iter::Cycle<std::slice::Iter<'a, u8>>);

impl Choices<'_> {
    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::from(*self.0.next().unwrap()) % list.len()]
    }
}

fn alert(choices: &mut Choices<'_>) -> Event {
    let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Event::Alert(DeviceAlert {
        code: 1226,
        correlator: optional(choices.of(&["c", "c-d", "", "other"])),
        source: optional(choices.of(&["", "FUMO", "FUMO/FwPkg/Update", "Elsewhere"])),
        type_: optional(choices.of(&TYPES)),
        format: None,
        mark: None,
        data: choices.of(&["200", "200", "200", "410", "x"]).as_bytes().to_vec(),
    })
}

fn answers(tag: u32, draft: &Draft, choices: &mut Choices<'_>) -> Vec<Event> {
    let mut events = Vec::new();
    let status =
        |target: Option<String>, code| Event::Status { tag, target, code: StatusCode(code), items: vec![] };
    if let Draft::Get(items) = draft {
        for uri in items {
            let code = choices.of(&CODES);
            events.push(status(Some(uri.to_string()), code));
            if code == 200 {
                let format = choices.of(&[Format::Chr, Format::Node, Format::Int]);
                let value = if format == Format::Node { choices.of(&CHILDREN) } else { choices.of(&VALUES) };
                let leaf = Leaf { format, mime: None, value: value.as_bytes().into() };
                events.push(Event::Result { tag, uri: uri.to_string(), leaf });
            }
        }
        return events;
    }
    // No answer at all is an answer too.
    match choices.of(&CODES) {
        0 => {}
        code => events.push(status(None, code)),
    }
    events
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn an_attempt_keeps_its_promises(
        octets in proptest::collection::vec(any::<u8>(), 1..200),
        stage in proptest::sample::select(&STAGES[..]),
        method in 0..3,
        fresh: bool,
        root: bool,
    ) {
        let method = match method {
            0 => FirmwareMethod::Url("http://fw/".into()),
            1 => FirmwareMethod::DownloadThenUpdate("http://fw/".into()),
            _ => FirmwareMethod::InBand { digest: [0; 32], size: 1 },
        };
        let task = FirmwareTask {
            correlator: "c".into(),
            method,
            package_name: "n".into(),
            package_version: "2.0".into(),
            target_version: "2.0".into(),
            stage,
        };
        let known = Known { dev_detail_fresh: fresh, fumo_root: root.then(|| "FUMO".into()), fumo_search_roots: vec![] };
        let mut agenda = Agenda::new(known, Some(task));
        let mut choices = Choices(octets.iter().cycle());
        let mut events = vec![Event::Authenticated];
        let (mut execs, mut ends, mut at) = (Vec::new(), 0, stage);
        let mut packages = 0;
        loop {
            packages += 1;
            prop_assert!(packages < 20, "no end");
            events.push(Event::WantsCommands);
            events.iter().for_each(|event| agenda.handle_event(event));
            events.clear();
            while let Some((tag, draft)) = agenda.poll_command() {
                if let Draft::Exec { target, correlator, .. } = &draft {
                    let own = if target.ends_with("/Download") { "c-d" } else { "c" };
                    prop_assert_eq!(correlator.as_deref(), Some(own), "of {}", target);
                    prop_assert!(!execs.contains(target), "{} twice", target);
                    execs.push(target.clone());
                    // The stage that says so is told before anything else can happen.
                    prop_assert!(agenda.task().unwrap().stage >= FirmwareStage::DownloadExecSent);
                }
                events.extend(answers(tag, &draft, &mut choices));
            }
            while let Some(fact) = agenda.poll_fact() {
                match fact {
                    Fact::Firmware(FirmwareFact::Stage(stage)) => {
                        prop_assert!(stage > at, "{:?} after {:?}", stage, at);
                        prop_assert_eq!(ends, 0, "a stage after the end");
                        at = stage;
                    }
                    Fact::Firmware(_) => ends += 1,
                    _ => {}
                }
            }
            prop_assert!(ends <= 1, "{} ends", ends);
            if events.is_empty() {
                break;
            }
            if choices.of(&[true, false]) {
                events.push(alert(&mut choices));
            }
            let stored = agenda.encode().unwrap();
            let read = Agenda::decode(&stored).unwrap();
            prop_assert_eq!(&read, &agenda);
            agenda = read;
        }
        if stage >= FirmwareStage::ExecSent {
            prop_assert!(execs.is_empty(), "an Exec after the last one: {:?}", execs);
        }
        let updates = execs.iter().filter(|target| !target.ends_with("/Download")).count();
        prop_assert!(updates <= 1, "{:?}", execs);
    }

    #[test]
    fn any_octets_are_an_agenda_or_an_error(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut versioned = vec![1];
        versioned.extend(&octets);
        for bytes in [octets, versioned] {
            if let Ok(mut agenda) = Agenda::decode(&bytes) {
                agenda.handle_event(&Event::Authenticated);
                agenda.handle_event(&Event::WantsCommands);
                while agenda.poll_command().is_some() {}
            }
        }
    }
}
