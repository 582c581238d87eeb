//! A device against a scripted server: XML by hand, statuses for all that the device sent, commands in turn.

use sha2::{Digest as _, Sha256};
use syncml::{Command, Limits, Message, decode};

use super::*;

const URL: &str = "http://dm.example/dm";
const IMAGE: &[u8] = b"the new firmware";

fn open_mix() -> Mix {
    Mix { auth_none: 1.0, auth_basic: 0.0, auth_md5: 0.0, xml: 1.0 }
}

fn setup(faults: FaultPlan) -> Arc<Setup> {
    let timing = Timing { poll_ms: 60_000, ..Timing::default() };
    Arc::new(Setup::new(1, URL, open_mix(), faults, timing, Timestamp::UNIX_EPOCH).unwrap())
}

/// A device of a model, and a clock.
struct World {
    device: SimDevice,
    now: Timestamp,
    notes: Vec<Note>,
    alerts: Vec<(String, String, String)>,
    posts: usize,
}

impl World {
    fn new(model: &str, faults: FaultPlan) -> Self {
        let setup = setup(faults);
        let number =
            (0..200).find(|&number| DeviceIdentity::derive(1, number, &open_mix()).model == model).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let device = SimDevice::new(setup, number, now);
        Self { device, now, notes: vec![], alerts: vec![], posts: 0 }
    }

    fn fumo_uri(&self, node: &str) -> String {
        format!("./{}/{node}", self.device.model().fumo_root)
    }

    /// Runs until the device wants more than to post and to wait, or `sessions` sessions are over. The server sends
    /// `script` in its first package and nothing after.
    fn session(&mut self, script: &str) -> Action {
        let mut script = Some(script);
        let mut is_posting = false;
        for _ in 0..200 {
            match self.device.next_action(self.now) {
                Action::Wait { .. } if is_posting && !self.device.is_in_session() => return Action::Gone,
                Action::Wait { until } => self.now = until,
                Action::Post { cut: true, .. } => {
                    self.device.handle_broken(self.now);
                }
                Action::Post { body, content_type, .. } => {
                    is_posting = true;
                    self.posts += 1;
                    let encoding = syncml::Encoding::of(Some(content_type), &body).unwrap();
                    let message = decode(encoding, &body, &Limits::default()).unwrap();
                    let answer = self.answer(&message, &mut script);
                    self.device.handle_reply(self.now, 200, None, answer.as_bytes());
                }
                other => {
                    self.notes.append(&mut self.device.take_notes());
                    return other;
                }
            }
            self.notes.append(&mut self.device.take_notes());
            if is_posting && !self.device.is_in_session() {
                return self.device.next_action(self.now);
            }
        }
        panic!("no end in sight");
    }

    fn answer(&mut self, message: &Message<'_>, script: &mut Option<&str>) -> String {
        let hdr = &message.hdr;
        let mut body = String::new();
        let mut cmd_id = 0;
        let mut status = |msg_ref: u32, cmd_ref: &str, cmd: &str, code: u16| {
            cmd_id += 1;
            body.push_str(&format!(
                "<Status><CmdID>{cmd_id}</CmdID><MsgRef>{msg_ref}</MsgRef><CmdRef>{cmd_ref}</CmdRef><Cmd>{cmd}</Cmd><Data>{code}</Data></Status>"
            ));
        };
        status(hdr.msg_id, "0", "SyncHdr", 212);
        for command in &message.body.commands {
            match command {
                Command::Alert(alert) => {
                    status(hdr.msg_id, &alert.cmd_id, "Alert", 200);
                    for item in alert.items.iter().filter(|_| alert.code == Some(1226)) {
                        let text = |data: &Option<syncml::Data<'_>>| match data {
                            Some(syncml::Data::Text(text)) => text.to_string(),
                            _ => String::new(),
                        };
                        let correlator = alert.correlator.as_deref().unwrap_or_default().to_owned();
                        let source = item.source.as_ref().map(|source| source.loc_uri.to_string());
                        self.alerts.push((correlator, source.unwrap_or_default(), text(&item.data)));
                    }
                }
                Command::Replace(replace) => status(hdr.msg_id, &replace.cmd_id, "Replace", 200),
                _ => {}
            }
        }
        let commands = script.take().unwrap_or_default();
        let (dtd, namespace) = (&hdr.ver_dtd, format!("SYNCML:SYNCML{}", hdr.ver_dtd));
        format!(
            "<SyncML xmlns='{namespace}'><SyncHdr><VerDTD>{dtd}</VerDTD><VerProto>{}</VerProto><SessionID>{}</SessionID><MsgID>{}</MsgID>\
             <Target><LocURI>{}</LocURI></Target><Source><LocURI>{URL}</LocURI></Source></SyncHdr><SyncBody>{body}{commands}<Final/></SyncBody></SyncML>",
            hdr.ver_proto, hdr.session_id, hdr.msg_id, hdr.source.loc_uri
        )
    }

    fn order(&self, operation: &str, correlator: &str) -> String {
        let leaf = |uri: String, value: &str, id: u32| {
            format!(
                "<Replace><CmdID>{id}</CmdID><Item><Target><LocURI>{uri}</LocURI></Target><Meta><Format xmlns='syncml:metinf'>chr</Format></Meta><Data>{value}</Data></Item></Replace>"
            )
        };
        let exec = format!(
            "<Exec><CmdID>52</CmdID><Correlator>{correlator}</Correlator><Item><Target><LocURI>{}</LocURI></Target></Item></Exec>",
            self.fumo_uri(operation)
        );
        if operation == "Update" {
            return exec;
        }
        let url = leaf(self.fumo_uri(&format!("{operation}/PkgURL")), "http://fw.example/2.bin", 51);
        format!("{}{url}{exec}", leaf(self.fumo_uri("PkgVersion"), "2.0.0", 50))
    }

    /// Serves the image, honouring the break.
    fn download(&mut self, action: &Action) {
        let Action::Download { url, offset, cut_after } = action else { panic!("{action:?} is no download") };
        assert_eq!(url, "http://fw.example/2.bin");
        let digest = Some(Sha256::digest(IMAGE).into());
        let total = Some(IMAGE.len() as u64);
        let status = if *offset > 0 { 206 } else { 200 };
        self.device.handle_head(&Head { status, is_descriptor: false, start: *offset, total, digest });
        let rest = &IMAGE[*offset as usize..];
        let sent = cut_after.map_or(rest.len(), |octets| rest.len().min(octets as usize));
        self.device.handle_data(&rest[..sent]);
        self.device.handle_end(self.now, sent == rest.len());
        self.notes.append(&mut self.device.take_notes());
    }

    fn wait(&mut self) {
        for _ in 0..100 {
            let Action::Wait { until } = self.device.next_action(self.now) else { return };
            self.now = until;
        }
        panic!("it waits for ever");
    }
}

#[test]
fn a_visit_with_nothing_to_do_takes_one_exchange_and_comes_again() {
    let mut world = World::new("A1", FaultPlan::default());
    let Action::Wait { until } = world.device.next_action(world.now) else {
        panic!("the first visit is spread")
    };
    assert!(until.as_millisecond() < 60_000);
    world.session("");
    assert_eq!(world.notes, [Note::SessionDone { messages: 1 }]);
    let Action::Wait { until } = world.device.next_action(world.now) else { panic!() };
    assert!((54_000..=66_000).contains(&until.duration_since(world.now).as_millis()));
}

#[test]
fn an_update_ends_with_a_report_and_the_new_version() {
    for (model, operations) in [
        ("A1", &["DownloadAndUpdate"][..]),
        ("A2 Tab", &["DownloadAndUpdate"]),
        ("Meter 4", &["Download", "Update"]),
        ("Gateway 9", &["DownloadAndUpdate"]),
        ("Phone 7", &["Download", "Update"]),
        ("Car 2", &["DownloadAndUpdate"]),
    ] {
        let mut world = World::new(model, FaultPlan::default());
        for (nth, operation) in operations.iter().enumerate() {
            let script = world.order(operation, "c1-1-1");
            let action = world.session(&script);
            if *operation == "Update" {
                let [_] = &world.alerts[..] else { panic!("{:?}", world.alerts) };
            } else {
                assert!(world.device.is_updating(), "{model}");
                world.download(&action);
            }
            world.wait();
            if nth + 1 == operations.len() {
                world.session("");
            }
        }
        assert_eq!(world.device.version(), "2.0.0", "{model}");
        assert_eq!(world.device.last_report(), Some(200), "{model}");
        assert!(!world.device.is_updating(), "{model}");
        assert_eq!(world.alerts.len(), operations.len());
        let (correlator, source, data) = world.alerts.last().unwrap();
        let wanted = if world.device.model().forgets_correlator { "" } else { "c1-1-1" };
        assert_eq!((correlator.as_str(), data.as_str()), (wanted, "200"));
        assert!(source.starts_with(&world.fumo_uri("")[..world.fumo_uri("").len() - 1]), "{source}");
        assert!(world.device.fumo().execs().iter().all(|count| count.times == 1));
        assert!(world.notes.contains(&Note::Downloaded { checked: true }));
    }
}

#[test]
fn a_planned_failure_is_reported_with_its_code() {
    for (code, has_downloaded) in [(410, true), (503, true), (600, true)] {
        let faults = FaultPlan { failing: 1.0, failing_codes: vec![(code, 1.0)], ..FaultPlan::default() };
        let mut world = World::new("A1", faults);
        let script = world.order("DownloadAndUpdate", "c");
        let action = world.session(&script);
        world.download(&action);
        world.wait();
        world.session("");
        assert_eq!(world.device.last_report(), Some(code));
        assert_eq!(world.device.version(), "1.0.0");
        assert!(world.notes.contains(&Note::Fault(Fault::Failing)));
        let downloaded = world.notes.iter().any(|note| matches!(note, Note::Downloaded { .. }));
        assert_eq!(downloaded, has_downloaded);
    }
}

#[test]
fn a_wrong_version_is_reported_as_success() {
    let mut world = World::new("A1", FaultPlan { wrong_version: 1.0, ..FaultPlan::default() });
    let script = world.order("DownloadAndUpdate", "c");
    let action = world.session(&script);
    world.download(&action);
    world.wait();
    world.session("");
    assert_eq!((world.device.last_report(), world.device.version()), (Some(200), "1.0.0"));
}

#[test]
fn a_silent_device_is_gone_once_it_accepted() {
    let mut world = World::new("A1", FaultPlan { silent: 1.0, ..FaultPlan::default() });
    world.session("");
    assert!(!world.device.is_gone(), "without an order it comes again");
    let script = world.order("DownloadAndUpdate", "c");
    assert_eq!(world.session(&script), Action::Gone);
    assert!(world.device.is_gone());
}

#[test]
fn lost_and_repeated_messages_run_nothing_twice() {
    let faults = FaultPlan { reply_lost: 0.3, repeated: 0.3, cut: 0.2, slow: 0.2, ..FaultPlan::default() };
    let mut world = World::new("A1", faults);
    let mut attempt = 0;
    let action = loop {
        attempt += 1;
        assert!(attempt < 100, "no attempt came through");
        let script = world.order("DownloadAndUpdate", &format!("c-{attempt}"));
        // The scripted server does not remember what it answered, so its answer may have been one of those lost.
        if let action @ Action::Download { .. } = world.session(&script) {
            break action;
        }
    };
    let mut action = action;
    for _ in 0..100 {
        if !matches!(action, Action::Download { .. }) {
            break;
        }
        world.download(&action);
        world.wait();
        action = world.device.next_action(world.now);
    }
    world.session("");
    assert!(
        world.device.fumo().execs().iter().all(|count| count.times == 1),
        "{:?}",
        world.device.fumo().execs()
    );
    assert_eq!(world.device.version(), "2.0.0");
}

#[test]
fn the_server_is_left_alone_when_it_asks_for_it() {
    let mut world = World::new("A1", FaultPlan::default());
    world.wait();
    let Action::Post { body: first, .. } = world.device.next_action(world.now) else { panic!() };
    world.device.handle_reply(world.now, 503, Some(7), b"");
    let Action::Wait { until } = world.device.next_action(world.now) else { panic!() };
    let wait_ms = until.duration_since(world.now).as_millis();
    assert!((7_000..14_000).contains(&wait_ms), "{wait_ms} ms");
    let Action::Post { body: second, .. } = world.device.next_action(until) else { panic!() };
    assert_eq!(first, second, "the very same message");
}

#[test]
fn a_server_that_is_away_is_tried_again_and_then_left_for_later() {
    let mut world = World::new("A1", FaultPlan::default());
    world.wait();
    let mut posts = 0;
    while !matches!(world.notes.last(), Some(Note::SessionBroken { .. })) {
        match world.device.next_action(world.now) {
            Action::Wait { until } => world.now = until,
            Action::Post { .. } => {
                posts += 1;
                world.device.handle_broken(world.now);
            }
            other => panic!("{other:?}"),
        }
        world.notes.append(&mut world.device.take_notes());
    }
    assert_eq!(posts, 6);
    assert!(matches!(world.device.next_action(world.now), Action::Wait { .. }));
}

#[test]
fn the_same_seed_lives_the_same_life() {
    let life = || {
        let faults = FaultPlan { slow: 0.5, ..FaultPlan::rough() };
        let mut world = World::new("A1", faults);
        let mut log = vec![];
        for _ in 0..5 {
            log.push(format!("{:?}", world.session("")));
            world.wait();
        }
        (log, world.now, world.posts, world.notes)
    };
    assert_eq!(life(), life());
}

#[test]
fn an_idle_device_owns_little_of_its_tree() {
    let setup = setup(FaultPlan::default());
    let device = SimDevice::new(setup.clone(), 7, Timestamp::UNIX_EPOCH);
    assert!(size_of::<SimDevice>() <= 256, "{} octets", size_of::<SimDevice>());
    let template = &setup.trees[usize::from(device.model)];
    let shared = |uri: &str| std::ptr::eq(device.tree().node(uri).unwrap(), template.node(uri).unwrap());
    let own: Vec<_> = device.tree().walk().map(|(uri, _)| uri).filter(|uri| !shared(uri)).collect();
    assert_eq!(own, [".", "DevInfo", "DevInfo/DevId"]);
}

/// By what the operating system says of the process, where it says so.
#[test]
fn an_idle_device_takes_less_than_two_kilobytes() {
    let resident = || -> Option<u64> {
        let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
        Some(statm.split(' ').nth(1)?.parse::<u64>().ok()? * 4_096)
    };
    let Some(before) = resident() else {
        eprintln!("skipped: this system does not tell a process its memory");
        return;
    };
    const DEVICES: u32 = 20_000;
    let setup = setup(FaultPlan::default());
    let devices: Vec<_> =
        (0..DEVICES).map(|number| SimDevice::new(setup.clone(), number, Timestamp::UNIX_EPOCH)).collect();
    let each = (resident().unwrap() - before) / u64::from(DEVICES);
    assert!(each < 2_048, "{each} octets a device of {}", devices.len());
    println!("{each} octets a device");
}

#[test]
fn a_trigger_of_the_server_begins_a_session_and_a_forged_one_nothing() {
    use dm_notification::{Notification, ServerKey};

    let now = Timestamp::UNIX_EPOCH;
    let timing = Timing { poll_ms: 3_600_000, ..Timing::default() };
    let setup = Setup::new(1, "http://server/dm", Mix::default(), FaultPlan::default(), timing, now).unwrap();
    let mut device = SimDevice::new(Arc::new(setup), 7, now);
    assert!(matches!(device.next_action(now), Action::Wait { .. }), "its own visit is not due yet");
    let identity = device.identity();
    let notification = Notification::new(&identity.server_id, 0x2a).unwrap();
    let good = notification.encode(&ServerKey::derive(&identity.server_id, &identity.server_password), b"");
    let guessed = notification.encode(&ServerKey::derive(&identity.server_id, "guessed"), b"");
    let mut changed = good.clone();
    changed[22] ^= 1;
    let other_nonce =
        notification.encode(&ServerKey::derive(&identity.server_id, &identity.server_password), b"x");
    for forged in [&guessed, &changed, &other_nonce, &good[..20].to_vec(), &Vec::new()] {
        assert_eq!(device.handle_trigger(now, forged), Triggered::Refused);
        assert!(matches!(device.next_action(now), Action::Wait { .. }), "a forged trigger starts nothing");
    }
    assert_eq!(device.handle_trigger(now, &good), Triggered::Session);
    assert!(matches!(device.next_action(now), Action::Post { .. }), "it comes at once");
    assert_eq!(device.handle_trigger(now, &good), Triggered::Busy);
}
