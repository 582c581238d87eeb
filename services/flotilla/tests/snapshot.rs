//! `flotilla snapshot gc`, as a process of its own.
#![allow(clippy::unwrap_used, reason = "a test ends where something is missing")]

mod common;

use std::{
    path::Path,
    process::Output,
    time::{Duration, Instant},
};

use common::{Server, client, flotilla, stderr};
use dm_protocol::DevId;
use dm_tree::{Change, Format, Leaf};
use jiff::{SignedDuration, Timestamp};
use scylla::client::{session::Session, session_builder::SessionBuilder};
use serde_json::{Value, json};
use service_kit::settings::Span;
use storage::{SnapshotStore as _, TenantId};
use storage_scylla::{Replication, Scylla, ScyllaSettings, SnapshotOptions, Snapshots, schema};

/// What the command printed; nothing where it failed.
fn collected(output: &Output) -> (Option<i32>, Option<Value>) {
    (output.status.code(), serde_json::from_slice(&output.stdout).ok())
}

/// The parts of what was printed that a test is about: trees, past trees, those of them that ended, pages that went.
fn counts(output: &Output) -> [u64; 4] {
    let (code, collected) = collected(output);
    assert_eq!(code, Some(0), "{}", stderr(output));
    let collected = collected.unwrap();
    ["trees", "past_trees", "past_trees_ended", "pages_deleted"].map(|name| collected[name].as_u64().unwrap())
}

fn gc(data: &Path, more: &[&str], environment: &[(&str, &str)]) -> Output {
    flotilla()
        .args(["snapshot", "gc", "-o", "json", "--data"])
        .arg(data)
        .args(more)
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

/// The first package of a device that proves nothing and is of this model.
fn package_1(session: u32, model: &str) -> String {
    let item = |(name, value): &(&str, &str)| {
        format!(
            "<Item><Source><LocURI>./DevInfo/{name}</LocURI></Source><Meta><Format xmlns='syncml:metinf'>chr</Format>\
             </Meta><Data>{value}</Data></Item>"
        )
    };
    let items = [("DevId", "urn:test:1"), ("Man", "Acme"), ("Mod", model), ("DmV", "1.2"), ("Lang", "en")];
    let items: String = items.iter().map(item).collect();
    format!(
        "<SyncML xmlns='SYNCML:SYNCML1.2'><SyncHdr><VerDTD>1.2</VerDTD><VerProto>DM/1.2</VerProto>\
         <SessionID>{session}</SessionID><MsgID>1</MsgID><Target><LocURI>http://127.0.0.1/dm</LocURI></Target>\
         <Source><LocURI>urn:test:1</LocURI></Source></SyncHdr><SyncBody><Alert><CmdID>1</CmdID><Data>1201</Data></Alert>\
         <Replace><CmdID>2</CmdID>{items}</Replace><Final/></SyncBody></SyncML>"
    )
}

/// A data directory with a device that had three trees.
fn make_history(data: &Path) {
    let server = Server::start(data);
    let added = client(&server, data, &["device", "add", "--id", "urn:test:1", "--auth", "none"], "");
    assert!(added.status.success(), "{}", stderr(&added));
    for (session, model) in [(1, "R1"), (2, "R2"), (3, "R3")] {
        ureq::post(&server.devices)
            .header("content-type", "application/vnd.syncml.dm+xml")
            .send(package_1(session, model))
            .unwrap();
    }
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn what_history_may_not_keep_is_counted_first_and_then_gone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    make_history(&data);

    assert_eq!(counts(&gc(&data, &["--dry-run"], &[])), [1, 2, 0, 0], "what a tree names stays");
    let short = [("FLOTILLA__SNAPSHOT__HISTORY_TREES_MAX", "1")];
    let dry = gc(&data, &["--dry-run"], &short);
    let [trees, past, ended, deleted] = counts(&dry);
    assert_eq!((trees, past, ended), (1, 2, 1));
    assert!(deleted > 0, "{:?}", collected(&dry));
    assert_eq!(collected(&gc(&data, &["--dry-run"], &short)), collected(&dry), "a dry run takes nothing");

    let done = gc(&data, &[], &short);
    assert_eq!(counts(&done), counts(&dry), "what was counted goes");
    assert_eq!(collected(&done).1.unwrap()["dry_run"], false);
    assert_eq!(counts(&gc(&data, &[], &short)), [1, 1, 0, 0], "nothing is left to go");

    // What stayed is whole.
    let server = Server::start(&data);
    let tree = client(&server, &data, &["device", "tree", "urn:test:1", "-o", "json"], "");
    assert!(tree.status.success(), "{}", stderr(&tree));
    assert!(common::stdout(&tree).contains("R3"), "{}", common::stdout(&tree));
    let history = client(&server, &data, &["device", "history", "urn:test:1"], "");
    let history = common::stdout(&history);
    let (trees, _) = history.split_once("\n\n").unwrap();
    assert_eq!(trees.lines().skip(1).count(), 2, "{history}");
}

/// A number of the server's metrics.
fn metric(server: &Server, data: &Path, name: &str) -> Option<u64> {
    let token = std::fs::read_to_string(data.join("admin.token")).unwrap();
    let text = ureq::get(format!("{}/metrics", server.admin))
        .header("authorization", format!("Bearer {}", token.trim()))
        .call()
        .unwrap()
        .into_body()
        .read_to_string()
        .unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
fn a_server_collects_by_itself_and_keeps_the_command_from_its_data_directory() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let soon =
        [("FLOTILLA__SNAPSHOT__COLLECT_AFTER_START", "2s"), ("FLOTILLA__SNAPSHOT__HISTORY_TREES_MAX", "1")];
    make_history(&data);
    let server = Server::start_with(&data, &soon);
    let deadline = Instant::now() + Duration::from_secs(20);
    while metric(&server, &data, "dm_snapshot_collections_total{result=\"done\"}") != Some(1) {
        assert!(Instant::now() < deadline, "the server does not collect");
        std::thread::sleep(Duration::from_millis(50));
    }
    let refused = gc(&data, &["--dry-run"], &[]);
    assert_eq!(collected(&refused), (Some(1), None));
    for part in ["is in use by another process", "stop the server first"] {
        assert!(stderr(&refused).contains(part), "{}", stderr(&refused));
    }
    assert_eq!(server.terminate().code(), Some(0));
    assert_eq!(counts(&gc(&data, &["--dry-run"], &soon)), [1, 1, 0, 0], "the server left nothing to go");
}

#[test]
fn a_folder_that_is_no_data_directory_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent");
    for place in [&absent, &folder.path().to_owned()] {
        let refused = gc(place, &[], &[]);
        assert_eq!(collected(&refused), (Some(1), None));
        assert!(stderr(&refused).contains("there is no data directory"), "{}", stderr(&refused));
    }
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
}

/// A keyspace of its own on the cluster that `FLOTILLA_TEST_CASSANDRA` names; `None`: the test is skipped.
fn keyspace() -> Option<ScyllaSettings> {
    let address = storage::laws::test_server("FLOTILLA_TEST_CASSANDRA")?;
    Some(ScyllaSettings {
        contact_points: address.split(',').map(str::to_owned).collect(),
        keyspace: format!("t_snapshot_gc_{:x}", Timestamp::now().as_microsecond()),
        replication: Replication::Everywhere(1),
        request_timeout: Span::of_ms(20_000),
        connect_timeout: Span::of_ms(20_000),
        ..ScyllaSettings::default()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_cluster_it_collects_beside_the_servers_one_process_at_a_time() {
    let Some(settings) = keyspace() else { return };
    schema::apply(&settings).await.unwrap();
    let session = SessionBuilder::new().known_nodes(&settings.contact_points).build().await.unwrap();
    session.use_keyspace(&settings.keyspace, false).await.unwrap();
    let outcome = tokio::spawn(collect_on_a_cluster(settings.clone(), session)).await;
    schema::drop_keyspace(&settings).await.unwrap();
    if let Err(failed) = outcome {
        std::panic::resume_unwind(failed.into_panic());
    }
}

async fn collect_on_a_cluster(settings: ScyllaSettings, session: Session) {
    let options = SnapshotOptions { history_age_max: None, ..SnapshotOptions::default() };
    let store = Snapshots::new(Scylla::connect(&settings).await.unwrap(), options);
    let (tenant, device) = (TenantId::default(), DevId::parse("IMEI:1").unwrap());
    for days in [300, 200, 50, 1] {
        let at = Timestamp::now() - SignedDuration::from_hours(24 * days);
        let leaf = Leaf { format: Format::Chr, mime: None, value: days.to_string().as_bytes().into() };
        let delta = vec![Change::Leaf { uri: "A/days".to_owned(), leaf }];
        store.apply(&tenant, &device, at, &delta).await.unwrap();
    }
    // What the trees above left is younger than the grace, so this is what is old enough to go.
    let garbage = "INSERT INTO pages (tenant, id, base, refs, stored) \
                   VALUES ('default', 0x01, 0x, 0x, 0x0102030405) USING TIMESTAMP 1";
    session.query_unpaged(garbage, &[]).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let run = async |more: &'static [&'static str]| {
        let key_file = folder.path().join("keys");
        let contact_points = format!("{:?}", settings.contact_points);
        let (keyspace, data) = (settings.keyspace.clone(), folder.path().to_owned());
        let run = move || {
            let environment = [
                ("FLOTILLA__STORAGE__BACKEND", "cluster"),
                ("FLOTILLA__SECRETS__KEY_FILE", key_file.to_str().unwrap()),
                ("FLOTILLA__SCYLLA__CONTACT_POINTS", &contact_points),
                ("FLOTILLA__SCYLLA__KEYSPACE", &keyspace),
                ("FLOTILLA__SCYLLA__REQUEST_TIMEOUT", "20s"),
            ];
            gc(&data, more, &environment)
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    };

    // The first of them ended 200 days ago, which is longer than history is kept.
    let dry = run(&["--dry-run"]).await;
    assert_eq!(counts(&dry), [1, 3, 1, 1], "{:?}", collected(&dry));
    assert_eq!(collected(&dry).1.unwrap()["bytes_deleted"], json!(5));
    assert_eq!(counts(&run(&["--dry-run"]).await), [1, 3, 1, 1], "a dry run takes nothing");

    let lease = |owner: &str| {
        format!(
            "UPDATE upkeep SET owner = {owner} WHERE name = 'collect-trees' IF owner IN (NULL, 'another')"
        )
    };
    session.query_unpaged(lease("'another'"), &[]).await.unwrap();
    let refused = run(&[]).await;
    assert_eq!(collected(&refused), (Some(4), None), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("another process is collecting"), "{}", stderr(&refused));
    session.query_unpaged(lease("NULL"), &[]).await.unwrap();

    assert_eq!(counts(&run(&[]).await), [1, 3, 1, 1], "what was counted goes");
    assert_eq!(counts(&run(&[]).await), [1, 2, 0, 0], "nothing is left to go");
    let history = store.history(&tenant, &device, 9).await.unwrap();
    assert_eq!(history.len(), 3);
    for past in history {
        assert!(!store.read(&tenant, past.root, ".").await.unwrap().is_empty(), "what stayed is whole");
    }
}
