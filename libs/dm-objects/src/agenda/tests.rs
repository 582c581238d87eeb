//! Conversations: an agenda against a device of a few lines that answers from a map.

use std::collections::BTreeMap;

use dm_protocol::server::{DeviceAlert, DraftItem, DraftValue, Ending};
use dm_tree::{Format, Leaf};

use super::*;
use crate::dev_detail;

const TARGET: &str = "2.0.0";
const URL: &str = "http://fw.example/2.0.0.bin";
const DAU: &str = "org.openmobilealliance.dm.firmwareupdate.downloadandupdate";
const DOWNLOAD: &str = "org.openmobilealliance.dm.firmwareupdate.download";
const UPDATE: &str = "org.openmobilealliance.dm.firmwareupdate.update";

/// What a device answers, and how.
#[derive(Clone, Default)]
struct Device {
    /// Leaves by address; interior nodes follow from them, or stand here as `None`.
    nodes: BTreeMap<String, Option<String>>,
    /// Ids of interior nodes.
    types: BTreeMap<String, &'static str>,
    /// `?list=Struct` works.
    lists: bool,
    /// A Get of many items gets one status 500 and nothing else.
    one_item_only: bool,
    /// Statuses for a command on an address, such as `Exec FUMO/Update`; without one, the usual.
    statuses: BTreeMap<&'static str, u16>,
    /// What happens to leaves when a command was accepted.
    effects: Vec<(&'static str, &'static str, &'static str)>,
    /// Alerts that come in the same message as the status of a command.
    alerts_after: Vec<(&'static str, DeviceAlert)>,
}

impl Device {
    fn new(leaves: &[(&str, &str)]) -> Self {
        let nodes = leaves.iter().map(|&(uri, value)| (uri.to_owned(), Some(value.to_owned()))).collect();
        Self { nodes, ..Self::default() }
    }

    /// As the captured libdmclient: FUMO one level down, no lists.
    fn intel() -> Self {
        let mut device = Self::new(&[
            ("DevDetail/FwV", "1.0.0"),
            ("DevDetail/SwV", "1.0.0"),
            ("DevDetail/HwV", "1"),
            ("FUMO/FwPkg/PkgName", ""),
            ("FUMO/FwPkg/PkgVersion", ""),
            ("FUMO/FwPkg/State", "10"),
            ("FUMO/FwPkg/Download/PkgURL", ""),
            ("FUMO/FwPkg/DownloadAndUpdate/PkgURL", ""),
        ]);
        device.nodes.insert("FUMO/FwPkg/Update".into(), None);
        device
    }

    fn with(mut self, uri: &str, value: &str) -> Self {
        self.nodes.insert(uri.into(), Some(value.into()));
        self
    }

    fn without(mut self, prefix: &str) -> Self {
        self.nodes.retain(|uri, _| !uri.starts_with(prefix));
        self
    }

    fn answering(mut self, command: &'static str, status: u16) -> Self {
        self.statuses.insert(command, status);
        self
    }

    /// `command` sets `uri` to `value`.
    fn moving(mut self, command: &'static str, uri: &'static str, value: &'static str) -> Self {
        self.effects.push((command, uri, value));
        self
    }

    fn alerting(mut self, command: &'static str, alert: DeviceAlert) -> Self {
        self.alerts_after.push((command, alert));
        self
    }

    fn children(&self, uri: &str) -> Option<Vec<String>> {
        let prefix = if uri == "." { String::new() } else { format!("{uri}/") };
        let mut names: Vec<String> = self
            .nodes
            .keys()
            .filter_map(|key| key.strip_prefix(&prefix)?.split('/').next().map(str::to_owned))
            .collect();
        names.dedup();
        let exists = !names.is_empty() || self.nodes.get(uri) == Some(&None);
        exists.then_some(names)
    }

    fn interior(&self, uri: &str, names: &str) -> Leaf {
        let mime = self.types.get(uri).map(|&type_| type_.into());
        Leaf { format: Format::Node, mime, value: names.as_bytes().into() }
    }

    /// Status and results of one item of a Get.
    fn get(&self, uri: &str) -> (u16, Vec<(String, Leaf)>) {
        if let Some(root) = uri.strip_suffix("?list=Struct") {
            if !self.lists {
                return (406, vec![]);
            }
            let mut items = BTreeMap::new();
            for (key, value) in self.nodes.iter().filter(|(key, _)| key.starts_with(&format!("{root}/"))) {
                for (at, _) in key.match_indices('/') {
                    items.insert(key[..at].to_owned(), self.interior(&key[..at], ""));
                }
                let leaf = if value.is_some() { Leaf::default() } else { self.interior(key, "") };
                items.insert(key.clone(), leaf);
            }
            let status = if items.is_empty() { 404 } else { 200 };
            return (status, items.into_iter().collect());
        }
        if let Some(Some(value)) = self.nodes.get(uri) {
            let leaf = Leaf { value: value.as_bytes().into(), ..Leaf::default() };
            return (200, vec![(uri.to_owned(), leaf)]);
        }
        match self.children(uri) {
            Some(names) => (200, vec![(uri.to_owned(), self.interior(uri, &names.join("/")))]),
            None => (404, vec![]),
        }
    }

    fn events(&mut self, tag: Tag, draft: &Draft, line: &str) -> Vec<Event> {
        let status = |code, target: Option<&str>| Event::Status {
            tag,
            target: target.map(str::to_owned),
            code: StatusCode(code),
            items: vec![],
        };
        let mut events = vec![];
        match draft {
            Draft::Get(items) if items.len() > 1 && self.one_item_only => events.push(status(500, None)),
            Draft::Get(items) => {
                let mut results = vec![];
                for uri in items {
                    let forced = self.statuses.get(format!("Get {uri}").as_str());
                    let (code, found) = forced.map_or_else(|| self.get(uri), |&code| (code, vec![]));
                    events.push(status(code, Some(uri)));
                    results.extend(found.into_iter().map(|(uri, leaf)| Event::Result { tag, uri, leaf }));
                }
                events.extend(results);
            }
            Draft::Replace(item) | Draft::Add(item) => {
                let exists = self.nodes.contains_key(item.target.as_ref());
                let key = line.split('=').next().unwrap();
                let usual = if exists || matches!(draft, Draft::Add(_)) { 200 } else { 404 };
                let code = self.statuses.get(key).copied().unwrap_or(usual);
                if let (200, DraftValue::Inline(value)) = (code, &item.value) {
                    self.nodes
                        .insert(item.target.to_string(), Some(String::from_utf8(value.clone()).unwrap()));
                }
                events.push(status(code, Some(&item.target)));
            }
            Draft::Exec { target, .. } => {
                events.push(status(self.statuses.get(line).copied().unwrap_or(202), Some(target)));
            }
            other => panic!("no device was asked {other:?} before"),
        }
        for (command, uri, value) in self.effects.clone() {
            if command == line {
                self.nodes.insert(uri.into(), Some(value.into()));
            }
        }
        for (command, alert) in &self.alerts_after {
            if *command == line {
                events.push(Event::Alert(alert.clone()));
            }
        }
        events
    }
}

fn line(draft: &Draft) -> String {
    let item = |verb: &str, item: &DraftItem| match &item.value {
        DraftValue::Inline(value) => format!("{verb} {}={}", item.target, String::from_utf8_lossy(value)),
        DraftValue::Artifact { size, .. } => format!("{verb} {}={size} octets", item.target),
    };
    match draft {
        Draft::Get(items) if items.len() > 1 => format!("Get {} items", items.len()),
        Draft::Get(items) => format!("Get {}", items[0]),
        Draft::Replace(replace) => item("Replace", replace),
        Draft::Add(add) => item("Add", add),
        Draft::Exec { target, .. } => format!("Exec {target}"),
        other => format!("{other:?}"),
    }
}

fn alert(type_: &str, source: &str, correlator: Option<&str>, data: &str) -> DeviceAlert {
    DeviceAlert {
        code: 1226,
        correlator: correlator.map(str::to_owned),
        source: Some(source.to_owned()),
        type_: Some(type_.to_owned()),
        format: Some("chr".to_owned()),
        mark: None,
        data: data.as_bytes().to_vec(),
    }
}

fn task(method: FirmwareMethod, stage: FirmwareStage) -> FirmwareTask {
    FirmwareTask {
        correlator: "c1-7-1".into(),
        method,
        package_name: "image".into(),
        package_version: TARGET.into(),
        target_version: TARGET.into(),
        stage,
    }
}

fn url() -> FirmwareMethod {
    FirmwareMethod::Url(URL.into())
}

fn at(root: &str) -> Known {
    Known { dev_detail_fresh: true, fumo_root: Some(root.into()), fumo_search_roots: vec![] }
}

/// A session's commands and facts. With `saves`, the agenda is written and read back after every message.
fn converse(
    device: &mut Device,
    known: &Known,
    task: Option<FirmwareTask>,
    alerts: &[DeviceAlert],
    saves: bool,
) -> (Vec<String>, Vec<Fact>) {
    let mut agenda = Agenda::new(known.clone(), task);
    let (mut lines, mut facts) = (vec![], vec![]);
    let mut events = vec![Event::Authenticated];
    events.extend(alerts.iter().cloned().map(Event::Alert));
    for package in 0.. {
        assert!(package < 20, "no end in sight: {lines:?}");
        events.push(Event::WantsCommands);
        events.iter().for_each(|event| agenda.handle_event(event));
        events.clear();
        let mut first = true;
        while let Some((tag, draft)) = agenda.poll_command() {
            let line = line(&draft);
            events.extend(device.events(tag, &draft, &line));
            lines.push(if std::mem::take(&mut first) { format!("> {line}") } else { line });
        }
        facts.extend(std::iter::from_fn(|| agenda.poll_fact()));
        if saves {
            agenda = Agenda::decode(&agenda.encode().unwrap()).unwrap();
        }
        if events.is_empty() {
            break;
        }
    }
    agenda.handle_event(&Event::Ended(Ending::Done));
    (lines, facts)
}

/// The same with and without saving; firmware facts only.
fn firmware(
    device: &mut Device,
    known: &Known,
    task: FirmwareTask,
    alerts: &[DeviceAlert],
) -> (Vec<String>, Vec<FirmwareFact>) {
    let saved = converse(&mut device.clone(), known, Some(task.clone()), alerts, true);
    let (lines, facts) = converse(device, known, Some(task), alerts, false);
    assert_eq!((&lines, &facts), (&saved.0, &saved.1), "saving between two steps changed something");
    let facts = facts.into_iter().filter_map(|fact| match fact {
        Fact::Firmware(fact) => Some(fact),
        _ => None,
    });
    (lines, facts.collect())
}

fn stage(stage: FirmwareStage) -> FirmwareFact {
    FirmwareFact::Stage(stage)
}

fn done(code: u16, version: &str) -> FirmwareFact {
    FirmwareFact::Done { code, version: version.into() }
}

use FirmwareStage::{DownloadExecSent, Downloaded, Downloading, ExecSent, Pending, Reported, Updating};

#[test]
fn a_visit_with_nothing_to_do_asks_nothing() {
    let known = Known { dev_detail_fresh: true, ..Known::default() };
    let (lines, facts) = converse(&mut Device::intel(), &known, None, &[], true);
    assert!(lines.is_empty() && facts.is_empty(), "{lines:?} {facts:?}");
}

#[test]
fn nothing_is_asked_of_a_device_that_has_not_proved_itself() {
    let mut agenda = Agenda::new(Known::default(), Some(task(url(), Pending)));
    agenda.handle_event(&Event::WantsCommands);
    assert_eq!(agenda.poll_command(), None);
}

#[test]
fn dev_detail_is_read_in_one_get_and_missing_leaves_are_tolerated() {
    let (lines, facts) = converse(&mut Device::intel(), &Known::default(), None, &[], true);
    assert_eq!(lines, ["> Get 9 items"]);
    assert_eq!(facts.len(), 4);
    let detail = dev_detail::DevDetail::from_changes(facts.iter().filter_map(|fact| match fact {
        Fact::Tree(change) => Some(change),
        _ => None,
    }));
    assert_eq!(detail.fw_v.as_deref(), Some("1.0.0"));
    assert_eq!((detail.hw_v.as_deref(), detail.oem), (Some("1"), None));
    assert_eq!(facts.last(), Some(&Fact::DevDetailRead));
}

#[test]
fn dev_detail_is_read_singly_from_a_client_that_answers_one_item_at_a_time() {
    let mut device = Device { one_item_only: true, ..Device::intel() };
    let (lines, facts) = converse(&mut device, &Known::default(), None, &[], true);
    assert_eq!(lines.len(), 10);
    assert_eq!(lines[1], "> Get DevDetail/FwV");
    assert_eq!(facts.len(), 4, "three leaves, then that all has been read");
    assert_eq!(facts.last(), Some(&Fact::DevDetailRead));
}

#[test]
fn dev_info_becomes_part_of_the_tree() {
    let mut agenda = Agenda::new(Known::default(), None);
    let leaf = Leaf { value: b"Acme"[..].into(), ..Leaf::default() };
    agenda.handle_event(&Event::DevInfo(vec![("DevInfo/Man".into(), leaf.clone())]));
    assert_eq!(agenda.poll_fact(), Some(Fact::Tree(Change::Leaf { uri: "DevInfo/Man".into(), leaf })));
    assert_eq!(agenda.poll_fact(), None);
}

#[test]
fn a_new_device_is_found_level_by_level_and_updated_by_one_exec() {
    let mut device = Device::intel();
    let (lines, facts) = firmware(&mut device, &Known::default(), task(url(), Pending), &[]);
    assert_eq!(
        lines,
        [
            "> Get 9 items",
            "> Get FUMO?list=Struct",
            "Get FwUpdate?list=Struct",
            "Get Fumo?list=Struct",
            "Get FWUpdate?list=Struct",
            "> Get FUMO",
            "Get FwUpdate",
            "Get Fumo",
            "Get FWUpdate",
            "Get .",
            "> Get FUMO/FwPkg",
            "> Get FUMO/FwPkg/State",
            "> Replace FUMO/FwPkg/PkgName=image",
            "Replace FUMO/FwPkg/PkgVersion=2.0.0",
            "Replace FUMO/FwPkg/DownloadAndUpdate/PkgURL=http://fw.example/2.0.0.bin",
            "> Exec FUMO/FwPkg/DownloadAndUpdate",
        ]
    );
    assert_eq!(facts, [stage(ExecSent), stage(Updating)]);
    assert_eq!(device.nodes["FUMO/FwPkg/DownloadAndUpdate/PkgURL"].as_deref(), Some(URL));
}

#[test]
fn a_known_node_is_asked_together_with_the_version() {
    let (lines, facts) = firmware(&mut Device::intel(), &at("./FUMO/FwPkg"), task(url(), Pending), &[]);
    assert_eq!(
        lines[..4],
        [
            "> Get DevDetail/FwV",
            "Get FUMO/FwPkg",
            "Get FUMO/FwPkg/State",
            "> Replace FUMO/FwPkg/PkgName=image"
        ]
    );
    assert_eq!(lines.last().unwrap(), "> Exec FUMO/FwPkg/DownloadAndUpdate");
    assert_eq!(facts, [stage(ExecSent), stage(Updating)]);
}

#[test]
fn the_stage_is_told_when_the_exec_is_handed_out() {
    let mut agenda = Agenda::new(at("FUMO/FwPkg"), Some(task(url(), Pending)));
    let mut device = Device::intel();
    let mut events = vec![Event::Authenticated, Event::WantsCommands];
    loop {
        events.iter().for_each(|event| agenda.handle_event(event));
        events.clear();
        while agenda.poll_fact().is_some() {}
        let Some((tag, draft)) = agenda.poll_command() else { panic!("no Exec came") };
        if let Draft::Exec { correlator, .. } = &draft {
            assert_eq!(correlator.as_deref(), Some("c1-7-1"));
            assert_eq!(agenda.poll_fact(), Some(Fact::Firmware(stage(ExecSent))));
            assert_eq!(agenda.poll_command(), None, "the Exec is the last command");
            break;
        }
        events.extend(device.events(tag, &draft, &line(&draft)));
        while let Some((tag, draft)) = agenda.poll_command() {
            events.extend(device.events(tag, &draft, &line(&draft)));
        }
        events.push(Event::WantsCommands);
    }
}

#[test]
fn the_node_is_found_by_its_id_or_its_children() {
    let vendor = Device::new(&[
        ("DevDetail/FwV", "1.0.0"),
        ("Vendor/FotaObject/DownloadAndUpdate/PkgURL", ""),
        ("Vendor/FotaObject/State", "10"),
        ("Vendor/Settings/Download/State", ""),
    ]);
    let first = Device::new(&[("DevDetail/FwV", "1.0.0"), ("Fota/A/DownloadAndUpdate/PkgURL", "")]);
    let listed = Device { lists: true, ..Device::intel() };
    let mut by_id = Device {
        lists: true,
        ..Device::new(&[
            ("DevDetail/FwV", "1"),
            ("FwUpdate/A/Update/x", ""),
            ("FwUpdate/B/DownloadAndUpdate/PkgURL", ""),
        ])
    };
    by_id.types.insert("FwUpdate/B".into(), "urn:oma:mo:oma-fumo:1.0");
    let given = Known { fumo_search_roots: vec!["./Vendor".into()], ..Known::default() };
    for (name, device, known, want) in [
        ("list", &listed, &Known::default(), Some("FUMO/FwPkg")),
        ("id", &by_id, &Known::default(), Some("FwUpdate/B")),
        ("by name of the first level", &first, &Known::default(), Some("Fota/A")),
        ("by name of the second level", &vendor, &Known::default(), Some("Vendor/FotaObject")),
        ("given root", &vendor, &given, Some("Vendor/FotaObject")),
        ("a model's node that is not there", &Device::intel(), &at("FwUpdate/Flash"), Some("FUMO/FwPkg")),
        ("none", &Device::new(&[("DevDetail/FwV", "1")]), &Known::default(), None),
    ] {
        let (lines, facts) = converse(&mut device.clone(), known, Some(task(url(), Pending)), &[], true);
        let root = facts.iter().find_map(|fact| match fact {
            Fact::FumoRoot(root) => Some(root.as_str()),
            _ => None,
        });
        assert_eq!(root, want, "{name}: {lines:?}");
        let is_incapable = |fact: &Fact| matches!(fact, Fact::Firmware(FirmwareFact::NotCapable { .. }));
        assert_eq!(facts.iter().any(is_incapable), want.is_none(), "{name}: {facts:?}");
        let execs = lines.iter().filter(|line| line.contains("Exec")).count();
        assert_eq!(execs, usize::from(want.is_some()), "{name}: {lines:?}");
    }
}

#[test]
fn a_device_with_the_target_version_gets_no_exec() {
    for from in [Pending, Downloaded] {
        let mut device = Device::intel().with("DevDetail/FwV", TARGET);
        let (lines, facts) = firmware(&mut device, &at("FUMO/FwPkg"), task(url(), from), &[]);
        assert_eq!(facts, [FirmwareFact::AlreadyCurrent { version: TARGET.into() }]);
        assert!(!lines.iter().any(|line| line.contains("Exec") || line.contains("Replace")), "{lines:?}");
    }
}

#[test]
fn an_operation_that_the_node_lacks_is_no_operation() {
    let two = FirmwareMethod::DownloadThenUpdate(URL.into());
    let in_band = FirmwareMethod::InBand { digest: [7; 32], size: 9 };
    for (method, missing, is_capable) in [
        (url(), "FUMO/FwPkg/DownloadAndUpdate", true),
        (two.clone(), "FUMO/FwPkg/DownloadAndUpdate", true),
        (two, "FUMO/FwPkg/Download/", false),
        (in_band, "FUMO/FwPkg/Update", false),
    ] {
        let mut device = Device::intel().without(missing);
        let (_, facts) = firmware(&mut device, &at("FUMO/FwPkg"), task(method, Pending), &[]);
        let refused = matches!(facts[..], [FirmwareFact::NotCapable { .. }]);
        assert_eq!(refused, !is_capable, "without {missing}: {facts:?}");
    }
}

#[test]
fn the_address_is_added_where_nobody_made_its_leaf() {
    let mut device = Device::intel().without("FUMO/FwPkg/DownloadAndUpdate/PkgURL");
    device.nodes.insert("FUMO/FwPkg/DownloadAndUpdate".into(), None);
    let (lines, facts) = firmware(&mut device, &at("FUMO/FwPkg"), task(url(), Pending), &[]);
    assert_eq!(
        lines[lines.len() - 2],
        "> Add FUMO/FwPkg/DownloadAndUpdate/PkgURL=http://fw.example/2.0.0.bin"
    );
    assert_eq!(facts, [stage(ExecSent), stage(Updating)]);
}

#[test]
fn refusals_end_the_attempt_and_labels_do_not() {
    const REPLACE: &str = "Replace FUMO/FwPkg/DownloadAndUpdate/PkgURL";
    const ADD: &str = "Add FUMO/FwPkg/DownloadAndUpdate/PkgURL";
    const EXEC: &str = "Exec FUMO/FwPkg/DownloadAndUpdate";
    let refused = |code, command: &str| FirmwareFact::Refused {
        code: StatusCode(code),
        command: command.replacen("FUMO", "./FUMO", 1),
    };
    for (statuses, want) in [
        (&[(REPLACE, 425)][..], vec![refused(425, REPLACE)]),
        (&[(REPLACE, 215)], vec![refused(215, REPLACE)]),
        (&[(REPLACE, 404), (ADD, 405)], vec![refused(405, ADD)]),
        (&[(EXEC, 405)], vec![stage(ExecSent), refused(405, EXEC)]),
        (&[(EXEC, 503)], vec![stage(ExecSent), refused(503, EXEC)]),
        (&[("Replace FUMO/FwPkg/PkgName", 405)], vec![stage(ExecSent), stage(Updating)]),
        (&[("Replace FUMO/FwPkg/PkgVersion", 404)], vec![stage(ExecSent), stage(Updating)]),
        // The node shows neither children nor State: it is tried.
        (&[("Get FUMO/FwPkg", 405), ("Get FUMO/FwPkg/State", 405)], vec![stage(ExecSent), stage(Updating)]),
    ] {
        let mut device = Device::intel();
        device.statuses.extend(statuses.iter().copied());
        let (lines, facts) = firmware(&mut device, &at("FUMO/FwPkg"), task(url(), Pending), &[]);
        assert_eq!(facts, want, "{statuses:?}: {lines:?}");
    }
}

#[test]
fn an_earlier_operation_that_still_runs_is_waited_for() {
    for state in ["30", "60", "200"] {
        let mut device = Device::intel().with("FUMO/FwPkg/State", state);
        let (lines, facts) = firmware(&mut device, &at("FUMO/FwPkg"), task(url(), Pending), &[]);
        assert!(facts.is_empty() && lines.len() == 3, "state {state}: {lines:?} {facts:?}");
    }
}

#[test]
fn an_exec_done_at_once_is_looked_at_at_once() {
    const EXEC: &str = "Exec FUMO/FwPkg/DownloadAndUpdate";
    const STATE: &str = "FUMO/FwPkg/State";
    for (before, after, version, want) in [
        ("10", "100", TARGET, Some(done(200, TARGET))),
        ("10", "90", "1.5.0", Some(done(200, "1.5.0"))),
        ("10", "80", "1.0.0", Some(FirmwareFact::Failed { code: 410 })),
        ("10", "20", "1.0.0", Some(FirmwareFact::Failed { code: 503 })),
        ("10", "30", "1.0.0", None),
        // It answers 200 before it begins, and the State is that of the attempt before.
        ("80", "80", "1.0.0", None),
        ("100", "100", "1.0.0", None),
    ] {
        let mut device = Device::intel()
            .with(STATE, before)
            .answering(EXEC, 200)
            .moving(EXEC, STATE, after)
            .moving(EXEC, "DevDetail/FwV", version);
        let (lines, facts) = firmware(&mut device, &at("FUMO/FwPkg"), task(url(), Pending), &[]);
        let mut wanted = vec![stage(ExecSent), stage(Updating)];
        wanted.extend(want);
        assert_eq!(facts, wanted, "{before} to {after}");
        let last = [EXEC, "Get DevDetail/FwV", "Get FUMO/FwPkg/State"];
        let tail: Vec<_> =
            lines[lines.len() - 3..].iter().map(|line| line.trim_start_matches("> ")).collect();
        assert_eq!(tail, last);
    }
}

#[test]
fn a_report_in_package_1_is_proved_by_the_version() {
    const NODE: &str = "FUMO/FwPkg/DownloadAndUpdate";
    let echo = Some("c1-7-1");
    for (alert, version, want) in [
        (alert(DAU, NODE, echo, "200"), TARGET, vec![stage(Reported), done(200, TARGET)]),
        (alert(DAU, NODE, echo, "251 done"), TARGET, vec![stage(Reported), done(251, TARGET)]),
        (alert(DAU, NODE, echo, "200"), "1.0.0", vec![stage(Reported), done(200, "1.0.0")]),
        (alert(DAU, NODE, None, "200"), TARGET, vec![stage(Reported), done(200, TARGET)]),
        (alert(DAU, "FUMO", Some(" "), "200"), TARGET, vec![stage(Reported), done(200, TARGET)]),
        (alert(UPDATE, NODE, None, "200"), TARGET, vec![stage(Reported), done(200, TARGET)]),
        (alert("x-vendor", "Elsewhere", echo, "200"), TARGET, vec![stage(Reported), done(200, TARGET)]),
        (alert(DAU, NODE, echo, "503"), "1.0.0", vec![FirmwareFact::Failed { code: 503 }]),
        (alert(DOWNLOAD, NODE, echo, "411"), "1.0.0", vec![FirmwareFact::Failed { code: 411 }]),
        (alert(DAU, NODE, None, "600"), "1.0.0", vec![FirmwareFact::Failed { code: 600 }]),
    ] {
        for from in [ExecSent, Updating] {
            let mut device = Device::intel().with("DevDetail/FwV", version).with("FUMO/FwPkg/State", "30");
            let (lines, facts) =
                firmware(&mut device, &at("FUMO/FwPkg"), task(url(), from), std::slice::from_ref(&alert));
            assert_eq!(facts, want, "{alert:?} at {from:?}");
            let reads: &[&str] = if facts.len() == 2 { &["> Get DevDetail/FwV"] } else { &[] };
            assert_eq!(lines, reads);
        }
    }
}

#[test]
fn alerts_of_others_are_kept_for_the_history() {
    for alert in [
        alert(DAU, "FUMO/FwPkg", Some("c1-7-0"), "200"),
        alert(DAU, "FwUpdate/Other", None, "200"),
        alert("urn:oma:at:lawmo:1.0:OperationComplete", "LAWMO", None, "1200"),
        alert("org.openmobilealliance.dm.firmwareupdate.devicerequest", "FUMO", Some("c1-7-1"), "0"),
        alert("org.openmobilealliance.dm.firmwareupdate.userrequest", "FUMO", None, ""),
        alert(DAU, "FUMO/FwPkg", Some("c1-7-1"), "fine"),
    ] {
        let mut device = Device::intel().with("FUMO/FwPkg/State", "60");
        let task = Some(task(url(), Updating));
        let (_, facts) = converse(&mut device, &at("FUMO/FwPkg"), task, std::slice::from_ref(&alert), true);
        assert_eq!(facts[0], Fact::Alert(alert));
        assert!(!facts.iter().any(|fact| matches!(fact, Fact::Firmware(_))), "{facts:?}");
    }
}

#[test]
fn a_report_without_correlator_is_no_report_on_what_was_not_sent() {
    let alert = alert(DAU, "FUMO/FwPkg", None, "200");
    let (_, facts) =
        firmware(&mut Device::intel(), &at("FUMO/FwPkg"), task(url(), Pending), std::slice::from_ref(&alert));
    assert_eq!(facts, [stage(ExecSent), stage(Updating)]);
}

#[test]
fn a_report_without_a_code_leaves_it_to_the_version() {
    let mut device = Device::intel().with("DevDetail/FwV", TARGET);
    let alert = alert(DAU, "FUMO/FwPkg", Some("c1-7-1"), "");
    let (_, facts) = firmware(&mut device, &at("FUMO/FwPkg"), task(url(), Updating), &[alert]);
    assert_eq!(facts, [done(200, TARGET)]);
}

#[test]
fn without_a_report_version_and_state_tell() {
    let failed = |code| Some(FirmwareFact::Failed { code });
    let lost = Some(FirmwareFact::ExecLost);
    for (from, state, want) in [
        (ExecSent, Some("10"), lost.clone()),
        (ExecSent, Some("100"), lost.clone()),
        (ExecSent, Some("20"), failed(503)),
        (ExecSent, Some("70"), failed(410)),
        (ExecSent, Some("30"), None),
        (ExecSent, Some("50"), None),
        (ExecSent, Some("210"), None),
        (ExecSent, Some(""), None),
        (ExecSent, None, None),
        (Updating, Some("10"), None),
        (Updating, Some("60"), None),
        (Updating, Some("20"), failed(503)),
        (Updating, Some("80"), failed(410)),
        (Updating, Some("90"), Some(done(200, "1.0.0"))),
        (DownloadExecSent, Some("10"), lost.clone()),
        (DownloadExecSent, Some("50"), lost.clone()),
        (DownloadExecSent, Some("30"), None),
        (Downloading, Some("30"), None),
        (Downloading, Some("20"), failed(503)),
    ] {
        let mut device = Device::intel().without("FUMO/FwPkg/State");
        if let Some(state) = state {
            device = device.with("FUMO/FwPkg/State", state);
        }
        let (lines, facts) = firmware(&mut device.clone(), &at("FUMO/FwPkg"), task(url(), from), &[]);
        assert_eq!(facts, want.into_iter().collect::<Vec<_>>(), "{from:?} with {state:?}");
        let reads: &[&str] = if from == ExecSent {
            &["> Get DevDetail/FwV", "Get FUMO/FwPkg", "Get FUMO/FwPkg/State"]
        } else {
            &["> Get DevDetail/FwV", "Get FUMO/FwPkg/State"]
        };
        assert_eq!(lines, reads);
        let mut device = device.with("DevDetail/FwV", TARGET);
        let (_, facts) = firmware(&mut device, &at("FUMO/FwPkg"), task(url(), from), &[]);
        assert_eq!(facts, [done(200, TARGET)], "{from:?} with {state:?} and the target's version");
    }
    let two = FirmwareMethod::DownloadThenUpdate(URL.into());
    let mut device = Device::intel().with("FUMO/FwPkg/State", "50");
    let (_, facts) = firmware(&mut device, &at("FUMO/FwPkg"), task(two, ExecSent), &[]);
    assert_eq!(facts, [FirmwareFact::ExecLost], "the Exec of Update never came");
    let mut device = Device::intel().with("FUMO/FwPkg/State", "50").without("FUMO/FwPkg/DownloadAndUpdate");
    let (_, facts) = firmware(&mut device, &at("FUMO/FwPkg"), task(url(), ExecSent), &[]);
    assert_eq!(facts, [FirmwareFact::ExecLost], "a device that cannot do both in one had an Update's");
}

#[test]
fn where_nobody_knows_the_node_any_more_it_is_found_before_its_state_can_tell() {
    let one = Device::intel();
    let two = Device::intel().without("FUMO/FwPkg/DownloadAndUpdate");
    for (device, state, want) in [
        (&one, "10", Some(FirmwareFact::ExecLost)),
        (&one, "60", None),
        (&one, "70", Some(FirmwareFact::Failed { code: 410 })),
        (&two, "50", Some(FirmwareFact::ExecLost)),
        (&two, "30", None),
    ] {
        let mut device = device.clone().with("FUMO/FwPkg/State", state);
        let known = Known { dev_detail_fresh: true, ..Known::default() };
        let (lines, facts) = firmware(&mut device, &known, task(url(), ExecSent), &[]);
        assert_eq!(facts, want.into_iter().collect::<Vec<_>>(), "State {state}");
        assert!(!lines.iter().any(|line| line.contains("Exec")), "{lines:?}");
    }
    let mut bare = Device::new(&[("DevDetail/FwV", "1.0.0")]);
    let (_, facts) = firmware(&mut bare, &Known::default(), task(url(), ExecSent), &[]);
    assert!(matches!(facts[..], [FirmwareFact::NotCapable { .. }]), "{facts:?}");
}

#[test]
fn a_session_that_begins_reported_reads_the_version() {
    for repeated in [false, true] {
        let mut device = Device::intel().with("DevDetail/FwV", TARGET);
        let alerts = [alert(DAU, "FUMO/FwPkg", Some("c1-7-1"), "250")];
        let alerts = if repeated { &alerts[..] } else { &[] };
        let (lines, facts) = firmware(&mut device, &at("FUMO/FwPkg"), task(url(), Reported), alerts);
        assert_eq!(lines, ["> Get DevDetail/FwV"]);
        assert_eq!(facts, [done(if repeated { 250 } else { 200 }, TARGET)]);
    }
}

#[test]
fn download_and_update_are_two_execs() {
    const FIRST: &str = "Exec FUMO/FwPkg/Download";
    let two = FirmwareMethod::DownloadThenUpdate(URL.into());
    let mut device = Device::intel().moving(FIRST, "FUMO/FwPkg/State", "30");
    let (lines, facts) = firmware(&mut device, &at("FUMO/FwPkg"), task(two.clone(), Pending), &[]);
    assert_eq!(lines[5], "Replace FUMO/FwPkg/Download/PkgURL=http://fw.example/2.0.0.bin");
    assert_eq!(lines[6..], ["> Exec FUMO/FwPkg/Download"]);
    assert_eq!(facts, [stage(DownloadExecSent), stage(Downloading)]);

    // In a later session.
    let mut device = device.with("FUMO/FwPkg/State", "50");
    let arrived = alert(DOWNLOAD, "FUMO/FwPkg", Some("c1-7-1"), "200");
    for (from, alerts) in [
        (Downloading, std::slice::from_ref(&arrived)),
        (DownloadExecSent, std::slice::from_ref(&arrived)),
        (Downloading, &[]),
    ] {
        let (lines, facts) = firmware(&mut device, &at("FUMO/FwPkg"), task(two.clone(), from), alerts);
        assert_eq!(lines.last().unwrap(), "> Exec FUMO/FwPkg/Update", "{from:?} {alerts:?}");
        assert_eq!(facts, [stage(Downloaded), stage(ExecSent), stage(Updating)]);
    }

    // At once.
    let mut device = Device::intel().alerting(FIRST, arrived);
    let (lines, facts) = firmware(&mut device, &at("FUMO/FwPkg"), task(two.clone(), Pending), &[]);
    assert_eq!(lines[6..], ["> Exec FUMO/FwPkg/Download", "> Exec FUMO/FwPkg/Update"]);
    assert_eq!(
        facts,
        [stage(DownloadExecSent), stage(Downloading), stage(Downloaded), stage(ExecSent), stage(Updating)]
    );

    let broken = alert(DOWNLOAD, "FUMO/FwPkg", Some("c1-7-1"), "402");
    let (_, facts) = firmware(&mut Device::intel(), &at("FUMO/FwPkg"), task(two, Downloading), &[broken]);
    assert_eq!(facts, [FirmwareFact::Failed { code: 402 }]);
}

#[test]
fn a_package_can_be_pushed_in_band() {
    let method = FirmwareMethod::InBand { digest: [7; 32], size: 1_000_000 };
    let mut device = Device::intel().with("FUMO/FwPkg/Update/PkgData", "");
    let (lines, facts) = firmware(&mut device, &at("FUMO/FwPkg"), task(method.clone(), Pending), &[]);
    assert_eq!(lines[5..], ["Replace FUMO/FwPkg/Update/PkgData=1000000 octets", "> Exec FUMO/FwPkg/Update"]);
    assert_eq!(facts, [stage(Downloaded), stage(ExecSent), stage(Updating)]);
    let mut device = device.answering("Replace FUMO/FwPkg/Update/PkgData", 413);
    let (_, facts) = firmware(&mut device, &at("FUMO/FwPkg"), task(method, Pending), &[]);
    assert!(matches!(facts[..], [FirmwareFact::Refused { code: StatusCode(413), .. }]), "{facts:?}");
}

#[test]
fn a_report_before_its_status_in_one_message_counts() {
    let mut agenda = Agenda::new(at("FUMO/FwPkg"), Some(task(url(), Pending)));
    let mut device = Device::intel();
    agenda.handle_event(&Event::Authenticated);
    let exec = loop {
        agenda.handle_event(&Event::WantsCommands);
        let mut events = vec![];
        let mut exec = None;
        while let Some((tag, draft)) = agenda.poll_command() {
            if matches!(draft, Draft::Exec { .. }) {
                exec = Some(tag);
            }
            events.extend(device.events(tag, &draft, &line(&draft)));
        }
        if let Some(tag) = exec {
            break tag;
        }
        events.iter().for_each(|event| agenda.handle_event(event));
    };
    agenda.handle_event(&Event::Alert(alert(DAU, "FUMO/FwPkg", Some("c1-7-1"), "200")));
    let status = Event::Status { tag: exec, target: None, code: StatusCode(500), items: vec![] };
    agenda.handle_event(&status);
    assert_eq!(agenda.task().unwrap().stage, Reported);
}

#[test]
fn stored_agendas_of_every_version_are_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/agenda-v1.bin");
    let mut agenda = Agenda::new(at("FUMO/FwPkg"), Some(task(url(), Pending)));
    agenda.handle_event(&Event::Authenticated);
    agenda.handle_event(&Event::WantsCommands);
    agenda.poll_command();
    if std::env::var_os("UPDATE_GOLDEN").is_some() && !std::fs::exists(path).unwrap() {
        std::fs::write(path, agenda.encode().unwrap()).unwrap();
    }
    assert_eq!(Agenda::decode(&std::fs::read(path).unwrap()).unwrap(), agenda);
}

#[test]
fn what_is_no_agenda_is_refused() {
    assert!(matches!(Agenda::decode(&[]), Err(AgendaError::Empty)));
    assert!(matches!(Agenda::decode(&[9, 1, 2]), Err(AgendaError::Version(9))));
    assert!(matches!(Agenda::decode(&[1]), Err(AgendaError::Malformed(_))));
    assert!(matches!(Agenda::decode(&vec![1; ENCODED_MAX + 1]), Err(AgendaError::TooLarge(_))));
    let long = Known { fumo_search_roots: vec!["x".repeat(ENCODED_MAX)], ..Known::default() };
    assert!(matches!(Agenda::new(long, None).encode(), Err(AgendaError::TooLarge(_))));
}

#[test]
fn a_tree_without_end_is_searched_within_bounds() {
    let mut device = Device::new(&[("DevDetail/FwV", "1")]);
    for a in 0..200 {
        for b in 0..20 {
            device = device.with(&format!("FUMO/{a}/{b}/x"), "");
        }
    }
    let (lines, facts) = firmware(&mut device, &Known::default(), task(url(), Pending), &[]);
    assert!(lines.len() < 100, "{} commands", lines.len());
    assert!(matches!(facts[..], [FirmwareFact::NotCapable { .. }]), "{facts:?}");
}
