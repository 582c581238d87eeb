//! The server and its client commands, as processes.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod common;
#[path = "serve/credentials.rs"]
mod credentials;
#[path = "serve/leaks.rs"]
mod leaks;
#[path = "../../session/tests/support/pki.rs"]
mod pki;
#[path = "serve/threats.rs"]
mod threats;

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use common::{Server, client, flotilla, stderr, stdout};
use service_kit::loopback::free_address;

#[test]
fn what_was_added_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data);
    let added = client(
        &server,
        &data,
        &["device", "add", "--id", "IMEI:1", "--auth", "md5", "--user", "u", "--password-file", "-"],
        "hunter2\n",
    );
    assert!(added.status.success(), "{}", stderr(&added));
    assert!(!stdout(&added).contains("hunter2"));
    assert_eq!(server.terminate().code(), Some(0));

    let server = Server::start(&data);
    let shown = client(&server, &data, &["device", "show", "IMEI:1", "-o", "json"], "");
    assert!(shown.status.success(), "{}", stderr(&shown));
    let device: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(
        (&device["id"], &device["auth"], &device["user"]),
        (&"IMEI:1".into(), &"md5".into(), &"u".into())
    );
    assert_eq!(server.terminate().code(), Some(0));
}

/// Package 1 of a device that proves nothing.
const PACKAGE_1: &str = "<SyncML xmlns='SYNCML:SYNCML1.2'><SyncHdr><VerDTD>1.2</VerDTD><VerProto>DM/1.2</VerProto>\
    <SessionID>1</SessionID><MsgID>1</MsgID><Target><LocURI>http://127.0.0.1/dm</LocURI></Target>\
    <Source><LocURI>urn:test:1</LocURI></Source></SyncHdr><SyncBody>\
    <Alert><CmdID>1</CmdID><Data>1201</Data></Alert><Replace><CmdID>2</CmdID>\
    <Item><Source><LocURI>./DevInfo/DevId</LocURI></Source><Data>urn:test:1</Data></Item>\
    <Item><Source><LocURI>./DevInfo/Man</LocURI></Source><Data>Acme</Data></Item>\
    <Item><Source><LocURI>./DevInfo/Mod</LocURI></Source><Data>R1</Data></Item>\
    <Item><Source><LocURI>./DevInfo/DmV</LocURI></Source><Data>1.2</Data></Item>\
    <Item><Source><LocURI>./DevInfo/Lang</LocURI></Source><Data>en</Data></Item>\
    </Replace><Final/></SyncBody></SyncML>";

#[test]
fn what_a_device_says_of_itself_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let server = Server::start(data);
    let run = |args: &[&str]| {
        let output = client(&server, data, args, "");
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        stdout(&output)
    };
    run(&["device", "add", "--id", "urn:test:1", "--auth", "none"]);
    let answer = ureq::post(&server.devices)
        .header("content-type", "application/vnd.syncml.dm+xml")
        .send(PACKAGE_1)
        .unwrap()
        .into_body()
        .read_to_string()
        .unwrap();
    assert!(answer.contains("<Data>212</Data>") || answer.contains("<Data>200</Data>"), "{answer}");
    let list = run(&["device", "list"]);
    assert!(list.lines().any(|line| line.starts_with("urn:test:1") && line.contains("Acme   R1")), "{list}");
    let tree = run(&["device", "tree", "urn:test:1", "--uri", "./DevInfo"]);
    assert!(tree.lines().any(|line| line.starts_with("./DevInfo/Man") && line.ends_with("Acme")), "{tree}");
    let history = run(&["device", "history", "urn:test:1"]);
    assert!(history.starts_with("TREE SINCE"), "{history}");
}

#[test]
fn exit_codes_say_what_went_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let run = |args: &[&str]| client(&server, folder.path(), args, "");
    for (args, code) in [
        (&["device", "add", "--id", "d1", "--auth", "none"][..], 0),
        (&["device", "add", "--id", "d1", "--auth", "none"], 4),
        (&["device", "add", "--id", "d2", "--auth", "md5"], 2),
        (&["device", "add", "--id", "d2", "--auth", "md5", "--user", "u"], 1),
        (&["device", "show", "nobody"], 3),
        (&["device", "tree", "d1"], 3),
        (&["device", "list"], 0),
        (&["device", "frobnicate"], 2),
        (&["device", "list", "--token", "wrong"], 1),
        (&["artifact", "add", "/nowhere/fw.bin", "--name", "fw", "--version", "1"], 1),
        (&["artifact", "list"], 0),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}{}", stdout(&output), stderr(&output));
    }
    let nobody = flotilla().args(["device", "list", "--server", "http://127.0.0.1:1"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(1));
    assert!(stderr(&nobody).contains("hint: start one with"), "{}", stderr(&nobody));
}

#[test]
fn an_import_reports_bad_rows_by_their_line_and_keeps_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let file = folder.path().join("roster.csv");
    std::fs::write(
        &file,
        "id,auth,user,password,tags\n\
         a,md5,u,p,x;y\n\
         b,digest,u,p,\n\
         c,md5,u\n\
         \n\
         d,none,,,\n\
         a,none,,,\n",
    )
    .unwrap();
    let path = file.to_str().unwrap();
    let imported = client(&server, folder.path(), &["device", "import", path], "");
    assert_eq!(imported.status.code(), Some(1));
    let errors = stderr(&imported);
    let reported: Vec<_> = errors.lines().collect();
    assert_eq!(reported.len(), 3, "{errors}");
    assert!(reported[0].starts_with(&format!("{path}:3: auth: expected one of")), "{errors}");
    assert!(reported[1].starts_with(&format!("{path}:4: expected 5 columns, got 3")), "{errors}");
    assert!(reported[2].starts_with(&format!("{path}:7: device a is there already")), "{errors}");
    assert!(
        stdout(&imported).starts_with("5 rows: 2 added, 1 in conflict, 2 not valid"),
        "{}",
        stdout(&imported)
    );

    let again = client(&server, folder.path(), &["device", "import", path, "--lenient", "-o", "json"], "");
    assert_eq!(again.status.code(), Some(0));
    let summary: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((&summary["created"], &summary["unchanged"]), (&0.into(), &2.into()), "{summary}");

    let rows = "{\"id\":\"e\",\"auth\":\"none\"}\n{\"id\":\n";
    let piped = client(&server, folder.path(), &["device", "import", "-"], rows);
    assert_eq!(piped.status.code(), Some(1));
    assert!(stderr(&piped).starts_with("-:2: "), "{}", stderr(&piped));
    let list = client(&server, folder.path(), &["device", "list", "--limit", "0", "-o", "json"], "");
    let devices: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    let ids: Vec<_> = devices.as_array().unwrap().iter().map(|device| device["id"].clone()).collect();
    assert_eq!(ids, ["a", "d", "e"]);
}

#[test]
fn settings_are_checked_before_anything_opens() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("flotilla.toml");
    std::fs::write(&config, "[session]\nlissten = \"x\"\n[admin]\ntoken_required = 7\n").unwrap();
    let data = folder.path().join("data");
    let checked = flotilla()
        .args(["serve", "--check-config", "--data"])
        .arg(&data)
        .arg("--config")
        .arg(&config)
        .output();
    let checked = checked.unwrap();
    assert_eq!(checked.status.code(), Some(1));
    for key in ["session.lissten", "admin.token_required"] {
        assert!(stderr(&checked).contains(key), "{}", stderr(&checked));
    }
    assert!(!data.exists());
    let example = flotilla().args(["config", "example"]).output().unwrap();
    std::fs::write(&config, &example.stdout).unwrap();
    let good = flotilla().args(["config", "check"]).arg(&config).output().unwrap();
    assert!(good.status.success(), "{}", stderr(&good));
}

#[test]
fn a_message_is_shown_in_every_form() {
    let xml = "<SyncML><SyncHdr><MsgID>1</MsgID></SyncHdr><SyncBody><Final/></SyncBody></SyncML>";
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("m.xml"), folder.path().join("m.wbxml"));
    std::fs::write(&from, xml).unwrap();
    let wbxml = flotilla().args(["convert", "--to", "wbxml"]).arg(&from).output().unwrap();
    assert!(wbxml.status.success(), "{}", stderr(&wbxml));
    assert!(wbxml.stdout.starts_with(&[0x02]), "{:02x?}", wbxml.stdout);
    std::fs::write(&to, &wbxml.stdout).unwrap();
    let json = flotilla().args(["convert", "--to", "json"]).arg(&to).output().unwrap();
    let message: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(message["SyncHdr"]["MsgID"], 1);
    std::fs::write(&to, "neither").unwrap();
    let refused = flotilla().args(["convert", "--to", "json"]).arg(&to).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
}

#[test]
fn keys_are_replaced_while_the_server_runs() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let key_file = folder.path().join("keys");
    let server = Server::start(&data);
    let add = |server: &Server, id: &str| {
        let args = ["device", "add", "--id", id, "--auth", "md5", "--user", "u", "--password", "p"];
        let added = client(server, &data, &args, "");
        assert!(added.status.success(), "{}", stderr(&added));
    };
    add(&server, "a");
    add(&server, "b");
    assert_eq!(server.terminate().code(), Some(0));

    let new_key = |id: &str| {
        let line = flotilla().args(["secrets", "new-key", "--id", id]).output().unwrap();
        assert!(line.status.success(), "{}", stderr(&line));
        let known = std::fs::read_to_string(&key_file).unwrap_or_default();
        std::fs::write(&key_file, known + &stdout(&line)).unwrap();
    };
    new_key("1");
    let server = Server::start_with(&data, &[("FLOTILLA__SECRETS__KEY_FILE", key_file.to_str().unwrap())]);
    let secrets = |command: &str| {
        let output = client(&server, &data, &["secrets", command, "-o", "json"], "");
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    add(&server, "c");
    assert_eq!(secrets("status")["found"], serde_json::json!({"0": 2, "1": 1}));
    assert_eq!(secrets("rotate")["resealed"], 2);
    assert_eq!(secrets("status")["found"], serde_json::json!({"1": 3}));
    new_key("2");
    assert_eq!(secrets("rotate")["resealed"], 3, "a rotation takes up a key that was added");
    assert_eq!(secrets("rotate")["resealed"], 0, "and does nothing twice");
    assert_eq!(secrets("status")["keys"], serde_json::json!([0, 1, 2]));
    assert_eq!(server.terminate().code(), Some(0));

    // Nothing needs the first key any more.
    let lines = std::fs::read_to_string(&key_file).unwrap();
    std::fs::write(&key_file, lines.lines().last().unwrap()).unwrap();
    let server = Server::start_with(&data, &[("FLOTILLA__SECRETS__KEY_FILE", key_file.to_str().unwrap())]);
    let shown = client(&server, &data, &["device", "show", "a", "-o", "json"], "");
    assert!(shown.status.success(), "{}", stderr(&shown));
    assert_eq!(server.terminate().code(), Some(0));

    // With keys that open nothing it does not begin; with some it does, and says what is missing.
    let second = std::fs::read_to_string(&key_file).unwrap();
    std::fs::write(&key_file, "").unwrap();
    new_key("3");
    let third = std::fs::read_to_string(&key_file).unwrap();
    let mut serve = flotilla();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data"]).arg(&data);
    let refused = serve.env("FLOTILLA__SECRETS__KEY_FILE", &key_file).output().unwrap();
    assert_eq!((refused.status.code(), stdout(&refused).as_str()), (Some(1), ""), "{}", stderr(&refused));
    for words in ["secrets.key_file: expected the keys", "sealed with key 2, which is not among the keys"] {
        assert!(stderr(&refused).contains(words), "{}", stderr(&refused));
    }
    std::fs::write(&key_file, format!("{second}\n{third}")).unwrap();
    let server = Server::start_with(&data, &[("FLOTILLA__SECRETS__KEY_FILE", key_file.to_str().unwrap())]);
    add(&server, "d");
    assert_eq!(server.terminate().code(), Some(0));
    std::fs::write(&key_file, third).unwrap();
    let log = folder.path().join("log");
    let environment = [("FLOTILLA__SECRETS__KEY_FILE", key_file.to_str().unwrap())];
    let server = Server::start_logging(&data, &environment, File::create(&log).unwrap());
    assert_eq!(logged(&log, "some stored credentials cannot be opened"), 1);
    let shown = client(&server, &data, &["device", "show", "d"], "");
    assert!(shown.status.success(), "{}", stderr(&shown));
    assert_eq!(server.terminate().code(), Some(0));
}

/// Threat: the operators' side is listened to, or spoken to by who has the token alone.
#[test]
fn operators_speak_tls_and_show_a_certificate_where_they_are_asked_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let (data, at) =
        (folder.path().join("data"), |name: &str| folder.path().join(name).display().to_string());
    let [servers, operators, others] = ["servers", "operators", "operators"].map(pki::Authority::new);
    servers.issue("admin", &["localhost"], 1).write(folder.path(), "server");
    operators.issue("alice", &[], 2).write(folder.path(), "alice");
    others.issue("mallory", &[], 3).write(folder.path(), "mallory");
    for (name, authority) in [("servers.pem", &servers), ("operators.pem", &operators)] {
        std::fs::write(folder.path().join(name), authority.pem()).unwrap();
    }
    std::fs::write(at("token"), "0123456789abcdef\n").unwrap();
    let server = Server::start_with(
        &data,
        &[
            ("FLOTILLA__ADMIN__TOKEN_FILE", &at("token")),
            ("FLOTILLA__ADMIN__TLS__CERTIFICATE", &at("server.pem")),
            ("FLOTILLA__ADMIN__TLS__KEY", &at("server.key")),
            ("FLOTILLA__ADMIN__TLS__CLIENT_AUTH", "required"),
            ("FLOTILLA__ADMIN__TLS__CLIENT_CA", &at("operators.pem")),
        ],
    );
    let port = server.admin.rsplit(':').next().unwrap();
    assert!(server.admin.starts_with("https://"), "{}", server.admin);
    let ask = |arguments: &[&str], environment: &[(&str, &str)]| {
        flotilla()
            .args(["device", "list", "--server", &format!("https://localhost:{port}")])
            .args(arguments)
            .envs(environment.iter().copied())
            .output()
            .unwrap()
    };
    let (ca, token) = (at("servers.pem"), at("token"));
    let (alice, alice_key) = (at("alice.pem"), at("alice.key"));
    let good = ["--ca", &ca, "--token-file", &token, "--client-cert", &alice, "--client-key", &alice_key];
    let listed = ask(&good, &[]);
    assert!(listed.status.success(), "{}", stderr(&listed));
    // Nothing of it need stand on a command line.
    let listed = ask(
        &[],
        &[
            ("FLOTILLA_CA", &ca),
            ("FLOTILLA_TOKEN_FILE", &token),
            ("FLOTILLA_CLIENT_CERT", &alice),
            ("FLOTILLA_CLIENT_KEY", &alice_key),
        ],
    );
    assert!(listed.status.success(), "{}", stderr(&listed));

    let (mallory, mallory_key) = (at("mallory.pem"), at("mallory.key"));
    for (name, arguments) in [
        ("no authority", &good[2..]),
        (
            "another authority",
            &[
                "--ca",
                &at("operators.pem"),
                "--token-file",
                &token,
                "--client-cert",
                &alice,
                "--client-key",
                &alice_key,
            ],
        ),
        ("no token", &["--ca", &ca, "--client-cert", &alice, "--client-key", &alice_key]),
        ("no certificate", &good[..4]),
        (
            "a strange certificate",
            &["--ca", &ca, "--token-file", &token, "--client-cert", &mallory, "--client-key", &mallory_key],
        ),
        ("a certificate without key", &good[..6]),
    ] {
        let refused = ask(arguments, &[]);
        assert!(!refused.status.success(), "{name}: {}", stdout(&refused));
    }
    // In the open nothing is answered.
    assert!(ureq::get(format!("http://localhost:{port}/health/livez")).call().is_err());

    // A new certificate, of another authority, is served without a restart.
    let next = pki::Authority::new("next");
    next.issue("admin", &["localhost"], 1).write(folder.path(), "server");
    std::fs::write(at("next.pem"), next.pem()).unwrap();
    let next_ca = at("next.pem");
    let fresh = [&["--ca", &next_ca], &good[2..]].concat();
    let began = std::time::Instant::now();
    while !ask(&fresh, &[]).status.success() {
        assert!(began.elapsed().as_secs() < 30, "the new certificate is not served");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert!(!ask(&good, &[]).status.success(), "the old one is served too");
    assert_eq!(server.terminate().code(), Some(0));
}

/// Threat: a private key or a token that every user of the machine can read.
#[test]
fn keys_that_everyone_can_read_are_warned_of() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let authority = pki::Authority::new("servers");
    authority.issue("admin", &["localhost"], 1).write(folder.path(), "server");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let warnings = |mode: u32| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(Path::new(&at("server.key")), mode).unwrap();
        let ended = flotilla()
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--until-stdin-ends"])
            .args(["--data", &at("data")])
            .env("FLOTILLA__ADMIN__TLS__CERTIFICATE", at("server.pem"))
            .env("FLOTILLA__ADMIN__TLS__KEY", at("server.key"))
            .output()
            .unwrap();
        let text = format!("{}{}", stdout(&ended), stderr(&ended));
        text.matches("private key can be read by every user").count()
    };
    assert_eq!((warnings(0o644), warnings(0o640), warnings(0o600)), (1, 0, 0));
}

/// The status and text of an answer, whatever the status is.
fn ask(request: ureq::RequestBuilder<ureq::typestate::WithoutBody>) -> (u16, String) {
    let mut answer = request.config().http_status_as_error(false).build().call().unwrap();
    (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
}

/// Tries until it holds.
fn await_that(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "expected {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn probes_and_metrics_are_answered_until_the_last_request_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let health = free_address().unwrap();
    let listen = health.to_string();
    let server = Server::start_with(folder.path(), &[("FLOTILLA__HEALTH__LISTEN", &listen)]);
    let ready = format!("http://{health}/health/readyz");
    await_that("a server that is ready", || ask(ureq::get(&ready)).0 == 200);

    let address = server.devices.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    let mut device = TcpStream::connect(&address).unwrap();
    let head = "POST /dm HTTP/1.1\r\nhost: x\r\ncontent-type: application/vnd.syncml.dm+xml\r\ncontent-length: 4\r\n\r\n";
    device.write_all(head.as_bytes()).unwrap();
    // The server has it once it has answered another one that came later.
    assert_eq!(ask(ureq::get(&server.devices)).0, 405);
    std::thread::sleep(Duration::from_millis(200));
    server.signal("TERM");
    await_that("readiness that says draining", || ask(ureq::get(&ready)) == (503, "draining\n".to_owned()));
    await_that("a listener that takes no devices", || TcpStream::connect(&address).is_err());
    let admin_ready = format!("{}/health/readyz", server.admin);
    await_that("the same on the admin listener", || {
        ask(ureq::get(&admin_ready)) == (503, "draining\n".to_owned())
    });
    let (status, metrics) = ask(ureq::get(format!("http://{health}/metrics")));
    assert_eq!(status, 200);
    for line in ["dm_ready 0", "dm_connections 1"] {
        assert!(metrics.lines().any(|found| found == line), "{line} is missing in:\n{metrics}");
    }
    assert_eq!(ask(ureq::get(format!("http://{health}/health/livez"))).0, 200);

    device.write_all(b"none").unwrap();
    let mut answer = String::new();
    device.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(server.await_end().code(), Some(0));
    assert!(TcpStream::connect(health).is_err());
}

#[test]
fn the_log_level_changes_while_the_server_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (data, config, log) =
        (folder.path().join("data"), folder.path().join("flotilla.toml"), folder.path().join("log"));
    let configure =
        |level: &str| std::fs::write(&config, format!("[telemetry]\nlevel = \"{level}\"\n")).unwrap();
    configure("info");
    let health = free_address().unwrap();
    let (listen, config_path) = (health.to_string(), config.to_str().unwrap());
    let environment = [("FLOTILLA__HEALTH__LISTEN", listen.as_str()), ("FLOTILLA_CONFIG", config_path)];
    let server = Server::start_logging(&data, &environment, File::create(&log).unwrap());
    let run = |args: &[&str]| client(&server, &data, args, "");
    let level = |args: &[&str]| {
        let output = run(&[&["log-level", "-o", "json"], args].concat());
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    // Each request is a line of the level debug.
    let requests = || logged(&log, "admin request answered");
    assert_eq!((level(&[])["level"].as_str(), requests()), (Some("info"), 0));

    let changed = level(&["debug", "--for", "3s"]);
    assert_eq!((&changed["level"], &changed["configured"]), (&"debug".into(), &"info".into()));
    assert!(changed["until"].is_string(), "{changed}");
    level(&[]);
    await_that("lines of debug", || requests() >= 1);
    await_that("the settings to hold again", || level(&[])["level"] == "info");
    let before = requests();
    level(&[]);
    assert_eq!((requests(), level(&[])["until"].clone()), (before, serde_json::Value::Null));

    // By the health listener, without a token.
    let url = format!("http://{health}");
    let here = flotilla().args(["log-level", "warn", "--server", &url]).output().unwrap();
    assert_eq!(stdout(&here), "warn (the settings say info)\n", "{}", stderr(&here));
    assert_eq!(level(&["--reset"])["level"], "info");
    let elsewhere = ureq::get(format!("{url}/v1/log-level")).header("host", "rebound.example");
    assert_eq!(ask(elsewhere).0, 403);
    for refused in [&["log-level", "info,=="][..], &["log-level", "debug", "--for", "9999h"]] {
        assert_eq!(run(refused).status.code(), Some(1), "{refused:?}");
    }
    assert_eq!(level(&[])["level"], "info");

    configure("info,hyper=debug");
    server.signal("HUP");
    await_that("the settings of the file", || level(&[])["configured"] == "info,hyper=debug");
    configure("info,==");
    server.signal("HUP");
    await_that("a line about it", || logged(&log, "log level is as before") == 1);
    assert_eq!(level(&[])["level"], "info,hyper=debug");
    assert_eq!(server.terminate().code(), Some(0));
}

/// Lines of a log with this in them.
fn logged(log: &Path, text: &str) -> usize {
    std::fs::read_to_string(log).unwrap().lines().filter(|line| line.contains(text)).count()
}

#[test]
fn a_receiver_of_traces_that_is_away_holds_nobody_up() {
    let wrong = flotilla()
        .env("FLOTILLA__TELEMETRY__OTLP_ENDPOINT", "localhost:4318")
        .env("FLOTILLA__TELEMETRY__TRACE_SAMPLE", "1.5")
        .args(["serve", "--check-config"])
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(1));
    for key in [
        "telemetry.otlp_endpoint: expected an address",
        "telemetry.trace_sample: expected a number from 0 to 1",
    ] {
        assert!(stderr(&wrong).contains(key), "{}", stderr(&wrong));
    }

    let folder = tempfile::tempdir().unwrap();
    let (data, log, nobody) = (
        folder.path().join("data"),
        folder.path().join("log"),
        format!("http://{}", free_address().unwrap()),
    );
    let environment =
        [("FLOTILLA__TELEMETRY__OTLP_ENDPOINT", nobody.as_str()), ("FLOTILLA__SESSION__ENROL", "open")];
    let server = Server::start_logging(&data, &environment, File::create(&log).unwrap());
    for _ in 0..3 {
        let answered = ureq::post(&server.devices)
            .header("content-type", "application/vnd.syncml.dm+xml")
            .send(PACKAGE_1)
            .unwrap();
        assert_eq!(answered.status(), 200);
        // Longer than spans wait for more, so that it is tried for each.
        std::thread::sleep(Duration::from_millis(700));
    }
    assert_eq!(server.terminate().code(), Some(0));
    assert_eq!(logged(&log, "traces cannot be sent"), 1, "{}", std::fs::read_to_string(&log).unwrap());
    assert_eq!(logged(&log, "spans could not be sent before the end"), 1);
}

#[test]
fn a_process_beside_the_server_says_how_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let address = server.addresses()[1].clone();
    for args in [&[][..], &["--live"], &["--serving"]] {
        let asked = flotilla().args(["health", "--address", &address]).args(args).output().unwrap();
        assert_eq!((asked.status.code(), stdout(&asked).as_str()), (Some(0), "ok\n"), "{}", stderr(&asked));
    }
    // As a container's check asks: by the environment that the server has too.
    let asked = flotilla().arg("health").env("FLOTILLA__ADMIN__LISTEN", &address).output().unwrap();
    assert_eq!(asked.status.code(), Some(0), "{}", stderr(&asked));
    server.kill();
    let asked = flotilla().args(["health", "--live", "--address", &address]).output().unwrap();
    assert_eq!(asked.status.code(), Some(1));
    assert!(stderr(&asked).contains("gives no answer"), "{}", stderr(&asked));
}

/// A fleet that goes on while its server is backed up, killed, and restored to what it was before.
#[test]
fn a_campaign_goes_on_from_a_backup_and_no_exec_is_sent_again() {
    const DEVICES: &str = "60";
    // A download that breaks while there is no server, and an end of which the restored server never hears, cost an attempt.
    const CAMPAIGN: &str = "name = 'n'\nartifact = { name = 'fw' }\nin_flight_max = 1000\n\
        [timers]\ndownload = '30s'\ninstall = '30s'\n\
        [retry]\ntransient = { attempts_max = 9, delay = '20s', delay_max = '20s' }\n\
        timed-out = { attempts_max = 9, delay = '1s', delay_max = '1s' }\n";
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let data = at("data");
    let server = Server::start(&data);
    let run = |server: &Server, data: &std::path::Path, args: &[&str]| {
        let output = client(server, data, args, "");
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        stdout(&output)
    };
    let show = |server: &Server, data: &std::path::Path| -> serde_json::Value {
        serde_json::from_str(&run(server, data, &["campaign", "show", "c1", "-o", "json"])).unwrap()
    };
    let until = |server: &Server, data: &std::path::Path, wanted: &dyn Fn(&serde_json::Value) -> bool| {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(120);
        loop {
            let campaign = show(server, data);
            if wanted(&campaign) {
                return campaign;
            }
            assert!(std::time::Instant::now() < end, "it stays {campaign}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    let path = |name: &str| at(name).to_str().unwrap().to_owned();
    let roster = flotilla().args(["fleet", "roster", "--devices", DEVICES]).output().unwrap();
    std::fs::write(at("roster.csv"), &roster.stdout).unwrap();
    std::fs::write(at("fw.bin"), vec![7; 200_000]).unwrap();
    std::fs::write(at("campaign.toml"), CAMPAIGN).unwrap();
    run(&server, &data, &["device", "import", &path("roster.csv")]);
    run(&server, &data, &["artifact", "add", &path("fw.bin"), "--name", "fw", "--version", "2.0"]);
    let mut fleet = flotilla()
        .args(["fleet", "run", "--url", &server.devices, "--devices", DEVICES, "--poll", "1s"])
        .args(["--duration", "300s", "--until-version", "2.0", "-o", "json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    run(&server, &data, &["campaign", "create", "-f", &path("campaign.toml"), "--start"]);

    // In its middle: some have ended, most have not, and all have been released.
    let members = |campaign: &serde_json::Value| campaign["members"].as_u64().unwrap();
    let ended = |campaign: &serde_json::Value| campaign["ended"].as_u64().unwrap();
    until(&server, &data, &|campaign| {
        members(campaign) == 60 && ended(campaign) + campaign["in_flight"].as_u64().unwrap() == 60
    });
    let backup = path("flotilla.backup");
    let told = run(&server, &data, &["backup", "--output", &backup]);
    assert!(told.contains("as of "), "{told}");
    let before = show(&server, &data);
    until(&server, &data, &|campaign| ended(campaign) > 5.max(ended(&before).min(55)));
    let addresses = server.addresses();
    server.kill();

    let refused = flotilla().args(["restore", &backup, "--data"]).arg(&data).output().unwrap();
    assert_eq!(refused.status.code(), Some(4), "{}", stderr(&refused));
    let data = at("restored");
    let restored = flotilla().args(["restore", &backup, "--data"]).arg(&data).output().unwrap();
    assert!(restored.status.success(), "{}", stderr(&restored));
    assert!(stdout(&restored).contains("1 campaigns are paused"), "{}", stdout(&restored));

    let server = Server::start_at(&data, &[], [&addresses[0], &addresses[1]]);
    let campaign = until(&server, &data, &|campaign| campaign["state"] != "running");
    assert_eq!(campaign["state"], "paused", "{campaign}");
    assert!(ended(&campaign) < 60, "the backup was made too late to show anything");
    run(&server, &data, &["campaign", "resume", "c1"]);
    let campaign = until(&server, &data, &|campaign| campaign["state"] == "finished");
    assert_eq!(ended(&campaign), 60);
    run(&server, &data, &["campaign", "verify", "c1"]);
    let updated = run(&server, &data, &["device", "list", "--firmware", "2.0", "-o", "json", "--limit", "0"]);
    assert_eq!(updated.matches("\"firmware\"").count(), 60);
    // The devices counted, over both servers.
    let id = fleet.id().to_string();
    std::process::Command::new("kill").args(["-INT", &id]).status().unwrap();
    let mut report = String::new();
    std::io::Read::read_to_string(&mut fleet.stdout.take().unwrap(), &mut report).unwrap();
    fleet.wait().unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["execs"]["max_per_correlator"], 1, "{}", report["execs"]);
    assert_eq!(server.terminate().code(), Some(0));
}
