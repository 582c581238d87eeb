use std::{io::Write as _, time::Duration};

use super::*;

fn load(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Settings, SettingsErrors> {
    let mut on_disk = tempfile::NamedTempFile::new().unwrap();
    on_disk.write_all(file.as_bytes()).unwrap();
    let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    Settings::load(Some(on_disk.path()), own(environment), own(flags))
}

#[test]
fn empty_sources_give_the_defaults() {
    assert_eq!(load("", &[("FLOTILLA_SERVER", "x"), ("HOME", "/")], &[]).unwrap(), Settings::default());
    assert_eq!(Settings::load(None, [], []).unwrap(), Settings::default());
}

#[test]
fn flags_win_over_environment_over_file() {
    let file = "[session]\nmessages_max = 1\nconnections_max = 1\ndownloads_max = 1\n";
    let environment = [("FLOTILLA__SESSION__MESSAGES_MAX", "2"), ("FLOTILLA__SESSION__CONNECTIONS_MAX", "2")];
    let settings = load(file, &environment, &[("session.messages_max", "3")]).unwrap();
    let session = &settings.session;
    let got = (session.messages_max.value(), session.connections_max.value(), session.downloads_max.value());
    assert_eq!(got, (3, 2, 1));
}

#[test]
fn reads_each_kind_of_value_from_file_and_text() {
    let file = r#"
        [session]
        listen = "0.0.0.0:9000"
        public_url = "https://dm.example.org/"
        enrol = "open"
        max_msg_size = 16384
        body_timeout = "1m 30s"
        [session.tls]
        certificate = "cert.pem"
        [[dialect.models]]
        maker = "Example Works"
        fumo_root = "./FUMO"
    "#;
    let environment =
        [("FLOTILLA__SESSION__TLS__KEY", "key.pem"), ("FLOTILLA__SESSION__MAX_OBJ_SIZE", "2 MiB")];
    let flags = [("dialect.fumo_search_roots", "['./A', './B']"), ("telemetry.format", "json")];
    let settings = load(file, &environment, &flags).unwrap();
    assert_eq!(settings.session.listen.port(), 9000);
    assert_eq!(settings.session.public_url.unwrap().as_str(), "https://dm.example.org");
    assert_eq!(settings.session.enrol, Enrol::Open);
    assert_eq!(settings.session.max_msg_size.value(), 16384);
    assert_eq!(settings.session.max_obj_size.value(), 2 << 20);
    assert_eq!(settings.session.body_timeout.value(), Duration::from_secs(90));
    assert_eq!(settings.tls.key.unwrap().to_str(), Some("key.pem"));
    assert_eq!(settings.dialect.fumo_search_roots, ["./A", "./B"]);
    assert_eq!(settings.dialect.models[0].model, None);
    assert_eq!(settings.telemetry.format, LogFormat::Json);
}

#[test]
fn reports_all_mistakes_together_by_key() {
    let file = r#"
        [session]
        messages_max = 0
        lisen = "x"
        idle_timeout = 30
        public_url = "ftp://example.org"
        [session.tls]
        key = "k"
        [sesion]
        [[dialect.models]]
        maker = "m"
        fumo_root = "FUMO"
    "#;
    let environment = [("FLOTILLA__SESSION__ENROL", "maybe"), ("FLOTILLA__NOPE", "1")];
    let errors = load(file, &environment, &[("telemetry.level", "a=b=c")]).unwrap_err();
    let keys: Vec<&str> = errors.iter().map(SettingsError::key).collect();
    assert_eq!(
        keys,
        [
            "dialect.models[0].fumo_root",
            "nope",
            "sesion",
            "session.enrol",
            "session.idle_timeout",
            "session.lisen",
            "session.messages_max",
            "session.public_url",
            "session.tls.certificate",
            "telemetry.level",
        ]
    );
    let text = errors.to_string();
    for part in [
        "session.messages_max: expected a number from 1 to 100000, got 0",
        "session.idle_timeout: expected a span of time with its unit",
        "session.lisen: unknown key, expected one of ",
        "(from FLOTILLA__SESSION__ENROL)",
        "sesion: unknown section",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn refuses_values_out_of_bounds() {
    for (key, value) in [
        ("session.max_msg_size", "1 B"),
        ("session.max_msg_size", "-5"),
        ("session.max_msg_size", "99999999999 GiB"),
        ("session.step_timeout", "0s"),
        ("session.step_timeout", "-3s"),
        ("session.auth_attempts", "21"),
        ("session.message_bytes_max", "4 KiB"),
        ("session.public_url", "https://user@example.org"),
        ("session.public_url", "example.org"),
        ("session.listen", "localhost"),
    ] {
        let errors = load("", &[], &[(key, value)]).expect_err(value);
        assert_eq!(errors.iter().map(SettingsError::key).collect::<Vec<_>>(), [key], "value {value}");
    }
}

#[test]
fn a_cluster_is_read_whole_and_its_mistakes_are_said() {
    let file = r#"
        storage.backend = "cluster"
        secrets.key_file = "keys"
        process.roles = ["admin", "session"]
        [redis]
        nodes = ["redis://a:1", "redis://b:1"]
        cluster = true
        [scylla]
        replication = "dc1:3, dc2:2"
    "#;
    let settings = load(file, &[("FLOTILLA__REDIS__IDLE_KEEP", "30s")], &[]).unwrap();
    assert_eq!(settings.process.all(), [Role::Session, Role::Admin]);
    assert_eq!(settings.redis.idle_keep.value(), Duration::from_secs(30));
    let copies = [("dc1".to_owned(), 3), ("dc2".to_owned(), 2)].into();
    assert_eq!(settings.scylla.replication, Replication::Datacenters(copies));
    let roles = load(file, &[], &[("process.roles", "['campaign']")]).unwrap().process;
    assert_eq!(roles.all(), [Role::Campaign]);

    for (key, value, at) in [
        ("storage.backend", "embedded", "process.roles"),
        ("process.roles", "['sesion']", "process.roles"),
        ("redis.cluster", "false", "redis.nodes"),
        ("redis.nodes", "[]", "redis.nodes"),
        ("redis.nodes", "['redis://user:secret@a:1']", "redis.nodes"),
        ("redis.key_prefix", "a{b}", "redis.key_prefix"),
        ("redis.key", "k.pem", "redis.certificate"),
        ("scylla.keyspace", "Flotilla", "scylla.keyspace"),
        ("scylla.contact_points", "[]", "scylla.contact_points"),
        ("scylla.username", "u", "scylla.username"),
        ("scylla.replication", "0", "scylla.replication"),
        ("scylla.replication", "dc1:3,dc2", "scylla.replication"),
        ("scylla.replication", "10", "scylla.replication"),
    ] {
        let errors = load(file, &[], &[(key, value)]).expect_err(value);
        assert_eq!(errors.iter().map(SettingsError::key).collect::<Vec<_>>(), [at], "{key} = {value}");
        assert!(!errors.to_string().contains("secret@"), "a password was printed: {errors}");
    }
    let no_key = load("storage.backend = 'cluster'", &[], &[]).unwrap_err();
    assert_eq!(no_key.iter().map(SettingsError::key).collect::<Vec<_>>(), ["secrets.key_file"]);
}

#[test]
fn listeners_take_client_certificates_only_where_they_can_check_them() {
    let file = "session.tls.certificate = 'c'\nsession.tls.key = 'k'\nadmin.tls.certificate = 'c'\nadmin.tls.key = 'k'\n";
    let asked = [("session.tls.client_auth", "required"), ("session.tls.client_ca", "ca.pem")];
    let bound = [
        asked[0],
        asked[1],
        ("session.tls.client_identity", "device-id"),
        ("session.tls.min_version", "1.3"),
    ];
    let tls = load(file, &[], &bound).unwrap().tls;
    assert_eq!((tls.client_auth, tls.min_version), (TlsClientAuth::Required, TlsVersion::Tls13));
    assert_eq!(tls.client_identity, TlsClientIdentity::DeviceId);
    for (flags, at) in [
        (&[asked[0]][..], "session.tls.client_ca"),
        (&[asked[1]], "session.tls.client_auth"),
        (&[("session.tls.client_crl", "crl.pem")], "session.tls.client_ca"),
        (&[("session.tls.client_identity", "device-id")], "session.tls.client_identity"),
        (&[("session.tls.min_version", "1.1")], "session.tls.min_version"),
        (
            &[("session.tls.min_version", "1.2"), ("session.tls.client_auth", "maybe")],
            "session.tls.client_auth",
        ),
        (&[("admin.tls.client_auth", "optional")], "admin.tls.client_ca"),
    ] {
        let errors = load(file, &[], flags).expect_err(at);
        assert_eq!(errors.iter().map(SettingsError::key).collect::<Vec<_>>(), [at], "{flags:?}");
    }
    let plain = load("", &[], &asked).unwrap_err();
    assert_eq!(plain.iter().map(SettingsError::key).collect::<Vec<_>>(), ["session.tls.client_auth"]);
    let half = load("admin.tls.key = 'k'", &[], &[]).unwrap_err();
    assert_eq!(half.iter().map(SettingsError::key).collect::<Vec<_>>(), ["admin.tls.certificate"]);
}

#[test]
fn says_which_file_is_missing_or_broken() {
    let missing = Settings::load(Some(Path::new("/no/such/file.toml")), [], []).unwrap_err();
    assert!(missing.to_string().contains("/no/such/file.toml"), "{missing}");
    assert!(load("[session", &[], &[]).unwrap_err().to_string().contains("is not TOML"));
}

/// `UPDATE_GOLDEN=1 cargo test -p service-kit` writes the file anew.
#[test]
fn example_file_is_current_and_its_values_are_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("flotilla.toml");
    let example = Settings::example();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &example).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        example,
        "set UPDATE_GOLDEN=1 to write {path:?} anew"
    );

    let is_setting = |line: &&str| line.starts_with('#') && !line.starts_with("# ") && !line.ends_with('=');
    let uncommented: Vec<&str> =
        example.lines().map(|line| if is_setting(&line) { &line[1..] } else { line }).collect();
    assert_eq!(load(&uncommented.join("\n"), &[], &[]).unwrap(), Settings::default());
}

#[test]
fn an_address_that_names_no_server_is_refused() {
    for (key, wrong) in [
        ("redis.nodes", "['']"),
        ("redis.nodes", "['redis://']"),
        ("redis.nodes", "['127.0.0.1:6379']"),
        ("scylla.contact_points", "['']"),
        ("scylla.contact_points", "['node:port']"),
        ("scylla.contact_points", "[':9042']"),
        ("kafka.bootstrap", ""),
        ("kafka.bootstrap", "a:9092,,b:9092"),
        ("kafka.bootstrap", "a:0"),
    ] {
        let errors = load("", &[], &[(key, wrong)]).expect_err(wrong);
        let keys: Vec<&str> = errors.iter().map(SettingsError::key).collect();
        assert_eq!(keys, [key], "{wrong}: {errors}");
        assert!(errors.to_string().contains("expected"), "{errors}");
    }
    for (key, right) in [
        ("redis.nodes", "['rediss://cache.example.org:6380']"),
        ("scylla.contact_points", "['db', '[::1]:9042', '10.0.0.1:9042']"),
        ("kafka.bootstrap", "a.example.org:9092, b:9093"),
    ] {
        load("", &[], &[(key, right)]).expect(right);
    }
    let secret = load("", &[], &[("redis.nodes", "['user:hunter2@host']")]).unwrap_err();
    assert!(!secret.to_string().contains("hunter2"), "{secret}");
}

#[test]
fn every_key_of_the_reference_has_its_value() {
    let settings = load("", &[], &[("session.messages_max", "7")]).unwrap();
    let (values, reference) = (settings.values(), Settings::reference());
    let keys: Vec<&str> = values.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys, reference.iter().map(|doc| doc.key).collect::<Vec<_>>());
    for ((key, value), doc) in values.iter().zip(&reference) {
        let shown = value.as_ref().map(ToString::to_string);
        let want = if *key == "session.messages_max" { Some("7".to_owned()) } else { doc.default.clone() };
        assert_eq!(shown, want, "{key}");
    }
}
