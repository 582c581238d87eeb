//! `flotilla doctor` and `flotilla support-bundle` as somebody in trouble runs them.

// What is asked of the binary is written into the test that asks it.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::BTreeMap,
    io::Read as _,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use common::{Server, client, flotilla, stderr, stdout};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::Value;
use storage::laws::test_server;

/// What the doctor found: its exit code, and each finding as state, check and words.
struct Found {
    code: i32,
    findings: Vec<(String, String, String)>,
}

impl Found {
    #[track_caller]
    fn has(&self, state: &str, check: &str, words: &[&str]) {
        let fits = |(of, name, what): &(String, String, String)| {
            of == state && name == check && words.iter().all(|word| what.contains(word))
        };
        assert!(
            self.findings.iter().any(fits),
            "no {state} of {check} with {words:?} in {:#?}",
            self.findings
        );
    }
}

fn doctor(settings: &[(&str, &str)]) -> Found {
    let mut command: Command = flotilla();
    command.args(["doctor", "-o", "json", "--timeout", "12s"]);
    for (key, value) in settings {
        command.env(format!("FLOTILLA__{}", key.replace('.', "__").to_uppercase()), value);
    }
    let output: Output = command.output().unwrap();
    let report: Value =
        serde_json::from_str(&stdout(&output)).unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().unwrap().iter().map(|finding| {
        let (state, remedy) = (text(finding, "state"), text(finding, "remedy"));
        assert_eq!(state == "ok", remedy.is_empty(), "what is wrong comes with what to do: {finding}");
        (state, text(finding, "check"), format!("{} -> {remedy}", text(finding, "what")))
    });
    Found { code: output.status.code().unwrap(), findings: findings.collect() }
}

/// Settings of an embedded server at addresses that are free.
fn embedded(data: &Path) -> Vec<(&'static str, String)> {
    vec![
        ("storage.data", data.display().to_string()),
        ("session.listen", "127.0.0.1:0".to_owned()),
        ("session.connections_max", "1".to_owned()),
        ("admin.listen", "127.0.0.1:0".to_owned()),
    ]
}

fn with<'a>(base: &'a [(&'a str, String)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    base.iter().map(|(key, value)| (*key, value.as_str())).chain(more.iter().copied()).collect()
}

fn write(dir: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
    let file = dir.join(name);
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    file
}

/// A certificate for a name, signed by an authority of its own, until that year; and its key.
fn certificate(dir: &Path, file: &str, name: &str, until_year: i32) -> (PathBuf, PathBuf) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.distinguished_name.push(DnType::CommonName, "authority of a test");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new([name.to_owned()]).unwrap();
    leaf.not_after = rcgen::date_time_ymd(until_year, 1, 1);
    let signed = leaf.signed_by(&key, &Issuer::from_params(&ca, &ca_key)).unwrap();
    (
        write(dir, &format!("{file}.pem"), &signed.pem(), 0o644),
        write(dir, &format!("{file}.key"), &key.serialize_pem(), 0o600),
    )
}

#[test]
fn a_good_directory_is_good_also_while_it_is_served_and_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let base = embedded(&data);
    let before = doctor(&with(&base, &[]));
    before.has("ok", "data", &["not there yet"]);
    assert!(!data.exists(), "looking makes nothing");

    let server = Server::start(&data);
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();
    let address = |url: &str| url.split('/').nth(2).unwrap().to_owned();
    let (devices, admin) = (address(&server.devices), address(&server.admin));
    let served = [("session.listen", &*devices), ("admin.listen", &*admin)];
    let found = doctor(&with(&base, &served));
    found.has("ok", "data", &["is served by process"]);
    found.has("ok", "listeners", &["admin.listen", "served by flotilla already"]);
    found.has("ok", "listeners", &["session.listen", "served already"]);
    found.has("ok", "secrets", &["admin.token_file"]);
    assert_eq!(found.code, 0, "{:#?}", found.findings);
    let alive = client(&server, &data, &["campaign", "list"], "");
    assert!(alive.status.success(), "the server goes on: {}", stderr(&alive));
    assert!(server.terminate().success());
}

#[test]
fn each_fault_of_a_machine_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let data = dir.join("data");
    std::fs::create_dir(&data).unwrap();
    let base = embedded(&data);
    let show = |path: &Path| path.display().to_string();

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let stranger = taken.local_addr().unwrap().to_string();
    let open_key = write(dir, "keys", &format!("1:{}\n", "ab".repeat(32)), 0o644);
    let bad_key = write(dir, "bad-keys", "1:short\n", 0o600);
    let empty = write(dir, "empty", "\n", 0o600);
    let (good, good_key) = certificate(dir, "good", "dm.example.org", 2100);
    let (old, old_key) = certificate(dir, "old", "localhost", 2020);
    let no_pem = write(dir, "no.pem", "no certificate", 0o600);

    let (open_key, bad_key, empty) = (show(&open_key), show(&bad_key), show(&empty));
    let (good, good_key, old, old_key, no_pem) =
        (show(&good), show(&good_key), show(&old), show(&old_key), show(&no_pem));
    let tls = |certificate: &'static str| certificate;
    let (cert, key) = (tls("session.tls.certificate"), tls("session.tls.key"));
    for (settings, state, check, words) in [
        (vec![("admin.listen", &*stranger)], "warn", "listeners", vec!["admin.listen", "taken", "ss -ltnp"]),
        (
            vec![("session.listen", "192.0.2.1:80")],
            "fail",
            "listeners",
            vec!["session.listen", "192.0.2.1:80"],
        ),
        (vec![("secrets.key_file", &*open_key)], "warn", "secrets", vec!["secrets.key_file", "chmod o="]),
        (vec![("secrets.key_file", &*bad_key)], "fail", "secrets", vec!["secrets.key_file", "new-key"]),
        (vec![("admin.token_file", &*empty)], "fail", "secrets", vec!["admin.token_file", "empty"]),
        (vec![("admin.token_file", "/none")], "fail", "secrets", vec!["admin.token_file", "/none"]),
        (
            vec![(cert, &*old), (key, &*old_key)],
            "fail",
            "certificates",
            vec!["session.tls.certificate", "ended"],
        ),
        (
            vec![(cert, &*good), (key, &*old_key)],
            "fail",
            "certificates",
            vec!["session.tls.key", "expected the key"],
        ),
        (
            vec![(cert, &*no_pem), (key, &*good_key)],
            "fail",
            "certificates",
            vec!["session.tls.certificate", "PEM"],
        ),
        (
            vec![(cert, &*good), (key, &*good_key), ("session.public_url", "https://localhost:9")],
            "fail",
            "certificates",
            vec!["localhost", "dm.example.org"],
        ),
        (vec![("session.public_url", "http://127.0.0.1:9")], "warn", "public-url", vec!["nothing answers"]),
        (vec![("session.public_url", "http://no-such.invalid")], "fail", "public-url", vec!["DNS"]),
        (
            vec![("session.connections_max", "1000000")],
            "warn",
            "open-files",
            vec!["connections_max", "ulimit"],
        ),
        (vec![("session.messages_max", "0")], "fail", "settings", vec!["session.messages_max"]),
        (vec![("storage.data", "/none/of/it")], "fail", "data", vec!["storage.data", "mkdir -p"]),
    ] {
        let found = doctor(&with(&base, &settings));
        found.has(state, check, &words);
        assert_ne!(found.code, 0, "{settings:?}");
        let worst_is_fail = found.findings.iter().any(|(state, ..)| state == "fail");
        assert_eq!(found.code, if worst_is_fail { 1 } else { 6 }, "{settings:?}");
    }

    write(&data, "format", "flotilla-data 99\n", 0o600);
    doctor(&with(&base, &[])).has("fail", "data", &["version 1", "99"]);
    std::fs::remove_file(data.join("format")).unwrap();
    write(&data, "key", &"k".repeat(32), 0o600);
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    doctor(&with(&base, &[])).has("warn", "data", &["mode 755", "chmod o="]);
}

/// Settings of a cluster over the secured servers, or `None` where the test is to be skipped.
fn cluster(dir: &Path) -> Option<Vec<(&'static str, String)>> {
    let redis = test_server("FLOTILLA_TEST_REDIS_TLS")?;
    let kafka = test_server("FLOTILLA_TEST_KAFKA_PASSWORD")?;
    let scylla = test_server("FLOTILLA_TEST_CASSANDRA_TLS")?;
    let files = PathBuf::from(test_server("FLOTILLA_TEST_CERTIFICATES")?);
    let file = |name: &str| files.join(name).display().to_string();
    let keys = write(dir, "keys", &format!("1:{}\n", "ab".repeat(32)), 0o600);
    let login = write(dir, "cassandra-password", "cassandra\n", 0o600);
    let run = format!("doctor-{:x}", jiff::Timestamp::now().as_microsecond());
    let mut settings = embedded(&dir.join("data"));
    settings.extend([
        ("storage.backend", "cluster".to_owned()),
        ("secrets.key_file", keys.display().to_string()),
        ("redis.nodes", format!("['{redis}']")),
        ("redis.username", "flotilla".to_owned()),
        ("redis.password_file", file("password")),
        ("kafka.bootstrap", kafka),
        ("kafka.prefix", format!("{run}-")),
        ("kafka.security", "sasl-ssl".to_owned()),
        ("kafka.sasl_user", "flotilla".to_owned()),
        ("kafka.sasl_password_file", file("password")),
        ("kafka.replication", "1".to_owned()),
        ("kafka.min_insync_replicas", "1".to_owned()),
        ("kafka.request_timeout", "6s".to_owned()),
        ("scylla.contact_points", format!("['{scylla}']")),
        ("scylla.keyspace", run.replace('-', "_")),
        ("scylla.username", "cassandra".to_owned()),
        ("scylla.password_file", login.display().to_string()),
        ("scylla.replication", "1".to_owned()),
        ("scylla.request_timeout", "10s".to_owned()),
    ]);
    for (ca, certificate, key) in
        [("redis.ca", "redis.certificate", "redis.key"), ("scylla.ca", "scylla.certificate", "scylla.key")]
    {
        settings.extend([(ca, file("ca.pem")), (certificate, file("client.pem")), (key, file("client.key"))]);
    }
    settings.push(("kafka.ca", file("ca.pem")));
    Some(settings)
}

fn run(settings: &[(&str, String)], args: &[&str]) -> Output {
    let mut command = flotilla();
    command.args(args);
    for (key, value) in settings {
        command.env(format!("FLOTILLA__{}", key.replace('.', "__").to_uppercase()), value);
    }
    command.output().unwrap()
}

#[test]
fn each_fault_of_a_cluster_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let Some(base) = cluster(dir.path()) else { return };
    let bare = doctor(&with(&base, &[]));
    bare.has("fail", "topics", &["dm.jobs", "flotilla topics apply"]);
    bare.has("fail", "scylla", &["keyspace", "flotilla schema apply"]);
    bare.has("ok", "redis", &["lets us in"]);
    bare.has("ok", "redis-persistence", &["outlives a restart"]);
    bare.has("ok", "redis-eviction", &["noeviction"]);

    for made in [run(&base, &["schema", "apply"]), run(&base, &["topics", "apply"])] {
        assert!(made.status.success(), "{}", stderr(&made));
    }
    let good = doctor(&with(&base, &[]));
    for check in
        ["topics", "kafka-rights", "schema", "scylla-consistency", "replication", "redis", "certificates"]
    {
        good.has("ok", check, &[]);
    }
    assert!(good.findings.iter().all(|(state, ..)| state == "ok"), "{:#?}", good.findings);
    assert_eq!(good.code, 0);

    let guess = write(dir.path(), "guess", "a-wrong-guess\n", 0o600).display().to_string();
    let other =
        Path::new(&base.iter().find(|(key, _)| *key == "kafka.ca").unwrap().1).with_file_name("other-ca.pem");
    let other = other.display().to_string();
    let plain = test_server("FLOTILLA_TEST_REDIS").unwrap();
    let plain = format!("['{plain}']");
    let in_cluster = test_server("FLOTILLA_TEST_REDIS_CLUSTER").unwrap();
    let in_cluster = format!("['{}']", in_cluster.split(',').next().unwrap());
    let cases = [
        (vec![("redis.password_file", &*guess)], "redis", vec!["redis.password_file"]),
        (vec![("redis.ca", &*other)], "redis", vec!["redis.ca"]),
        (vec![("redis.nodes", "['redis://127.0.0.1:9']")], "redis", vec!["127.0.0.1:9"]),
        (vec![("redis.nodes", &*plain), ("redis.cluster", "true")], "redis", vec!["redis.cluster = false"]),
        (
            vec![("redis.nodes", &*in_cluster), ("redis.username", "default")],
            "redis",
            vec!["redis.cluster: expected true"],
        ),
        (vec![("kafka.sasl_password_file", &*guess)], "kafka", vec!["kafka.sasl_password_file"]),
        (vec![("kafka.ca", &*other)], "kafka", vec!["kafka.ca"]),
        (vec![("kafka.sasl_user", "stranger")], "topics", vec!["ACL"]),
        (vec![("kafka.jobs_partitions", "3")], "topics", vec!["partitions", "expected 3", "got 32"]),
        (vec![("scylla.password_file", &*guess)], "scylla", vec!["scylla.password_file"]),
        (vec![("scylla.ca", &*other)], "scylla", vec!["scylla.ca"]),
        (vec![("scylla.keyspace", "not_there")], "scylla", vec!["not_there", "flotilla schema apply"]),
        (vec![("scylla.local_datacenter", "dc9")], "scylla", vec!["scylla.local_datacenter", "got dc9"]),
    ];
    // Most of what they take is waiting.
    for some in cases.chunks(5) {
        std::thread::scope(|scope| {
            for (settings, check, words) in some {
                let base = &base;
                scope.spawn(move || {
                    let found = doctor(&with(base, settings));
                    found.has("fail", check, words);
                    assert_eq!(found.code, 1, "{settings:?}");
                    let shown = format!("{:?}", found.findings);
                    assert!(!shown.contains("a-wrong-guess"), "a password is never shown");
                });
            }
        });
    }
    doctor(&with(&base, &[("scylla.replication", "3")])).has(
        "warn",
        "replication",
        &["scylla.replication", "3"],
    );
}

/// The files of an archive, by their names without the folder.
fn unpacked(archive: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(archive).unwrap()));
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        files.insert(path.file_name().unwrap().to_string_lossy().into_owned(), text);
    }
    files
}

#[test]
fn a_bundle_has_what_helps_and_no_secret_and_no_device() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    let done = |args: &[&str], stdin: &str| {
        let output = client(&server, &data, args, stdin);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    };
    let (device, password) = ("IMEI:490154203237518", "device-password-hunter2");
    done(&["device", "add", "--id", device, "--auth", "md5", "--user", "u-1", "--password", password], "");
    let image = write(dir.path(), "fw.bin", "image", 0o600).display().to_string();
    done(&["artifact", "add", &image, "--name", "fw", "--version", "2"], "");
    let definition = format!(
        "name = \"to 2\"\nartifact = {{ name = \"fw\", version = \"2\" }}\nin_flight_max = 5\n[target]\nids = [\"{device}\"]\n[[waves]]\n"
    );
    let definition = write(dir.path(), "campaign.toml", &definition, 0o600).display().to_string();
    done(&["campaign", "create", "-f", &definition], "");

    let token = std::fs::read_to_string(data.join("admin.token")).unwrap().trim().to_owned();
    let key = "cd".repeat(32);
    let keys = write(dir.path(), "keys", &format!("1:{key}\n"), 0o600).display().to_string();
    let authorization = write(dir.path(), "authorization", "Bearer gateway-token-hunter2\n", 0o600);
    let (_, tls_key) = certificate(dir.path(), "tls", "localhost", 2100);
    let certificate = tls_key.with_extension("pem").display().to_string();
    let private: Vec<String> =
        std::fs::read_to_string(&tls_key).unwrap().lines().map(str::to_owned).collect();
    // As an unlucky program would have logged it.
    let log = format!(
        "{{\"level\":\"WARN\",\"device_id\":\"{device}\",\"authorization\":\"Bearer {token}\"}}\n\
         INFO refused device_id={device} at https://user:url-password-hunter2@h.example/x?apikey=query-hunter2\n\
         a key {key} and {} and gateway-token-hunter2\nsomething that helps\n",
        private[1],
    );
    let log = write(dir.path(), "flotilla.log", &log, 0o600).display().to_string();
    let output = dir.path().join("bundle.tar.gz");
    let gateways = format!(
        "[{{scheme='sms', url='https://h.example/send?to={{address}}&apikey=query-hunter2', authorization_file='{}'}}]",
        authorization.display()
    );
    let made = flotilla()
        .args(["support-bundle", "--data"])
        .arg(&data)
        .args(["--server", &server.admin, "--log", &log, "--output"])
        .arg(&output)
        .env("FLOTILLA__SECRETS__KEY_FILE", &keys)
        .env("FLOTILLA__NOTIFY__GATEWAYS", &gateways)
        .env("FLOTILLA__SESSION__TLS__CERTIFICATE", &certificate)
        .env("FLOTILLA__SESSION__TLS__KEY", &tls_key)
        .env("SOME_PASSWORD", "environment-hunter2")
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", stderr(&made));
    assert_eq!(std::fs::metadata(&output).unwrap().permissions().mode() & 0o777, 0o600);

    let files = unpacked(&output);
    let secrets = ["hunter2", &token, &key, &private[1], "490154203237518", "a-device"];
    for (name, text) in &files {
        for secret in &secrets {
            assert!(!text.contains(secret), "{name} has {secret}");
        }
    }
    let has = |file: &str, what: &str| {
        let text = files
            .get(file)
            .unwrap_or_else(|| panic!("{file} of {:?}: {}", files.keys(), files["missing.txt"]));
        assert!(text.contains(what), "{file} has no {what}: {text}");
    };
    has("settings.json", "session.messages_max");
    has("settings.json", "to={address}");
    has("versions.json", env!("CARGO_PKG_VERSION"));
    has("doctor.json", "is served by process");
    has("metrics.txt", "dm_ready");
    has("health.txt", "200");
    has("campaigns.json", "to 2");
    has("campaigns.json", "1 devices");
    has("process.txt", "Max open files");
    has("system.txt", "MemTotal");
    has("log-1.txt", "something that helps");
    let hashed: Vec<&str> = files["log-1.txt"].split("device-").skip(1).map(|rest| &rest[..12]).collect();
    assert!(hashed.len() == 2 && hashed[0] == hashed[1], "one device has one hash: {hashed:?}");

    let again = flotilla()
        .args(["support-bundle", "--data"])
        .arg(&data)
        .arg("--output")
        .arg(&output)
        .output()
        .unwrap();
    assert!(!again.status.success() && stderr(&again).contains("could not make"), "nothing is written over");
}

/// Seconds of processor time that a process has had.
fn processor_seconds(id: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    // In hundredths of a second, on every Linux that there is.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[test]
fn a_server_that_is_refused_says_by_which_setting_and_waits_without_haste() {
    let dir = tempfile::tempdir().unwrap();
    let Some(base) = cluster(dir.path()) else { return };
    for made in [run(&base, &["schema", "apply"]), run(&base, &["topics", "apply"])] {
        assert!(made.status.success(), "{}", stderr(&made));
    }
    let guess = write(dir.path(), "guess", "a-wrong-guess\n", 0o600).display().to_string();
    for (at, key) in
        ["scylla.password_file", "redis.password_file", "kafka.sasl_password_file"].into_iter().enumerate()
    {
        let log = dir.path().join(format!("log-{at}"));
        let mut command = flotilla();
        command.args(["serve", "--roles", "campaign"]).stderr(std::fs::File::create(&log).unwrap());
        command.stdout(std::process::Stdio::null());
        for (name, value) in with(&base, &[(key, &*guess), ("health.listen", "127.0.0.1:0")]) {
            command.env(format!("FLOTILLA__{}", name.replace('.', "__").to_uppercase()), value);
        }
        let mut child = command.spawn().unwrap();
        let begun = std::time::Instant::now();
        let said = loop {
            let said = std::fs::read_to_string(&log).unwrap();
            if said.contains(key) || begun.elapsed().as_secs() > 30 {
                break said;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        };
        let before = processor_seconds(child.id());
        std::thread::sleep(std::time::Duration::from_secs(4));
        let used = processor_seconds(child.id()) - before;
        let ended = child.try_wait().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(said.contains(key), "{key}: {said}");
        assert_eq!(ended, None, "{key}: it waits for somebody to mend it");
        assert!(used < 1.0, "{key}: {used} s of processor in 4 s of waiting");
        let lines = std::fs::read_to_string(&log).unwrap();
        assert!(lines.lines().count() < 40, "{key}: it says the same again and again: {lines}");
        assert!(!lines.contains("a-wrong-guess"), "a password is never shown");
    }
}
